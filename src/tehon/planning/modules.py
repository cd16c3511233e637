"""Every module that will be trained, with its rank, alpha, tensors and learning rate, worked out without torch.

The trainer builds exactly these, so that what `tehon plan --modules` shows is what is trained and saved.

>>> modules = plan_modules(settings, model, {"lora_unet": 1e-4})
>>> len(modules), modules[0].name, modules[0].rank
(192, 'lora_unet_down_blocks_0_attentions_0_proj_in', 8)
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod, sqrt

from tehon.catalog.families import Family
from tehon.catalog.kinds import FAST, LENGTHS, Form, ia3_on_input, stored_alpha, tensor_shapes
from tehon.catalog.layers import LayerRow, Shapes
from tehon.catalog.model import Model
from tehon.catalog.optimizers import optimizer_row
from tehon.messages.problem import Problem, raise_all
from tehon.planning.blocks import block_alphas, block_ranks, rate_weights
from tehon.settings.network import NetworkSettings
from tehon.settings.settings import Settings


@dataclass(frozen=True)
class PlannedModule:
    """One layer's adapter. `name` is its name in a LoRA file, `path` the layer's own, with its network in front.

    `alpha` is the number in the file: what the adapter adds is scaled by alpha / rank. `block` is None for text
    encoders. `factor` is on the learning rate of its part.
    """

    name: str
    path: str
    root: str
    block: int | None
    shape: tuple[int, ...]
    rank: int
    alpha: float
    tensors: Shapes
    factor: float = 1.0

    @property
    def on_input(self) -> bool:
        """Whether (IA)³ scales what goes into the layer; not a matter of the tensors' shapes where both are equal."""
        return bool(ia3_on_input(self.path))

    @property
    def parameters(self) -> int:
        return sum(prod(shape) for name, shape in self.tensors.items() if name not in ("alpha", "on_input"))

    def rate_factor(self, tensor: str, loraplus: float) -> float:
        """The factor on the part's learning rate for one of the tensors; up matrices learn faster with LoRA+."""
        return float(f"{self.factor * (loraplus if tensor in FAST else 1.0):g}")


_SPARED = " lengths"


def rate_group(root: str, factor: float, tensor: str = "") -> str:
    """The name of the parameters that learn at one rate: `lora_unet`, or `lora_unet x0.5` where a factor is on it.
    DoRA's lengths are a group of their own, `lora_unet lengths`, since weight decay spares them."""
    name = root if factor == 1 else f"{root} x{factor:g}"
    return name + _SPARED if tensor in LENGTHS else name


def part_of(group: str) -> str:
    """The part whose parameters a group holds: `lora_unet` for `lora_unet x0.5`."""
    return group.partition(" ")[0]


def decays(group: str) -> bool:
    """Whether weight decay pulls the parameters of a group to zero."""
    return not group.endswith(_SPARED)


def group_rates(
    modules: Iterable[PlannedModule], rates: dict[str, float], loraplus: dict[str, float]
) -> dict[str, float]:
    """{name of a group: its learning rate} of all parameters."""
    found: dict[str, float] = {}
    for module in modules:
        for tensor in module.tensors.keys() - {"alpha", "on_input"}:
            factor = module.rate_factor(tensor, loraplus[module.root])
            found.setdefault(rate_group(module.root, factor, tensor), rates[module.root] * factor)
    return dict(sorted(found.items()))


def loraplus_ratios(network: NetworkSettings, family: Family) -> dict[str, float]:
    """{prefix: how many times faster the up matrices learn}."""
    own = {True: network.loraplus_text_encoder_lr_ratio, False: network.loraplus_unet_lr_ratio}
    return {root: own[root in family.text_rate_roots] or network.loraplus_lr_ratio for root in family.adapter_roots}


def target_layers(model: Model) -> dict[str, Iterator[LayerRow]]:
    """{prefix: its layers} of a model, by the configurations of its networks."""
    family = model.family
    return {root: layers(model.configs[family.adapter_roots[root]]) for root, layers in family.adapter_layers.items()}


def plan_modules(settings: Settings, model: Model, rates: dict[str, float]) -> tuple[PlannedModule, ...]:
    """The modules of the parts that have a rate, by the settings alone; Problems for lists that don't fit the model."""
    network, family = settings.network, model.family
    by_block = _ByBlock(network, family)
    found = [
        module
        for root, rows in target_layers(model).items()
        if root in rates
        for row in rows
        if (module := _module(network, family, by_block, root, row))
    ]
    if not found:
        raise Problem("no_modules", field="network.include" if network.include else "network")
    for module in found:
        if not module.alpha and module.block is not None:
            field = "network.conv_block_alphas" if prod(module.shape[2:]) > 1 else "network.block_alphas"
            raise Problem("alpha_zero", field=field, block=family.blocks.name(module.block))
    return tuple(found)


def check_dropout(network: NetworkSettings, modules: Iterable[PlannedModule]) -> None:
    """A Problem when LoKr is to leave out ranks of layers that have none."""
    whole = sum("lokr_w2" in module.tensors for module in modules)
    for name in ("dropout", "rank_dropout"):
        if getattr(network, name) and whole:
            raise Problem("lokr_whole_dropout", field=f"network.{name}", count=whole)


def check_one_rate(settings: Settings, rates: dict[str, float]) -> None:
    """A Problem when factors by block meet an optimizer that finds one rate for all weights."""
    name = settings.optimizer.name
    if optimizer_row(name).rate_free and len(set(rates.values())) > 1:
        lists = ("down_lr_weight", "mid_lr_weight", "up_lr_weight")
        given = [f"network.{name}" for name in lists if getattr(settings.network, name) != ""]
        raise Problem("one_rate_factor", field=(given or ["optimizer.text_encoder_2_lr"])[0], optimizer=name)


def wanted(network: NetworkSettings, path: str) -> bool:
    """Whether the patterns let a layer be trained."""
    return bool(re.search(network.include, path)) and not (network.exclude and re.search(network.exclude, path))


def module_on(family: Family, root: str, row: LayerRow) -> PlannedModule:
    """A module on a layer, without rank or tensors yet."""
    block = None if root in family.text_rate_roots else family.blocks.index(row.path)
    path = f"{family.adapter_roots[root]}.{row.path}"
    return PlannedModule(family.layer_name(root, row.path), path, root, block, row.shape, 0, 0.0, {})


class _ByBlock:
    """Rank, alpha and rate factor of every block; ranks of 0 mean that there is no adapter."""

    def __init__(self, network: NetworkSettings, family: Family) -> None:
        blocks = family.blocks
        problems: list[Problem] = []
        conv_rank, conv_alpha = network.conv_rank or 0, network.conv_alpha or network.alpha
        self.convolves = bool(conv_rank) or network.conv_block_dims != ""
        self.text = (network.rank, network.alpha)
        try:
            self.rates = rate_weights(network, blocks)
        except Problem as problem:
            problems.append(problem)
        # (rank and alpha by block) of Linear and 1x1, then of larger kernels
        self.plain, self.conv = ([(0, 0.0)] * blocks.count for _ in range(2))
        for ranks, rank, alphas, alpha, into in (
            ("block_dims", network.rank, "block_alphas", network.alpha, "plain"),
            ("conv_block_dims", conv_rank, "conv_block_alphas", conv_alpha, "conv"),
        ):
            try:
                listed = block_ranks(f"network.{ranks}", getattr(network, ranks), blocks, rank)
                beside = block_alphas(f"network.{alphas}", getattr(network, alphas), blocks, alpha)
                setattr(self, into, list(zip(listed, beside, strict=True)))
            except Problem as problem:
                problems.append(problem)
        for name, plain, listed in (("block_dims", "rank", self.plain), ("conv_block_dims", "conv_rank", self.conv)):
            field = name if getattr(network, name) != "" else plain
            odd = next((rank for rank, _ in listed if rank % network.unit), 0)
            if network.kind == "dylora" and odd:
                problems.append(Problem("unit_not_divisor", field=f"network.{field}", unit=network.unit, rank=odd))
        raise_all(problems)

    def of(self, module: PlannedModule) -> tuple[int, float]:
        if module.block is None:
            return self.text
        large = prod(module.shape[2:]) > 1
        return (self.conv if large else self.plain)[module.block]


def _module(
    network: NetworkSettings, family: Family, by_block: _ByBlock, root: str, row: LayerRow
) -> PlannedModule | None:
    if row.place == "residual" and not by_block.convolves:
        return None
    module = module_on(family, root, row)
    factor = 1.0 if module.block is None else by_block.rates[module.block]
    rank, alpha = by_block.of(module)
    scaled = ia3_on_input(row.path)
    if network.kind == "ia3":
        rank, alpha = 1, 1.0
    if not (factor and rank and wanted(network, module.path)) or (network.kind == "ia3" and scaled is None):
        return None
    form = Form(
        dora=network.dora_side if network.dora else "",
        tucker=network.tucker,
        scalar=network.use_scalar,
        factor=network.factor,
        decompose_both=network.decompose_both,
        full_matrix=network.full_matrix,
        on_input=bool(scaled),
    )
    tensors = tensor_shapes(network.kind, row.shape, rank, form)
    alpha = stored_alpha(tensors, rank, alpha * sqrt(rank) if network.rs_lora else alpha)
    return replace(module, rank=rank, alpha=alpha, tensors=tensors, factor=factor)
