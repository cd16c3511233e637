"""The lists that give each block of a U-Net its own rank, alpha or learning rate.

A list is written as numbers, or as text with commas or blanks between them. How many there must be is the family's
matter; every list is complete or refused, so that no number lands on another block than was meant.

>>> block_numbers("network.block_dims", "0,8,8 0", 4)
[0.0, 8.0, 8.0, 0.0]
"""

from collections.abc import Callable
from math import cos, isfinite, pi, sin

from tehon.catalog.families import Blocks
from tehon.messages.problem import Problem
from tehon.settings.network import NetworkSettings

# sd-scripts' networks/lora.py, get_block_lr_weight: shapes over a way of n blocks, by the share x of the way.
PRESETS: dict[str, Callable[[float], float]] = {
    "sine": lambda x: sin(pi / 2 * x),
    "cosine": lambda x: cos(pi / 2 * x),
    "linear": lambda x: x,
    "reverse_linear": lambda x: 1 - x,
    "zeros": lambda x: 0.0,
}


def block_numbers(field: str, value: str | float | list[float] | list[int], count: int) -> list[float]:
    """The numbers of a list; a Problem when they are not as many as there are blocks, or below zero."""
    if isinstance(value, str):
        try:
            numbers = [float(word) for word in value.replace(",", " ").split()]
        except ValueError:
            raise Problem("not_numbers", field=field, value=value) from None
    else:
        numbers = [float(number) for number in (value if isinstance(value, list) else [value])]
    if any(number < 0 or not isfinite(number) for number in numbers):
        raise Problem("not_numbers", field=field, value=value)
    if len(numbers) != count:
        raise Problem("block_count", field=field, count=len(numbers), wanted=count)
    return numbers


def rate_weights(network: NetworkSettings, blocks: Blocks) -> list[float]:
    """The factor on the learning rate of every block; blocks that are not above the threshold get 0."""
    ways = (
        ("down_lr_weight", network.down_lr_weight, blocks.down),
        ("mid_lr_weight", network.mid_lr_weight, blocks.mid),
        ("up_lr_weight", network.up_lr_weight, blocks.up),
    )
    ends = [1.0] * blocks.ends
    found = list(ends)
    for name, value, count in ways:
        weights = [1.0] * count if value == "" else _way(f"network.{name}", value, count)
        found += weights if value == "" else [w if w > network.block_lr_zero_threshold else 0.0 for w in weights]
    return found + ends


def _way(field: str, value: str | float | list[float], count: int) -> list[float]:
    name, plus, addend = value.partition("+") if isinstance(value, str) else ("", "", "")
    shape = PRESETS.get(name.strip())
    if shape is None or count == 1:
        return block_numbers(field, value, count)
    more = block_numbers(field, addend, 1)[0] if plus else 0.0
    # At the ends sine and cosine miss zero by a rounding, and a rate of 1e-17 is meant to be no adapter.
    return [round(shape(i / (count - 1)), 12) + more for i in range(count)]


def block_ranks(field: str, value: str | int | list[int], blocks: Blocks, otherwise: int) -> list[int]:
    """The rank of every block; an empty list means the same rank everywhere."""
    if value == "":
        return [otherwise] * blocks.count
    numbers = block_numbers(field, value, blocks.count)
    if any(number != int(number) for number in numbers):
        raise Problem("not_whole_numbers", field=field, value=value)
    return [int(number) for number in numbers]


def block_alphas(field: str, value: str | float | list[float], blocks: Blocks, otherwise: float) -> list[float]:
    """The alpha of every block; an empty list means the same alpha everywhere."""
    return [otherwise] * blocks.count if value == "" else block_numbers(field, value, blocks.count)
