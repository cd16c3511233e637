"""The one error that people see: a sentence that names the field, what is wrong, and the remedy.

>>> raise Problem("folder_missing", field="data.folder", path="pictures")
"""

from typing import Any

from tehon.messages.catalogue import say


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
    """Several problems found in one go, one sentence a line."""

    def __init__(self, found: list[Problem]) -> None:
        super().__init__(found[0].key, **found[0].values)
        self.found = found

    @property
    def all(self) -> list[Problem]:
        return self.found

    def __str__(self) -> str:
        return "\n".join(map(str, self.found))


def raise_all(found: list[Problem]) -> None:
    """Raises nothing, the one problem, or all of them together."""
    if len(found) == 1:
        raise found[0]
    if found:
        raise Problems(found)
