"""`tehon train CONFIG.toml [--section.field value]…`: trains a LoRA."""

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tehon.cli.imports import import_networks
from tehon.cli.progress import Watcher
from tehon.cli.progress import add_arguments as add_progress
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.processes import Place, place_here

if TYPE_CHECKING:
    from tehon.planning.plan import Plan
    from tehon.runs.launch import Launched
    from tehon.runs.layout import RunDirectory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help=say("cli.config"))
    parser.add_argument("--background", action="store_true", help=say("cli.background"))
    parser.add_argument("--run", type=Path, dest="directory", metavar="DIR", help=say("cli.launched"))
    add_progress(parser)
    parser.epilog = say("cli.settings_too")


def run(options: argparse.Namespace) -> int:
    place = place_here()
    if place.rank:
        import_networks(options)
        return follow(place)

    from tehon.runs.claim import claimed
    from tehon.runs.layout import RunDirectory

    if options.directory is None:
        return _train(options, None)
    directory = RunDirectory(options.directory)
    if not directory.launch.is_file():
        raise Problem("not_launched", field="--run", path=directory.path)
    with claimed(directory):
        return _train(options, directory)


def _train(options: argparse.Namespace, directory: "RunDirectory | None") -> int:
    from tehon.planning.plan import make_plan
    from tehon.planning.report import as_text
    from tehon.settings.files import load_settings

    plan = make_plan(load_settings(options.config, options.settings))
    watcher = Watcher(options)
    watcher.say(as_text(plan))
    if options.background:
        return _launch(plan, watcher)

    import_networks(options)
    from tehon.training.run import start_run

    return finish(start_run(plan, watcher, directory), watcher)


def _launch(plan: "Plan", watcher: Watcher) -> int:
    """Begins the run as a process of its own."""
    from tehon.planning.handover import settings_for
    from tehon.runs.launch import launch

    output = plan.settings.output
    return await_start(launch(settings_for(plan), Path(output.folder), output.name), watcher)


def await_start(launched: "Launched", watcher: Watcher) -> int:
    """Waits until a run with a process of its own has passed all that is checked before the start, and says so."""
    from tehon.runs.status import last_line, look

    run, process = launched.run, launched.process
    while process.poll() is None and ((status := look(run)).state == "starting" or not status.at_work):
        time.sleep(0.2)
    if process.poll() not in (None, 0):
        raise Problem("launch_failed", path=run.log, reason=last_line(run.log) or process.returncode)
    watcher("launched", {"run": str(run.path), "pid": process.pid})
    watcher.say(say("cli.launched_at", path=run.path, name=run.path.name), "green")
    return 0


def follow(place: Place) -> int:
    """The part of a process that is not the first of its training, in silence: one of them at most says that another is
    gone, where the first can't."""
    from tehon.cli.main import EXIT_INTERRUPTED, EXIT_PROBLEM, EXIT_STOPPED
    from tehon.training.follow import follow

    try:
        return 0 if follow(place) else EXIT_STOPPED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Problem as problem:
        if problem.key == "process_lost" and place.rank > 1:
            return EXIT_PROBLEM
        raise


def finish(outcome: "object", watcher: Watcher) -> int:
    """Says how a run ended, and gives the exit code for it."""
    from tehon.cli.main import EXIT_STOPPED
    from tehon.training.run import Outcome

    assert isinstance(outcome, Outcome)
    watcher.close()
    if outcome.lora:
        watcher.say(say("cli.trained", path=outcome.lora, run=outcome.run.path), "green")
        return 0
    watcher.say(say("cli.stopped", step=outcome.steps, run=outcome.run.path), "yellow")
    return EXIT_STOPPED
