"""After which updates something is due, told one by one and counted."""

from hypothesis import given
from hypothesis import strategies as st

from tehon.planning.intervals import Intervals


@given(st.integers(0, 12), st.integers(0, 5), st.integers(1, 60), st.integers(1, 9))
def test_as_many_are_counted_as_are_due(by_steps: int, by_epochs: int, steps: int, per_epoch: int) -> None:
    intervals = Intervals(by_steps, by_epochs, steps, per_epoch)
    assert list(intervals.updates()) == [step for step in range(1, steps + 1) if intervals.due(step)]
    assert intervals.count == sum(intervals.due(step) for step in range(1, steps + 1))
