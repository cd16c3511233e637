"""Plans that several windows ask for at once."""

import asyncio
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from tehon.messages.problem import Problem
from tehon.settings.files import validate
from tehon.settings.settings import Settings
from tehon.web import plans
from tehon.web.workplace import Workplace


def settings(rank: int) -> Settings:
    return validate(
        {
            "model": {"path": "demo"},
            "data": {"folder": "pictures"},
            "output": {"folder": "out"},
            "network": {"rank": rank},
        }
    )


async def in_thread(call: Any, given: Settings) -> Any:
    return await asyncio.to_thread(call, given)


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

    monkeypatch.setattr(plans, "_plan", plan)
    monkeypatch.setattr(plans.run, "io_bound", in_thread)

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


def test_a_plan_from_before_the_form_was_told_of_new_pictures_is_given_to_nobody_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = ["before"]
    go_on = Event()

    def plan(given: Settings) -> Any:
        found = list(pictures)
        go_on.wait(20)
        return found, []

    monkeypatch.setattr(plans, "_plan", plan)
    monkeypatch.setattr(plans.run, "io_bound", in_thread)

    async def windows() -> list[Any]:
        place = Workplace(tmp_path)
        before = asyncio.create_task(place.plans.of(settings(8)))
        await asyncio.sleep(0.2)
        pictures[0] = "after"
        place.draft.tell(["data.folder"])
        asked = [asyncio.create_task(place.plans.of(settings(8))) for _ in range(2)]
        await asyncio.sleep(0.2)
        go_on.set()
        return await asyncio.gather(before, *asked)

    first, *others = asyncio.run(windows())
    assert first[0] == ["before"]
    assert others[0] is others[1], "made once for all windows"
    assert others[0][0] == ["after"]
