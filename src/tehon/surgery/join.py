"""Several LoRAs as one: exactly, by putting their ranks side by side, or as near as a smaller rank can come.

>>> joined = join([open_lora(Path("cat.safetensors"), 0.7), open_lora(Path("ink.safetensors"), 0.5)])
"""

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from tehon.catalog.kinds import fits, weight_shape
from tehon.messages.problem import Problem
from tehon.surgery.factors import as_layers, check_ranks, cut, is_plain, kept, singular, singular_of_product
from tehon.surgery.fitting import change, shaped
from tehon.surgery.labels import told_prediction
from tehon.surgery.lora_layers import LoraLayers
from tehon.surgery.merge import check_fits
from tehon.surgery.written import check_result, finite, precision_of, write_result
from tehon.weights.places import WeightPlace


def join_files(
    loras: Sequence[LoraLayers],
    out: Path,
    *,
    rank: int = 0,
    conv_rank: int = 0,
    places: Mapping[str, WeightPlace] | None = None,
    precision: str = "",
    overwrite: bool = False,
) -> dict[str, dict[str, Tensor]]:
    """Writes one LoRA that does what all of them do together, and gives what it holds. See `join`."""
    if rank or conv_rank:
        if not rank:
            raise Problem("conv_rank_alone", field="--conv-rank")
        check_ranks(rank, conv_rank)
    check_result(out, overwrite)
    layers = join(loras, rank=rank, conv_rank=conv_rank, places=places)
    metadata = _true_of_all(loras) | {
        "ss_network_module": "networks.lora",
        "ss_output_name": out.stem,
        "ss_training_comment": "merged: " + ", ".join(f"{lora.path.stem} ({lora.strength:g})" for lora in loras),
        "modelspec.merged_from": ", ".join(lora.path.stem for lora in loras),
    }
    own = precision or precision_of(loras[0].path)
    write_result(out, layers, metadata, own, overwrite, loras[0].family)
    return layers


def _true_of_all(loras: Sequence[LoraLayers]) -> dict[str, str]:
    """What the files that say it agree on: what their base model predicts, and the text encoder's layer."""
    predicted = {told_prediction(lora.metadata) for lora in loras} - {None}
    skips = {lora.metadata["ss_clip_skip"] for lora in loras if "ss_clip_skip" in lora.metadata}
    found = {"modelspec.prediction_type": str(predicted.pop())} if len(predicted) == 1 else {}
    return found | ({"ss_clip_skip": skips.pop()} if len(skips) == 1 else {})


def join(
    loras: Sequence[LoraLayers], *, rank: int = 0, conv_rank: int = 0, places: Mapping[str, WeightPlace] | None = None
) -> dict[str, dict[str, Tensor]]:
    """{layer: LoRA tensors}, alpha = rank. With rank 0 exact: the ranks of all files one after the other. Else the best
    approximation of that rank (`conv_rank`, if given, for larger kernels).

    `places` are a base model's weights, which kinds other than LoRA need to be built; they are approximated only.
    Problems when files are of different families, or of a kind that can't be done this way.
    """
    names = [lora.family.name for lora in loras]
    if len(set(names)) > 1:
        raise Problem("join_families", path=loras[-1].path, families=", ".join(names))
    for lora in loras:
        _check_kinds(lora, rank, places)
    found: dict[str, dict[str, Tensor]] = {}
    for layer in dict.fromkeys(layer for lora in loras for layer in lora.layers):
        own = [lora for lora in loras if layer in lora.layers and lora.strength_of(layer)]
        if own:
            found[layer] = _layer(layer, own, rank, conv_rank, places)
    return found


def _check_kinds(lora: LoraLayers, rank: int, places: Mapping[str, WeightPlace] | None) -> None:
    other = next((name for name, tensors in lora.layers.items() if not is_plain(tensors)), None)
    if other is not None and not rank:
        raise Problem("join_needs_rank", path=lora.path, name=other)
    if other is not None and places is None:
        raise Problem("join_needs_model", path=lora.path, name=other)
    if places is not None:
        check_fits(lora, places)


@torch.no_grad()
def _layer(
    layer: str, loras: Sequence[LoraLayers], rank: int, conv_rank: int, places: Mapping[str, WeightPlace] | None
) -> dict[str, Tensor]:
    if all(is_plain(lora.layers[layer]) for lora in loras):
        shape = weight_shape(loras[0].layers[layer])
        pairs = [thin(lora, layer, shape) for lora in loras]
        up, down = torch.cat([pair[0] for pair in pairs], 1), torch.cat([pair[1] for pair in pairs])
        if not rank:
            return as_layers(up, down, shape) | {"alpha": torch.tensor(float(len(down)))}
        parts = singular_of_product(up, down)
    else:
        assert places is not None
        weight = places[layer].read().float()
        shape = tuple(weight.shape)
        total = sum(change(weight, lora.tensors(layer), layer, lora.path, lora.strength_of(layer)) for lora in loras)
        parts = singular(finite(torch.as_tensor(total), layer).flatten(1))
    most = conv_rank if conv_rank and prod(shape[2:]) > 1 else rank
    count = kept(parts[1], most)
    return as_layers(*cut(*parts, count), shape) | {"alpha": torch.tensor(float(count))}


def thin(lora: LoraLayers, layer: str, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(B, A) of a layer, whose product is its whole change of a weight of that shape; the strength is in B."""
    tensors = shaped(lora.tensors(layer), shape)
    if not fits("lora", {name: tuple(tensor.shape) for name, tensor in tensors.items()}, shape):
        raise Problem("join_shapes", path=lora.path, name=layer)
    down, up = tensors["lora_down.weight"].float().flatten(1), tensors["lora_up.weight"].float().flatten(1)
    scale = float(tensors.get("alpha", torch.tensor(float(len(down))))) / len(down)
    return finite(up * (scale * lora.strength_of(layer)), layer), down
