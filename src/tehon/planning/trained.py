"""How much is trained, and what is kept of it: the weights, and what the optimizer remembers of each.

>>> numbers_trained(plan), bytes_remembered(plan)
(937984, 7503872)
"""

from collections.abc import Iterator
from math import prod

from tehon.catalog.optimizers import optimizer_row
from tehon.planning.modules import PlannedModule
from tehon.planning.plan import Plan

_NO_TENSORS = ("alpha", "on_input")


def trained_shapes(module: PlannedModule, kind: str) -> Iterator[tuple[int, ...]]:
    """The shapes of a module's tensors that gradients move. LoRA-FA's down matrices stay as they were drawn."""
    for name, shape in module.tensors.items():
        if name not in _NO_TENSORS and not (kind == "lora_fa" and name == "lora_down.weight"):
            yield shape


def numbers_trained(plan: Plan) -> int:
    return sum(map(prod, _shapes(plan)))


def tensors_in_state(plan: Plan) -> int:
    """About how many tensors a saved state has: what the optimizer remembers of each tensor that it knows, which are
    the adapters' own or one for all, and what adapters keep beside them."""
    row, kind = optimizer_row(plan.optimizer.name), plan.settings.network.kind
    known = len(plan.group_rates) if row.flat else len(_shapes(plan))
    beside = len(plan.modules) * {"lora_fa": 1, "dylora": 2}.get(kind, 0)
    return round(known * (1 + row.memory / 4 + 2 * row.factored)) + beside


def bytes_trained(plan: Plan) -> int:
    """Of the weights themselves; as much as their gradients take."""
    return numbers_trained(plan) * (2 if plan.settings.precision.full else 4)


def bytes_remembered(plan: Plan) -> int:
    """Of the optimizer's memory of all weights."""
    return round(optimizer_row(plan.optimizer.name).remembers(_shapes(plan)))


def bytes_kept(plan: Plan) -> int:
    """Of what adapters hold beside what is trained: matrices that stay, and four for DyLoRA's ranks."""
    kind = plan.settings.network.kind
    ranks = sum(4 * module.rank**2 for module in plan.modules) if kind == "dylora" else 0
    return 4 * (sum(module.parameters for module in plan.modules) - numbers_trained(plan) + ranks)


def _shapes(plan: Plan) -> list[tuple[int, ...]]:
    kind = plan.settings.network.kind
    return [shape for module in plan.modules for shape in trained_shapes(module, kind)]
