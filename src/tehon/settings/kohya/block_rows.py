"""Arguments of the network that list a number for each block: ranks, alphas and factors of the learning rate."""

from collections.abc import Mapping
from typing import Any

from tehon.catalog.families import SD_BLOCKS, SDXL_BLOCKS
from tehon.settings.kohya.lines import Outcome, Remark, carried, changed
from tehon.settings.kohya.network_rows import READ_BY, ignored_by_dylora, module_of, with_alpha
from tehon.settings.kohya.rows import ARGUMENT, Around, Row
from tehon.settings.kohya.values import TEXT

_PLAIN_LISTS = ("block_dims", "down_lr_weight", "mid_lr_weight", "up_lr_weight")
_SHAPES = ("sine", "cosine", "linear", "reverse_linear", "zeros")


def _alone(name: str) -> Any:
    """Lists that sd-scripts reads only beside Block dims or a list of learning rates."""

    def carry(value: str, around: Around) -> Outcome:
        heeded = any(f"{ARGUMENT}{other}" in around.values for other in _PLAIN_LISTS)
        differences = [] if heeded else [Remark("lists_alone")]
        return carried({f"network.{name}": value}, *differences, *_other_count(value, around))

    return carry


def _conv_block_dims(value: str, around: Around) -> Outcome:
    own = _alone("conv_block_dims")(value, around)
    if f"{ARGUMENT}conv_block_alphas" in around.values:
        return own
    whole = with_alpha(own.settings, around)
    return carried(whole.settings, *own.differences, *whole.differences)


def _block_dims(value: str, around: Around) -> Outcome:
    return carried({"network.block_dims": value}, *_other_count(value, around))


def _other_count(value: str, around: Around) -> list[Remark]:
    """Of a list for SDXL that was not written for its blocks."""
    found, wanted = len(value.replace(",", " ").split()), SDXL_BLOCKS.count
    return [Remark("sdxl_block_count", {"found": found, "wanted": wanted})] if around.sdxl and found != wanted else []


def list_numbers(value: str) -> list[str]:
    """The numbers of a list as sd-scripts splits it, or kohya_ss' text with blanks; empty items count as 0."""
    return [word.strip() or "0" for word in value.split(",")] if "," in value else value.split()


def _lr_list(way: str) -> Any:
    def carry(value: str, around: Around) -> Outcome:
        target, count = f"network.{way}_lr_weight", getattr(SDXL_BLOCKS if around.sdxl else SD_BLOCKS, way)
        if value.partition("+")[0].strip() in _SHAPES:
            return carried({target: value})
        numbers = list_numbers(value)
        if len(numbers) == count:
            return carried({target: value}, *([Remark("list_split_at_blanks")] if " " in value.strip() else []))
        fitted = (numbers + ["1"] * count)[:count]
        return changed({target: ",".join(fitted)}, Remark("list_fitted", {"found": len(numbers), "count": count}))

    return carry


def _lists_back(name: str) -> Any:
    def back(own: Mapping[str, Any]) -> str | None:
        value = own[f"network.{name}"]
        if isinstance(value, str):
            return ",".join(value.replace(",", " ").split()) or None
        return ",".join(f"{number:g}" for number in (value if isinstance(value, list) else [value]))

    return back


def _listed(name: str, **more: Any) -> Row:
    back = _lists_back(name)
    return Row(
        f"{ARGUMENT}{name}",
        TEXT,
        f"network.{name}",
        back=lambda own: back(own) if name in READ_BY[module_of(own)] else None,
        **more,
    )


ROWS = (
    ignored_by_dylora(_listed("down_lr_weight", carry=_lr_list("down"))),
    ignored_by_dylora(_listed("mid_lr_weight", carry=_lr_list("mid"))),
    ignored_by_dylora(_listed("up_lr_weight", carry=_lr_list("up"))),
    ignored_by_dylora(_listed("block_dims", carry=_block_dims)),
    ignored_by_dylora(_listed("block_alphas", carry=_alone("block_alphas"))),
    ignored_by_dylora(_listed("conv_block_dims", carry=_conv_block_dims, reaches=("network.conv_alpha",))),
    ignored_by_dylora(_listed("conv_block_alphas", carry=_alone("conv_block_alphas"))),
)  # fmt: skip
