"""A run at work in its directory: from taking it up, over the updates and what is done between them, to leaving it.

>>> Run(plan, directory, watch, identity(plan)).train(start=None).lora
PosixPath('output/mofu.safetensors')
"""

import os
import time
import traceback
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from tehon import __version__
from tehon.disk import clear_leftovers, sync_file, unwritable
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.planning.identity import Identity
from tehon.planning.plan import Plan
from tehon.processes import place_here
from tehon.runs.heartbeat import Heartbeat
from tehon.runs.inbox import Inbox
from tehon.runs.layout import RunDirectory
from tehon.runs.outcome import Outcome
from tehon.runs.read import read_json
from tehon.runs.record import append_rows, event, keep_rows, write_json
from tehon.training.assemble import Trainer, assemble
from tehon.training.attach import file_tensors
from tehon.training.chores import Chore, Metrics
from tehon.training.device import choose_device, memory_of
from tehon.training.follow import handed_out
from tehon.training.generators import seeded
from tehon.training.interrupts import Stop, StoppedEarly, stoppable
from tehon.training.loop import Report
from tehon.training.observers import Observers, Watch
from tehon.training.process_group import Alone, ProcessGroup, joined
from tehon.training.resume import Start
from tehon.training.saving import Loras, Made, States
from tehon.training.state import State, restore_state


class Run:
    """One run in its directory, from taking it up to leaving it. The directory's lock is held by whoever makes this."""

    def __init__(self, plan: Plan, directory: RunDirectory, watch: Watch, own: Identity) -> None:
        self.plan = plan
        self.directory = directory
        self.watch = watch
        self.identity = own
        self.circumstances = _circumstances(plan)
        self.inbox = Inbox(directory.inbox)
        self.heartbeat = Heartbeat(directory.progress)
        self.began = time.monotonic()
        self.stop = Stop(self._tell_stopping)
        self.peers: ProcessGroup = Alone()
        self.over = False  # an event has said how it ended
        self.first: tuple[int, float] | None = None  # the first update of this session and when it was done

    def tell(self, name: str, **facts: Any) -> None:
        """Records an event, and tells the watcher."""
        self._record(name, **facts)
        self.watch(name, facts)

    def notice(self, text: str) -> None:
        self.tell("notice", text=text)

    def _record(self, name: str, **facts: Any) -> None:
        append_rows(self.directory.events, [event(name, **facts)], durable=True)

    def train(self, start: Start | None) -> Outcome:
        """Trains to the end, or until stopped by a signal or by a file `stop` in the inbox. However it ends, an event
        says so, unless the process is killed."""
        # What is in `last` is done when signals end at once again.
        with ExitStack() as last, stoppable(self.stop, several=place_here().count > 1):
            try:
                self._open(start)
                return self._prepared(start, last)
            except StoppedEarly:
                return self._stopped(start.step if start else 0)

    def _prepared(self, start: Start | None, last: ExitStack) -> Outcome:
        """Trains among what the whole process shares: the memory, the other processes, the generators."""
        try:
            device = choose_device(self.plan.settings.training.device)
            memory = memory_of(device, self.directory.path)
            with memory, joined(place_here()) as self.peers, seeded(self.plan.seed, device):
                handed_out(self.peers, self.plan, start, self.directory.path)
                return self._train(start, last)
        except KeyboardInterrupt:
            self._last_words("interrupted")
            raise
        except Problem as problem:
            self._last_words("failed", reason=str(problem))
            raise
        except Exception as error:
            self._last_words("failed", reason=f"{type(error).__name__}: {error}", trace=traceback.format_exc())
            raise

    def _open(self, start: Start | None) -> None:
        """Takes up the directory: what a process that died has left half done is cleared away."""
        try:
            self.directory.make()  # whoever copied it may have left out empty folders
        except OSError as error:
            raise unwritable(self.directory.path, error) from None
        for folder in (self.directory.path, self.directory.state):
            clear_leftovers(folder)
        keep_rows(self.directory.events)
        step = start.step if start is not None and start.run.path == self.directory.path else 0
        keep_rows(self.directory.metrics, lambda row: row.get("step", 0) <= step)
        facts = {"pid": os.getpid(), "step": start.step if start else 0, "versions": self.circumstances}
        self._record("opened", path=str(self.directory.path.absolute()), **facts)
        self.inbox.begin()
        self.heartbeat.tell("loading", step=start.step if start else 0, steps=self.plan.steps)

    def _last_words(self, name: str, **facts: Any) -> None:
        if self.over:
            return
        self.heartbeat.tell(name)
        with suppress(Problem):  # the disk may be what is wrong
            self._record(name, **facts)

    def _train(self, start: Start | None, last: ExitStack) -> Outcome:
        trainer = assemble(self.plan, self.notice, self._encoded, self.peers)
        self.circumstances |= {"attention": trainer.attention}
        metrics = self._metrics(trainer)
        states = States(self.plan, self.directory, trainer.state, self._about(), partial(_settle, metrics), self.tell)
        made = made_by(self.directory)
        loras = Loras(self.plan, self.directory, made, partial(_in_file, trainer), self.tell)
        loras.clear()
        if start is not None:
            self._take_up(trainer, start, states, loras)
        first = trainer.state.step
        facts = {"steps": self.plan.steps, "first": first, "device": str(trainer.state.device)}
        facts |= {"attention": trainer.attention, "threads": torch.get_num_threads()}
        facts |= {"processes": self.peers.count} if self.peers.count > 1 else {}
        self.tell("started", **facts, parameters=trainer.state.flat.weights.numel())
        observers = Observers(self.plan, self.directory, trainer, self.tell, self.watch, self._asked_to_stop)
        last.callback(_close, observers)
        self.stop.updating = True
        self._updates(trainer, metrics, loras, states, observers)
        if trainer.state.step < self.plan.steps and not observers.enough:
            return self._stopped(trainer.state.step)
        self._tell_skipped(trainer.state)
        return self._finish(loras, observers, trainer.state.step)

    def _finish(self, loras: Loras, observers: Observers, step: int) -> Outcome:
        self.heartbeat.tell("saving")
        lora = loras.finish(step)
        observers.judge()
        self.heartbeat.tell("finished")
        self.tell("finished", path=str(lora), seconds=round(time.monotonic() - self.began, 1))
        self.over = True
        return Outcome(self.directory, lora, step)

    def _tell_skipped(self, state: State) -> None:
        if state.scale is not None and state.scale.skipped:
            self.notice(say("notice.steps_skipped", count=state.scale.skipped, steps=state.step))

    def _take_up(self, trainer: Trainer, start: Start, states: States, loras: Loras) -> None:
        """Goes on from a state. When settings or data are new, it is saved again with them; a LoRA that was not due in
        a shorter run is made up for."""
        before: dict[str, Any] = start.about.get("identity", {}).get("settings", {})
        name = "optimizer.arguments"  # some of which need another memory
        restore_state(trainer.state, start.saved, start.file, before.get(name) != self.identity.settings[name])
        if start.run.path == self.directory.path:
            states.drop_after(trainer.state.step)
        if start.about.get("versions", {}) != self.circumstances:
            then, now = (_listed(versions) for versions in (start.about.get("versions", {}), self.circumstances))
            self.notice(say("notice.resumed_elsewhere", then=then, now=now))
        if start.run.path != self.directory.path or start.about.get("identity") != self.identity.summary():
            states.save()
            self._forget_agreed()
        loras.make_up(trainer.state.step)

    def _forget_agreed(self) -> None:
        """A state with today's settings is there, so that nobody has to know any more which changes were meant."""
        origin = read_json(self.directory.origin)
        if origin.pop("agreed", None):
            write_json(self.directory.origin, origin)

    def _metrics(self, trainer: Trainer) -> Metrics:
        every = trainer.looks_every
        trainer.state.good.every = every
        name_of, confirm = (lambda i: self.plan.pictures[i].path.name), (lambda: trainer.state.good.confirm())
        return Metrics(self.directory.metrics, every, self.plan.steps, name_of, confirm)

    def _about(self) -> dict[str, Any]:
        return {"identity": self.identity.summary(), "versions": self.circumstances}

    def _updates(self, trainer: Trainer, metrics: Metrics, loras: Loras, states: States, observers: Observers) -> None:
        observers.begin(trainer.state.step)
        # A state that is there says that the LoRAs before it are; nothing that takes memory comes before what is saved.
        chores: list[Chore] = [metrics, observers.measure, loras, states, *observers.chores]
        try:
            ends = self.peers.agree(self._asked_to_stop() or observers.enough)
            for report in () if ends else trainer.updates():
                trainer.state.moving = False
                for chore in chores:
                    if chore.due(report):
                        chore.run(report)
                self._tell_step(report, metrics.recent_loss)
                self._answer(report, loras, states)
                if report.step < self.plan.steps and self._all_stop(trainer, observers, report.step):
                    if not observers.enough:
                        states.save()
                        loras.save_now(report.step)
                    elif states.last:
                        states.save()
                    return
        except Exception as error:
            spoiled = isinstance(error, Problem) and error.key.endswith("not_finite")
            if not trainer.state.moving and not spoiled:
                with suppress(Exception):  # what went wrong first is what has to be said
                    states.save()
            if spoiled:
                with suppress(Exception):
                    self._rescue(trainer, loras)
            raise

    def _rescue(self, trainer: Trainer, loras: Loras) -> None:
        """Saves the last weights that gave a finite loss."""
        good = trainer.state.good
        good.bring_back(trainer.state.flat)
        path = loras.rescue(file_tensors(trainer.adapters), good.step)
        self.notice(
            say("notice.last_good", step=good.step, path=path) if good.step else say("notice.none_good", path=path)
        )

    def _answer(self, report: Report, loras: Loras, states: States) -> None:
        """Does what was asked for through the inbox since the last update."""
        if self.inbox.asked("save") and report.step < self.plan.steps:
            states.save()
            loras.save_now(report.step)
        self._asked_to_stop()

    def _tell_step(self, report: Report, loss: float | None) -> None:
        facts = {"step": report.step, "epoch": report.epoch + 1, "loss": loss}
        now = time.monotonic()
        self.first = self.first or (report.step, now)
        pace = (now - self.first[1]) / max(1, report.step - self.first[0])
        self.heartbeat.tell("training", **facts, epochs=self.plan.epochs, seconds_per_step=pace)
        self.watch("step", {**facts, "rates": dict(report.rates)})

    def _encoded(self, done: int, total: int) -> bool:
        """Says how many pictures are encoded; whether to stop."""
        self.heartbeat.tell("encoding", done=done, total=total)
        self.watch("encoding", {"done": done, "total": total})
        return self._asked_to_stop()

    def _all_stop(self, trainer: Trainer, observers: Observers, step: int) -> bool:
        """Whether the run ends here, to which all processes agree at the same update."""
        if not (trainer.asks(step) and self.peers.agree(self.stop.wanted or observers.enough)):
            return False
        if observers.enough:
            self.tell("enough", step=step)
        return True

    def _tell_stopping(self) -> None:
        with suppress(RuntimeError):  # the signal came while something was being printed, which can't be begun again
            self.watch("stopping", {})

    def _asked_to_stop(self) -> bool:
        """Whether a signal or a file in the inbox asks to stop."""
        self.stop.wanted = self.inbox.asked("stop") or self.stop.wanted
        return self.stop.wanted

    def _stopped(self, step: int) -> Outcome:
        self.stop.updating = True  # another signal finds nothing to break off
        self.heartbeat.tell("stopped")
        self.tell("stopped", step=step)
        self.over = True
        return Outcome(self.directory, None, step)


@contextmanager
def _in_file(trainer: Trainer) -> Generator[dict[str, Tensor], None, None]:
    """The tensors of the LoRA as it would be used."""
    with trainer.in_use():
        yield file_tensors(trainer.adapters)


def made_by(directory: RunDirectory) -> Made:
    origin = read_json(directory.origin)
    return Made(int(origin.get("session", 0)), float(origin.get("started", 0.0)))


def _close(observers: Observers) -> None:
    """Other programs may take their time over it, and whoever is tired of waiting has the LoRA."""
    with suppress(KeyboardInterrupt):
        observers.close()


def _settle(metrics: Metrics) -> None:
    """Before a state is saved: the losses up to it are checked, and are on the disk."""
    metrics.flush()
    if metrics.file.exists():
        sync_file(metrics.file)


def _circumstances(plan: Plan) -> dict[str, str]:
    """What the last bits of the numbers depend on: sums are made in another order with another number of threads,
    and on a CPU as numba arranges them."""
    device = choose_device(plan.settings.training.device)
    found = {"tehon": __version__, "torch": str(torch.__version__), "device": device.type}
    if device.type == "cpu":
        found |= {"threads": str(torch.get_num_threads()), "numba": version("numba")}
    return found


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in versions.items())
