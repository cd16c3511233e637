"""The one error that people see: a sentence that names the field, what is wrong, and the remedy.

>>> raise Problem("folder_missing", field="data.folder", path="pictures")
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tehon.messages.catalogue import say

Made = TypeVar("Made")


class Problem(ValueError):
    """Something that the person at the keyboard can put right. The command line prints it and ends with code 2."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key, values)
        self.key = key
        self.values = values

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it comes whole out of a process that reads pictures."""
        return _problem, (self.key, self.values)

    @property
    def all(self) -> "list[Problem]":
        """This problem, or each of those that were found together."""
        return [self]

    def __str__(self) -> str:
        return say(f"problem.{self.key}", **self.values)


def _problem(key: str, values: dict[str, object]) -> Problem:
    return Problem(key, **values)


class Problems(Problem):
    """Several problems found in one go, one sentence a line; then `remarks`, which stop nothing."""

    def __init__(self, found: list[Problem], remarks: Iterable[str] = ()) -> None:
        super().__init__(found[0].key, **found[0].values)
        self.found = found
        self.remarks = list(remarks)

    @property
    def all(self) -> list[Problem]:
        return self.found

    def __str__(self) -> str:
        return "\n".join([*map(str, self.found), *(say("cli.notice", text=text) for text in self.remarks)])


def raise_all(found: list[Problem], remarks: Iterable[str] = ()) -> None:
    """Raises nothing, the one problem, or all of them together, with what else is worth saying of the same input."""
    said = list(remarks)
    if len(found) == 1 and not said:
        raise found[0]
    if found:
        raise Problems(found, said)


def reason_of(error: BaseException) -> str:
    """What an error of another program says, in its first line; the name of its kind where it says nothing.

    >>> reason_of(RuntimeError("no route to host\\nin connect()"))
    'no route to host'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def tried(problems: list[Problem], make: Callable[[], Made]) -> Made | None:
    """What is made; None when that raises Problems, which are then added to the others."""
    try:
        return make()
    except Problem as problem:
        problems += problem.all
        return None
