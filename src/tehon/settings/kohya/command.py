"""A command line as words: from a shell script, a batch file, or pasted as one text.

Quotes, comments and lines that go on (with a backslash, Windows' caret or PowerShell's backtick) are understood, and
variables that the text itself sets; a backslash in a Windows path is not taken for an escape.

>>> split_command('accelerate launch ^\\n  "train_network.py" --output_dir="C:\\\\loras" --seed 7')
['accelerate', 'launch', 'train_network.py', '--output_dir=C:\\\\loras', '--seed', '7']
>>> split_command('out=/loras\\npython train_network.py --output_dir="$out/cat"')[2:]
['--output_dir=/loras/cat']
"""

import re
from collections.abc import Iterator

from tehon.messages.problem import Problem
from tehon.settings.kohya.variables import Variables, joined_arrays, shell_of

TRAINERS = ("train_network.py", "sdxl_train_network.py")
_SCRIPT = re.compile(r"(?:.*[/\\]|%~\w*0|\$\{?\w+\}?)?([\w.-]*(?:train\w*|fine_tune)\.py)")
_WINDOWS = re.compile(r"(?:^|[\s\"'=])[A-Za-z]:\\|\^[ \t]*\r?\n|\.exe\b", re.IGNORECASE)
_GOES_ON = re.compile(r"(?:(?<!\\)\\|\^|`)[ \t]*\r?\n")
_GOES_ON_THERE = re.compile(r"(?:(?<=[ \t])\\|\^|`)[ \t]*\r?\n")
"""On Windows a path may end in a backslash."""
_REFERENCE = re.compile(
    r"\$(?:\{((?:env:)?\w+)\}|(?:script:|global:)?((?:env:)?[A-Za-z_]\w*)(?!\w*[\[:]))", re.IGNORECASE
)
_LIST = re.compile(r"\$\{(\w+)\[[@*]\]\}")
_LEFT_OPEN = re.compile(r"\$\{[^{}]{,200}\}|\$\((?:[^()]|\([^()]*\))*\)|`[^`\s][^`]*`")
_SETS = re.compile(r"\w+\+?=")
"""The beginning of a word in which sh takes a value as one, blanks and all."""
_COMMENT = re.compile(r"\s*(?:#|REM\b|::)", re.IGNORECASE)
_ENDS = re.compile(r"&&|\|\||[;|&]|\d?>>?.*")

_LAST = re.compile(r"[^;=];$")  # `--secondary_separator=;;;` ends nothing


def split_command(text: str) -> list[str]:
    """The words of the one training command in a text; a Problem when there are several, or a quote is left open."""
    known = Variables(shell_of(text), text)
    windows = known.shell != "sh" or _WINDOWS.search(text) is not None
    if not windows:
        text = joined_arrays(text)
    joined = (_GOES_ON_THERE if windows else _GOES_ON).sub(" ", text)
    commands: list[list[str]] = []
    sets: list[list[str]] = []
    for line in joined.splitlines():
        if not line.strip() or _COMMENT.match(line):
            continue
        line = known.filled(line)
        value = known.note_line(line)
        if value:
            known.note_value(line, list(_words(value, windows, known)))
        for words, conditional in _commands(line, windows, known) if value is None else []:
            (sets if known.note(words, conditional) else commands).append(words)
    training = [words for words in commands if script_at(words) is not None]
    if len(training) > 1:
        raise Problem("commands_several", count=len(training))
    if training:
        return training[0]
    idle = [words for words in sets if known.used.isdisjoint(word.partition("=")[0] for word in words)]
    return [word for words in (*commands, *idle) for word in words]


def script_at(words: list[str]) -> int | None:
    """Where the training script stands among the words."""
    return next((n for n, word in enumerate(words) if script_in(word)), None)


def script_in(word: str) -> str:
    """The name of a training script in a word, without the folder before it; empty where it is none."""
    found = None if word.startswith("-") else _SCRIPT.fullmatch(word)
    return found[1] if found else ""


def _commands(line: str, windows: bool, known: Variables) -> Iterator[tuple[list[str], bool]]:
    """(the words of a command, whether another decides if it runs) of a line; operators of the shell keep commands
    apart, and what goes into a file is left away. What one sets is known to the next."""
    own: list[str] = []
    conditional = False
    for word, quoted in _words(line, windows, known):
        ends, last = not quoted and _ENDS.fullmatch(word), not quoted and _LAST.search(word)
        if not ends:
            own.append(word[:-1] if last else word)
        if ends or last:
            if own:
                yield own, conditional
            own, conditional = [], word in ("&&", "||")
    if own:
        yield own, conditional


def _words(line: str, windows: bool, known: Variables) -> Iterator[tuple[str, bool]]:
    """(word, whether some of it was in quotes) of a line."""
    word: list[str] = []
    quoted, begun, quote = False, False, ""
    place = 0
    while place < len(line):
        sign, after = line[place], line[place + 1 : place + 2]
        place += 1
        if sign in "$`" and quote != "'" and known.shell != "batch":
            whole = bool(quote) or known.shell == "powershell" or _SETS.match("".join(word[:60])) is not None
            more, place = _expanded(line, place - 1, whole, known)
            for piece in more[:-1]:
                yield "".join([*word, piece]), quoted
                word = []
            word += more[-1:]
            begun = begun or bool(more)
        elif sign == "\\" and after.isspace() and not (windows or quote or begun):
            continue  # a line went on here before it was pasted
        elif sign == "\\" and after and quote != "'" and _escapes(after, quote, windows):
            word.append(after)
            begun, place = True, place + 1
        elif sign == "^" and windows and not quote:
            continue
        elif quote and sign == quote:
            quote = ""
        elif sign == "#" and not (quote or begun) and known.shell != "batch":
            break
        elif not quote and (sign == '"' or (sign == "'" and not (windows and line.find("'", place) < 0))):
            quote, quoted, begun = sign, True, True
        elif not quote and sign.isspace():
            if begun:
                yield "".join(word), quoted
            word, quoted, begun = [], False, False
        else:
            word.append(sign)
            begun = True
    if quote:
        raise Problem("quote_open", quote=quote, text=line.strip()[:60])
    if begun:
        yield "".join(word), quoted


def _expanded(line: str, place: int, whole: bool, known: Variables) -> tuple[list[str], int]:
    """What stands for a variable or a command at this place of a line, as the pieces of words that it falls into
    (one where it stays `whole`), and the place behind it. What can't be told stays as it is."""
    sign, after = line[place], line[place + 1 : place + 2]
    if sign == "`" and (known.shell == "powershell" or not after.strip()):
        return ([after] if after.strip() else []), place + 1 + len(after.strip())
    many = _LIST.match(line, place)
    items = known.array(many[1]) if many else None
    if many and items is not None:
        return items, many.end()
    one = _REFERENCE.match(line, place)
    value = known.value(one[1] or one[2]) if one else None
    if one and value is not None:
        return [value] if whole else value.split(), one.end()
    left = _LEFT_OPEN.match(line, place)
    return ([left[0]], left.end()) if left else ([sign], place + 1)


def _escapes(after: str, quote: str, windows: bool) -> bool:
    """Whether a backslash before this sign is an escape."""
    if windows:
        return False
    return after in '"\\$`' if quote else True
