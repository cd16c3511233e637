"""The tensors of a base model's networks, under the names of diffusers and transformers, whatever file they lie in.

Files are mapped into memory: a tensor is read when it is used, and is no copy where its number type is kept.

>>> part_tensors(model, "unet")["conv_in.weight"].shape
torch.Size([320, 4, 3, 3])
"""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tehon.catalog.families import FilePart
from tehon.catalog.model import Model
from tehon.catalog.names import open_clip_names, unet_name, vae_name
from tehon.messages.problem import Problem, reason_of
from tehon.weights.folder import read_part

Tensors = dict[str, Tensor]


def part_tensors(model: Model, part: str) -> Tensors:
    """All tensors of a network; a Problem when a file is damaged or holds something else."""
    if part == "vae" and model.vae is not None:
        if model.vae.is_dir():
            return vae_of_today(read_part(model.vae))
        return _original(model.vae, FilePart("", "vae"), "model.vae", model.configs[part])
    if model.single_file:
        return _original(model.path, model.family.file_parts[part], "model.path", model.configs[part])
    tensors = read_part(model.path / part)
    return vae_of_today(tensors) if part == "vae" else tensors


def _original(file: Path, place: FilePart, field: str, config: dict[str, Any]) -> Tensors:
    try:
        rows = read_tensors(file, place.prefix)
        return dict(_TRANSLATIONS[place.layout](rows, config))
    except (OSError, SafetensorError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise Problem("model_unreadable", field=field, path=file, reason=reason_of(error)) from None


def read_tensors(file: Path, prefix: str) -> Tensors:
    """The tensors whose names start with a prefix, without it."""
    if file.suffix.lower() == ".safetensors":
        with safe_open(file, "pt") as content:
            names = [name for name in content.keys() if name.startswith(prefix)]  # noqa: SIM118  no dictionary
            return {name.removeprefix(prefix): content.get_tensor(name) for name in names}
    content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    content = content.get("state_dict", content)
    return {name.removeprefix(prefix): tensor for name, tensor in content.items() if name.startswith(prefix)}


def _unet(rows: Tensors, _config: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    return ((unet_name(name), tensor) for name, tensor in rows.items())


def _vae(rows: Tensors, _config: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Attention's layers were 1x1 convolutions. Files of whole models call a VAE's tensors `first_stage_model`, and
    some hold the loss that it was trained with."""
    for name, tensor in rows.items():
        own = name.removeprefix("first_stage_model.")
        if own.startswith(("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")):
            today = vae_name(own)
            linear = ".attentions." in today and tensor.ndim == 4
            yield today, tensor.flatten(1) if linear else tensor


def _clip(rows: Tensors, _config: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    known = ("text_model.", "text_projection.")
    return ((name if name.startswith(known) else f"text_model.{name}", tensor) for name, tensor in rows.items())


def _open_clip(rows: Tensors, config: dict[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Layers behind the last that the configuration counts are left out; the projection stands the other way round."""
    for name, tensor in rows.items():
        names = open_clip_names(name)
        if not names or _layer(names[0]) >= config["num_hidden_layers"]:
            continue
        if name == "text_projection":
            tensor = tensor.T.contiguous()
        yield from zip(names, tensor.chunk(len(names)), strict=True)


def _layer(name: str) -> int:
    """The number of a layer in an encoder, -1 for what stands outside."""
    _, found, rest = name.partition(".layers.")
    return int(rest.partition(".")[0]) if found else -1


_TRANSLATIONS: dict[str, Callable[[Tensors, dict[str, Any]], Iterator[tuple[str, Tensor]]]] = {
    "unet": _unet,
    "vae": _vae,
    "clip": _clip,
    "open_clip": _open_clip,
}

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def vae_of_today(tensors: Tensors) -> Tensors:
    """The VAEs of early folders have the attention's layers under their first names."""

    def today(name: str) -> str:
        place, _, end = name.rpartition(".")
        outer, _, layer = place.rpartition(".")
        return f"{outer}.{_OLD_ATTENTION.get(layer, layer)}.{end}" if ".attentions." in name else name

    return {today(name): tensor for name, tensor in tensors.items()}
