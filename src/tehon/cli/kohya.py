"""`tehon kohya ARGS…`: trains with the arguments of train_network.py and sdxl_train_network.py as they are."""

import argparse
from typing import TYPE_CHECKING

from tehon.cli.imports import import_networks
from tehon.cli.progress import Watcher
from tehon.cli.progress import add_arguments as add_progress
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem, raise_all

if TYPE_CHECKING:
    from tehon.settings.kohya.lines import Line

OWN = ("--quiet", "--json", "-h", "--help")
_OPTIONS = {
    "model.path": "--pretrained_model_name_or_path",
    "data.folder": "--train_data_dir",
    "output.folder": "--output_dir",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_progress(parser)
    parser.usage = "tehon kohya [--quiet | --json] [--section.field VALUE]… ARGUMENTS OF train_network.py…"
    parser.epilog = say("cli.kohya_more")


def run(options: argparse.Namespace) -> int:
    """Exit codes as of `tehon train`; what would make the training another one is refused before the start."""
    from tehon.cli.train import finish
    from tehon.planning.plan import make_plan
    from tehon.planning.report import as_text
    from tehon.settings.files import on_top, validate
    from tehon.settings.kohya.effect import REQUIRED
    from tehon.settings.kohya.read import bring_words, command_words
    from tehon.settings.kohya.report import as_data
    from tehon.settings.kohya.report import as_text as report

    words: list[str] = options.foreign
    for word in words[:1]:
        if word.lower().endswith((".toml", ".json")):
            raise Problem("kohya_file", path=word)
    result = bring_words(words) if len(words) == 1 and " " in words[0] else command_words(words)
    refused = {line.key for line in result.blocking}
    missing = [_OPTIONS[name] for name in REQUIRED if name in result.missing and name not in options.settings]
    raise_all(
        [
            *map(_refusal, result.blocking),
            *(Problem("kohya_missing", option=option) for option in missing if option not in refused),
        ]
    )
    plan = make_plan(validate(on_top(result.tree, options.settings)))
    watcher = Watcher(options)
    watcher("imported", as_data(result, "tehon kohya"))
    watcher.say(report(result, "tehon kohya", carried=False) + "\n")
    watcher.say(as_text(plan))

    import_networks(options)
    from tehon.training.run import start_run

    return finish(start_run(plan, watcher), watcher)


def _refusal(line: "Line") -> Problem:
    if line.remedied:
        return Problem("kohya_refused", name=line.key, reason=line.reason)
    return Problem("kohya_blocked", name=line.key, reason=line.reason)
