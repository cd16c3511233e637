"""Which blocks compute again in the backward, and what of a forward is kept for it, without torch.

>>> recomputed(plan)["lora_unet"][:1]
['down_blocks.0.resnets.0']
>>> kept_numbers(plan)
Kept(numbers=20770304, transient=1114112, largest=262144)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tehon.catalog.activations import (
    FEWEST_WEIGHTS,
    FEWEST_WEIGHTS_WITH_ONEDNN,
    LARGEST,
    TRANSIENT,
    Block,
    computed_again,
    kept_by_adapter,
    kept_per_place,
    kernels,
    learns_from_input,
    text_blocks,
    transformed,
    unet_blocks,
)
from tehon.data.plan.epochs import Group
from tehon.machine.processor import amd_with_avx512
from tehon.planning.modules import PlannedModule
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


def spares_convolutions(plan: Plan) -> bool:
    """Whether the U-Net's frozen convolutions compute in the ways of `tehon.frozen`, on a CPU."""
    return plan.settings.precision.mixed_precision == "no" and not stored(plan)


def bytes_transformed(plan: Plan) -> int:
    """Of the copies of the U-Net's kernels for Winograd's way."""
    if not spares_convolutions(plan):
        return 0
    levels = range(len(plan.model.configs["unet"]["block_out_channels"]))
    tiles = [max(most_at_once(plan, group) * _tiles(plan, group, level) for group in plan.groups) for level in levels]
    fewest = FEWEST_WEIGHTS_WITH_ONEDNN if amd_with_avx512() else FEWEST_WEIGHTS
    return transformed(kernels(unet_blocks(plan.model.configs["unet"])), tiles, fewest)


def _tiles(plan: Plan, group: Group, level: int) -> int:
    width, height = (-(-side // (plan.family.stride << level)) for side in group.bucket)
    return -(-width // 4) * -(-height // 4)


@dataclass(frozen=True)
class Kept:
    """How many numbers a batch keeps from its forward for the backward, how many the backward holds beside them at the
    moment when it holds the most, and how many there are in the largest tensor."""

    numbers: int
    transient: int
    largest: int


def kept_numbers(plan: Plan) -> Kept:
    """Of the batch that keeps the most."""
    return max((_kept(plan, group) for group in plan.groups), key=lambda kept: kept.numbers + kept.transient)


def tokens(plan: Plan) -> int:
    """How many tokens a caption has for the U-Net."""
    return 75 * _chunks(plan) + 2


def most_at_once(plan: Plan, group: Group) -> int:
    """How many pictures of the largest of a group's batches one process learns at once."""
    return -(-min(group.batch_size, group.reads(plan.repeats)) // plan.processes)


def _kept(plan: Plan, group: Group) -> Kept:
    batch = most_at_once(plan, group)
    area = group.bucket[0] * group.bucket[1] / plan.family.stride**2
    numbers = transient = largest = 0
    for root, blocks in _blocks(plan).items():
        text = root in plan.family.text_rate_roots
        scale = _Scale(batch * (77 * _chunks(plan) if text else area), batch * tokens(plan))
        found = _kept_in(plan, blocks, _by_block(plan, root, blocks), scale)
        numbers += found.numbers
        transient, largest = max(transient, found.transient), max(largest, found.largest)
    return Kept(numbers, transient, largest)


@dataclass(frozen=True)
class _Scale:
    """How many places a batch has: pixels of the finest level or tokens of a text encoder, and tokens that the U-Net
    is told."""

    places: float
    told: float


def _kept_in(plan: Plan, blocks: Sequence[Block], modules: dict[str, list[PlannedModule]], scale: _Scale) -> Kept:
    """Gradients flow from the first block on that has an adapter or is told what a trained text encoder says; what
    comes before keeps nothing. Of blocks that compute again their input is kept, and the backward holds what one of
    them keeps at a time."""
    again = set(computed_again(list(blocks), plan.settings.memory.gradient_checkpointing))
    numbers = transient = once = largest = 0.0
    flows = False
    for block in blocks:
        told = block.kind == "transformer" and plan.text_trained
        flows = flows or bool(modules[block.path]) or told
        if not flows:
            continue
        own = _kept_by(plan, block, modules[block.path], scale)
        places = scale.places / 4**block.level
        if block in again:
            numbers, once = numbers + places * block.wide, max(once, own)
        else:
            numbers += own
        transient = max(transient, TRANSIENT[block.kind] * block.wide * places)
        largest = max(largest, LARGEST.get(block.kind, 1) * block.wide * places)
    return Kept(round(numbers), round(transient + once), round(largest))


def _kept_by(plan: Plan, block: Block, modules: Sequence[PlannedModule], scale: _Scale) -> float:
    kind, places = plan.settings.network.kind, scale.places / 4**block.level
    ends = [_end(module, block) for module in modules]
    learning = [end for end in ends if learns_from_input(kind, end)]
    found = places * kept_per_place(block, learning, spares_convolutions(plan))
    if block.kind == "transformer":
        found += scale.told * 2 * block.wide  # keys and values of the text
    for module, end in zip(modules, ends, strict=True):
        beside = kept_by_adapter(kind, end, module.shape, module.tensors)
        of_text = end in ("attn2.to_k", "attn2.to_v")
        found += beside.module + beside.place * (scale.told if of_text else places)
    return found


def _by_block(plan: Plan, root: str, blocks: Sequence[Block]) -> dict[str, list[PlannedModule]]:
    """{path of a block: the modules in it}; of nested blocks in the inner one."""
    found: dict[str, list[PlannedModule]] = {block.path: [] for block in blocks}
    for module in plan.modules:
        if module.root == root:
            path = _inner(module)
            while path not in found and path:
                path = path.rpartition(".")[0]
            if path:
                found[path].append(module)
    return found


def _inner(module: PlannedModule) -> str:
    """A module's path in its network."""
    return module.path.partition(".")[2].removeprefix("text_model.")


def _end(module: PlannedModule, block: Block) -> str:
    return _inner(module).removeprefix(f"{block.path}.")


def _chunks(plan: Plan) -> int:
    return plan.settings.text.max_token_length // 75


def _blocks(plan: Plan) -> dict[str, list[Block]]:
    """{prefix: blocks} of the networks through which gradients flow: the U-Net always, and what is trained."""
    found: dict[str, list[Block]] = {}
    for root, part in plan.family.adapter_roots.items():
        text = root in plan.family.text_rate_roots
        if not text or root in plan.base_rates:
            found[root] = list((text_blocks if text else unet_blocks)(plan.model.configs[part]))
    return found
