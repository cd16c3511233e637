"""The rules between the network's settings that hold for every model: what goes with which kind."""

import re
from collections.abc import Iterator

from tehon.catalog.kinds import HEEDED_BY_SOME, KINDS
from tehon.messages.problem import Problem
from tehon.settings.network import NetworkSettings

_FROM_FILE = {"rs_lora", "conv_rank", "conv_alpha", "dora_side", "tucker", "factor", "decompose_both", "full_matrix"}
_NOT_WHOLE = {"rank", "alpha", "rs_lora", "decompose_both", "tucker", "conv_alpha", "block_alphas", "conv_block_alphas"}
_LR_LISTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")

UNET_ALONE = frozenset(
    ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas", "loraplus_unet_lr_ratio", *_LR_LISTS)
)
"""The settings that reach nothing but the U-Net."""


def network_problems(network: NetworkSettings) -> Iterator[Problem]:
    """A Problem for each setting that would have no effect, or that contradicts another."""
    changed = changed_names(network)
    for name in sorted(changed & (HEEDED_BY_SOME - KINDS[network.kind].heeds)):
        kinds = ", ".join(kind for kind, row in KINDS.items() if name in row.heeds)
        yield Problem("not_for_kind", field=f"network.{name}", kind=network.kind, kinds=kinds)
    convolves = bool(network.conv_rank or network.conv_block_dims != "" or network.dim_from_weights)
    if network.kind == "locon" and network.conv_rank == 0 and not convolves:
        yield Problem("locon_without_conv", field="network.conv_rank")
    convolves |= network.kind == "locon"
    for name in ("conv_alpha", "conv_block_alphas", "tucker"):
        if name in changed and not convolves and name in KINDS[network.kind].heeds:
            yield Problem("needs_conv", field=f"network.{name}")
    if network.unit > 1 and network.kind == "dylora" and network.rank % network.unit:
        yield Problem("unit_not_divisor", field="network.unit", unit=network.unit, rank=network.rank)
    if network.factor == 0:
        yield Problem("factor_zero", field="network.factor")
    if "dora_side" in changed and not network.dora:
        yield Problem("dora_side_alone", field="network.dora_side")
    if network.dora and network.scale_weight_norms:
        yield Problem("dora_no_norm", field="network.scale_weight_norms")
    if network.dora and network.tucker:
        yield Problem("dora_no_tucker", field="network.tucker")
    if network.block_lr_zero_threshold and not changed & set(_LR_LISTS):
        yield Problem("threshold_alone", field="network.block_lr_zero_threshold")
    if network.dim_from_weights and not network.weights:
        yield Problem("dim_without_weights", field="network.dim_from_weights")
    if network.dim_from_weights:
        for name in sorted(changed & _FROM_FILE):
            yield Problem("fixed_by_weights", field=f"network.{name}")
    if network.full_matrix and network.kind == "lokr":
        for name in sorted(changed & _NOT_WHOLE):
            yield Problem("no_effect_whole", field=f"network.{name}")
    if "base_weights_multiplier" in changed and not network.base_weights:
        yield Problem("base_multiplier_alone", field="network.base_weights_multiplier")
    for name in ("include", "exclude"):
        try:
            re.compile(getattr(network, name))
        except re.error as error:
            yield Problem("not_a_pattern", field=f"network.{name}", value=getattr(network, name), reason=error)


def fallbacks(network: NetworkSettings) -> dict[str, float | int]:
    """What the settings that may be empty then mean."""
    return {
        "conv_rank": network.rank if network.kind == "locon" else 0,
        "conv_alpha": network.alpha,
        "loraplus_unet_lr_ratio": network.loraplus_lr_ratio,
        "loraplus_text_encoder_lr_ratio": network.loraplus_lr_ratio,
    }


def changed_names(network: NetworkSettings) -> set[str]:
    """Names of the settings whose value says something else than if they were not written at all."""
    silent = fallbacks(network)
    return {
        name
        for name, info in NetworkSettings.model_fields.items()
        if getattr(network, name) not in (info.get_default(), silent.get(name, info.get_default()))
    }
