"""Those who look on while a run trains and change nothing: the loss on held-out pictures, samples, logs.

>>> observers = Observers(plan, directory, trainer, tell, watch)
>>> observers.begin(step=0)
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan
from tehon.planning.prompts import SamplePrompt, read_prompts
from tehon.runs.judge import best_measurement, losses, stale
from tehon.runs.layout import RunDirectory
from tehon.runs.read import rows
from tehon.runs.record import append_rows
from tehon.training.assemble import Trainer
from tehon.training.attach import file_tensors
from tehon.training.chores import Chore, Tell
from tehon.training.logs import Log, LogWriter, TensorBoard, WeightsAndBiases
from tehon.training.loop import Report
from tehon.training.previews import Previews, draw_with, seen_as_saved, unseen
from tehon.weights.lora_file import as_saved

_STAMP = len("YYYYmmddHHMMSS")
Watch = Callable[[str, dict[str, Any]], None]
"""Told of everything that happens: (event name, facts). `step` comes after each update."""


class Measure:
    """A chore: the loss on held-out pictures, after the updates that the plan names."""

    def __init__(self, plan: Plan, directory: RunDirectory, loss: Callable[[], float], watch: Watch) -> None:
        self.plan = plan
        self.directory = directory
        self.loss = loss
        self.watch = watch
        self.enough = False

    def due(self, report: Report) -> bool:
        return self.plan.measured_at(report.step)

    def run(self, report: Report) -> None:
        loss = self.loss()
        if not isfinite(loss):
            raise Problem("held_out_not_finite", step=report.step)
        row = {"step": report.step, "epoch": report.epoch + 1, "validation_loss": loss}
        append_rows(self.directory.metrics, [row])
        self.watch("validated", row)
        self.decide(report.step)

    def decide(self, now: int) -> None:
        """Whether it is enough, by all that was measured up to this update, before a resume too."""
        patience = self.plan.settings.validation.stop_after
        measured = [loss for step, _, loss in losses(self.directory) if step <= now]
        self.enough = bool(patience) and stale(measured) >= patience


class Observers:
    """`measure` comes before a state is saved, since it decides whether the training ends; the other `chores` come in
    their order behind all that saves."""

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        trainer: Trainer,
        tell: Tell,
        watch: Watch,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """`stopping` says whether somebody waits for the run to stop."""
        self.plan = plan
        self.directory = directory
        self.tell = tell
        self.stopping = stopping
        self.known: Sequence[SamplePrompt] = plan.samples.prompts
        self.measure = Measure(plan, directory, partial(_used_loss, trainer), watch)
        self.previews = self._previews(trainer)
        self.log_writer: LogWriter | None = None

    @property
    def chores(self) -> list[Chore]:
        logs: list[Chore] = [self.log_writer] if self.log_writer else []
        return [self.previews, *logs]

    @property
    def enough(self) -> bool:
        """Whether the loss on held-out pictures says that the training may end here."""
        return self.measure.enough

    def begin(self, step: int) -> None:
        """Before the first update, which comes after `step` others."""
        self.measure.decide(step)
        self.previews.begin(step, planned=self.plan.samples.times > 0)
        logs = self._logs()
        if logs:  # which read the records on from where they now end
            notice = partial(_notice, self.tell)
            self.log_writer = LogWriter(self.directory, logs, self.plan.steps_per_epoch, notice)

    def close(self) -> None:
        """Lets the logs finish; however the run ended."""
        if self.log_writer:
            self.log_writer.close()

    def judge(self) -> None:
        """Names the LoRA with the lowest loss on held-out pictures, after everything is saved."""
        best = best_measurement(self.directory)
        if best is not None:
            lora = None if best.lora is None else str(best.lora)
            self.tell("judged", step=best.step, epoch=best.epoch, loss=best.loss, lora=lora, lora_step=best.lora_step)

    def _previews(self, trainer: Trainer) -> Previews:
        settings, adapters = self.plan.settings, trainer.adapters
        precision = settings.output.save_precision

        @contextmanager
        def seen() -> Generator[None, None, None]:
            with (
                trainer.letting_go(),
                trainer.in_use(),
                seen_as_saved(adapters, as_saved(file_tensors(adapters), precision)),
            ):
                yield

        @contextmanager
        def bare() -> Generator[None, None, None]:
            with trainer.letting_go(), unseen(adapters):
                yield

        return Previews(
            self.directory,
            name=settings.output.name,
            tag=self.plan.samples.tag,
            prompts=self._prompts,
            draw=partial(draw_with, trainer.behaviour, trainer.parts, settings.text.clip_skip),
            seen=seen,
            bare=bare,
            tell=self.tell,
            stopping=self.stopping,
        )

    def _prompts(self) -> Sequence[SamplePrompt]:
        """The sample prompts as they are now: a file may have been changed since the start."""
        samples = self.plan.settings.samples
        if samples.prompts_file:
            try:
                self.known, _ = read_prompts("", Path(samples.prompts_file), self.plan.samples.rules)
            except Problem as problem:
                self.tell("notice", text=say("notice.prompts_kept", problem=problem))
        return self.known

    def _logs(self) -> list[Log]:
        """What the settings ask for."""
        settings, run = self.plan.settings, self.directory.path.name
        own = settings.logs
        if not own.wanted:
            return []
        folder = self._log_folder()
        self.tell("logging", folder=str(folder))
        project = own.tracker_name or "network_train"
        found: list[Log] = []
        if "tensorboard" in own.wanted:
            found.append(TensorBoard(folder / project, self.directory.settings.read_text("utf8")))
        if "wandb" in own.wanted:
            data = settings.model_dump()
            found.append(WeightsAndBiases(folder, project, own.run_name or run, run, data, own.wandb_offline))
        return found

    def _log_folder(self) -> Path:
        """This run's folder for logs, named after prefix, date and time. A resumed run finds it in its events, unless
        it was told meanwhile to keep its logs elsewhere."""
        own = self.plan.settings.logs
        if not own.folder:
            return self.directory.path / "logs"
        named = Path(own.folder) / f"{own.prefix}{datetime.now():%Y%m%d%H%M%S}"
        before = [Path(row["folder"]) for row in rows(self.directory.events) if row.get("event") == "logging"]
        same = [one for one in before if one.parent == named.parent and one.name[:-_STAMP] == own.prefix]
        return same[-1] if same else named


def _notice(tell: Tell, text: str) -> None:
    tell("notice", text=text)


def _used_loss(trainer: Trainer) -> float:
    """The held-out loss of the weights that a saved LoRA has."""
    with trainer.letting_go(), trainer.in_use():
        return trainer.validation.loss()
