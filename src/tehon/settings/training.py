"""How long the training runs, on what, and with which seed."""

from typing import Literal

from pydantic import Field

from tehon.settings.section import Section

MOST_EPOCHS = 1_000_000  # as the names of saved LoRAs have six digits for those before the last, and eight for steps


class TrainingSettings(Section):
    epochs: int = Field(default=1, ge=1, le=MOST_EPOCHS)
    """How often every picture is learned, times its repeats."""

    max_train_epochs: int | None = Field(default=None, ge=1, le=MOST_EPOCHS)
    """The training ends after this many epochs at the latest. Empty: no such limit."""

    max_train_steps: int = Field(default=0, ge=0, le=100_000_000)
    """The training ends after this many steps; 0 means no such limit."""

    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Batches per step: the weights move once for this many batches."""

    num_processes: int | None = Field(default=None, ge=1, le=65536)
    """How many processes learn a batch together, each `data.batch_size` pictures of it. Empty: as many as torchrun or
    accelerate started. A run keeps it when it goes on with more or fewer processes."""

    seed: int | None = Field(default=None, ge=0, lt=2**32)
    """All random choices follow from this number. Empty: one is drawn and written into the run; with `training.resume`
    it is the seed of the run that is resumed."""

    additional_parameters: str = ""
    """More settings in the words of sd-scripts, like `--min_snr_gamma=5 --network_args conv_dim=4`; they win over all
    others. What they came to is stored in their place."""

    resume: str = ""
    """Go on from a saved state in a new run: a run's directory, or a state file in its folder `state`. To start from a
    finished LoRA's weights alone, see `network.weights`."""

    allow_changes: list[str] = Field(default_factory=list)
    """Names of what may differ from the run that is resumed: settings, `model`, `data`. Whatever else differs is
    refused."""

    ema_decay: float = Field(default=0.0, ge=0, lt=1)
    """Average the adapter's weights over the training, and save, draw and measure the average: 0.99 looks back over
    about 100 steps, 0.999 over 1000. It is shorter at first, while there is little to average. 0: no average."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto takes the graphics card when there is one."""

    cuda_graphs: Literal["auto", "on", "off"] = "auto"
    """Hand a batch to the graphics card as one graph instead of kernel by kernel (CUDA graphs): small batches on fast
    cards take a fraction of the time. `auto` does so wherever it can and says where it can't; with `on` the training
    does not start, or ends, where it can't."""

    num_cpu_threads_per_process: int = Field(default=0, ge=0, le=1024)
    """How many threads compute on the CPU; 0 leaves it to PyTorch, which takes one for each core. Another number may
    change the last digits of a result."""
