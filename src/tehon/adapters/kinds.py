"""An adapter of the right kind from the names and shapes of its tensors, whether new or out of a file.

>>> build(nn.Linear(768, 320), {"lora_down.weight": (8, 768), "lora_up.weight": (320, 8)}, alpha=1.0)
"""

from dataclasses import dataclass

from tehon.adapters.adapter import Adapter, Layer, Shapes
from tehon.adapters.dora import Dora
from tehon.adapters.dylora import DyLora
from tehon.adapters.ia3 import Ia3
from tehon.adapters.loha import Loha
from tehon.adapters.lokr import Lokr
from tehon.adapters.lora import Lora
from tehon.adapters.restraint import FREE, Restraint


@dataclass(frozen=True)
class Training:
    """How a LoRA's tensors are trained, which its file does not show: how A starts, whether it is frozen (LoRA-FA), and
    in which steps ranks are drawn (DyLoRA; 0: not at all)."""

    init: str = "kaiming"
    frozen_down: bool = False
    unit: int = 0


def build(
    layer: Layer,
    shapes: Shapes,
    alpha: float,
    restraint: Restraint = FREE,
    training: Training | None = None,
    *,
    on_input: bool = False,
) -> Adapter:
    """An adapter with tensors of these shapes, zeros so far. ValueError when no kind has such tensors."""
    training = training or Training()
    if "hada_w1_a" in shapes:
        return Loha(layer, shapes, alpha, restraint)
    if "lokr_w1" in shapes or "lokr_w1_a" in shapes:
        return Lokr(layer, shapes, alpha, restraint)
    if "on_input" in shapes:
        return Ia3(layer, shapes, on_input, restraint)
    if not {"lora_down.weight", "lora_up.weight"} <= shapes.keys():
        raise ValueError(f"no kind of adapter has the tensors {', '.join(shapes)}")
    if "dora_scale" in shapes:
        return Dora(layer, shapes, alpha, restraint, init=training.init)
    if training.unit:
        return DyLora(layer, shapes, alpha, restraint, init=training.init, unit=training.unit)
    return Lora(layer, shapes, alpha, restraint, init=training.init, frozen_down=training.frozen_down)
