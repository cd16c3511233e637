"""One run from its start or its last state to its LoRA file, with everything recorded in its run directory."""

import os
import platform
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tehon import __version__
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan, make_plan
from tehon.runs.layout import RunDirectory, new_run_directory
from tehon.runs.read import latest_state
from tehon.runs.record import append_rows, event, keep_rows, write_aside, write_json
from tehon.settings.files import load_settings, to_toml
from tehon.training.assemble import Trainer, assemble, choose_device, fingerprint
from tehon.training.attach import file_tensors
from tehon.training.chores import Chore, Every, Metrics
from tehon.training.facts import run_facts
from tehon.training.logs import check_logs
from tehon.training.loop import Report
from tehon.training.observers import Observers
from tehon.training.state import load_state, save_state
from tehon.weights.lora_file import check_readers, write_lora
from tehon.weights.metadata import kohya_metadata, modelspec_metadata

_METRICS_EVERY = 10  # losses read at once from a device that would have to be waited for
Watch = Callable[[str, dict[str, Any]], None]
"""Told of everything that happens: (event name, facts). `step` comes after each update."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `lora` is its file, or None when it was stopped before its last step."""

    run: RunDirectory
    lora: Path | None
    steps: int


class Run:
    """One run in its directory."""

    def __init__(self, plan: Plan, directory: RunDirectory, watch: Watch) -> None:
        self.plan = plan
        self.directory = directory
        self.watch = watch
        self.fingerprint = fingerprint(plan)
        self.started = time.time()
        self.session = secrets.randbelow(2**32)
        self.stopping = False

    @property
    def lora_name(self) -> str:
        return f"{self.plan.settings.output.name}.safetensors"

    def tell(self, name: str, **facts: Any) -> None:
        """Records an event, and tells the watcher."""
        append_rows(self.directory.events, [event(name, **facts)])
        self.watch(name, facts)

    def _notice(self, text: str) -> None:
        self.tell("notice", text=text)

    def _encoded(self, done: int, total: int) -> None:
        self.watch("encoding", {"done": done, "total": total})

    def train(self, resume: Path | None = None) -> Outcome:
        """Trains to the end, or until stopped by a signal or by a file `stop` in the inbox."""
        trainer = assemble(self.plan, self._notice, self._encoded)
        if resume:
            load_state(trainer.state, resume, self.fingerprint)
            keep_rows(self.directory.metrics, lambda row: row["step"] <= trainer.state.step)
        facts = {"steps": self.plan.steps, "first": trainer.state.step, "device": str(trainer.parts.alphas.device)}
        self.tell("started", **facts, parameters=trainer.state.flat.weights.numel())
        observers = Observers(self.plan, self.directory, trainer, self.tell, self.watch)
        try:
            with _signals(self._stop):
                self._updates(trainer, observers)
        finally:
            observers.close()
        if trainer.state.step < self.plan.steps and not observers.enough:
            self.tell("stopped", step=trainer.state.step)
            return Outcome(self.directory, None, trainer.state.step)
        lora = self._finish(trainer)
        observers.judge()
        self.tell("finished", path=str(lora), seconds=round(time.time() - self.started, 1))
        return Outcome(self.directory, lora, trainer.state.step)

    def _updates(self, trainer: Trainer, observers: Observers) -> None:
        plan = self.plan
        every = 1 if trainer.state.flat.weights.device.type == "cpu" else _METRICS_EVERY
        metrics = Metrics(self.directory.metrics, every, plan.steps, lambda i: plan.pictures[i].path.name)
        save = Every(plan.settings.output.save_state_every_n_steps, lambda _: self._save(trainer, metrics))
        observers.begin(trainer.state.step)
        chores: list[Chore] = [metrics, save, *observers.chores]
        for report in trainer.updates():
            for chore in chores:
                if chore.due(report):
                    chore.run(report)
            self._tell_step(report, metrics.recent_loss)
            if observers.enough and report.step < plan.steps:
                self.tell("enough", step=report.step)
                return
            if self._asked_to_stop() and report.step < plan.steps:
                self._save(trainer, metrics)
                return

    def _tell_step(self, report: Report, loss: float | None) -> None:
        self.watch("step", {"step": report.step, "epoch": report.epoch + 1, "loss": loss, "rates": dict(report.rates)})

    def _stop(self) -> None:
        self.stopping = True

    def _asked_to_stop(self) -> bool:
        asked = self.directory.inbox / "stop"
        if asked.exists():
            asked.unlink(missing_ok=True)
            self.stopping = True
        return self.stopping

    def _save(self, trainer: Trainer, metrics: Metrics) -> None:
        metrics.flush()
        file = self.directory.state / f"step-{trainer.state.step:08d}.pt"
        save_state(trainer.state, file, self.fingerprint)
        self.tell("state_saved", path=str(file), step=trainer.state.step)

    def _finish(self, trainer: Trainer) -> Path:
        """Writes the LoRA into the run, and a copy of it where the user asked for it."""
        plan, output = self.plan, self.plan.settings.output
        facts = run_facts(plan, self.session, self.started)
        facts |= {
            "training_finished_at": time.time(),
            "steps": trainer.state.step,
            "epoch": plan.group(trainer.state.step - 1)[0] + 1,
        }
        resolution = plan.settings.data.resolution
        assert isinstance(resolution, list), "a plan's settings are resolved"
        metadata = kohya_metadata(facts) | modelspec_metadata(
            architecture=plan.family.architecture,
            title=output.name,
            resolution=(resolution[0], resolution[1]),
            prediction_type="epsilon",
            version=__version__,
        )
        kept = self.directory.weights / self.lora_name
        with trainer.in_use():
            lost = write_lora(kept, file_tensors(trainer.adapters), metadata, output.save_precision)
        if lost:
            self._notice(say("notice.lora_lost", name=lost[0], count=len(lost), precision=output.save_precision))
        self.tell("checked", readers=[asdict(row) for row in check_readers(kept)])
        place = Path(output.folder) / self.lora_name
        aside = place.with_name(f"{place.name}.new")
        shutil.copyfile(kept, aside)
        aside.replace(place)
        return place


def start_run(plan: Plan, watch: Watch) -> Outcome:
    """Begins a new run; a Problem, before anything is written, when its LoRA exists or its folder can't be written."""
    output = plan.settings.output
    folder = Path(output.folder)
    choose_device(plan.settings.training.device)
    check_logs(plan.settings.logs.wanted, plan.settings.logs.wandb_offline)
    check_output(folder / f"{output.name}.safetensors", output.overwrite)
    directory = new_run_directory(folder, output.name)
    run = Run(plan, directory, watch)
    try:
        directory.make()
    except OSError as error:
        raise Problem("file_unwritable", field="output.folder", path=folder, reason=error.strerror or error) from None
    write_aside(directory.settings, to_toml(plan.settings).encode())
    write_json(directory.origin, _origin(run.fingerprint))
    return run.train()


def resume_run(directory: RunDirectory, watch: Watch) -> Outcome:
    """Goes on from a run's newest state, in the same directory."""
    state = latest_state(directory)
    plan = make_plan(load_settings(directory.settings, {}))
    run = Run(plan, directory, watch)
    check_logs(plan.settings.logs.wanted, plan.settings.logs.wandb_offline)
    output = plan.settings.output
    place, own = Path(output.folder) / run.lora_name, directory.weights / run.lora_name
    its_own = place.is_file() and own.is_file() and place.read_bytes() == own.read_bytes()
    check_output(place, output.overwrite or its_own)
    return run.train(state)


def check_output(lora: Path, overwrite: bool) -> None:
    """A Problem when the LoRA is already there, or when its folder cannot be written."""
    folder = lora.parent
    try:
        if lora.is_dir():
            raise IsADirectoryError(21, "a folder of that name is there")
        if lora.exists() and not overwrite:
            raise Problem("output_exists", field="output.name", path=lora)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{lora.stem}.probe"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise Problem("file_unwritable", field="output.folder", path=folder, reason=error.strerror or error) from None


def _origin(digest: str) -> dict[str, Any]:
    return {
        "tehon": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "command": sys.argv,
        "fingerprint": digest,
        "threads": torch.get_num_threads(),
        "processor": os.cpu_count(),
    }


@contextmanager
def _signals(stop: Callable[[], None]) -> Generator[None, None, None]:
    """The first Ctrl-C or SIGTERM asks to stop after the update at hand; the second ends at once."""

    def handle(number: int, frame: Any) -> None:
        stop()
        for known, former in before.items():
            signal.signal(known, former)

    try:
        before = {known: signal.signal(known, handle) for known in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread, where signals can't be caught
        yield
        return
    try:
        yield
    finally:
        for known, former in before.items():
            signal.signal(known, former)
