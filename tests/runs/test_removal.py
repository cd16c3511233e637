"""A run is removed with all that is in its directory and nothing else, and never while it is needed."""

from pathlib import Path

import pytest

from tehon.messages.problem import Problem
from tehon.runs.claim import claimed
from tehon.runs.known import is_run, known_runs, remember
from tehon.runs.layout import RunDirectory
from tehon.runs.queue import Queue
from tehon.runs.removal import Contents, contents, remove_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """With two LoRAs of 10 bytes, a state of 100, and a link to a LoRA elsewhere; the finished one is outside."""
    monkeypatch.setenv("TEHON_DATA", str(tmp_path / "data"))
    found = RunDirectory(tmp_path / "out" / "runs" / "mine-20260102-030405")
    found.make()
    remember(tmp_path / "out")
    found.settings.write_text("")
    for name in ("a", "b"):
        (found.weights / f"{name}.safetensors").write_bytes(b"x" * 10)
    found.state_file(4).write_bytes(b"x" * 100)
    (tmp_path / "out" / "mine.safetensors").write_bytes(b"x" * 10)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").touch()
    (found.path / "grid").symlink_to(tmp_path / "pictures")
    found.lock.touch()
    return found


def test_a_removed_run_takes_along_what_is_in_it_and_nothing_outside(run: RunDirectory, tmp_path: Path) -> None:
    assert contents(run) == Contents(files=5, bytes=120, loras=2)
    remove_run(run)
    assert known_runs() == []
    assert not run.path.exists()
    assert (tmp_path / "out" / "mine.safetensors").stat().st_size == 10
    assert (tmp_path / "pictures" / "1.png").exists()


def test_a_run_at_work_and_one_that_the_queue_goes_on_with_stay(run: RunDirectory, tmp_path: Path) -> None:
    with claimed(run), pytest.raises(Problem, match="a process is at work on this run already; stop it first"):
        remove_run(run)
    job = Queue().add("", "mine", tmp_path / "out", "auto")
    Queue().update(job, run=str(run.path))
    with pytest.raises(Problem, match="job 1 of the queue is to go on with this run"):
        remove_run(run)
    assert contents(run).loras == 2
    Queue().update(job, state="ended")
    remove_run(run)


def test_a_removal_that_was_broken_off_can_be_repeated(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("tehon.runs.removal.shutil.rmtree", refuse)
        with pytest.raises(Problem, match=r"it cannot be removed \(Permission denied\); close what uses it"):
            remove_run(run)
    assert is_run(run.path)
    remove_run(run)
    assert not run.path.exists()


def test_a_folder_in_which_something_else_lies_is_none_that_is_removed(run: RunDirectory, tmp_path: Path) -> None:
    (run.path / "1.png").touch()
    with pytest.raises(Problem, match=r"1\.png is in it, which no run has put there"):
        remove_run(run)
    (run.path / "1.png").unlink()
    run.lock.unlink()
    with pytest.raises(Problem, match="no training ever had its lock"):
        remove_run(run)
    assert contents(run).loras == 2
    (tmp_path / "out" / "settings.toml").write_text("")
    assert not is_run(tmp_path / "out"), "an output folder into which settings were copied"
    assert [one.path for one in known_runs()] == [run.path]


def test_a_run_is_the_same_by_each_of_its_paths(run: RunDirectory, tmp_path: Path) -> None:
    Queue().update(Queue().add("", "mine", tmp_path / "out", "auto"), run=str(run.path))
    link = tmp_path / "link"
    link.symlink_to(run.path)
    for path in (link, run.path.parent / ".." / "runs" / run.path.name):
        with pytest.raises(Problem, match="job 1 of the queue is to go on with this run"):
            remove_run(RunDirectory(path))
    Queue().remove([1])
    remove_run(RunDirectory(link))
    assert not run.path.exists()
