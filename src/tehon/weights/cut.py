"""A smaller LoRA out of a DyLoRA: its first ranks, with the alpha that keeps the scale they were trained with.

>>> smaller = cut_ranks(read_lora(Path("mofu.safetensors")), 4)
"""

from collections.abc import Mapping

from torch import Tensor

Layers = Mapping[str, Mapping[str, Tensor]]


def cut_ranks(layers: Layers, rank: int) -> dict[str, dict[str, Tensor]]:
    """The first `rank` ranks of every layer; layers that have no more stay whole. {layer: {tensor name: tensor}}.

    DyLoRA trains the first b ranks with the scale alpha / full rank * √(full rank / b) (`tehon.adapters.dylora`). A
    file's scale is its own alpha / its own rank, so that the cut one's alpha is alpha √(b / full rank).
    """
    return {name: _cut(tensors, rank) for name, tensors in layers.items()}


def _cut(tensors: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    down, up = tensors["lora_down.weight"], tensors["lora_up.weight"]
    full = len(down)
    kept = min(rank, full)
    return {
        **tensors,
        "lora_down.weight": down[:kept].clone(),
        "lora_up.weight": up[:, :kept].clone(),
        "alpha": tensors["alpha"] * (kept / full) ** 0.5,
    }
