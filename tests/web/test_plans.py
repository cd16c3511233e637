"""Plans that several windows ask for at once."""

import asyncio
from threading import Event
from typing import Any

import pytest

from tehon.messages.problem import Problem
from tehon.settings.files import validate
from tehon.settings.settings import Settings
from tehon.web import plans


def settings(rank: int) -> Settings:
    return validate(
        {
            "model": {"path": "demo"},
            "data": {"folder": "pictures"},
            "output": {"folder": "out"},
            "network": {"rank": rank},
        }
    )


def test_windows_of_the_same_form_wait_for_one_plan_and_a_closed_one_takes_it_from_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    go_on = Event()

    def plan(given: Settings) -> Any:
        made.append(given.network.rank)
        go_on.wait(20)
        if given.network.rank == 3:
            raise Problem("output_exists", field="output.name", path="there")
        return given, []

    async def work(call: Any, settings: Settings) -> Any:
        return await asyncio.to_thread(call, settings)

    monkeypatch.setattr(plans, "_plan", plan)
    monkeypatch.setattr(plans.run, "io_bound", work)

    async def windows() -> list[Any]:
        shared = plans.Plans()
        asked = [asyncio.create_task(shared.of(settings(rank))) for rank in (8, 8, 8, 16, 3, 3)]
        await asyncio.sleep(0.2)
        asked[0].cancel()
        go_on.set()
        found = await asyncio.gather(*asked[1:], return_exceptions=True)
        await shared.of(settings(8))
        return found

    found = asyncio.run(windows())
    assert sorted(made) == [3, 8, 8, 16], "the second 8 is asked for when the first is done: pictures may have changed"
    assert [one[0].network.rank for one in found[:3]] == [8, 8, 16]
    assert [str(one.key) for one in found[3:]] == ["output_exists"] * 2
