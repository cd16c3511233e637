"""What is written, where, and how."""

from typing import Literal

from pydantic import Field

from tehon.settings.section import Section


class OutputSettings(Section):
    folder: str
    """The folder for the finished LoRA and the run's records; it is made when it does not exist."""

    name: str = Field(default="last", min_length=1, pattern=r'^[^/\\:*?"<>|\x00-\x1f]+$')
    """The name of the LoRA file, without its extension."""

    overwrite: bool = False
    """Replace a LoRA file of the same name. Off: such a file stops the start."""

    save_precision: Literal["float", "fp16", "bf16"] = "fp16"
    """The number type in the LoRA file. DoRA's lengths are always float, since rounding loses
    what they learned."""

    training_comment: str = ""
    """A text that is stored in the LoRA file and shown by programs that read it."""

    no_metadata: bool = False
    """Leave out of the LoRA file how it was trained: settings, names of folders, tags, the comment. What programs need
    to use it stays, and what metadata_* say."""

    metadata_title: str = ""
    """The LoRA's title for programs and sites that list LoRAs. Empty: its name."""

    metadata_author: str = ""
    """Who made the LoRA."""

    metadata_description: str = ""
    """What the LoRA is."""

    metadata_license: str = ""
    """Under which licence it may be used, such as `CC BY 4.0`."""

    metadata_tags: str = ""
    """Tags under which it is found, with commas between."""

    metadata_trigger_phrase: str = ""
    """The words that call what was learned."""

    metadata_usage_hint: str = ""
    """How it is best used: strengths, samplers, what goes with it."""

    save_every_n_epochs: int = Field(default=1, ge=0)
    """Save a LoRA after every so many epochs, as `<name>-000002.safetensors`; the last epoch's is the finished one.
    0: none."""

    save_every_n_steps: int = Field(default=0, ge=0)
    """Save a LoRA after every so many steps, as `<name>-step00000200.safetensors`; the last step's is the finished
    one. 0: none."""

    save_last_n_epochs: int = Field(default=0, ge=0)
    """Of the LoRAs saved by epochs, keep this many, counted in files; 0 keeps all."""

    save_last_n_steps: int = Field(default=0, ge=0)
    """Of the LoRAs saved by steps, keep those of the last so many steps (a number of steps, not of files); 0 keeps
    all. With 300 and a file every 100 steps, saving step 500 removes step 100."""

    save_state_every_n_steps: int = Field(default=0, ge=0)
    """Save the run's whole state every so many steps, to resume from; 0: not by steps."""

    save_state_every_n_epochs: int = Field(default=0, ge=0)
    """Save the run's whole state after every so many epochs; 0: not by epochs."""

    save_state_every_n_minutes: float = Field(default=10.0, ge=0)
    """Save the run's whole state when so many minutes have passed since the last one, so that a crash costs no more
    than these; 0: not by time."""

    save_state_on_train_end: bool = True
    """Save the state after the last step too, so that the run can be made longer."""

    save_last_n_states: int | None = Field(default=None, ge=0)
    """How many saved states are kept; 0 keeps all. Empty: 2, or no such limit when `save_last_n_steps_state` is set."""

    save_last_n_steps_state: int = Field(default=0, ge=0)
    """Keep the states of the last so many steps; 0: their number decides. With both set, a state stays that one of
    them keeps."""
