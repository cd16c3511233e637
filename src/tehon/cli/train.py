"""`tehon train CONFIG.toml [--section.field value]…`: trains a LoRA."""

import argparse
from pathlib import Path

from tehon.cli.progress import Watcher
from tehon.cli.progress import add_arguments as add_progress
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help=say("cli.config"))
    add_progress(parser)
    parser.epilog = say("cli.settings_too")


def run(options: argparse.Namespace) -> int:
    from tehon.planning.plan import make_plan
    from tehon.planning.report import as_text
    from tehon.settings.files import load_settings

    plan = make_plan(load_settings(options.config, options.settings))
    watcher = Watcher(options)
    watcher.say(as_text(plan))

    from tehon.training.run import start_run

    return finish(start_run(plan, watcher), watcher)


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
