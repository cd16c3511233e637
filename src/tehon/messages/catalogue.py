"""Sentences by key and language. A language is one JSON file beside this module; English is complete by definition.

>>> say("problem.folder_missing", field="data.folder", path="pictures")
'data.folder: the folder pictures does not exist; give the folder that holds your picture folders.'
"""

import json
import locale
import os
import re
import shlex
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

Notice = Callable[[str], None]
"""Told in a sentence what is odd but no reason to stop."""
_HERE = Path(__file__).parent
_PLAIN = re.compile(r"[\w+:./\\-]+")


@cache
def languages() -> tuple[str, ...]:
    """Codes of the languages that there are, for example ("en", "ja")."""
    return tuple(sorted(file.stem for file in _HERE.glob("*.json")))


@cache
def sentences(language: str) -> dict[str, str]:
    """All sentences of a language, keys joined with dots."""
    nested = json.loads((_HERE / f"{language}.json").read_text("utf8"))
    return {f"{group}.{key}": text for group, texts in nested.items() for key, text in texts.items()}


def language() -> str:
    """The language to speak: TEHON_LANG, else the system's, else English."""
    wanted = os.environ.get("TEHON_LANG") or os.environ.get("LC_ALL") or os.environ.get("LANG")
    if not wanted:
        wanted = locale.getlocale()[0] or "en"
    code = wanted.lower().replace("japanese", "ja")[:2]
    return code if code in languages() else "en"


def say(key: str, **values: object) -> str:
    """The sentence for a key in the language to speak, its blanks filled in. {count:# picture|# pictures} becomes what
    stands before the bar for 1, and else what stands behind it, with the number for #. {path:word} is one word of a
    command, to be copied into a shell."""
    known = sentences(language())
    return _FILLER.vformat(known.get(key) or sentences("en")[key], (), values)


class _Filler(Formatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        if format_spec == "word":
            return _word(str(value))
        one, bar, more = format_spec.partition("|")
        if not bar:
            return super().format_field(value, format_spec)
        return (one if str(value) == "1" else more).replace("#", str(value))


def _word(text: str) -> str:
    """In quotes where it needs them; cmd on Windows knows none but double ones, in which a path needs no more."""
    if sys.platform != "win32":
        return shlex.quote(text)
    return text if _PLAIN.fullmatch(text) else f'"{text}"'


_FILLER = _Filler()
