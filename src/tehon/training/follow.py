"""The part of every process but the first in a training of several: it learns its share, and neither talks nor writes.

All it needs comes from the first process: the settings as the plan resolved them, the state to go on from, and the
run's directory, which it names when memory is lacking. So it makes the same plan, comes to the same weights with each
update, and ends when all agree to.

>>> follow(place_here())
True
"""

import sys
from pathlib import Path

from tehon.planning.plan import Plan, make_plan
from tehon.processes import Place
from tehon.training.assemble import assemble
from tehon.training.device import check_cards, choose_device, memory_of, use_threads
from tehon.training.generators import seeded
from tehon.training.interrupts import Stop, StoppedEarly, stoppable
from tehon.training.process_group import ProcessGroup, joined
from tehon.training.resume import Start
from tehon.training.state import restore_state


def follow(place: Place) -> bool:
    """Trains with the first process until all end; says whether that was after the last update. A Problem when another
    process is gone, or when the memory here is too small."""
    with joined(place) as peers:
        plan, start, run = handed_out(peers)
        device = choose_device(plan.settings.training.device)
        check_cards(device, place)
        use_threads(plan.settings.training.num_cpu_threads_per_process)
        with memory_of(device, run), seeded(plan.seed, device):
            return _train(plan, start, peers)


def handed_out(
    peers: ProcessGroup, plan: Plan | None = None, start: Start | None = None, run: Path | None = None
) -> tuple[Plan, Start | None, Path]:
    """Plan, start and run directory of the first process, which gives them; the others get them."""
    settings, start, run = peers.hand_out((plan.settings if plan else None, start, run))
    assert settings is not None, "the first process gives them"
    assert run is not None
    return plan or make_plan(settings), start, run


def _train(plan: Plan, start: Start | None, peers: ProcessGroup) -> bool:
    stop = Stop()
    with stoppable(stop, several=True):
        try:
            trainer = assemble(plan, progress=lambda done, total: stop.wanted, peers=peers)
        except StoppedEarly:
            return False
        if start is not None:
            restore_state(trainer.state, start.saved, start.file)
        trainer.state.good.every = sys.maxsize  # the first process keeps the last good weights
        if peers.agree(stop.wanted):
            return trainer.state.step == plan.steps
        for report in trainer.updates():
            trainer.state.moving = False
            if report.step < plan.steps and trainer.asks(report.step) and peers.agree(stop.wanted):
                return False
    return True
