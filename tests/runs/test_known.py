"""Runs are found by path and by name, in all output folders that were ever trained into and are there now."""

from pathlib import Path

import pytest

from tehon.messages.problem import Problem
from tehon.runs.claim import claimed
from tehon.runs.home import user_data_folder
from tehon.runs.known import find_run, known_outputs, known_runs, name_of, remember, runs_in
from tehon.runs.layout import RunDirectory


def make(output: Path, name: str) -> RunDirectory:
    run = RunDirectory(output / "runs" / name)
    run.make()
    run.settings.write_text("")
    return run


def test_a_run_is_found_by_path_by_directory_and_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make(tmp_path / "a", "cat-20260101-000000")
    two = make(tmp_path / "b", "cat-20260201-000000")
    three = make(tmp_path / "b", "cat-20260201-000000-2")
    other = make(tmp_path / "b", "cat-dog-20260301-000000")
    for output in ("a", "b", "b"):
        remember(tmp_path / output)
    assert known_outputs() == [tmp_path / "a", tmp_path / "b"]
    assert [run.path for run in known_runs()] == [run.path for run in (other, three, two, one)]
    assert find_run(str(one.path)) == one
    assert find_run("cat-20260201-000000") == two
    assert find_run("cat") == three
    with claimed(one):
        assert find_run("cat", at_work=True) == one
        assert find_run("cat") == three
    assert find_run("cat-dog") == other
    assert [name_of(run) for run in (three, other)] == ["cat", "cat-dog"]
    (tmp_path / "cat").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_run("cat") == three, "a folder of that name, of pictures say, is in nobody's way"
    with pytest.raises(Problem, match=r"^dog: no run of this name is known"):
        find_run("dog")
    for path in (tmp_path / "a", tmp_path / "none"):
        with pytest.raises(Problem, match="this is not a run directory"):
            find_run(str(path))


def test_folders_that_are_gone_and_damaged_entries_cost_nothing(tmp_path: Path) -> None:
    run = make(tmp_path / "a", "cat-20260101-000000")
    remember(tmp_path / "a")
    remember(tmp_path / "unplugged")
    entries = user_data_folder() / "outputs"
    (entries / "torn.txt").write_bytes(b"\xff\xfe\x00")
    (entries / "empty.txt").write_bytes(b"")
    (entries / "relative.txt").write_text("a")
    assert known_runs() == [run]
    run.settings.unlink()
    assert known_runs() == [], "a directory without settings is none"


def test_the_runs_of_one_folder_are_found_without_it_being_known(tmp_path: Path) -> None:
    run = make(tmp_path, "cat-20260101-000000")
    launched = RunDirectory(tmp_path / "runs" / "dog-20260102-000000")
    launched.make()
    launched.launch.write_text("")
    (tmp_path / "runs" / "notes").mkdir()
    assert runs_in(tmp_path) == runs_in(tmp_path / "runs") == [launched, run]
    assert runs_in(run.path) == [run]
    assert known_runs() == []
    with pytest.raises(Problem, match="this folder cannot be listed"):
        runs_in(tmp_path / "none")


def test_data_are_where_the_environment_says_or_where_the_system_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TEHON_DATA", str(tmp_path / "mine"))
    assert user_data_folder() == tmp_path / "mine"
    monkeypatch.delenv("TEHON_DATA")
    monkeypatch.setattr("tehon.runs.home.sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert user_data_folder() == tmp_path / "tehon"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert user_data_folder() == Path.home() / ".local" / "share" / "tehon"
    monkeypatch.setattr("tehon.runs.home.sys.platform", "darwin")
    assert user_data_folder() == Path.home() / "Library" / "Application Support" / "tehon"


def test_a_registry_that_cannot_be_written_is_a_problem_to_tell(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TEHON_DATA", str(tmp_path / "file"))
    with pytest.raises(Problem, match="cannot be written"):
        remember(tmp_path)
    assert known_runs() == []
