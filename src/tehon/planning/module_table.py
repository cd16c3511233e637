"""What a plan says about the network: one line in all, and a table with a row for every module."""

from collections.abc import Iterator
from typing import Any

from tehon.messages.catalogue import say
from tehon.planning.modules import PlannedModule, loraplus_ratios
from tehon.planning.plan import Plan


def module_row(plan: Plan, module: PlannedModule) -> dict[str, Any]:
    """One module as data; `rate` is its learning rate before the schedule, `rate_up` that of up matrices."""
    ratio = loraplus_ratios(plan.settings.network, plan.family)[module.root]
    rate = plan.base_rates[module.root]
    return {
        "name": module.name,
        "path": module.path,
        "block": None if module.block is None else plan.family.blocks.name(module.block),
        "shape": list(module.shape),
        "rank": module.rank,
        "alpha": module.alpha,
        "rate": rate * module.factor,
        "rate_up": rate * module.rate_factor("lora_up.weight", ratio),
        "parameters": module.parameters,
        "tensors": {name: list(shape) for name, shape in module.tensors.items()},
    }


def network_line(plan: Plan) -> str:
    """Kind, ranks, strength and size of the network."""
    return say(
        "plan.network",
        kind=plan.settings.network.kind,
        rank=_span([module.rank for module in plan.modules]),
        alpha=_span([module.alpha for module in plan.modules]),
        scale=_span([module.alpha / module.rank for module in plan.modules]),
        count=len(plan.modules),
        parameters=f"{sum(module.parameters for module in plan.modules):,}",
    )


def table(plan: Plan) -> str:
    """A row for every module: path, block, size, rank, alpha, learning rate, parameters."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    rows = [module_row(plan, module) for module in plan.modules]
    cells = [say("plan.columns").split(" | ")]
    for row in rows:
        size = "x".join(map(str, row["shape"]))
        rates = [row["rate"], row["rate_up"]] if row["rate_up"] != row["rate"] else [row["rate"]]
        rate = " / ".join(f"{number:g}" for number in rates)
        cells.append([row["path"], row["block"] or "", size, f"{row['rank']}", f"{row['alpha']:g}", rate])
        cells[-1].append(f"{row['parameters']:,}")
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _span(values: list[Any]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"
