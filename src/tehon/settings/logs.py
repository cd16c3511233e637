"""Where else a run's figures and pictures go. Its own record is in the run directory in any case."""

from typing import Literal

from pydantic import Field

from tehon.settings.section import Section


class LogSettings(Section):
    folder: str = ""
    """The folder for logs; each run makes one inside it, named after date and time. Empty: no logs for TensorBoard."""

    prefix: str = Field(default="", pattern=r'^[^/\\:*?"<>|\x00-\x1f]*$')
    """What stands before date and time in that name."""

    log_with: Literal["auto", "tensorboard", "wandb", "all"] = "auto"
    """What reads the logs: TensorBoard, Weights & Biases, or all of them. auto: TensorBoard where `folder` is set. The
    key of W&B comes from `wandb login` or from WANDB_API_KEY and is never a setting."""

    tracker_name: str = Field(default="", pattern=r'^[^/\\:*?"<>|\x00-\x1f]*$')
    """The project in W&B, and the name of the folder with TensorBoard's files. Empty: network_train."""

    run_name: str = ""
    """The run's name in W&B. Empty: that of the run directory."""

    wandb_offline: bool = False
    """Keep W&B's records in the log folder, for `wandb sync` later. Needs neither key nor network."""

    @property
    def wanted(self) -> list[str]:
        """The programs that logs are written for."""
        if self.log_with == "auto":
            return ["tensorboard"] if self.folder else []
        return ["tensorboard", "wandb"] if self.log_with == "all" else [self.log_with]
