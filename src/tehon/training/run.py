"""Beginning a run, and going on with one: what is checked and claimed before the first update.

>>> outcome = start_run(make_plan(settings), watch)
>>> resume_run(outcome.run, watch, {"training.epochs": 20})
"""

import os
import platform
import secrets
import sys
import time
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tehon import __version__
from tehon.catalog.header import read_header
from tehon.disk import check_space, write_whole
from tehon.messages.catalogue import Notice, say
from tehon.messages.problem import Problem
from tehon.planning.identity import Change, Identity, identity
from tehon.planning.plan import Plan, make_plan
from tehon.planning.saves import bytes_needed, bytes_of_lora, bytes_of_state, final_name, planned_loras
from tehon.processes import place_here
from tehon.runs.claim import claimed
from tehon.runs.known import remember
from tehon.runs.layout import RunDirectory, new_run_directory, runs_folder
from tehon.runs.lock import holding
from tehon.runs.moved import folder_after_move
from tehon.runs.outcome import Outcome
from tehon.runs.read import read_json, rows
from tehon.runs.record import write_json
from tehon.settings.files import reopen_settings, to_toml
from tehon.settings.optimizer_rules import FALLBACK, PREFERRED
from tehon.settings.resolve import filled_names
from tehon.training.device import check_cards, check_device, choose_device, computing, use_threads
from tehon.training.logs import check_logs
from tehon.training.observers import Watch
from tehon.training.optimizers import try_optimizer
from tehon.training.resume import Start, check_same, newest_state, state_at
from tehon.training.saving import Loras
from tehon.training.session import Run, made_by

__all__ = ["Outcome", "Watch", "resume_run", "start_run"]


def start_run(plan: Plan, watch: Watch, directory: RunDirectory | None = None) -> Outcome:
    """Begins a new run, in a new directory or in one that the caller has claimed; a Problem, before anything is
    written, when one of its LoRAs exists, another run is writing under its name, or its folder can't be written or
    is too small."""
    output = plan.settings.output
    folder = Path(output.folder)
    _prepare_device(plan)
    early: list[str] = []
    plan = _with_optimizer_that_runs(plan, early.append)
    _check_logs(plan)
    own = identity(plan)
    start = state_at(Path(plan.settings.training.resume), early.append) if plan.settings.training.resume else None
    if start is not None:
        check_same(start, own, plan.settings.training.allow_changes)
        _check_left(plan, start)
    for name in [final_name(output.name), *(lora.name for lora in planned_loras(plan))]:
        _check_free(folder / name, output.overwrite)
    _check_writable(folder, output.name)
    check_space(folder, bytes_needed(plan))
    with _name_held(plan), _claimed_new(plan) if directory is None else nullcontext(directory) as directory:
        write_json(directory.origin, _origin(filled_names(plan.given, plan.settings)))
        _write_plan(plan, own, directory)
        run = Run(plan, directory, watch, own)
        for text in early:
            run.notice(text)
        _remember(plan, run)
        return run.train(start)


def resume_run(
    directory: RunDirectory, watch: Watch, options: Mapping[str, Any] | None = None, allowed: Collection[str] = ()
) -> Outcome:
    """Goes on from a run's newest state, in the same directory; from its beginning when it has none yet.

    `options` are {dotted name: value} that change its settings. Other changes since the state was saved are refused
    with a Problem that lists them, unless they are named in `allowed`.
    """
    with claimed(directory):
        origin = read_json(directory.origin)
        filled: list[str] = origin.get("filled", [])
        settings = reopen_settings(directory.settings, options or {}, filled)
        moved = None if "output.folder" in (options or {}) else folder_after_move(directory, settings.output.folder)
        if moved is not None:
            output = settings.output.model_copy(update={"folder": str(moved)})
            settings = settings.model_copy(update={"output": output})
        plan = make_plan(settings)
        _prepare_device(plan)
        _try_optimizer(plan, plan.optimizer.name)
        _check_logs(plan)
        own = identity(plan)
        run = Run(plan, directory, watch, own)
        if moved is not None:
            run.notice(say("notice.run_moved", path=moved))
        start = newest_state(directory, run.notice)
        changes: list[Change] = []
        if start is not None:
            implied = filled if options else ()
            meant = [name for name in (*(options or {}), *implied) if name in own.settings]
            changes = check_same(start, own, [*allowed, *meant, *origin.get("agreed", [])])
        elif _has_saved(directory):  # somebody removed the states: what they led to is not replaced unasked
            raise Problem("state_missing", path=directory.path)
        elif plan.settings.training.resume:
            start = state_at(Path(plan.settings.training.resume), run.notice)
            check_same(start, own, plan.settings.training.allow_changes)
        else:
            run.notice(say("notice.from_beginning"))
        with _name_held(plan), _as_before_if_unfit(directory):
            _check_unfinished(run, start, filled)
            if options or changes:  # what is said now is neither open nor asked for again at the next resume
                still = [name for name in filled if name not in (options or {})]
                agreed = list(dict.fromkeys(change.name for change in changes))
                write_json(directory.origin, origin | {"filled": still, "agreed": agreed})
            _write_plan(plan, own, directory)
            _remember(plan, run)
            return run.train(start)


@contextmanager
def _as_before_if_unfit(directory: RunDirectory) -> Generator[None, None, None]:
    """When the state doesn't fit the settings that were asked for, the run keeps those it had: a later resume that asks
    for nothing would fail too."""
    files = (directory.origin, directory.data, directory.settings)
    before = {file: file.read_bytes() for file in files if file.is_file()}
    try:
        yield
    except Problem as problem:
        if problem.key == "state_unfit":
            for file, content in before.items():
                write_whole(file, content)
        raise


def _with_optimizer_that_runs(plan: Plan, notice: Notice) -> Plan:
    """The plan, once its optimizer has made a step on the device. One that nobody asked for may be replaced, which is
    said."""
    chosen = plan.optimizer
    try:
        _try_optimizer(plan, chosen.name)
    except Problem as problem:
        if plan.given.optimizer.name or chosen.name != PREFERRED or problem.key != "optimizer_device":
            raise
        notice(say("notice.optimizer_instead", problem=problem, optimizer=FALLBACK))
        rates = plan.settings.optimizer.model_copy(update={"name": FALLBACK})
        settings = plan.settings.model_copy(update={"optimizer": rates})
        plan = replace(plan, settings=settings, optimizer=replace(chosen, name=FALLBACK))
        _try_optimizer(plan, FALLBACK)
    return plan


def _try_optimizer(plan: Plan, name: str) -> None:
    precision = plan.settings.precision
    dtype = computing(precision.mixed_precision if precision.full else "no")
    try_optimizer(name, plan.optimizer.arguments, choose_device(plan.settings.training.device), dtype)


def _prepare_device(plan: Plan) -> None:
    """Sets the threads; a Problem for what the device can't do."""
    settings = plan.settings
    use_threads(settings.training.num_cpu_threads_per_process)
    device = choose_device(settings.training.device)
    check_cards(device, place_here())
    own = settings.precision
    check_device(device, computing(own.mixed_precision), settings.memory.attention, own.base_storage)


def _check_unfinished(run: Run, start: Start | None, filled: Collection[str]) -> None:
    """A Problem when there is nothing left to do, or when somebody else's file has taken the LoRA's place."""
    plan, output = run.plan, run.plan.settings.output
    if start is not None:
        _check_left(plan, start)
    place = Path(output.folder) / final_name(output.name)
    loras = Loras(plan, run.directory, made_by(run.directory), lambda: nullcontext({}), run.tell)
    is_own = loras.is_own(place)
    if start is not None and start.step == plan.steps and is_own and _ended(run.directory) == "finished":
        raise Problem("run_finished", path=run.directory.path, steps=plan.steps, options=_longer(plan, filled))
    _check_free(place, output.overwrite or is_own)
    _check_writable(place.parent, output.name)
    check_space(run.directory.path, bytes_of_state(plan) + bytes_of_lora(plan))


def _longer(plan: Plan, filled: Collection[str]) -> str:
    """The settings that end the run where it ends, each twice as large, as words of the command line; those which were
    left open follow the others."""
    own = plan.settings.training
    limits = [
        ("epochs", own.epochs, own.epochs * plan.steps_per_epoch),
        ("max_train_epochs", own.max_train_epochs or 0, (own.max_train_epochs or 0) * plan.steps_per_epoch),
        ("max_train_steps", own.max_train_steps, own.max_train_steps),
    ]
    binding = [(f"training.{name}", value) for name, value, steps in limits if value and steps <= plan.steps]
    return " ".join(f"--{name} {2 * value}" for name, value in binding if name not in filled)


def _check_logs(plan: Plan) -> None:
    logs = plan.settings.logs
    check_logs(logs.wanted, logs.folder, logs.wandb_offline)


def _check_left(plan: Plan, start: Start) -> None:
    """A Problem when the state is from behind the run's end, or from behind the end that the text encoders' training
    had, while by the settings that would go on."""
    if start.step > plan.steps:
        raise Problem("resume_beyond", path=start.file, step=start.step, steps=plan.steps)
    ends = start.about.get("identity", {}).get("settings", {}).get("optimizer.stop_text_encoder_training")
    learning = any(plan.is_text(group["name"]) for group in start.saved["optimizer"]["param_groups"])
    if ends and not learning and start.step < plan.text_steps and plan.text_trained:
        percent = f"{100 * start.step / plan.steps:g}"
        raise Problem("text_ended", path=start.file, step=start.step, end=plan.text_steps, percent=percent)


def _has_saved(directory: RunDirectory) -> bool:
    """Whether a state was ever there, or the run came to its end without one."""
    return any(row.get("event") in ("state_saved", "finished") for row in rows(directory.events))


def _ended(directory: RunDirectory) -> str:
    """The name of the run's last event."""
    found = rows(directory.events)
    return str(found[-1].get("event")) if found else ""


def _write_plan(plan: Plan, own: Identity, directory: RunDirectory) -> None:
    """What the run is now. The settings come last: a directory without them is none that anybody goes on with."""
    write_json(directory.data, own.as_data())
    write_whole(directory.settings, to_toml(plan.settings).encode())


@contextmanager
def _claimed_new(plan: Plan) -> Generator[RunDirectory, None, None]:
    output = plan.settings.output
    try:
        directory = new_run_directory(Path(output.folder), output.name)
    except OSError as error:
        raise _unwritable(Path(output.folder), error) from None
    with claimed(directory):
        yield directory


def _remember(plan: Plan, run: Run) -> None:
    """So that the run is found by its name; without that it is found by its path alone."""
    try:
        remember(Path(plan.settings.output.folder))
    except Problem as problem:
        run.notice(say("notice.run_unlisted", problem=problem))


@contextmanager
def _name_held(plan: Plan) -> Generator[None, None, None]:
    """As long as this lasts, no other run writes LoRAs of this name into this folder."""
    output = plan.settings.output
    folder = Path(output.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    with holding(folder / f".{output.name}.lock") as mine:
        if not mine:
            raise Problem("name_in_use", field="output.name", name=output.name, path=output.folder)
        yield


def _check_free(lora: Path, overwrite: bool) -> None:
    """A Problem when the LoRA is already there, and a folder in its place even when it may be replaced."""
    try:
        if lora.is_dir():
            raise IsADirectoryError(21, "a folder of that name is there")
        if lora.exists() and not overwrite:
            run = _unfinished_run_of(lora)
            if run is not None:
                raise Problem("output_unfinished", field="output.name", path=lora, run=run)
            raise Problem("output_exists", field="output.name", path=lora)
    except OSError as error:
        raise _unwritable(lora.parent, error) from None


def _check_writable(folder: Path, name: str) -> None:
    """A Problem when no file can be written in the folder, which is made where it isn't there yet."""
    probe = folder / f".{name}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> Problem:
    return Problem("file_unwritable", field="output.folder", path=folder, reason=error.strerror or error)


def _unfinished_run_of(lora: Path) -> Path | None:
    """The directory of the run that saved a LoRA and can be gone on with."""
    try:
        session = read_header(lora).metadata.get("ss_session_id")
    except Problem:
        return None
    for origin in runs_folder(lora.parent).glob("*/origin.json"):
        directory = RunDirectory(origin.parent)
        if str(read_json(origin).get("session")) == session and _ended(directory) != "finished":
            return directory.path
    return None


def _origin(filled: list[str]) -> dict[str, Any]:
    return {
        "tehon": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "command": sys.argv,
        "session": secrets.randbelow(2**32),
        "started": time.time(),
        "filled": filled,
        "threads": torch.get_num_threads(),
        "processor": os.cpu_count(),
    }
