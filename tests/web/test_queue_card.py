"""The queue on the tab Runs, in a real browser: why a job could not begin, trying it again, and a pause."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import pytest

from tehon.messages.problem import Problem
from tehon.runs.layout import new_run_directory
from tehon.runs.lock import holding
from tehon.runs.queue import WAITING, Queue
from tehon.web import plan_panel
from tehon.web.queue_card import sight

pytestmark = pytest.mark.slow
GONE = "data.folder: the folder /mofu does not exist; give the folder that holds your picture folders."


@pytest.fixture
def queue(server: Any) -> Queue:
    """Empty, and not paused."""
    found = Queue(server.home / "queue")
    found.pause(paused=False)
    found.remove([job.number for job in found.jobs()])
    return found


def test_a_job_that_could_not_begin_says_why_and_can_be_tried_again(server: Any, visit: Any, queue: Queue) -> None:
    jobs = [queue.add("", name, server.home / "output", "auto") for name in ("turned-away", "no-place", "done")]
    runs = [new_run_directory(server.home / "output", job.name) for job in jobs]
    runs[0].launch.write_text("", "utf8")
    runs[0].log.write_text(f"Reading pictures\n{GONE}\n", "utf8")
    queue.update(jobs[0], state="ended", run=str(runs[0].path))
    queue.update(jobs[1], state="ended", trouble=str(Problem("not_written", path="/full", reason="No space left")))
    page = visit(f"{server.url}/runs")
    card = page.locator(".panel.queue")
    card.get_by_text(GONE).wait_for()
    card.get_by_text("/full").wait_for()
    row = card.locator(".queue-row", has_text="turned-away")
    assert row.inner_text().split()[:3] == ["1.", "turned-away", "failed"]
    row.get_by_role("button", name="Try again").click()
    card.get_by_text(GONE).wait_for(state="detached")
    assert [(job.name, job.state) for job in queue.jobs()][-1] == ("turned-away", WAITING)
    card.locator(".queue-row", has_text="no-place").get_by_role("button", name="Remove").click()
    card.get_by_text("/full").wait_for(state="detached")
    assert [job.name for job in queue.jobs()] == ["done", "turned-away"]


def test_a_queue_that_is_worked_is_paused_and_goes_on(server: Any, visit: Any, queue: Queue) -> None:
    queue.add("", "later", server.home / "output", "auto")
    page = visit(f"{server.url}/runs")
    card = page.locator(".panel.queue")
    card.get_by_role("button", name="Start").wait_for()
    with holding(queue.worker_lock("cpu")):
        card.get_by_role("button", name="Pause").click()
        card.get_by_text("Paused: what is at work comes to its end").wait_for()
        assert queue.paused
        page.reload()
        card.get_by_role("button", name="Go on").click()
        card.get_by_role("button", name="Pause").wait_for()
        assert not queue.paused


def test_a_job_that_the_worker_at_work_will_not_take_can_be_begun(server: Any, visit: Any, queue: Queue) -> None:
    job = queue.add("", "for-a-card", server.home / "output", "cuda")
    assert sight(queue, []).idle == "cuda"
    with holding(queue.worker_lock("cpu")):
        assert not queue.is_served(job)
        page = visit(f"{server.url}/runs")
        card = page.locator(".panel.queue")
        card.get_by_role("button", name="Pause").wait_for()
        start = card.get_by_role("button", name="Start")
        start.wait_for()
        with holding(queue.worker_lock("cuda:0")):
            start.wait_for(state="detached")
            assert queue.is_served(job)
            assert card.get_by_role("button", name="Pause").is_visible()


def test_who_adds_a_job_hears_whether_it_begins_by_itself(server: Any, visit: Any, queue: Queue) -> None:
    page = visit(server.url)
    page.get_by_role("button", name="Presets").click()
    page.get_by_text("Demo", exact=True).click()
    page.locator(".figure-number", has_text="176").wait_for()
    name = page.locator('.setting[data-name="output.name"] input')
    begin = " No job begins by itself: choose “{}” on the tab Runs."
    wanted = {"idle": begin.format("Start"), "paused": begin.format("Go on"), "worked": ""}
    for state, more in wanted.items():
        queue.pause(paused=state == "paused")
        name.fill(state)
        page.wait_for_timeout(1500)  # until the form has it
        with holding(queue.worker_lock("cpu")) if state == "worked" else nullcontext():
            page.get_by_role("button", name="Add to queue").click()
            said = re.compile(rf"^{state} is job \d+ in the queue\.{more}$")
            page.locator(".q-notification__message", has_text=said).wait_for()


@pytest.mark.parametrize(("worker", "idle"), [("cpu", True), ("cuda:1", False)])
def test_of_a_worker_for_another_device_a_job_has_nothing(
    worker: str, idle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the button says of a job for a graphics card, which need not be here."""
    queue = Queue(tmp_path / "queue")
    settings, panel = None, cast(Any, plan_panel)
    job = queue.add("", "for-a-card", tmp_path, "cuda")
    monkeypatch.setattr("tehon.web.actions.enqueue", lambda settings: job)
    monkeypatch.setattr("tehon.runs.queue.Queue", lambda: queue)
    with holding(queue.worker_lock(worker)):
        assert ("No job begins by itself" in panel._enqueue(settings)) == idle
        monkeypatch.setenv("TEHON_LANG", "ja")
        assert " " not in panel._enqueue(settings).partition("。")[2], "no blank stands between Japanese sentences"
