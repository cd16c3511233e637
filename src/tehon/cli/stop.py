"""`tehon stop RUN`: asks a run at work to save its state and stop, or ends it at once."""

import argparse
import time

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

_PATIENCE = 10.0  # seconds for a killed process to be gone


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="RUN", help=say("cli.run_at_work"))
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--now", action="store_true", help=say("cli.stop_now"))
    how.add_argument("--wait", action="store_true", help=say("cli.stop_wait"))


def run(options: argparse.Namespace) -> int:
    from tehon.runs.inbox import ask, end_now
    from tehon.runs.known import find_run
    from tehon.runs.lock import is_held
    from tehon.runs.status import look

    directory = find_run(options.directory, at_work=True)
    if not options.now:
        ask(directory, "stop")
        print(say("cli.stop_asked", path=directory.path), flush=True)
        while options.wait and is_held(directory.lock):
            time.sleep(0.2)
        if options.wait:
            ended = look(directory)
            print(say("cli.stop_ended", path=directory.path, state=say(f"state.{ended.state}")))
        return 0
    end_now(directory)
    until = time.monotonic() + _PATIENCE
    while is_held(directory.lock):
        if time.monotonic() > until:
            raise Problem("run_not_ended", path=directory.path)
        time.sleep(0.05)
    saved = look(directory).saved
    if saved is None:
        print(say("cli.stopped_unsaved", path=directory.path))
    else:
        print(say("cli.stopped_now", path=directory.path, step=saved))
    return 0
