"""Which blocks compute again in the backward, and how much memory a run takes, without torch.

>>> recomputed(plan)["lora_unet"][:1]
['down_blocks.0.resnets.0']
"""

from tehon.catalog.activations import Block, computed_again, text_blocks, unet_blocks
from tehon.planning.plan import Plan


def recomputed(plan: Plan) -> dict[str, list[str]]:
    """{prefix: paths of the blocks that gradient checkpointing computes again}."""
    how = plan.settings.memory.gradient_checkpointing
    return {root: [block.path for block in computed_again(blocks, how)] for root, blocks in _blocks(plan).items()}


def stored(plan: Plan) -> dict[str, str]:
    """{part: number type in which it lies in memory} of those that don't lie there as they compute."""
    own = plan.settings.precision
    if own.base_storage == "same":
        return {}
    roots = plan.family.adapter_roots
    spared = plan.family.text_rate_roots if own.base_storage_unet else ()
    parts = [part for root, part in roots.items() if root not in spared]
    return dict.fromkeys(parts, own.base_storage)


def _blocks(plan: Plan) -> dict[str, list[Block]]:
    """{prefix: blocks} of the networks through which gradients flow: the U-Net always, and what is trained."""
    found: dict[str, list[Block]] = {}
    for root, part in plan.family.adapter_roots.items():
        text = root in plan.family.text_rate_roots
        if not text or root in plan.base_rates:
            found[root] = list((text_blocks if text else unet_blocks)(plan.model.configs[part]))
    return found
