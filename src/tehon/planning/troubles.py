"""What is wrong or odd about the pictures, collected so that one plan tells all of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tehon.messages.problem import Problem

KINDS = (
    "folder_ignored",
    "folder_without_pictures",
    "folders_inside",
    "not_read",
    "animated",
    "cropped",
    "enlarged",
    "same_stem",
    "duplicates",
    "without_alpha",
    "captions_missing",
    "captions_wordless",
    "captions_empty",
    "captions_unused",
    "metadata_unused",
    "masks_unused",
    "reg_unused",
    "held_out_elsewhere",
)
"""Oddities that stop nothing; each has its sentence in the messages."""

LeftOut = tuple[Problem, bool]
"""Why a picture is not learned, and whether the settings let the training go on without it."""


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


class Unused:
    """Masks and entries of metadata files of no picture. Sets may share a folder or a file: what one of them uses is
    in use."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, str], dict[str, None]] = {}

    def add(self, kind: str, place: str, names: Iterable[str]) -> None:
        """What one set leaves of a folder or file."""
        left = dict.fromkeys(names)
        known = self._left.get((kind, place), left)
        self._left[kind, place] = {name: None for name in known if name in left}

    def note(self, troubles: Troubles) -> None:
        for (kind, _), names in self._left.items():
            for name in names:
                troubles.note(kind, name)
