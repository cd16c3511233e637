"""Settings for the others: kohya_ss' JSON, or a configuration for sd-scripts, and what neither can say.

What can't be said is found by bringing the result back and comparing what both mean.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomli_w

from tehon.settings.kohya.back import options_of, value_of
from tehon.settings.kohya.carry import Import, Tree, carry
from tehon.settings.kohya.config import read_config
from tehon.settings.kohya.dataset import dataset_toml
from tehon.settings.kohya.effect import REQUIRED
from tehon.settings.kohya.gui import read_gui
from tehon.settings.kohya.gui_keys import CONTROLS, OPTION_OF, TYPES, ZERO_BECOMES
from tehon.settings.kohya.meaning import meaning, values_of
from tehon.settings.kohya.network_rows import LYCORIS, module_of
from tehon.settings.kohya.rows import ARGUMENT, UNSAID, Row
from tehon.settings.kohya.table import ROWS
from tehon.settings.kohya.values import NUMBER, NUMBERS, SWITCH, TEXTS, WHOLE
from tehon.settings.settings import Settings

_EMPTY: dict[str, Any] = {SWITCH: False, WHOLE: 0, NUMBER: 0}
"""What a control of kohya_ss' window holds when nothing is said in it, by its kind; texts are empty."""

_EMPTY_ARGUMENT = {"factor": -1, "unit": 1, "block_size": 1}
"""The same for the controls of network arguments that start elsewhere."""

_ELSEWHERE = (
    *("resolution", "optimizer_type", "network_module", "unet_lr", "text_encoder_lr", "lr_warmup_steps"),
    *("network_train_unet_only", "network_train_text_encoder_only", "epoch"),
)
"""Options the window says by controls of other names or meanings, which `gui_json` sets one by one."""

_DEFAULTS = values_of(Settings.model_validate({"model": {"path": "demo"}, "output": {"folder": "demo"}}))

_BREAKS = re.compile(r"[\s\"'\\]")
"""What kohya_ss' own splitting of additional parameters does not survive."""


@dataclass
class Export:
    """The texts to write by their names, the main one first; `lost` is {setting: (its value, what stands there)}."""

    files: dict[str, str]
    lost: dict[str, tuple[Any, Any]] = field(default_factory=dict[str, tuple[Any, Any]])


def export(settings: Settings, name: str) -> Export:
    """Files for kohya_ss when the name ends in .json, else for sd-scripts."""
    own = values_of(settings)
    files: dict[str, str] = {}
    stem = name.rpartition(".")[0] or name
    unsaid: dict[str, tuple[Any, Any]] = {}
    if own["data.sets"]:
        config = f"{stem}-dataset.toml"
        files[config], unsaid = dataset_toml(settings)
        own["data.dataset_config"] = config
    if name.lower().endswith(".json"):
        text = json.dumps(gui_json(own), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
        back = _back_from_gui(text)
    else:
        if own["samples.prompts"].strip():
            prompts = f"{stem}-prompts.txt"
            files[prompts] = own["samples.prompts"].rstrip() + "\n"
            own["samples.prompts_file"] = prompts
        tree = script_options(own)
        text = tomli_w.dumps(tree)
        found = read_config(tree)
        back = carry(found.given, found.lines, whole=True)
    lost = unsaid | _lost(settings.model_dump(), back.tree, set(files))
    return Export({name: text, **files}, lost)


def script_options(own: Mapping[str, Any]) -> dict[str, Any]:
    """A tree for --config_file. What is as sd-scripts has it without being told is left out."""
    found: dict[str, Any] = {}
    arguments: list[str] = []
    for option, value in options_of(own).items():
        row = ROWS[option]
        if option.startswith(ARGUMENT):
            arguments.append(f"{option.removeprefix(ARGUMENT)}={_word(value)}")
        elif value is not False and (row.always or row.default is not UNSAID or value != _default(row)):
            found[option] = value
    if arguments:
        found["network_args"] = arguments
    return found


def _default(row: Row) -> Any:
    return value_of(row, _DEFAULTS) if row.target and row.target not in REQUIRED else UNSAID


def gui_json(own: Mapping[str, Any]) -> dict[str, Any]:
    """Every control of today's window that belongs to Stable Diffusion, and the rest as additional parameters."""
    options = options_of(own)
    kind = _type(own)
    found: dict[str, Any] = {"LoRA_type": kind, "save_model_as": "safetensors", "noise_offset_type": "Original"}
    for key in CONTROLS:
        value = options.get(key)
        found[key] = _EMPTY.get(ROWS[key].kind, "") if value is None else value
        if isinstance(found[key], list):
            found[key] = " ".join(map(str, found[key]))
    found["max_resolution"] = options.get("resolution", "")
    found["optimizer"] = options.get("optimizer_type", "")
    found["epoch"] = own["training.epochs"]
    found["max_train_epochs"] = options.get("max_train_epochs", 0) if own["training.max_train_epochs"] else 0
    found["sample_prompts"] = own["samples.prompts"]
    found["num_cpu_threads_per_process"] = own["training.num_cpu_threads_per_process"]
    found["num_processes"] = own["training.num_processes"] or 1
    found["multi_gpu"] = found["num_processes"] > 1
    found["no_token_padding"] = own["text.no_token_padding"]
    found["stop_text_encoder_training"] = own["optimizer.stop_text_encoder_training"]
    found["text_encoder_lr"] = own["optimizer.text_encoder_lr"]
    found["unet_lr"] = _unet_rate(own)
    taken = (*CONTROLS, *_ELSEWHERE)
    extra = {name: value for name, value in options.items() if name not in taken and ROWS[name].is_script}
    _warmup(own, options, found, extra)
    _noise(options, found, extra)
    for key, option in OPTION_OF.items():
        if option.startswith(ARGUMENT):
            value = options.get(option) if key in TYPES[kind][2] else None
            found[key] = _EMPTY_ARGUMENT.get(key, _EMPTY.get(ROWS[option].kind, "")) if value is None else value
    sendable = {OPTION_OF[key] for key in TYPES[kind][2]} | {f"{ARGUMENT}algo"}
    arguments = {name: value for name, value in options.items() if name.startswith(ARGUMENT)}
    if set(arguments) - sendable:
        extra["network_args"] = [f"{name.removeprefix(ARGUMENT)}={_word(value)}" for name, value in arguments.items()]
    for key in (*ZERO_BECOMES, "seed"):
        if options.get(key) == 0:
            extra[key] = 0
    if options.get("min_snr_gamma", 0) % 1:
        extra["min_snr_gamma"] = options["min_snr_gamma"]
    found["additional_parameters"] = _words(extra)
    return found


def _type(own: Mapping[str, Any]) -> str:
    """kohya_ss' name for the network."""
    kind = own["network.kind"]
    if module_of(own) == LYCORIS:
        return {"loha": "LyCORIS/LoHa", "lokr": "LyCORIS/LoKr", "ia3": "LyCORIS/iA3"}.get(kind, "LyCORIS/LoCon")
    names = {"locon": "Kohya LoCon", "dylora": "Kohya DyLoRA", "lora_fa": "LoRA-FA"}
    return names.get(kind, "Kohya LoCon" if own["network.conv_rank"] else "Standard")


def _unet_rate(own: Mapping[str, Any]) -> float:
    rate = own["optimizer.unet_lr"]
    return own["optimizer.learning_rate"] if rate is None else rate


def _warmup(own: Mapping[str, Any], options: Mapping[str, Any], found: dict[str, Any], extra: dict[str, Any]) -> None:
    """Percents as the window takes them, whole; others as a share."""
    warms = options["lr_warmup_steps"] != 0
    percent = own["optimizer.lr_warmup"] if warms and not own["optimizer.lr_warmup_steps"] else 0
    found["lr_warmup_steps"] = own["optimizer.lr_warmup_steps"] if warms else 0
    found["lr_warmup"] = int(percent)
    if percent % 1:
        found["lr_warmup"] = 0
        extra["lr_warmup_steps"] = options["lr_warmup_steps"]


def _noise(options: Mapping[str, Any], found: dict[str, Any], extra: dict[str, Any]) -> None:
    """The window sends one kind of noise; with both, the second goes by the other way."""
    offset, multires = options.get("noise_offset"), options.get("multires_noise_iterations")
    if multires and not offset:
        found["noise_offset_type"] = "Multires"
    elif multires:
        extra |= {name: options[name] for name in ("multires_noise_iterations", "multires_noise_discount")}


def _word(value: Any) -> str:
    return f"{value!r}" if isinstance(value, float) else str(value)


def _words(extra: Mapping[str, Any]) -> str:
    """Options as kohya_ss splits them: at blanks, without quotes. Values with blanks can't be given."""
    found: list[str] = []
    for option, value in extra.items():
        row = ROWS.get(option)
        idle = value is False or (row and row.default is UNSAID and row.kind != SWITCH and value == _default(row))
        values = [str(one) for one in (value if isinstance(value, list) else [value])]
        if (idle and option not in (*ZERO_BECOMES, "seed")) or any(_BREAKS.search(one) or not one for one in values):
            continue
        if value is True:
            found.append(f"--{option}")
        elif option == "network_args" or (row and row.kind in (TEXTS, NUMBERS)):
            found.append(" ".join([f"--{option}", *map(_word, values)]))
        else:
            found.append(f"--{option}={_word(value)}")
    return " ".join(found)


def _back_from_gui(text: str) -> Import:
    found = read_gui(json.loads(text))
    return carry(found.given, found.lines, whole=False, sdxl=found.sdxl)


def _lost(wanted: Tree, there: Tree, files: set[str]) -> dict[str, tuple[Any, Any]]:
    """{setting: (its value, what comes back)} of those that don't mean the same; the files beside are the same."""
    here, back = meaning(wanted), meaning(there)
    if back["data.dataset_config"] in files:
        back["data.dataset_config"], back["data.sets"] = here["data.dataset_config"], here["data.sets"]
    if back["samples.prompts_file"] in files:
        back["samples.prompts_file"], back["samples.prompts"] = here["samples.prompts_file"], here["samples.prompts"]
    for name in ("model.path", "data.folder", "output.folder"):
        section, _, key = name.partition(".")
        here[name], back[name] = wanted.get(section, {}).get(key), there.get(section, {}).get(key, "")
        if name == "data.folder" and here["data.sets"]:
            back[name] = here[name]
    return {name: (here[name], back[name]) for name in here if here[name] != back[name]}
