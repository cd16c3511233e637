"""What a plan comes to, beside the form: figures, buckets, rates, what is saved, memory.

The panel imports this together with the plan itself, which is half of all that the page has to import, when the form is
there already.
"""

from collections.abc import Callable, Sequence

from nicegui import ui

from tehon.disk import sized
from tehon.messages.catalogue import say
from tehon.planning.blocks import block_numbers, rate_weights
from tehon.planning.module_table import network_line
from tehon.planning.notices import notices_for
from tehon.planning.peak import estimate, gigabytes
from tehon.planning.plan import Plan
from tehon.planning.report import arithmetic
from tehon.planning.saves import bytes_needed, count_loras
from tehon.web import charts
from tehon.web.naming import worded

_POINTS = 160  # of a curve
_ROWS = 12  # buckets shown


def show_plan(plan: Plan, on_notice: Callable[[str], None]) -> None:
    """Builds it in the element at hand; `on_notice` builds what stands there for a notice."""
    with ui.element("div").classes("figures"):
        _figure(len(plan.pictures), say("web.pictures", count=len(plan.pictures)))
        _figure(plan.steps, say("web.steps", count=plan.steps))
        _figure(plan.epochs, say("web.epochs", count=plan.epochs))
    ui.label(worded(_alone(arithmetic(plan)))).classes("small")
    for notice in notices_for(plan):
        on_notice(notice)
    ui.label(say("web.buckets")).classes("sub")
    reads = [(f"{g.bucket[0]}×{g.bucket[1]}", g.reads(plan.repeats)) for g in plan.groups]
    shown = sorted(reads, key=lambda row: -row[1])[:_ROWS]
    ui.echart(charts.buckets(shown)).style(f"height:{40 + 24 * len(shown)}px").classes("chart")
    ui.label(say("web.rates")).classes("sub")
    ui.echart(charts.curves(_rates(plan))).classes("chart rates")
    for title, numbers in block_numbers_of(plan).items():
        ui.label(title).classes("sub")
        ui.html(charts.blocks(title, numbers), sanitize=False)
    ui.label(_alone(network_line(plan))).classes("small")
    saves = say("web.saves", count=count_loras(plan) + 1, size=sized(bytes_needed(plan)))
    ui.label(saves).classes("small")
    memory = estimate(plan)
    if memory is not None:
        size, phase = gigabytes(memory.peak.total), say(f"memory.phase_{memory.peak.name}")
        ui.label(say("web.memory", size=size, phase=phase)).classes("small")


def _alone(line: str) -> str:
    """A line of the plan, whose first word heads it in a column there."""
    head, _, rest = line.partition(" ")
    return f"{head}: {rest.strip()}"


def _figure(number: int, what: str) -> None:
    with ui.element("div").classes("figure"):
        ui.label(str(number)).classes("figure-number")
        ui.label(what).classes("figure-what")


def _rates(plan: Plan) -> dict[str, list[tuple[float, float]]]:
    steps = sorted({round(i * (plan.steps - 1) / max(1, _POINTS - 1)) for i in range(_POINTS)})
    return {say(f"plan.part_{root}"): [(step + 1, plan.rate(root, step)) for step in steps] for root in plan.base_rates}


def block_numbers_of(plan: Plan) -> dict[str, dict[str, float]]:
    """By title: what each block of the U-Net has of its own, for those of the lists by block that are given."""
    network, blocks = plan.settings.network, plan.family.blocks
    lists: dict[str, Sequence[float]] = {}
    if (network.down_lr_weight, network.mid_lr_weight, network.up_lr_weight) != ("", "", ""):
        lists[say("web.block_rates")] = rate_weights(network, blocks)
    for title, name in (
        (say("web.block_ranks"), "block_dims"),
        (say("web.block_alphas"), "block_alphas"),
        (say("web.block_conv_ranks"), "conv_block_dims"),
        (say("web.block_conv_alphas"), "conv_block_alphas"),
    ):
        value = getattr(network, name)
        if value != "":
            lists[title] = block_numbers(f"network.{name}", value, blocks.count)
    names = [blocks.name(index) for index in range(blocks.count)]
    return {title: dict(zip(names, numbers, strict=True)) for title, numbers in lists.items()}
