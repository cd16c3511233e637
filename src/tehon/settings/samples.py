"""Pictures drawn while the training runs. They never change what is learned."""

from typing import Literal

from pydantic import Field

from tehon.settings.section import Section

SamplerName = Literal[
    "ddim",
    "pndm",
    "lms",
    "euler",
    "euler_a",
    "heun",
    "dpm_2",
    "dpm_2_a",
    "dpmsolver",
    "dpmsolver++",
    "dpmsingle",
    "k_lms",
    "k_euler",
    "k_euler_a",
    "k_dpm_2",
    "k_dpm_2_a",
]


class SampleSettings(Section):
    every_n_steps: int = Field(default=0, ge=0)
    """Draw the sample prompts every so many steps; 0 means never."""

    every_n_epochs: int = Field(default=0, ge=0)
    """Draw the sample prompts at the end of every so many epochs; 0 means never."""

    at_first: bool = False
    """Draw them with the LoRA before the first step too, which tells something where the training starts from a LoRA
    file. What the base model draws is kept beside the samples in any case."""

    sampler: SamplerName = "euler_a"
    """The sampler for prompts that name none."""

    prompts: str = ""
    """What to draw: one prompt a line, with flags behind it: `--n` negative prompt, `--w` width, `--h` height,
    `--d` seed, `--l` CFG scale (7.5), `--s` steps (30), `--ss` sampler. A prompt without a seed has one of its own
    that stays the same for the whole run; without a size it gets the model's own."""

    prompts_file: str = ""
    """A file with the prompts instead: lines as above in `.txt`, or kohya's `.toml` or `.json`. It is read again
    before each drawing, so that it may be changed while the training runs."""
