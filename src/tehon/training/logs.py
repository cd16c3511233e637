"""A run's record in the form that TensorBoard and Weights & Biases read.

Nothing is written for them beside the run directory: what was appended to metrics.jsonl and samples.jsonl since the
last look is read there and handed on. Both programs are extras, imported only when a run asks for them.

>>> writer = LogWriter(directory, [TensorBoard(folder, settings)], steps_per_epoch, notice)
>>> writer.catch_up()
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

import numpy as np
from PIL import Image

from tehon.messages.catalogue import Notice, say
from tehon.messages.problem import Problem, reason_of
from tehon.runs.follow import Follower
from tehon.runs.layout import RunDirectory
from tehon.training.loop import Report

_NOT_IN_ID = re.compile(r"[/\\#?%:]")  # W&B refuses these in the name that it knows a run by


class Log(Protocol):
    """Where figures and pictures go."""

    name: str
    replays: bool
    """Whether a resumed run hands it all rows again from the first; else only new ones."""

    def scalars(self, values: Mapping[str, float], step: int, time: float | None) -> None: ...

    def picture(self, name: str, file: Path, caption: str, step: int) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files. A resumed run writes a new one that takes the place of those before it, so that nothing is missing
    that the last process had not yet written, and no step is there twice."""

    name = "TensorBoard"
    replays = True

    def __init__(self, folder: Path, settings: str) -> None:
        writer: Any = import_module("torch.utils.tensorboard").SummaryWriter
        again = any(folder.glob("events.out.tfevents.*"))
        self.writer = writer(str(folder), purge_step=0 if again else None, flush_secs=10)
        self.writer.add_text("settings", f"```toml\n{settings}```", 0)

    def scalars(self, values: Mapping[str, float], step: int, time: float | None) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step, time)

    def picture(self, name: str, file: Path, caption: str, step: int) -> None:
        self.writer.add_image(name, _pixels(file), step, dataformats="HWC")

    def close(self) -> None:
        self.writer.close()


class WeightsAndBiases:
    """A run of W&B under the run directory's name, taken up again when the run is resumed."""

    name = "Weights & Biases"
    replays = False

    def __init__(
        self, folder: Path, project: str, name: str, key: str, settings: dict[str, Any], offline: bool
    ) -> None:
        wandb: Any = import_module("wandb")
        self.wandb = wandb
        folder.mkdir(parents=True, exist_ok=True)
        quiet = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True)
        mode = "offline" if offline else "online"
        try:
            self.run = wandb.init(
                project=project,
                name=name,
                id=_NOT_IN_ID.sub("-", key)[-128:],
                resume="allow",
                dir=str(folder),
                mode=mode,
                config=settings,
                settings=quiet,
            )
        except wandb.errors.Error as error:
            raise Problem("wandb_refused", field="logs.log_with", reason=reason_of(error)) from None
        self.run.define_metric("*", step_metric="step")

    def scalars(self, values: Mapping[str, float], step: int, time: float | None) -> None:
        self.run.log({**values, "step": step})

    def picture(self, name: str, file: Path, caption: str, step: int) -> None:
        self.run.log({name: self.wandb.Image(str(file), caption=caption), "step": step})

    def close(self) -> None:
        self.run.finish()


def check_logs(wanted: Sequence[str], folder: str, offline: bool) -> None:
    """A Problem, before anything is written, when a wanted log can't be: its package or W&B's key is missing, or its
    folder can't be written."""
    for name in wanted:
        if find_spec(name) is None:
            raise Problem("log_package_missing", field="logs.log_with", name=name)
    if "wandb" in wanted and not offline:
        wandb: Any = import_module("wandb")
        known = False
        with suppress(wandb.errors.Error):
            known = bool(wandb.login(prompt=False))
        if not known:
            raise Problem("wandb_key_missing", field="logs.log_with")
    if wanted and folder:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = error.strerror or error
            raise Problem("file_unwritable", field="logs.folder", path=folder, reason=reason) from None


class LogWriter:
    """A chore that hands on what was appended to the record. A log that fails is left out from then on, with a notice:
    it never costs the run a step or its result."""

    def __init__(self, directory: RunDirectory, logs: Sequence[Log], steps_per_epoch: int, notice: Notice) -> None:
        self.logs = list(logs)
        self.notice = notice
        self.average = EpochMean(steps_per_epoch)
        self.record = directory.path
        self.metrics, self.samples = Follower(directory.metrics), Follower(directory.samples)
        self.previews = directory.previews
        self._hand_on([log for log in logs if log.replays])

    def due(self, report: Report) -> bool:
        return True

    def run(self, report: Report) -> None:
        self.catch_up()

    def catch_up(self) -> None:
        """Hands on what is new."""
        self._hand_on(self.logs)

    def close(self) -> None:
        """Hands on the rest and lets the programs finish."""
        self.catch_up()
        for log in tuple(self.logs):
            self._let(log, log.close)

    def _hand_on(self, logs: Sequence[Log]) -> None:
        for row in self.metrics.news():
            values = self._values(row)
            for log in tuple(logs):
                self._let(log, partial(log.scalars, values, row["step"], row.get("time")))
        for row in self.samples.news():
            name = f"{row['tag']}_{row['line']}" if row["tag"] == "base" else f"sample_{row['line']}"
            file = self.previews / row["file"]
            for log in tuple(logs) if file.exists() else ():  # it may have been tidied away since
                self._let(log, partial(log.picture, name, file, row["prompt"], row["step"]))

    def _let(self, log: Log, act: Callable[[], None]) -> None:
        if log not in self.logs:
            return
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in another program, the run goes on
            self.logs.remove(log)
            self.notice(say("notice.log_lost", name=log.name, reason=reason_of(error), path=self.record))

    def _values(self, row: Mapping[str, Any]) -> dict[str, float]:
        """The numbers of a row, under sd-scripts' names where it has some."""
        if "validation_loss" in row:
            return {"loss/validation": row["validation_loss"], "epoch": row["epoch"]}
        names = {"norms_scaled": "max_norm/keys_scaled", "norm_mean": "max_norm/average_key_norm"}
        names |= {"norm_largest": "max_norm/max_key_norm"}
        known = {"loss", "step", "time", "rates"}
        found = {"loss/current": row["loss"], "loss/average": self.average.of(row["step"], row["loss"])}
        found |= {f"lr/{_part(group)}": rate for group, rate in row["rates"].items()}
        rest = {name: value for name, value in row.items() if name not in known and isinstance(value, int | float)}
        return found | {names.get(name, name): float(value) for name, value in rest.items()}


def _part(group: str) -> str:
    """A group of rates in sd-scripts' words: unet, textencoder."""
    return group.replace("lora_unet", "unet").replace("lora_te", "textencoder")


class EpochMean:
    """The mean loss over the steps of the last epoch's length, as sd-scripts shows it."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.seen: dict[int, float] = {}

    def of(self, step: int, loss: float) -> float:
        self.seen[step] = loss
        self.seen.pop(step - self.length, None)
        return sum(self.seen.values()) / len(self.seen)


def _pixels(file: Path) -> Any:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))
