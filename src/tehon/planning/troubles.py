"""What is wrong or odd about the pictures, collected so that one plan tells all of it."""

from dataclasses import dataclass, field

from tehon.messages.problem import Problem

KINDS = (
    "folder_ignored",
    "folder_without_pictures",
    "folders_inside",
    "not_read",
    "animated",
    "same_stem",
    "duplicates",
    "without_alpha",
    "captions_missing",
    "captions_empty",
    "captions_unused",
    "metadata_unused",
    "masks_unused",
    "reg_unused",
    "held_out_elsewhere",
)
"""Oddities that stop nothing; each has its sentence in the messages."""


@dataclass
class Troubles:
    """`problems` stop the training; `skipped` are those that the settings let it go on without; `odd` names files and
    folders by kind."""

    problems: list[Problem] = field(default_factory=list[Problem])
    skipped: list[Problem] = field(default_factory=list[Problem])
    odd: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    index: str = ""

    def leave_out(self, problem: Problem, skip: bool) -> None:
        """A picture that cannot be learned: skipped or a reason not to start, as the settings say."""
        (self.skipped if skip else self.problems).append(problem)

    def note(self, kind: str, name: object) -> None:
        self.odd[kind].append(str(name))

    def tell_once(self) -> None:
        """Drops what was found again because a folder is in several sets."""
        self.problems = list({str(problem): problem for problem in self.problems}.values())
        self.skipped = list({str(problem): problem for problem in self.skipped}.values())
        self.odd = {kind: list(dict.fromkeys(names)) for kind, names in self.odd.items()}
