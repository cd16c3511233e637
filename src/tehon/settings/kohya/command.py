"""A command line as words: from a shell script, a batch file, or pasted as one text.

Quotes, comments and lines that go on (with a backslash, Windows' caret or PowerShell's backtick) are understood; a
backslash in a Windows path is not taken for an escape.

>>> split_command('accelerate launch ^\\n  "train_network.py" --output_dir="C:\\\\loras" --seed 7')
['accelerate', 'launch', 'train_network.py', '--output_dir=C:\\\\loras', '--seed', '7']
"""

import re

from tehon.messages.problem import Problem

TRAINERS = ("train_network.py", "sdxl_train_network.py")
_SCRIPT = re.compile(r"(?:.*[/\\])?[\w.-]*(?:train\w*|fine_tune)\.py")
_WINDOWS = re.compile(r"(?:^|[\s\"'=])[A-Za-z]:\\|\^[ \t]*\r?\n|\.exe\b", re.IGNORECASE)
_GOES_ON = re.compile(r"[ \t]*(?:(?<!\\)\\|\^|`)[ \t]*\r?\n")
_COMMENT = re.compile(r"\s*(?:#|REM\b|::)", re.IGNORECASE)
_ENDS = re.compile(r"&&|\|\||[;|&]|\d?>>?.*")

_LAST = re.compile(r"[^;=];$")  # `--secondary_separator=;;;` ends nothing


def split_command(text: str) -> list[str]:
    """The words of the one training command in a text; a Problem when there are several, or a quote is left open."""
    windows = _WINDOWS.search(text) is not None
    lines = [line for line in _GOES_ON.sub(" ", text).splitlines() if line.strip() and not _COMMENT.match(line)]
    commands = [command for line in lines for command in _commands(line, windows)]
    training = [words for words in commands if script_at(words) is not None]
    if len(training) > 1:
        raise Problem("commands_several", count=len(training))
    if training:
        return training[0]
    return [word for words in commands for word in words]


def script_at(words: list[str]) -> int | None:
    """Where the training script stands among the words."""
    return next((n for n, word in enumerate(words) if not word.startswith("-") and _SCRIPT.fullmatch(word)), None)


def _commands(line: str, windows: bool) -> list[list[str]]:
    """The commands of a line, which operators of the shell keep apart; what goes into a file is left away."""
    found: list[list[str]] = [[]]
    for word, quoted in _words(line, windows):
        if not quoted and _ENDS.fullmatch(word):
            found.append([])
        elif not quoted and _LAST.search(word):
            found[-1].append(word[:-1])
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def _words(line: str, windows: bool) -> list[tuple[str, bool]]:
    """(word, whether some of it was in quotes) of a line."""
    found: list[tuple[str, bool]] = []
    word, quoted, begun, quote = "", False, False, ""
    place = 0
    while place < len(line):
        sign, after = line[place], line[place + 1 : place + 2]
        place += 1
        if sign == "\\" and after and quote != "'" and _escapes(after, quote, windows):
            word, begun, place = word + after, True, place + 1
        elif sign == "^" and windows and not quote:
            continue
        elif quote and sign == quote:
            quote = ""
        elif sign == "#" and not (quote or begun or windows):
            break
        elif not quote and (sign == '"' or (sign == "'" and not (windows and "'" not in line[place:]))):
            quote, quoted, begun = sign, True, True
        elif not quote and sign.isspace():
            if begun:
                found.append((word, quoted))
            word, quoted, begun = "", False, False
        else:
            word, begun = word + sign, True
    if quote:
        raise Problem("quote_open", quote=quote, text=line.strip()[:60])
    return [*found, (word, quoted)] if begun else found


def _escapes(after: str, quote: str, windows: bool) -> bool:
    """Whether a backslash before this sign is an escape."""
    if windows:
        return False
    return after in '"\\$`' if quote else True
