"""How a run shows on the terminal: a bar for people, lines of JSON for machines, or nothing."""

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tehon.cli.json_text import json_text
from tehon.cli.lasting import lasting
from tehon.messages.catalogue import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--quiet and --json, for commands that show progress."""
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quiet", action="store_true", help=say("cli.quiet"))
    how.add_argument("--json", action="store_true", help=say("cli.json_lines"))


class Watcher:
    """Told of a run's events; shows them as the options ask. What nobody takes any more ends no training."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.lines = bool(options.json)
        self.quiet = bool(options.quiet)
        self.out = lasting(sys.stdout)
        self.console = Console(file=self.out, quiet=self.quiet or self.lines, highlight=False)
        self.bar: Progress | None = None

    def say(self, text: str, style: str = "") -> None:
        """One line for people."""
        self.console.print(text, style=style, markup=False, soft_wrap=True)

    def __call__(self, name: str, facts: dict[str, Any]) -> None:
        if self.lines:
            print(json_text({"event": name, **facts}), file=self.out, flush=True)
        elif name == "encoding":
            self.count(say("cli.encoding"), facts["done"], facts["total"])
        elif name == "started":
            self.close()
            self._begin(facts)
        elif name == "step":
            self._step(facts)
        elif name == "notice":
            self.say(say("cli.notice", text=facts["text"]), "yellow")
        elif name == "sampled":
            self.say(say("cli.sampled", step=facts["step"], path=Path(facts["files"][0]).parent))
        elif name == "validated":
            self.say(say("cli.validated", step=facts["step"], loss=f"{facts['validation_loss']:.4f}"))
        elif name == "stopping":
            self.say(say("cli.stopping"), "yellow")
        elif name == "enough":
            self.say(say("cli.enough", step=facts["step"]), "yellow")
        elif name == "judged":
            self.say(_judged(facts), "green")
        elif name == "checked":
            self.close()
            for row in facts["readers"]:
                self.say(_checked(row))
        elif name in ("stopped", "finished"):
            self.close()

    def close(self) -> None:
        """Takes the bar down, leaving its last state on the screen."""
        if self.bar:
            self.bar.stop()
            self.bar = None

    def count(self, label: str, done: int, total: int) -> None:
        """A bar that shows how much of something is done."""
        if self.lines:
            return
        if self.bar is None:
            self.bar = self._new_bar()
            self.bar.add_task(label, total=total, figures="")
        self.bar.update(self.bar.task_ids[0], completed=done)

    def _new_bar(self) -> Progress:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        bar = Progress(*columns, console=self.console, refresh_per_second=5)
        bar.start()
        return bar

    def _begin(self, facts: dict[str, Any]) -> None:
        self.say(say("cli.training_on", device=facts["device"], parameters=f"{facts['parameters']:,}"))
        self.bar = self._new_bar()
        self.bar.add_task(say("cli.step"), total=facts["steps"], completed=facts["first"], figures="")

    def _step(self, facts: dict[str, Any]) -> None:
        if self.bar:
            rates = sorted(set(facts["rates"].values()), reverse=True)
            shown = "/".join(f"{rate:.1e}" for rate in rates)
            loss = facts["loss"]
            figures = say("cli.figures", loss="…" if loss is None else f"{loss:.4f}", rate=shown)
            self.bar.update(self.bar.task_ids[0], completed=facts["step"], figures=figures)


def _judged(facts: dict[str, Any]) -> str:
    """Which LoRA has the lowest loss on held-out pictures."""
    known = {"loss": f"{facts['loss']:.4f}", "step": facts["step"], "epoch": facts["epoch"]}
    if facts["lora"] is None:
        return say("cli.judged_alone", **known)
    if facts["lora_step"] == facts["step"]:
        return say("cli.judged", path=facts["lora"], **known)
    return say("cli.judged_near", path=facts["lora"], near=facts["lora_step"], **known)


def _checked(row: dict[str, Any]) -> str:
    """What another program makes of the file."""
    if not row["known"]:
        return say("cli.checked_unknown", reader=row["reader"])
    return say("cli.checked", matched=row["matched"], total=row["total"], reader=row["reader"])
