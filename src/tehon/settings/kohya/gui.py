"""kohya_ss' JSON as options of sd-scripts: what the GUI itself makes of its keys, old and new, when it starts a run.

>>> list(read_gui({"LoRA_type": "Standard", "max_resolution": "512,512"}).given)
['network_module', 'resolution']
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tehon.messages.problem import Problem
from tehon.settings.kohya.command import split_command
from tehon.settings.kohya.gui_keys import (
    ARGUMENT_KEYS,
    OLD_NAMES,
    OPTION_OF,
    OTHER_TYPES,
    TYPES,
    UNREADABLE_AS,
    ZERO_BECOMES,
    ZERO_IS_UNSET,
)
from tehon.settings.kohya.lines import Line, Remark, carried, dropped, refused
from tehon.settings.kohya.rows import ARGUMENT, GUI, Given
from tehon.settings.kohya.table import ROWS
from tehon.settings.kohya.values import UnreadableError, read_value
from tehon.settings.kohya.words import HIDDEN, SECRETS, Read, read_words

_DEFAULT_TYPE = "Standard"
_OFFSETS = ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale")
_MULTIRES = ("multires_noise_iterations", "multires_noise_discount")
_RATES = ("text_encoder_lr", "unet_lr")
_ATTENTION = ("xformers", "sdpa")
_OFF = ("", 0, False, None, "none", "None", "False", "0", 0.0)


def option_of(key: str) -> str | None:
    """The option that a key stands for; None for a key that is not known."""
    for option in (OPTION_OF.get(key), key, f"{GUI}{key}"):
        if option in ROWS:
            return option
    return None


def read_gui(data: Mapping[str, Any]) -> Read:
    """Options from the JSON's keys, in its order; the additional parameters come last and win."""
    found = Read(sdxl=_is_on(data["sdxl"]) if "sdxl" in data else None)
    kind = _network(data, found)
    noise = str(data.get("noise_offset_type") or "Original")
    for key, value in data.items():
        name = OLD_NAMES.get(key, key)
        if name in ("LoRA_type", "noise_offset_type", "additional_parameters", *_RATES):
            continue
        if name == "lr_scheduler_num_cycles" and value == "" and data.get("lr_scheduler") == "cosine_with_restarts":
            remark = Remark("cycles_empty", {"epochs": data.get("epoch", 1)})
            _put(found, name, Given(None, key, value, (), (remark,)))
        elif name == "xformers":
            _attention(key, value, found)
        elif name in ARGUMENT_KEYS and name not in TYPES[kind][2]:
            _unsent(key, value, Remark("not_sent", {"type": kind}), found)
        elif (name in _OFFSETS and noise == "Multires") or (name in _MULTIRES and noise != "Multires"):
            _unsent(key, value, Remark("other_noise", {"type": noise}), found)
        else:
            _key(key, name, value, found)
    _rates(data, found)
    _optimizer(data, found)
    if "noise_offset_type" in data:
        found.lines.append(Line("noise_offset_type", data["noise_offset_type"], carried({})))
    _more(data, found)
    return found


def _key(key: str, name: str, value: Any, found: Read) -> None:
    option = option_of(name)
    if option is None:
        found.lines.append(Line(key, value, dropped(Remark("unknown_gui_key"))))
        return
    if name in SECRETS and value:
        value = HIDDEN
    reasons: tuple[Remark, ...] = ()
    differences: tuple[Remark, ...] = ()
    taken = value
    try:
        number = read_value(ROWS[option].kind, value)
    except UnreadableError:
        number = None
        if name in UNREADABLE_AS:
            taken = number = UNREADABLE_AS[name]
            reasons = (Remark("read_as", {"value": taken}),)
    if number == 0 and not isinstance(number, bool):
        if name in ZERO_IS_UNSET and not (name == "seed" and isinstance(value, str) and taken is value):
            taken = None
        if name in ZERO_BECOMES:
            differences = (Remark("zero_is_zero", {"value": ZERO_BECOMES[name]}),)
    if key in ("conv_dims", "conv_alphas") and taken not in _OFF:
        differences = (Remark("old_name"),)
    _put(found, option, Given(taken, key, value, reasons, differences))


def _put(found: Read, option: str, given: Given) -> None:
    """Takes an option; of two keys for one option the later wins, and the report has both."""
    before = found.given.pop(option, None)
    if before is not None:
        found.lines.append(Line(before.key, before.raw, dropped(Remark("other_key", {"name": given.key}))))
    found.given[option] = given


def _network(data: Mapping[str, Any], found: Read) -> str:
    """Takes the type of LoRA over and gives its name in the table."""
    given = data.get("LoRA_type")
    kind = str(given or _DEFAULT_TYPE)
    kind = "LyCORIS/LoCon" if kind == "LoCon" else kind
    if kind in OTHER_TYPES:
        found.lines.append(Line("LoRA_type", given, refused(Remark("no_such_family"))))
        return _DEFAULT_TYPE
    if kind not in TYPES:
        found.lines.append(
            Line("LoRA_type", given, refused(Remark("not_a_choice", {"value": kind, "choices": ", ".join(TYPES)})))
        )
        return _DEFAULT_TYPE
    module, algorithm, _ = TYPES[kind]
    if "LoRA_type" in data:
        found.given["network_module"] = Given(module, "LoRA_type", given)
        if algorithm:
            found.given[f"{ARGUMENT}algo"] = Given(algorithm, "LoRA_type", given)
    return kind


def _unsent(key: str, value: Any, reason: Remark, found: Read) -> None:
    idle = value in _OFF or value == 1 or value == -1 or (isinstance(value, str) and not value.strip())
    plain = key in ("LyCORIS_preset", "unit", "factor", *_MULTIRES)
    found.lines.append(Line(key, value, carried({}) if idle or plain else dropped(reason)))


def _attention(key: str, value: Any, found: Read) -> None:
    """A switch in old files, a choice in new ones."""
    name = "xformers" if value is True or str(value).lower() == "true" else str(value)
    option = name if name in _ATTENTION else "xformers"
    _put(found, option, Given(name in _ATTENTION, key, value))


def _rates(data: Mapping[str, Any], found: Read) -> None:
    """A rate of 0 leaves its part out; two of them leave both to the learning rate."""
    rates: dict[str, float | None] = {}
    for key in _RATES:
        try:
            rates[key] = _first(read_value(ROWS[key].kind, data.get(key)))
        except UnreadableError:
            rates[key] = 0.0
    both = all(key in data and not rates[key] for key in _RATES)
    for key, only in (("text_encoder_lr", "network_train_unet_only"), ("unet_lr", "network_train_text_encoder_only")):
        if key not in data:
            continue
        if rates[key]:
            _put(found, key, Given(data[key], key, data[key]))
        elif not both:
            _put(found, only, Given(True, key, data[key]))
    if both:
        rate = data.get("learning_rate")
        for key in _RATES:
            _put(found, key, Given(rate, key, data[key], (Remark("both_zero"),)))


def _first(value: Any) -> float | None:
    return (value[0] if value else None) if isinstance(value, list) else value


def _optimizer(data: Mapping[str, Any], found: Read) -> None:
    """What kohya_ss takes for files from before there was a choice."""
    if "optimizer" not in data and "LoRA_type" in data:
        eight = _is_on(data.get("use_8bit_adam"))
        name = "AdamW8bit" if eight else "AdamW"
        _put(found, "optimizer_type", Given(name, "optimizer", None, (Remark("optimizer_missing", {"name": name}),)))


def _more(data: Mapping[str, Any], found: Read) -> None:
    """The additional parameters, which are words of a command line."""
    if "additional_parameters" not in data:
        return
    text = data["additional_parameters"] or ""
    try:
        words = read_words(split_command(str(text)), script=True)
    except Problem as problem:
        found.lines.append(Line("additional_parameters", text, refused(problem)))
        return
    found.lines.append(Line("additional_parameters", text, carried({})))
    for line in words.lines:
        found.lines.append(Line(f"additional_parameters {line.key}", line.value, line.outcome))
    for option, one in words.given.items():
        before = found.given.pop(option, None)
        if before is not None:
            found.lines.append(Line(before.key, before.raw, carried({}, Remark("words_win"))))
        found.given[option] = replace(one, key=f"additional_parameters {one.key}")


def _is_on(value: Any) -> bool:
    return value is True or str(value).lower() == "true"
