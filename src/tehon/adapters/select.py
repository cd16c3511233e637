"""Which layers of a model carry adapters: those inside modules of given classes.

>>> layers = select_layers(unet, {"Transformer2DModel"})
>>> next(iter(layers))
'down_blocks.0.attentions.0.proj_in'
"""

from collections.abc import Collection

from torch import nn

from tehon.adapters.adapter import Layer


def select_layers(model: nn.Module, inside: Collection[str]) -> dict[str, Layer]:
    """{dotted path: layer} of every Linear and 1x1 Conv2d inside modules whose class is named in `inside`."""
    found: dict[str, Layer] = {}
    for path, module in model.named_modules():
        if type(module).__name__ not in inside:
            continue
        for inner, layer in module.named_modules():
            if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)):
                found[f"{path}.{inner}"] = layer
    return found
