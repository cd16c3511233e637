"""The words of a command line as options: what argparse makes of them in train_network.py, without its silence.

>>> list(read_words(["--network_args", "conv_dim=4", "conv_alpha=1", "--seed=7"]).given)
['network_args.conv_dim', 'network_args.conv_alpha', 'seed']
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tehon.messages.problem import Problem
from tehon.settings.kohya.command import TRAINERS, script_at, script_in
from tehon.settings.kohya.gui_keys import OLD_NAMES
from tehon.settings.kohya.lines import Line, Remark, dropped, refused
from tehon.settings.kohya.output_rows import ABOUT
from tehon.settings.kohya.rows import ARGUMENT, LAUNCHER, Given
from tehon.settings.kohya.table import ROWS, SCRIPT_OPTIONS
from tehon.settings.kohya.values import SWITCH, TAKES_MANY
from tehon.settings.kohya.variables import unexpanded

SECRETS = ("wandb_api_key", "huggingface_token")
HIDDEN = "…"
_FREE = (
    *("training_comment", "caption_prefix", "caption_suffix"),
    *(f"metadata_{name}" for name in ABOUT),
    *("caption_separator", "secondary_separator", "keep_tokens_separator"),
)
_ON = ("true", "1", "false", "0")


@dataclass
class Read:
    """Options that were found, the lines of what is none, and what the command says beside them."""

    given: dict[str, Given] = field(default_factory=dict[str, Given])
    lines: list[Line] = field(default_factory=list[Line])
    config_file: str = ""
    sdxl: bool | None = None
    """Whether it is for SDXL; None where nothing says so."""

    script: bool = False
    """Whether it was read without a shell, so that no `$` in it is one that somebody means."""


def read_words(words: list[str], script: bool = False) -> Read:
    """Options from a whole command, or from the arguments alone; a Problem when it starts another program. `script`:
    they were read from one, and not handed over by a shell."""
    found = Read(script=script)
    place = script_at(words)
    own = words
    if place is not None:
        name = script_in(words[place])
        if name not in TRAINERS:
            raise Problem("other_trainer", script=name, known=", ".join(TRAINERS))
        found.sdxl = name.startswith("sdxl_")
        _launcher(words[:place], found)
        own = words[place + 1 :]
    _options(own, found, _script_option)
    return found


Find = Callable[[str], str | None]


def _script_option(name: str) -> str | None:
    """An option by its name or, as argparse takes it, by a beginning that no other has."""
    if name in SCRIPT_OPTIONS:
        return name
    longer = [option for option in SCRIPT_OPTIONS if option.startswith(name)]
    return longer[0] if len(longer) == 1 and len(name) > 1 else None


def _launch_option(name: str) -> str | None:
    option = f"{LAUNCHER}{name.replace('-', '_')}"
    return option if option in ROWS else None


def _launcher(words: list[str], found: Read) -> None:
    """What stands before the script: settings of the shell, the programs, and accelerate's options."""
    start = next((n for n, word in enumerate(words) if word.startswith("--")), len(words))
    for word in words[:start]:
        if "=" in word:
            found.lines.append(Line(word.partition("=")[0], word.partition("=")[2], dropped(Remark("environment"))))
        elif unexpanded(word) == word:
            found.lines.append(Line(word, None, dropped(Remark("unexpanded", {"what": word}))))
    _options(words[start:], found, _launch_option)


def _options(words: list[str], found: Read, find: Find) -> None:
    place = 0
    while place < len(words):
        word = words[place]
        place += 1
        if not word.startswith("--") or word == "--":
            if find is not _launch_option:
                left = unexpanded(word)
                remark = Remark("unexpanded", {"what": left}) if left else Remark("stray_word")
                found.lines.append(Line(word, None, refused(remark)))
            continue
        name, equals, text = word[2:].partition("=")
        option = find(name)
        values = [text] if equals else []
        many = option == "network_args" or (option in ROWS and ROWS[option].kind in TAKES_MANY)
        switch = option in ROWS and ROWS[option].kind == SWITCH
        if not equals:
            most = len(words) if many else 0 if switch else 1
            while place < len(words) and len(values) < most and not words[place].startswith("--"):
                values.append(words[place])
                place += 1
            if switch and place < len(words) and words[place].lower() in _ON:  # argparse would call it a stray word
                values.append(words[place])
                place += 1
        _take(found, option, f"--{name}", values, switch or option is None, many)


def _take(found: Read, option: str | None, key: str, values: list[str], bare: bool, many: bool) -> None:
    left = _left(found, option or "", values)
    if option is None:
        near = get_close_matches(key[2:], SCRIPT_OPTIONS, 1, 0.7)
        remark = Remark("unknown_near", {"near": f"--{near[0]}"}) if near else Remark("unknown_option")
        found.lines.append(Line(key, " ".join(values) or None, refused(remark)))
    elif not values and not bare:
        found.lines.append(Line(key, None, refused(Remark("value_missing"))))
    elif option == "network_args":
        add_arguments(found, values, key)
    elif left:
        found.lines.append(Line(key, " ".join(values), refused(_unexpanded(left, option))))
    elif option == "config_file":
        found.config_file = values[0]
    else:
        value: Any = values if many else values[0] if values else True
        add(found, option, key, value)


def _left(found: Read, option: str, values: Iterable[str]) -> str:
    """What in these values a shell was to fill in and did not. A name of that very spelling may be meant, and texts for
    people may hold any sign, unless no shell has seen them."""
    for value in values:
        left = "" if option in SECRETS else unexpanded(value)
        if left and (found.script or not (option in _FREE or option.startswith("metadata_") or _is_there(value))):
            return left
    return ""


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _unexpanded(left: str, option: str) -> Remark:
    targets = ROWS[option].targets if option in ROWS else ()
    if targets:
        return Remark("unexpanded_setting", {"what": left, "field": targets[0]})
    return Remark("unexpanded", {"what": left})


def add(found: Read, option: str, key: str, value: Any, *differences: Remark) -> None:
    """Takes an option; of one that is given twice the last wins, as with argparse. Secrets are never repeated."""
    shown = HIDDEN if option in SECRETS and value else value
    before = found.given.pop(option, None)
    reasons = (Remark("given_twice", {"value": before.raw}),) if before else ()
    found.given[option] = Given(shown, key, shown, reasons, differences)


def add_arguments(found: Read, words: Iterable[Any], key: str = "network_args") -> None:
    """Takes the `name=value` of --network_args, each as an option of its own."""
    for word in map(str, words):
        name, equals, value = word.partition("=")
        option = f"{ARGUMENT}{OLD_NAMES.get(name, name)}"
        if not equals and (left := unexpanded(word)):
            found.lines.append(Line(f"{key} {word}", None, refused(Remark("unexpanded", {"what": left}))))
        elif not equals:
            found.lines.append(Line(f"{key} {word}", None, refused(Remark("pair_missing"))))
        elif option not in ROWS:
            names = [other.removeprefix(ARGUMENT) for other in ROWS if other.startswith(ARGUMENT)]
            near = get_close_matches(name, names, 1, 0.7)
            remark = Remark("unknown_near", {"near": near[0]}) if near else Remark("unknown_argument")
            found.lines.append(Line(f"{key} {name}", value or None, refused(remark)))
        elif left := _left(found, option, [value]):
            found.lines.append(Line(f"{key} {name}", value, refused(_unexpanded(left, option))))
        else:
            add(found, option, f"{key} {name}", value, *([Remark("old_name")] if name in OLD_NAMES else []))
