"""Settings back out of a LoRA: the `ss_*` metadata that sd-scripts, LyCORIS and tehon write, as options.

>>> list(read_metadata({"ss_network_dim": "16", "ss_seed": "7"}).given)
['network_dim', 'seed']
"""

import json
import re
from collections.abc import Collection, Mapping

from tehon.catalog.optimizers import OPTIMIZERS
from tehon.settings.kohya.lines import Line, Outcome, Remark, dropped
from tehon.settings.kohya.output_rows import ABOUT
from tehon.settings.kohya.rows import GUI, Given
from tehon.settings.kohya.table import ROWS
from tehon.settings.kohya.words import Read, add_arguments

_OPTION_OF = {
    "batch_size_per_device": "train_batch_size",
    "debiased_estimation": "debiased_estimation_loss",
    "num_epochs": f"{GUI}epoch",
}
_NONE = ("None", "", "null")
_OPTIMIZER = re.compile(r"([\w.]+)(?:\((.*)\))?", re.DOTALL)
_ARGUMENT = re.compile(r"(\w+)=((?:\([^)]*\)|\[[^\]]*\]|[^,(\[])+)")
_SPEC = "modelspec."
_UNTITLED = "LoRA@"  # and the time, as sd-scripts calls a file without a name


def read_metadata(metadata: Mapping[str, str], name: str = "") -> Read:
    """Options by what the file called `name` says of its training; what says nothing about settings is a line that
    says so."""
    names = (name, metadata.get("ss_output_name"), "")
    found = Read(sdxl="xl" in metadata.get("ss_base_model_version", ""))
    for key, value in metadata.items():
        text = str(value)
        word = key.removeprefix("ss_")
        if key.startswith(_SPEC):
            _spec(key, text, names, found)
        elif key == "sshs_legacy_hash" or (key == "sshs_model_hash" and text.startswith("0x")):
            remark = Remark("hash_by_tensor" if text.startswith("0x") else "legacy_hash_of_no_file")
            found.lines.append(Line(key, text, Outcome("dropped", {}, (Remark("recorded"),), (remark,))))
        elif not key.startswith("ss_"):
            found.lines.append(Line(key, text, dropped(Remark("recorded"))))
        elif word in _SPECIAL:
            _SPECIAL[word](key, text, metadata, found)
        elif (option := _OPTION_OF.get(word, word)) in ROWS:
            found.given[option] = Given(None if text in _NONE else text, key, text)
        else:
            found.lines.append(Line(key, _short(text), dropped(Remark("recorded"))))
    return found


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _spec(key: str, text: str, names: Collection[str | None], found: Read) -> None:
    """`names` are those that a file has for a title where nobody chose one."""
    name = key.removeprefix(_SPEC)
    own = text not in names and not text.startswith(_UNTITLED)
    if name in ABOUT and (name != "title" or own):
        found.given[f"metadata_{name}"] = Given(text, key, text)
    elif key == f"{_SPEC}prediction_type" and text == "v":
        found.given["v_parameterization"] = Given(True, key, text)
    elif key == f"{_SPEC}timestep_range" and text.count(",") == 1:
        for option, value in zip(("min_timestep", "max_timestep"), text.split(","), strict=True):
            found.given[option] = Given(value, key, text)
    else:
        found.lines.append(Line(key, _short(text), dropped(Remark("recorded"))))


def _model(key: str, text: str, metadata: Mapping[str, str], found: Read) -> None:
    """The name of a file without its folder, a name on the hub, or the demo."""
    if text == "demo" or ("/" in text and not text.endswith((".safetensors", ".ckpt"))):
        found.given["pretrained_model_name_or_path"] = Given(text, key, text)
    else:
        found.lines.append(Line(key, text, dropped(Remark("model_name", {"name": text}))))


def _steps(key: str, text: str, metadata: Mapping[str, str], found: Read) -> None:
    """The number of steps, where it says more than the number of epochs."""
    try:
        batches, epochs = int(metadata["ss_num_batches_per_epoch"]), int(metadata["ss_num_epochs"])
        group = int(metadata.get("ss_gradient_accumulation_steps", "1"))
        whole = -(-batches // group) * epochs
    except (KeyError, ValueError, ZeroDivisionError):
        whole = 0
    found.given["max_train_steps"] = Given(0 if text == str(whole) else text, key, text)


def _optimizer(key: str, text: str, metadata: Mapping[str, str], found: Read) -> None:
    match = _OPTIMIZER.fullmatch(text)
    if match is None:
        found.lines.append(Line(key, text, dropped(Remark("unreadable", {"value": _short(text)}))))
        return
    path, arguments = match[1], match[2] or ""
    pairs = [f"{name}={value.strip().replace(' ', '')}" for name, value in _ARGUMENT.findall(arguments)]
    name = path.rpartition(".")[2]
    nesterov = "nesterov=True" in pairs
    name = {"SGD": "SGDNesterov", "SGD8bit": "SGDNesterov8bit"}.get(name, name) if nesterov else name
    known = name if name.lower() in {row.lower() for row in OPTIMIZERS} else path
    kept = [pair for pair in pairs if pair != "nesterov=True"]
    found.given["optimizer_type"] = Given(known, key, text)
    if kept:
        found.given["optimizer_args"] = Given(kept, key, text)


def _schedule(key: str, text: str, metadata: Mapping[str, str], found: Read) -> None:
    found.given["lr_scheduler"] = Given(text.partition(":")[0], key, text)


def _rates(key: str, text: str, metadata: Mapping[str, str], found: Read) -> None:
    found.given["text_encoder_lr"] = Given(None if text in _NONE else text.strip("[]"), key, text)


def _arguments(key: str, text: str, metadata: Mapping[str, str], found: Read) -> None:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        rows = None
    if not isinstance(rows, dict):
        found.lines.append(Line(key, _short(text), dropped(Remark("unreadable", {"value": _short(text)}))))
        return
    add_arguments(found, [f"{name}={value}" for name, value in rows.items() if value is not None], key)


def _datasets(key: str, text: str, metadata: Mapping[str, str], found: Read) -> None:
    """What is said of a single data set, as far as it is not about pictures."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        rows = None
    if not (isinstance(rows, list) and len(rows) == 1 and isinstance(rows[0], dict)):
        found.lines.append(Line(key, _short(text), dropped(Remark("data_described"))))
        return
    for name, value in rows[0].items():
        option = _OPTION_OF.get(name, name)
        if option in ROWS:
            shown = ",".join(map(str, value)) if isinstance(value, list) else value
            found.given.setdefault(option, Given(shown, f"{key} {name}", value))


def _described(key: str, text: str, metadata: Mapping[str, str], found: Read) -> None:
    found.lines.append(Line(key, _short(text), dropped(Remark("data_described"))))


def _hash(key: str, text: str, metadata: Mapping[str, str], found: Read) -> None:
    found.lines.append(Line(key, text, dropped(Remark("family_detected"))))


_SPECIAL = {
    "sd_model_name": _model,
    "max_train_steps": _steps,
    "optimizer": _optimizer,
    "lr_scheduler": _schedule,
    "text_encoder_lr": _rates,
    "network_args": _arguments,
    "datasets": _datasets,
    "dataset_dirs": _described,
    "reg_dataset_dirs": _described,
    "tag_frequency": _described,
    "bucket_info": _described,
    "base_model_version": _hash,
    "v2": _hash,
}
