"""The `tehon` command: picks the subcommand, and turns every Problem into one sentence and exit code 2.

Exit codes: 0 done; 1 an error of tehon's own; 2 something to put right in the input; 3 stopped early, to be gone
on with; 130 interrupted at once, with nothing saved.
"""

import errno
import gc
import os
import sys
from functools import partial
from importlib import import_module
from io import TextIOWrapper
from typing import TextIO

from tehon import __version__
from tehon.cli.lasting import keep_errors_out, silence
from tehon.cli.parser import Parser
from tehon.machine.processor import spins
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

COMMANDS = (
    *("demo", "train", "resume", "plan", "runs", "stop", "save", "preview", "queue"),
    *("sample", "compare", "grid", "inspect", "merge", "extract", "resize", "convert", "cut", "captions"),
    *("import", "export", "kohya", "ui"),
)
WITH_SETTINGS = ("train", "plan", "resume", "queue", "kohya", "export")
EXIT_PROBLEM = 2
EXIT_STOPPED = 3
EXIT_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            _fit_letters(stream)
    if arguments is None:
        keep_errors_out()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it reads every package's metadata to look for some
    if os.environ.get("GOMP_SPINCOUNT") == os.environ.get("TEHON_SPINS"):  # nobody's, or of the tehon that started us
        os.environ["GOMP_SPINCOUNT"] = os.environ["TEHON_SPINS"] = str(spins())  # else two programs starve each other
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads don't sleep, and scaling needs one
    gc.set_threshold(100_000)  # loading torch and its friends makes much that stays: looking for garbage costs a second
    try:
        code = _run(words, alone=arguments is None)
        if sys.stdout is not None:
            sys.stdout.flush()  # here its failure can be told
        return code
    except Problem as problem:
        print(problem, file=sys.stderr)
        return EXIT_PROBLEM
    except KeyboardInterrupt:
        print(say("cli.interrupted"), file=sys.stderr)
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # whoever asks whether a file is there expects no error
            print(Problem("path_too_long", path=error.filename), file=sys.stderr)
            return EXIT_PROBLEM
        if sys.stdout is None or error.filename is not None or not _takes_nothing(sys.stdout):
            raise
        silence(sys.stdout)
        if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
            return 0
        print(Problem("output_lost", reason=error.strerror or error), file=sys.stderr)
        return EXIT_PROBLEM


def _takes_nothing(stream: TextIO) -> bool:
    """Whether an error is the stream's, which then fails again."""
    try:
        print(file=stream, flush=True)
    except OSError:
        return True
    return False


def _fit_letters(stream: TextIOWrapper) -> None:
    """Files and pipes get UTF-8, whatever code page Windows or LC_ALL=C has for them. A terminal, or whoever asks for
    another encoding, gets question marks for letters that it lacks."""
    if stream.isatty() or "PYTHONIOENCODING" in os.environ:
        stream.reconfigure(errors="replace")
    else:
        stream.reconfigure(encoding="utf-8", errors="replace")


def _run(words: list[str], alone: bool) -> int:
    """`alone` tells the command that the process is its own, and no other program's that calls it."""
    parser = _parser(words)
    settings = {}
    if words[:1] and words[0] in WITH_SETTINGS:
        from tehon.settings.options import split_options

        settings, words = split_options(words)
    words, foreign = _foreign(words)
    options = parser.parse(words)
    options.foreign, options.alone = foreign, alone
    if options.command in WITH_SETTINGS:
        options.settings = settings
    return options.run(options)


def _foreign(words: list[str]) -> tuple[list[str], list[str]]:
    """(our own words, those of another program's command line, which may look like ours)."""
    if words[:1] == ["kohya"]:
        from tehon.cli.kohya import OWN

        more = words[1:]
        return ["kohya", *(word for word in more if word in OWN)], [word for word in more if word not in OWN]
    if words[:1] == ["import"] and "--" in words:
        place = words.index("--")
        return words[:place], words[place + 1 :]
    return words, []


def _parser(words: list[str]) -> Parser:
    """For all commands; only that of these words is imported and takes arguments, as no other one is parsed."""
    parser = Parser(prog="tehon", description=say("cli.tehon"), epilog=say("cli.exit_codes"))
    parser.add_argument("--version", action="version", version=f"tehon {__version__}", help=say("cli.version"))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        command = commands.add_parser(name, help=say(f"cli.{name}"), description=say(f"cli.{name}"))
        if name in words:
            module = import_module(f"tehon.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
            command.stray = getattr(
                module, "stray", partial(_setting, name) if name in WITH_SETTINGS else command.stray
            )
    return parser


def _setting(command: str, option: str, near: str) -> Problem | None:
    """What may be meant by an option that is none, where it is no slip of the pen: the setting of that name."""
    from tehon.settings.fields import fields

    name = option.lstrip("-").replace("-", "_")
    meant = [field.name for field in fields() if name and field.name.endswith(f".{name}")]
    if meant:
        return Problem("unknown_option_near", option=option, near=f"--{meant[0]}")
    return None if near else Problem("unknown_option_settings", option=option, program=f"tehon {command}")
