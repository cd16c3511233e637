"""Variables of scripts: what a script sets itself is followed as far as it is plain, and what is left for a shell to
fill in is found.

Plain is what is set once and for all on a line of its own: no condition, no loop, no reckoning, no output of a command.

>>> known = Variables("sh")
>>> known.note(["out=/loras"])
True
>>> known.value("out"), unexpanded("$out/cat"), unexpanded("$(pwd)/x"), unexpanded("10%")
('/loras', '$out', '$(pwd)', '')
"""

import re
from collections.abc import Sequence
from typing import Literal

Shell = Literal["sh", "batch", "powershell"]

_POWERSHELL = re.compile(
    r"^[ \t]*(?:\[\w+\])?\$(?:\w+:)?\w+[ \t]*=|(?<!`)`[ \t]*\r?$|\$env:", re.IGNORECASE | re.MULTILINE
)
_BATCH = re.compile(
    r"^[ \t]*@?(?:echo[ \t]+off|set[ \t]+(?:/[ap][ \t]+)?\"?\w+=|rem[ \t]|setlocal)|%~\w*\d|\^[ \t]*\r?$|%\w+%",
    re.IGNORECASE | re.MULTILINE,
)
_SET = re.compile(r"\s*@?set\s+(?:\"(\w+)=([^\"]*)\"\s*|(\w+)=(.*))", re.IGNORECASE)
_SETS = re.compile(r"\bset\s+(?:/[ap]\s+)?\"?(\w+)=", re.IGNORECASE)
_ASSIGNED = re.compile(r"\s*(?:\[\w+\])?\$(?:script:|global:|local:)?((?:env:)?\w+)\s*=\s*(.*)", re.IGNORECASE)
_ASSIGNS = re.compile(r"\$(?:script:|global:|local:)?((?:env:)?\w+)\s*[-+*/]?=", re.IGNORECASE)
_DOES = re.compile(r"\s*(?:\[\w+\])?\$[\w:]+\s*(?:[-+*/]?=|\.|\[)|\s*\[void\]", re.IGNORECASE)
"""A line that changes a variable in another way, or does something with it."""
_DELAYED = re.compile(r"enabledelayedexpansion", re.IGNORECASE)
_PAIR = re.compile(r"(\w+)(\+?)=(.*)", re.DOTALL)
_DECLARES = ("export", "declare", "local", "readonly", "typeset")
_OPEN, _CLOSE = ("if", "for", "while", "until", "case", "select", "{"), ("fi", "done", "esac", "}")
_ARRAY = re.compile(r"^([ \t]*\w+\+?=\()([^()]*)\)", re.MULTILINE)
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_LEFT = re.compile(
    r"\$\{[^}]*\}?|\$\(.*\)?|\$(?:env:)?[A-Za-z_]\w*|\$[@*#\d]|`[^`]+`|%~\w*\d|%\w+(?::[^%]+)?%|(?<![^=\s])%\d(?!\w)"
    r"|^@[A-Za-z_]\w*$"
)


def shell_of(text: str) -> Shell:
    """Whose script a text is, by what only that one writes."""
    if _POWERSHELL.search(text):
        return "powershell"
    return "batch" if _BATCH.search(text) else "sh"


def unexpanded(text: str) -> str:
    """The first piece of a text that only a shell could fill in; empty where there is none."""
    found = _LEFT.search(text)
    return found[0] if found else ""


def joined_arrays(text: str) -> str:
    """A script with each array of sh on one line."""
    return _ARRAY.sub(_on_one_line, text)


def _on_one_line(found: re.Match[str]) -> str:
    rows = [re.sub(r"(?:^|(?<=\s))#.*", "", row).strip() for row in found[2].split("\n")]
    return f"{found[1]}{' '.join(rows)})"


class Variables:
    """What a script has set so far. Names are as the shell compares them."""

    def __init__(self, shell: Shell, text: str = "") -> None:
        self.shell = shell
        self.values: dict[str, str] = {}
        self.lists: dict[str, list[str]] = {}
        self.used: set[str] = set()
        self.depth = 0
        self._delayed = shell == "batch" and _DELAYED.search(text) is not None

    def value(self, name: str) -> str | None:
        """What a variable holds; None where that can't be told."""
        name = self._same(name)
        self.used.add(name)
        return self.values.get(name)

    def array(self, name: str) -> list[str] | None:
        self.used.add(name)
        return self.lists.get(name)

    def filled(self, line: str) -> str:
        """A line of a batch file as cmd fills it in, before it looks at quotes."""
        if self.shell != "batch":
            return line
        if self._delayed:
            line = re.sub(r"!(\w+)!", r"%\1%", line)
        line = re.sub(r"%(\w+)%", lambda found: found[0] if (own := self.value(found[1])) is None else own, line)
        return re.sub(r"%%(?!\w)", "%", line)

    def note_line(self, line: str) -> str | None:
        """Takes over what a line of a batch file or of PowerShell sets. None: it sets nothing; else the text of a value
        that is still to be read as words, with `note_value`, or empty."""
        if self.shell == "batch":
            return self._note_set(line)
        if self.shell == "powershell":
            return self._note_assigned(line)
        return None

    def _note_set(self, line: str) -> str | None:
        plain = _SET.fullmatch(line)
        if plain and not self.depth and not re.search(r"[&|]", plain[2] or plain[4] or ""):
            self.values[self._same(plain[1] or plain[3])] = (plain[2] if plain[1] else plain[4].strip()) or ""
            return ""
        self._forget(_SETS.findall(line))
        if re.match(r"\s*(?:if|for|\))", line, re.IGNORECASE):
            bare = _QUOTED.sub("", line)
            self.depth = max(0, self.depth + bare.count("(") - bare.count(")"))
        return "" if _SETS.match(line.lstrip(" \t@")) else None

    def _note_assigned(self, line: str) -> str | None:
        plain = _ASSIGNED.fullmatch(line)
        bare = _QUOTED.sub("", line)
        before, self.depth = self.depth, max(0, self.depth + bare.count("{") - bare.count("}"))
        if plain is not None and not before:
            return plain[2]
        self._forget(_ASSIGNS.findall(bare))
        return "" if plain is not None or _DOES.match(line) else None

    def note_value(self, line: str, words: Sequence[tuple[str, bool]]) -> None:
        """The words of an assignment's right side in PowerShell: one text in quotes, a number or another variable."""
        plain = _ASSIGNED.fullmatch(line)
        assert plain is not None
        self._forget([plain[1]])
        if len(words) == 1 and (words[0][1] or re.match(r"[-+]?\.?\d|\$[\w:]+\s*$", plain[2])):
            self.values[self._same(plain[1])] = words[0][0]

    def note(self, words: list[str], conditional: bool = False) -> bool:
        """Takes over what a command of sh sets; whether it does nothing else."""
        if self.shell != "sh" or not words:
            return False
        first = words[0]
        opens = first in _OPEN or first.endswith("(){") or words[-1:] == ["{"]
        self.depth = max(0, self.depth + opens - (first in _CLOSE))
        own = [word for word in words[1:] if not word.startswith("-")] if first in _DECLARES else words
        pairs = [found for word in own if (found := _PAIR.fullmatch(word))]
        if self.depth or conditional or first in ("then", "else", "elif", "do"):
            self._forget([found[1] for found in pairs])
        elif first in ("read", "for"):
            self._forget(words[1:])
        elif pairs and pairs[0][3].startswith("("):
            return self._note_list(pairs[0], own)
        elif pairs and len(pairs) == len(own):
            for found in pairs:
                self._put(found)
            return True
        return False

    def _put(self, found: re.Match[str]) -> None:
        name, more, value = found.groups()
        if more and name not in self.values:
            return
        self.values[name] = self.values[name] + value if more else value

    def _note_list(self, found: re.Match[str], words: list[str]) -> bool:
        items = [found[3][1:], *words[1:]]
        if not items[-1].endswith(")"):
            self._forget([found[1]])
            return False
        items[-1] = items[-1][:-1]
        items = [item for item in items if item]
        if found[2] and found[1] in self.lists:
            self.lists[found[1]] += items
        elif not found[2]:
            self.lists[found[1]] = items
        return True

    def _forget(self, names: list[str]) -> None:
        for name in map(self._same, names):
            self.values.pop(name, None)
            self.lists.pop(name, None)

    def _same(self, name: str) -> str:
        return name if self.shell == "sh" else name.lower()
