"""A parser of command lines that says what is wrong as every other part of tehon does: one sentence, in the language of
whoever reads it, with the option and the remedy.

>>> Parser(prog="tehon").parse(["--rnak", "4"])
Traceback (most recent call last):
tehon.messages.problem.Problem: --rnak: there is no such option; `tehon --help` lists those there are.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any, NoReturn

from tehon.messages.catalogue import say
from tehon.messages.problem import Problem


def finite(text: str) -> float:
    """A number as options take it that can't be NaN or infinite."""
    value = float(text)
    if not isfinite(value):
        raise ValueError
    return value


_NEGATIVE = re.compile(r"-(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$")
_VALUES: dict[Any, str] = {int: "kind.int", float: "kind.float", finite: "kind.float"}
_NEAR = 0.6


class _Help(argparse.HelpFormatter):
    """Help in the reader's language, with the default of each option."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, say("cli.usage") if prefix is None else prefix)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        own: Any = action.default
        if not action.help or action.nargs == 0 or own in (None, argparse.SUPPRESS, "", []):
            return action.help
        value = " ".join(map(str, own)) if isinstance(own, list) else str(own)
        return action.help + say("cli.default", value=value).replace("%", "%%")


class Parser(argparse.ArgumentParser):
    """argparse's parser with Problems for errors; subcommands are made of the same class. `stray` may know
    what was meant by an option that there is not; it is also told the nearest one that there is."""

    stray: Callable[[str, str], Problem | None] = staticmethod(lambda option, near: None)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more, formatter_class=_Help, add_help=False)
        self._positionals.title, self._optionals.title = say("cli.words"), say("cli.options")
        self.add_argument("-h", "--help", action="help", help=say("cli.help"))
        self._negative_number_matcher = _NEGATIVE  # older versions of Python take -1e-4 for an option

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The arguments; a Problem for whatever does not fit them."""
        options, rest = self.parse_known_args(list(words))
        if rest:
            raise Problem("word_left_over", word=rest[0], program=_leaf(self, options).prog)
        return options

    def parse_known_args(  # pyright: ignore[reportIncompatibleMethodOverride]  argparse's has overloads
        self, args: Any = None, namespace: Any = None
    ) -> Any:
        """As argparse's, but an option that there is not is named before anything that is missing beside it."""
        self._check_options(args)
        return super().parse_known_args(args, namespace)

    def _check_options(self, words: Iterable[str]) -> None:
        known = list(self._option_string_actions)
        for word in words:
            name = word.partition("=")[0]
            if word == "--" or (self._subparsers and not word.startswith("-")):
                return  # what follows are no options, or those of the subcommand
            if not word.startswith("-") or word == "-" or " " in word or _NEGATIVE.match(word):
                continue
            if name in known or (not word.startswith("--") and word[:2] in known):
                continue
            if word.startswith("--") and any(option.startswith(name) for option in known):
                continue  # argparse takes beginnings
            raise self._unknown(name, known)

    def _unknown(self, option: str, known: list[str]) -> Problem:
        near = "".join(get_close_matches(option, known, 1, _NEAR))
        better = self.stray(option, near)
        if better is None and near:
            return Problem("unknown_option_near", option=option, near=near)
        return better or Problem("unknown_option", option=option, program=self.prog)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """A Problem for what is none of the choices, or no command."""
        if action.choices is None or value in action.choices:
            return
        choices = list(map(str, action.choices))
        if not isinstance(action, argparse._SubParsersAction):  # pyright: ignore[reportPrivateUsage]
            expected = say("kind.one_of", values=", ".join(choices))
            raise Problem("wrong_value", field=_name(action), value=repr(value), expected=expected)
        near = get_close_matches(str(value).lower(), choices, 1, _NEAR)
        if near:
            raise Problem("unknown_command_near", command=value, near=f"{self.prog} {near[0]}")
        raise Problem("unknown_command", command=value, program=self.prog)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """A value as its option takes it; a Problem when it is none."""
        kind = _VALUES.get(action.type)
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            assert kind is not None
            raise Problem("wrong_value", field=_name(action), value=repr(arg_string), expected=say(kind)) from None

    def error(self, message: str) -> NoReturn:
        """What argparse finds besides, by its sentences."""
        for pattern, problem in _SAID:
            found = re.fullmatch(pattern, message, re.DOTALL)
            if found is not None:
                raise problem(self, **found.groupdict())
        raise Problem("words_unfit", program=self.prog, reason=message)


def _name(action: argparse.Action) -> str:
    """An option's long form; of a word without one, what help calls it."""
    if action.option_strings:
        return max(action.option_strings, key=len)
    return str(action.metavar or action.dest)


def _long(names: str) -> str:
    """The long form of argparse's own `-o/--out`."""
    return max(names.split("/"), key=len) if names.startswith("-") else names


def _missing(parser: Parser, names: str) -> Problem:
    if names in ("COMMAND", "VERB"):
        return Problem("command_missing", program=parser.prog)
    named = ", ".join(map(_long, names.split(", ")))
    return Problem("words_missing", names=named, program=parser.prog)


def _valueless(parser: Parser, option: str) -> Problem:
    return Problem("option_value_missing", option=_long(option), program=parser.prog)


def _with_value(parser: Parser, option: str, value: str) -> Problem:
    return Problem("option_takes_none", option=_long(option), value=value)


def _excluded(parser: Parser, option: str, other: str) -> Problem:
    return Problem("options_exclude", option=_long(option), other=_long(other))


def _ambiguous(parser: Parser, option: str, others: str) -> Problem:
    return Problem("option_ambiguous", option=option, others=others)


_SAID = (
    (r"the following arguments are required: (?P<names>.*)", _missing),
    (r"argument (?P<option>\S+): expected .*", _valueless),
    (r"argument (?P<option>\S+): ignored explicit argument (?P<value>.*)", _with_value),
    (r"argument (?P<option>\S+): not allowed with argument (?P<other>.*)", _excluded),
    (r"ambiguous option: (?P<option>\S+) could match (?P<others>.*)", _ambiguous),
)


def _leaf(parser: argparse.ArgumentParser, options: argparse.Namespace) -> argparse.ArgumentParser:
    """The parser of the command that was given."""
    for action in parser._actions:  # pyright: ignore[reportPrivateUsage]
        if isinstance(action, argparse._SubParsersAction):  # pyright: ignore[reportPrivateUsage]
            chosen = getattr(options, action.dest, None)
            if chosen in action.choices:
                return _leaf(action.choices[chosen], options)
    return parser
