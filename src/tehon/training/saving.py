"""What a run leaves behind: LoRAs on the way and at the end, and states to go on from. Each class is a chore.

>>> loras = Loras(plan, directory, made, lambda: nullcontext(file_tensors(trainer.adapters)), tell)
>>> loras.finish(step=400)
PosixPath('output/mofu.safetensors')
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from tehon import __version__
from tehon.catalog.header import read_header
from tehon.disk import check_space, clear_leftovers, link_or_copy, remove, sync_folder
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan
from tehon.planning.recipe import recipe_metadata
from tehon.planning.saves import (
    bytes_of_lora,
    final_name,
    is_name_of,
    last_good_name,
    lora_names,
    numbers_of,
    outdated_epochs,
    outdated_states,
    outdated_steps,
    step_name,
)
from tehon.runs.layout import RunDirectory
from tehon.runs.read import state_step, states
from tehon.training.chores import Tell
from tehon.training.facts import NEEDED, run_facts
from tehon.training.loop import Report
from tehon.training.state import State, save_state
from tehon.weights.lora_file import check_readers, write_lora
from tehon.weights.metadata import kohya_metadata, modelspec_metadata

_ABOUT = ("author", "description", "license", "tags", "trigger_phrase", "usage_hint")
"""What people write of a LoRA, under modelspec's names."""


class Made(NamedTuple):
    """What the LoRAs of one run say about where they come from, the same after each resume."""

    session: int
    started: float


class Loras:
    """The LoRA files of a run: in its directory, and under the same names in the output folder."""

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        made: Made,
        tensors: Callable[[], AbstractContextManager[dict[str, Tensor]]],
        tell: Tell,
    ) -> None:
        """Inside the block of `tensors` the network holds the weights to use, which may not be those in training."""
        self.plan = plan
        self.weights = directory.weights
        self.folder = Path(plan.settings.output.folder)
        self.name = plan.settings.output.name
        self.made = made
        self.tensors = tensors
        self.precision = plan.settings.output.save_precision
        self.lost = 0  # tensors of which it was said that they became zero; again only when there are more
        self.tell = tell

    def due(self, report: Report) -> bool:
        return bool(lora_names(self.plan, report.step))

    def run(self, report: Report) -> None:
        self.save_due(report.step)

    def save_due(self, step: int) -> None:
        """Saves what is planned after this update, and removes what has had its time."""
        for name in lora_names(self.plan, step):
            self.save(name, step)
        self._prune(step)

    def make_up(self, step: int) -> None:
        """Saves what is due after this update and not there: it was the last one of the run while that was shorter."""
        for name in lora_names(self.plan, step):
            if not (self.weights / name).is_file():
                self.save(name, step)

    def save_now(self, step: int) -> None:
        """A LoRA on the way that was not planned."""
        self.save(step_name(self.name, step), step)

    def save(self, name: str, step: int) -> None:
        """Another's file of that name is left alone; ours is then in the run's directory only."""
        self._write(name, step)
        try:
            path = self._place(name)
        except Problem as problem:
            if problem.key != "output_appeared":
                raise
            self.tell("notice", text=str(problem))
            path = self.weights / name
        self.tell("lora_saved", path=str(path), step=step, epoch=self._epoch(step))

    def rescue(self, tensors: dict[str, Tensor], step: int) -> Path:
        """Saves the last good weights of a run that went wrong, in float, since they may be too large for 16 bits."""
        name = last_good_name(self.name, step)
        self.tensors, self.precision = partial(nullcontext, tensors), "float"
        self.save(name, step)
        return self.weights / name

    def finish(self, step: int) -> Path:
        """The LoRA of the last step. A Problem when another's file has taken its name."""
        name = final_name(self.name)
        readers = self._write(name, step)
        self.tell("checked", readers=readers)
        place = self._place(name)
        self._prune(step)
        return place

    def is_own(self, file: Path) -> bool:
        """Whether a file in the output folder was saved by this run, before or after a resume."""
        try:
            return read_header(file).metadata.get("ss_session_id") == str(self.made.session)
        except Problem:
            return False

    def clear(self) -> None:
        """Removes what was being written when the process died."""
        clear_leftovers(self.weights)
        if self.folder.is_dir():
            clear_leftovers(self.folder, lambda name: is_name_of(self.name, name))

    def _write(self, name: str, step: int) -> list[dict[str, Any]]:
        check_space(self.weights, bytes_of_lora(self.plan))
        kept = self.weights / name
        precision = self.precision
        with self.tensors() as tensors:
            lost = write_lora(kept, tensors, self._metadata(step), precision)
        if len(lost) > self.lost:
            self.lost = len(lost)
            self.tell("notice", text=say("notice.lora_lost", name=lost[0], count=len(lost), precision=precision))
        return [asdict(row) for row in check_readers(kept)]

    def _place(self, name: str) -> Path:
        place, kept = self.folder / name, self.weights / name
        if place.exists() and not self.plan.settings.output.overwrite and not self.is_own(place):
            raise Problem("output_appeared", path=place, kept=kept)
        link_or_copy(kept, place)
        return place

    def _prune(self, step: int) -> None:
        """After a file is safely there, those go that the settings keep no longer."""
        output = self.plan.settings.output
        epochs, steps = numbers_of(self.name, (file.name for file in self.weights.glob("*.safetensors")))
        gone: list[str] = []
        every = output.save_every_n_steps
        if every and step % every == 0:
            gone += [steps[number] for number in outdated_steps(steps, step, every, output.save_last_n_steps)]
        epoch, rest = divmod(step, self.plan.steps_per_epoch)
        every = output.save_every_n_epochs
        if every and not rest and epoch % every == 0 and step < self.plan.steps:
            gone += [epochs[number] for number in outdated_epochs(epochs, epoch, every, output.save_last_n_epochs)]
        for name in gone:
            if self.is_own(self.folder / name):
                remove(self.folder / name)
            remove(self.weights / name)

    def _epoch(self, step: int) -> int:
        """Counted from 1."""
        return self.plan.group(max(0, step - 1))[0] + 1

    def _metadata(self, step: int) -> dict[str, str]:
        plan, output = self.plan, self.plan.settings.output
        facts = run_facts(plan, self.made.session, self.made.started)
        facts |= {"training_finished_at": time.time(), "steps": step, "epoch": self._epoch(step)}
        told = recipe_metadata(plan) | kohya_metadata(facts)
        if output.no_metadata:
            told = kohya_metadata({name: value for name, value in facts.items() if name in NEEDED})
        resolution = plan.settings.data.resolution
        assert isinstance(resolution, list), "a plan's settings are resolved"
        return told | modelspec_metadata(
            architecture=plan.family.labels[plan.model.prediction].architecture,
            title=output.metadata_title or output.name,
            resolution=(resolution[0], resolution[1]),
            prediction_type=plan.model.prediction,
            version=__version__,
            implementation=plan.family.implementation,
            encoder_layer=plan.settings.text.clip_skip,
            timestep_range=(plan.settings.objective.min_timestep, plan.settings.objective.max_timestep),
            about={name: getattr(output, f"metadata_{name}") for name in _ABOUT},
        )


class States:
    """The saved states of a run. `about` is what each says of itself; `before` is called before each save."""

    def __init__(
        self,
        plan: Plan,
        directory: RunDirectory,
        state: State,
        about: dict[str, Any],
        before: Callable[[], None],
        tell: Tell,
    ) -> None:
        output = plan.settings.output
        self.directory = directory
        self.state = state
        self.about = about
        self.before = before
        self.tell = tell
        self.every = (output.save_state_every_n_steps, output.save_state_every_n_epochs * plan.steps_per_epoch)
        self.seconds = output.save_state_every_n_minutes * 60
        self.last = plan.steps if output.save_state_on_train_end else 0
        assert output.save_last_n_states is not None, "a plan's settings are resolved"
        self.kept = output.save_last_n_states, output.save_last_n_steps_state
        self.saved_at = -1
        self.since = time.monotonic()

    def due(self, report: Report) -> bool:
        if report.step == self.last or any(every and report.step % every == 0 for every in self.every):
            return True
        return self.seconds > 0 and time.monotonic() - self.since >= self.seconds

    def run(self, report: Report) -> None:
        self.save()

    def save(self) -> None:
        """Saves the state of this moment, if that is not done yet; older ones go when it is safely there."""
        step = self.state.step
        if self.saved_at == step:
            return
        self.before()
        if not self.state.flat.weights.isfinite().all():  # the next loss would say so, too late for this state
            raise Problem("weights_not_finite", step=step)
        file = self.directory.state_file(step)
        save_state(self.state, file, self.about)
        self.saved_at, self.since = step, time.monotonic()
        self.tell("state_saved", path=str(file), step=step)
        self._prune()

    def drop_after(self, step: int) -> None:
        """Removes states of later steps: those are damaged, and the run comes by there again."""
        for file in states(self.directory):
            if state_step(file) > step:
                remove(file)
        sync_folder(self.directory.state)
        self._prune()  # whoever died between a save and this had no time for it

    def _prune(self) -> None:
        steps = [state_step(file) for file in states(self.directory)]
        for step in outdated_states(steps, *self.kept):
            remove(self.directory.state_file(step))
