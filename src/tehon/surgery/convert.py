"""A LoRA under the names that another program wants: kohya's, diffusers' or peft's. No number of it changes.

Going there and back gives the same bytes. What the other format can't say, the result keeps in its metadata: each
layer's alpha as diffusers itself writes it, and the header of the file as it was, wherever the rules alone would not
give it back.

>>> convert(Path("mofu.safetensors"), Path("mofu-diffusers.safetensors"), "diffusers")
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tehon.catalog.families import FAMILIES, Family, Prediction
from tehon.catalog.header import read_header
from tehon.catalog.kinds import check_whole_layer
from tehon.catalog.lora_names import family_of_lora, not_a_lora, other_naming
from tehon.disk import fill_folder, write_new
from tehon.messages.problem import Problem
from tehon.surgery.labels import label, prediction_in
from tehon.surgery.lora_keys import (
    ALPHA,
    DOWN,
    PEFT_START,
    UP,
    Key,
    diffusers_name,
    family_by_parts,
    kohya_name,
    peft_name,
    read_key,
)
from tehon.surgery.written import check_result
from tehon.weights.hashes import body_hash
from tehon.weights.slices import (
    DTYPES,
    Row,
    SafeTensors,
    header_bytes,
    sorted_rows,
    tensor_bytes,
    write_tensors,
)

_CONFIG = "lora_adapter_metadata"
_HEADER = "tehon_header"
_BODY = "tehon_body"
"""The sha256 of the tensors that the first file had: while they are the same, what its header says of them holds."""
_OUTER = "text_model."
_WEIGHTS, _SETTINGS = "adapter_model.safetensors", "adapter_config.json"


@dataclass
class LoraFile:
    """A LoRA's tensors by what they mean. `names` are {key: (file, name in it)}, `alphas` those that are no tensors.
    `prediction` is what its base model predicts, where anything says it."""

    family: Family
    metadata: dict[str, str]
    header: bytes
    names: dict[Key, tuple[SafeTensors, str]] = field(default_factory=dict[Key, tuple[SafeTensors, str]])
    alphas: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    prediction: Prediction | None = None

    def row(self, key: Key) -> Row:
        if key not in self.names:
            return Row(self.row(Key(key.part, key.path, DOWN)).dtype, ())
        source, name = self.names[key]
        return source.rows[name]

    def tensor(self, key: Key) -> Tensor:
        if key not in self.names:
            return torch.tensor(self.alphas[key.part, key.path], dtype=DTYPES[self.row(key).dtype])
        source, name = self.names[key]
        return source.finite(name)

    def alpha(self, part: str, path: str) -> float:
        """A layer's alpha; where nobody says one it is the rank."""
        if (part, path) in self.alphas:
            return self.alphas[part, path]
        key = Key(part, path, ALPHA)
        return float(self.tensor(key)) if key in self.names else float(self.rank(part, path))

    def rank(self, part: str, path: str) -> int:
        return self.row(Key(part, path, DOWN)).shape[0]


def convert(
    source: Path, out: Path, to: str, overwrite: bool = False, prediction: Prediction | None = None
) -> tuple[int, bool]:
    """Writes a LoRA as "kohya", "diffusers" or "peft" has it; (how many layers there are, whether the result says all
    of its base model). peft's is a folder with one for each network. `prediction` is for kohya's label, of a file that
    does not say it."""
    lora = read_any(source)
    if prediction and lora.prediction not in (None, prediction):
        raise Problem("label_contradicts", path=source, own=lora.prediction, wanted=prediction, field="--prediction")
    lora.prediction = lora.prediction or prediction
    if to == "peft":
        fill_folder(out, lambda aside: _write_peft(lora, aside), overwrite)
    else:
        check_result(out, overwrite)
        before = _by_header(lora, lora.metadata.get(_HEADER, ""), to)
        if before is None:
            _write_file(lora, out, to, overwrite)
        else:
            rows, tensor, start = before
            own: dict[str, Any] = json.loads(start[8:]).get("__metadata__", {})
            said = own.get("sshs_model_hash")
            if said is None or _body(rows, tensor) == lora.metadata.get(_BODY, said):
                write_tensors(out, rows, {}, tensor, overwrite=overwrite, header=start)
            else:
                metadata = {key: str(text) for key, text in own.items()}
                write_tensors(out, rows, metadata, tensor, overwrite=overwrite, kohya_hashes=True)
    return len(_layers(lora)), to != "kohya" or bool(lora.prediction or lora.family.predicts)


def _write_file(lora: LoraFile, out: Path, to: str, overwrite: bool) -> None:
    """By the rules, with the file's own header beside where they would not give it back. kohya's hashes are taken
    anew where there are none, and where the tensors are not those that they were taken of."""
    rows, metadata, tensor = _made(lora, to)
    fresh = to == "kohya" and not any(key.startswith("ss_") for key in lora.metadata)
    body = {key: text for key, text in lora.metadata.items() if key == _BODY}
    if to == "kohya" and body and "sshs_model_hash" in metadata:
        fresh = fresh or _body(rows, tensor) != body[_BODY]
    if to == "kohya" and fresh:
        metadata.setdefault("modelspec.title", out.stem)
    keeps = lora.header and not _comes_back(lora, metadata, to)
    if (keeps or to == "diffusers") and not fresh:
        metadata = metadata | body
    if keeps:
        metadata = {**metadata, _HEADER: lora.header[8:].decode()}
    write_tensors(out, rows, metadata, tensor, overwrite=overwrite, kohya_hashes=fresh)


def read_any(source: Path) -> LoraFile:
    """A LoRA in whichever of the formats; a Problem when it is none of them, or of a kind that only kohya's has."""
    if source.is_dir():
        return _read_peft(source)
    header = read_header(source)
    if other_naming(header.shapes) == "peft":
        raise not_a_lora(source, header.shapes)
    content = SafeTensors(source)
    family = family_of_lora(header.layers(), header.metadata) or family_by_parts(header.shapes, _width(header.shapes))
    with source.open("rb") as stream:
        lora = LoraFile(family, dict(header.metadata), stream.read(header.body))
    for name in header.shapes:
        _take(lora, name, content, name, source)
    _check_layers(lora, source)
    if "sshs_model_hash" in header.metadata:
        lora.metadata.setdefault(_BODY, body_hash(source, header.body))
    lora.alphas = _alphas(header.metadata, lora)
    lora.prediction = prediction_in(header.metadata, _HEADER, _CONFIG)
    return lora


def _width(shapes: Mapping[str, tuple[int, ...]]) -> int:
    ends = [shape[1:2] for name, shape in shapes.items() if "attn2.to_k" in name and name.endswith("lora_A.weight")]
    return sum(ends[0]) if ends else 0


def _take(lora: LoraFile, name: str, content: SafeTensors, own: str, source: Path) -> None:
    """Adds the tensor that is called `own` in its file; a Problem when its name says nothing that all formats know."""
    key = read_key(name, lora.family)
    try:
        known = key is not None and key.tensor in (DOWN, UP, ALPHA) and kohya_name(key, lora.family)
    except KeyError:
        known = False
    if key is None or not known:
        raise Problem("convert_unknown", path=source, name=name)
    if key in lora.names:
        raise Problem("lora_layer_broken", path=source, name=name)
    lora.names[key] = content, own


def _check_layers(lora: LoraFile, source: Path) -> None:
    layers: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {}
    for key in lora.names:
        layers.setdefault((key.part, key.path), {})[key.tensor] = lora.row(key).shape
    if not layers:
        raise Problem("not_a_lora", path=source)
    for (_, path), tensors in layers.items():
        if DOWN not in tensors:
            raise Problem("lora_layer_broken", path=source, name=path)
        check_whole_layer(source, path, tensors)


def _layers(lora: LoraFile) -> list[tuple[str, str]]:
    return list(dict.fromkeys((key.part, key.path) for key in lora.names))


def _alphas(metadata: Mapping[str, str], lora: LoraFile) -> dict[tuple[str, str], float]:
    """What diffusers' own metadata say, {(network, layer): alpha}."""
    try:
        config: dict[str, Any] = json.loads(metadata[_CONFIG])
        return {
            (part, path): _patterned(config.get(f"{part}.alpha_pattern", {}), path, config[f"{part}.lora_alpha"])
            for part, path in _layers(lora)
        }
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return {}


ReadTensor = Callable[[str], Tensor]


def _body(rows: Mapping[str, Row], tensor: ReadTensor) -> str:
    """The sha256 of tensors as a file of these rows has them."""
    digest = hashlib.sha256()
    for name in rows:
        digest.update(tensor_bytes(tensor(name)))
    return digest.hexdigest()


def _made(lora: LoraFile, to: str) -> tuple[dict[str, Row], dict[str, str], ReadTensor]:
    """(rows, metadata, tensor by name) of the LoRA in another format, by the rules alone."""
    wanted: dict[str, Key] = {}
    metadata = {key: text for key, text in lora.metadata.items() if key not in (_CONFIG, _HEADER, _BODY)}
    if to == "diffusers":
        wanted = {diffusers_name(key): key for key in lora.names if key.tensor != ALPHA}
        metadata[_CONFIG] = json.dumps(_config(lora), sort_keys=True)
    else:
        for key in lora.names:
            wanted[kohya_name(key, lora.family)] = key
        for part, path in _layers(lora):
            key = Key(part, path, ALPHA)
            lora.alphas.setdefault((part, path), lora.alpha(part, path))
            wanted[kohya_name(key, lora.family)] = key
        if not any(name.startswith("ss_") for name in metadata):
            metadata = _kohya_metadata(lora) | metadata
    rows = sorted_rows({name: lora.row(key) for name, key in wanted.items()})
    return rows, metadata, lambda name: lora.tensor(wanted[name])


def _config(lora: LoraFile) -> dict[str, Any]:
    """What diffusers writes of a LoRA beside its tensors: peft's settings of each network."""
    found: dict[str, Any] = {}
    for part in sorted({part for part, _ in _layers(lora)}):
        found |= {f"{part}.{name}": value for name, value in _peft_config(lora, part).items()}
    return found


def _peft_config(lora: LoraFile, part: str) -> dict[str, Any]:
    paths = sorted(path for own, path in _layers(lora) if own == part)
    ranks = {_bare(path): lora.rank(part, path) for path in paths}
    alphas = {_bare(path): lora.alpha(part, path) for path in paths}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {path: own for path, own in ranks.items() if own != rank},
        "alpha_pattern": {path: own for path, own in alphas.items() if own != alpha},
        "target_modules": list(ranks),
    }


def _bare(path: str) -> str:
    """A layer's path as it ends in every version of transformers: later ones leave the encoder's outer name out, and
    peft goes by the end."""
    return path.removeprefix(_OUTER)


def _patterned(patterns: Any, path: str, otherwise: Any) -> float:
    """What is said of a layer: of its own path, or of an end that its path has."""
    for pattern, value in patterns.items():
        end = pattern.removeprefix("^")
        if path == end or path.endswith(f".{end}"):
            otherwise = value
            break
    alpha = float(otherwise)
    if not isfinite(alpha):
        raise ValueError(alpha)
    return alpha


def _kohya_metadata(lora: LoraFile) -> dict[str, str]:
    ranks = {lora.rank(*layer) for layer in _layers(lora)}
    alphas = {lora.alpha(*layer) for layer in _layers(lora)}
    return label(lora.family, lora.prediction) | {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(ranks.pop()) if len(ranks) == 1 else "Dynamic",
        "ss_network_alpha": str(alphas.pop()) if len(alphas) == 1 else "Dynamic",
    }


def _comes_back(lora: LoraFile, metadata: Mapping[str, str], to: str) -> bool:
    """Whether the rules alone lead from the result back to the bytes of this file's header."""
    other = "kohya" if to == "diffusers" else "diffusers"
    back = LoraFile(lora.family, dict(metadata), b"", dict(lora.names), dict(lora.alphas))
    if to == "diffusers":
        back.names = {key: place for key, place in lora.names.items() if key.tensor != ALPHA}
        back.alphas = {layer: lora.alpha(*layer) for layer in _layers(lora)}
    rows, told, _ = _made(back, other)
    if other == "diffusers":
        told |= {key: text for key, text in lora.metadata.items() if key == _BODY}
    return header_bytes(rows, told) == lora.header


def _by_header(lora: LoraFile, text: str, to: str) -> tuple[dict[str, Row], ReadTensor, bytes] | None:
    """(rows, tensor by name, header) of a file that was converted before, as its own header says; None where
    that header is of another format, or of tensors that are not these."""
    try:
        table: dict[str, Any] = json.loads(text)
        told = {name: row for name, row in table.items() if name != "__metadata__"}
        order = sorted(told, key=lambda name: told[name]["data_offsets"][0])
        rows = {name: Row(told[name]["dtype"], tuple(told[name]["shape"])) for name in order}
        keys = {name: read_key(name, lora.family) for name in rows}
        place = 0
        for name, row in rows.items():
            key = keys[name]
            known = key is not None and (key in lora.names or (key.tensor == ALPHA and key[:2] in lora.alphas))
            if key is None or not known or list(told[name]["data_offsets"]) != [place, place + row.bytes]:
                return None
            own = lora.row(key)
            if own.shape != row.shape or (own.dtype != row.dtype and key.tensor != ALPHA):
                return None
            place += row.bytes
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None
    held = {key for key in keys.values() if key is not None}
    kohya = all(name.startswith("lora_") for name in rows)
    if kohya != (to == "kohya") or not {key for key in lora.names if key.tensor != ALPHA} <= held:
        return None

    def tensor(name: str) -> Tensor:
        key = keys[name]
        assert key is not None
        return lora.tensor(key).to(DTYPES[rows[name].dtype])

    start = text.encode()
    return rows, tensor, len(start).to_bytes(8, "little") + start


def _write_peft(lora: LoraFile, folder: Path) -> None:
    for part in dict.fromkeys(part for part, _ in _layers(lora)):
        named = [key for key in lora.names if key.part == part and key.tensor != ALPHA]
        flat = part in _flattened()
        keys = {peft_name(key._replace(path=_bare(key.path)) if flat else key): key for key in named}
        rows = sorted_rows({name: lora.row(key) for name, key in keys.items()})
        own = {"format": "pt", _HEADER: lora.header[8:].decode(), "tehon_family": lora.family.name}
        own |= {_BODY: lora.metadata[_BODY]} if _BODY in lora.metadata else {}

        def tensor(name: str, keys: Mapping[str, Key] = keys) -> Tensor:
            return lora.tensor(keys[name])

        write_tensors(folder / part / _WEIGHTS, rows, own, tensor)
        config = {"peft_type": "LORA", "task_type": None, "bias": "none", "inference_mode": True}
        write_new(folder / part / _SETTINGS, json.dumps(config | _peft_config(lora, part), indent=2))


def _flattened() -> tuple[str, ...]:
    """The encoders whose layers have no outer name in the transformers that is installed."""
    major = int(version("transformers").partition(".")[0])
    return ("text_encoder",) if major >= 5 else ()


def _read_peft(folder: Path) -> LoraFile:
    """A folder with a folder of peft's for each network."""
    places = [place for place in sorted(folder.iterdir()) if (place / _SETTINGS).is_file()]
    if not places:
        raise Problem("convert_no_peft", path=folder)
    contents = {place.name: SafeTensors(place / _WEIGHTS) for place in places}
    names = {
        f"{part}.{name.removeprefix(PEFT_START)}": (part, name) for part, own in contents.items() for name in own.rows
    }
    first = next(iter(contents.values())).metadata
    shapes = {name: contents[part].rows[own].shape for name, (part, own) in names.items()}
    family = FAMILIES.get(first.get("tehon_family", "")) or family_by_parts(names, _width(shapes))
    metadata = {key: first[key] for key in (_HEADER, _BODY) if key in first}
    lora = LoraFile(family, metadata, b"")
    for name, (part, own) in names.items():
        _take(lora, name, contents[part], own, folder)
    _check_layers(lora, folder)
    bases = _peft_alphas(folder, lora)
    lora.prediction = next(filter(None, (prediction_in(first, _HEADER, _CONFIG, base) for base in bases)), None)
    return lora


def _peft_alphas(folder: Path, lora: LoraFile) -> list[object]:
    """Takes over what peft's settings say of alphas; gives the names of the base models in them."""
    bases: list[object] = []
    for part, path in _layers(lora):
        file = folder / part / _SETTINGS
        try:
            config: dict[str, Any] = json.loads(file.read_text("utf8"))
            lora.alphas[part, path] = _patterned(config.get("alpha_pattern", {}), path, config["lora_alpha"])
            bases.append(config.get("base_model_name_or_path"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise Problem("convert_config", path=file, reason=f"{type(error).__name__}: {error}") from None
    return bases
