"""The launcher, without a network and without an install: what it decides, remembers and says."""

import ast
import importlib.util
import json
import string
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parent.parent / "launch.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("launch", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


launch = load()


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEHON_LANG", "en")
    monkeypatch.delenv("TEHON_TORCH_INDEX", raising=False)
    monkeypatch.delenv("TEHON_VERBOSE", raising=False)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder of its own, with nothing installed."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\ntorch==2.13.0\n")
    monkeypatch.setattr(launch, "ROOT", str(tmp_path))
    return tmp_path


class TestPythonVersion:
    @pytest.mark.parametrize("version", [(3, 6, 15), (3, 9, 18), (2, 7, 18)])
    def test_an_old_python_is_refused_in_one_sentence(self, version: tuple[int, ...]) -> None:
        with pytest.raises(launch.InstallError, match=rf"^Python {version[0]}\.{version[1]} is too old; .*\.$"):
            launch.check_python(version)

    @pytest.mark.parametrize("version", [(3, 10, 0), (3, 14, 1), (4, 0, 0)])
    def test_a_new_one_passes(self, version: tuple[int, ...]) -> None:
        launch.check_python(version)

    def test_the_file_parses_on_an_old_python(self) -> None:
        ast.parse(FILE.read_text("utf8"), feature_version=(3, 7))  # the oldest grammar that every Python still knows

    def test_main_prints_the_sentence_and_returns_2(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(launch, "OLDEST", (99, 0))
        assert launch.main(["demo"]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("Python ")
        assert err.count("\n") == 1


class TestArguments:
    def test_options_before_the_command_are_ours_and_the_rest_is_the_commands(self) -> None:
        words = ["--verbose", "--torch-index", "https://wheels.example/cpu", "train", "a.toml", "--verbose"]
        assert launch.read_arguments(words, {}) == (
            "https://wheels.example/cpu",
            True,
            ["train", "a.toml", "--verbose"],
        )

    def test_the_option_wins_over_the_environment(self) -> None:
        environment = {"TEHON_TORCH_INDEX": "https://wheels.example/a", "TEHON_VERBOSE": "1"}
        assert launch.read_arguments(["demo"], environment) == ("https://wheels.example/a", True, ["demo"])
        assert launch.read_arguments(["--torch-index=default", "demo"], environment) == ("default", True, ["demo"])

    @pytest.mark.parametrize("words", [["--torch-index"], ["--torch-index", "demo"], ["--torch-index=", "demo"]])
    def test_an_option_without_its_address_is_refused(self, words: list[str]) -> None:
        with pytest.raises(launch.InstallError, match="--torch-index needs"):
            launch.read_arguments(words, {})


class TestChoiceOfTorch:
    NVIDIA = ("NVIDIA GeForce RTX 3060", True)
    OLD_NVIDIA = ("NVIDIA GeForce GTX 1080", False)
    NONE = ("", False)

    @pytest.mark.parametrize(
        ("system", "machine", "nvidia", "rocm", "index", "chosen"),
        [
            ("Linux", "x86_64", NVIDIA, "", "default", ("cuda", "", 8)),
            ("Linux", "x86_64", NVIDIA, "/opt/rocm", "default", ("cuda", "", 8)),
            ("Linux", "x86_64", OLD_NVIDIA, "", "default", ("cuda_old", "cu126", 8)),
            ("Windows", "AMD64", NVIDIA, "", "default", ("cuda_windows", "cu130", 3)),
            ("Windows", "AMD64", OLD_NVIDIA, "", "default", ("cuda_windows", "cu126", 3)),
            ("Linux", "x86_64", NONE, "/opt/rocm", "default", ("rocm", "rocm7.2", 3)),
            ("Windows", "AMD64", NONE, "C:\\rocminfo.exe", "default", ("cpu", "", 3)),
            ("Darwin", "arm64", NONE, "", "default", ("mps", "", 3)),
            ("Darwin", "x86_64", NONE, "", "default", ("cpu", "", 3)),
            ("Linux", "x86_64", NONE, "", "default", ("cpu_linux", "cpu", 3)),
            ("Windows", "AMD64", NONE, "", "default", ("cpu", "", 3)),
            ("Linux", "x86_64", NONE, "", "https://wheels.example/cpu/", ("index", "", 3)),
            ("Windows", "AMD64", NVIDIA, "", "https://wheels.example/cu130", ("index", "", 8)),
        ],
    )
    def test_fits_the_machine(
        self, system: str, machine: str, nvidia: tuple[str, bool], rocm: str, index: str, chosen: tuple[str, str, int]
    ) -> None:
        assert launch.choose_torch(system, machine, nvidia, rocm, index) == chosen
        assert launch.sentence(chosen[0], gpu=nvidia[0], index=index, choose="").startswith("PyTorch: ")

    @pytest.mark.parametrize(
        ("answer", "found"),
        [
            ("NVIDIA GeForce RTX 3060, 581.29, 8.6\n", ("NVIDIA GeForce RTX 3060", True)),
            ("NVIDIA GeForce RTX 3060, 560.35.03, 8.6\n", ("NVIDIA GeForce RTX 3060", False)),
            ("NVIDIA GeForce GTX 1080, 581.29, 6.1\n", ("NVIDIA GeForce GTX 1080", False)),
            ("NVIDIA A, 580.65, 9.0\nNVIDIA B, 580.65, 9.0\n", ("NVIDIA A", True)),
            ("", ("", False)),
            ("No devices were found\n", ("", False)),
        ],
    )
    def test_reads_what_nvidia_smi_says(self, answer: str, found: tuple[str, bool]) -> None:
        assert launch.read_nvidia(answer) == found


class TestStamp:
    def test_changes_with_everything_an_install_depends_on(self, root: Path) -> None:
        def stamps() -> set[str]:
            here = str(root)
            return {
                launch.stamp(here, "3.11", "", "default"),
                launch.stamp(here, "3.12", "", "default"),
                launch.stamp(here, "3.11", "[dev]", "default"),
                launch.stamp(here, "3.11", "", "https://wheels.example/cpu"),
            }

        before = stamps()
        assert len(before) == 4
        assert stamps() == before
        (root / "constraints.txt").write_text("torch==2.13.1\n")
        after = stamps()
        assert not before & after
        (root / "pyproject.toml").write_text("[project]\nname = 'other'\n")
        assert not after & stamps()

    @pytest.mark.parametrize("text", ["", "{", "[1]", '"word"'])
    def test_a_broken_state_counts_as_none(self, root: Path, text: str) -> None:
        (root / "tehon.json").write_text(text)
        assert launch.read_state(str(root)) == {}


class TestInstall:
    """The order of the steps, with `run` and `start` recorded in place of doing them."""

    @pytest.fixture
    def steps(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        steps: list[str] = []
        venv = root / ".venv"

        def run(command: list[str], verbose: bool) -> None:
            if "venv" in command:
                steps.append("venv")
                for name in ("python", "tehon"):
                    file = Path(launch.program(str(venv), name))
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.touch()
                (venv / "pyvenv.cfg").write_text("prompt = 'tehon'\n")
                (venv / "tehon.json").unlink(missing_ok=True)
            elif command[1] == "-c":
                assert command[0] == launch.program(str(venv), "python")
                steps.append(command[2])
            else:
                assert command[3:8] == ["install", "--only-binary", ":all:", "--no-binary", "dadaptation"]
                steps.append(
                    " ".join(word for word in command[8:] if word not in ("-c", str(root / "constraints.txt")))
                )

        def start(command: list[str]) -> int:
            steps.append("start " + " ".join(command[1:]).replace(str(venv), ".venv"))
            return 0

        monkeypatch.setattr(launch, "run", run)
        monkeypatch.setattr(launch, "start", start)
        monkeypatch.setattr(launch, "wait", start)
        monkeypatch.setattr(launch, "find_nvidia", lambda: ("", False))
        monkeypatch.setattr(launch, "find_rocm", lambda: "")
        monkeypatch.setattr(launch, "check_disk", lambda need, free: None)
        monkeypatch.chdir(root)
        return steps

    TORCH = "--force-reinstall torch==2.13.0"
    LOOPS = "from tehon.loops.kept import compile_all; compile_all()"

    def test_installs_once_and_then_only_starts(self, steps: list[str]) -> None:
        assert launch.main(["demo", "there"]) == 0
        assert steps[:4] == ["venv", self.TORCH, "-e .", self.LOOPS]
        assert steps[4].endswith(" demo there")
        steps.clear()
        assert launch.main(["plan"]) == 0
        assert len(steps) == 1

    def test_the_tests_add_the_development_tools_to_what_is_there(self, steps: list[str]) -> None:
        launch.main(["demo"])
        steps.clear()
        launch.main(["test", "-k", "launch"])
        assert steps == ["-e .[dev]", self.LOOPS, "start -m pytest -k launch"]
        steps.clear()
        launch.main(["demo"])
        assert len(steps) == 1  # what the tests need is no reason to install less again

    @pytest.mark.parametrize(
        ("codes", "count", "code"), [([0, 0], 2, 0), ([1, 0], 2, 1), ([0, 1], 2, 1), ([2], 1, 2), ([-9, 0], 2, -9)]
    )
    def test_all_tests_run_on_all_cores_and_then_those_that_measure_time(
        self, steps: list[str], monkeypatch: pytest.MonkeyPatch, codes: list[int], count: int, code: int
    ) -> None:
        launch.main(["demo"])
        steps.clear()
        start, ends = launch.wait, iter(codes)
        monkeypatch.setattr(launch, "wait", lambda command: start(command) or next(ends))
        assert launch.main(["test"]) == code
        spread = "-n logical --dist loadfile --no-loadscope-reorder"
        runs = [f"start -m pytest {spread} -m not alone", "start -m pytest -m alone"]
        assert steps == ["-e .[dev]", self.LOOPS, *runs[:count]]

    def test_an_install_that_stopped_halfway_is_gone_on_with(
        self, steps: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*_: object) -> None:
            raise launch.InstallError("stop")

        real = launch.run
        monkeypatch.setattr(
            launch, "run", lambda command, verbose: stop() if "-e" in command else real(command, verbose)
        )
        assert launch.main(["demo"]) == 2
        monkeypatch.setattr(launch, "run", real)
        steps.clear()
        assert launch.main(["demo"]) == 0
        assert steps[0] == "-e ."

    @pytest.mark.parametrize("error", [launch.InstallError("no"), OSError("no")], ids=["it fails", "no log either"])
    def test_loops_that_can_not_be_compiled_yet_are_no_reason_to_fail(
        self, steps: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
    ) -> None:
        real = launch.run

        def run(command: list[str], verbose: bool) -> None:
            real(command, verbose)
            if steps[-1] == self.LOOPS:
                raise error

        monkeypatch.setattr(launch, "run", run)
        assert launch.main(["demo"]) == 0
        assert steps[3] == self.LOOPS
        steps.clear()
        assert launch.main(["demo"]) == 0
        assert len(steps) == 1

    def test_another_index_replaces_torch_and_is_remembered(self, steps: list[str]) -> None:
        launch.main(["demo"])
        steps.clear()
        launch.main(["--torch-index", "https://wheels.example/cu130", "demo"])
        assert steps[:2] == [self.TORCH + " --index-url https://wheels.example/cu130", "-e ."]
        steps.clear()
        launch.main(["demo"])
        assert len(steps) == 1
        launch.main(["--torch-index", "default", "demo"])
        assert steps[1:3] == [self.TORCH, "-e ."]

    def test_a_new_pin_of_torch_comes_from_the_same_index(self, steps: list[str], root: Path) -> None:
        launch.main(["--torch-index", "https://wheels.example/cpu", "demo"])
        steps.clear()
        (root / "constraints.txt").write_text("torch==2.14.0\n")
        launch.main(["demo"])
        assert steps[0] == "--force-reinstall torch==2.14.0 --index-url https://wheels.example/cpu"

    def test_a_moved_folder_gets_a_new_environment(self, steps: list[str], root: Path) -> None:
        launch.main(["demo"])
        state = json.loads((root / ".venv" / "tehon.json").read_text())
        launch.write_state(str(root / ".venv"), dict(state, made="3.11 elsewhere", stamp="of elsewhere"))
        steps.clear()
        launch.main(["demo"])
        assert steps[:3] == ["venv", self.TORCH, "-e ."]

    @pytest.mark.parametrize("name", ["pyvenv.cfg", "conda-meta"])
    def test_somebody_elses_environment_is_left_alone(
        self, steps: list[str], root: Path, name: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (root / ".venv").mkdir()
        (root / ".venv" / name).write_text("home = /usr/bin\n")
        assert launch.main(["demo"]) == 2
        assert "did not make" in capsys.readouterr().err
        assert steps == []

    def test_asking_for_help_installs_nothing(self, steps: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert launch.main(["--help"]) == 0
        assert "usage: " in capsys.readouterr().err
        assert steps == []
        launch.main(["demo"])
        steps.clear()
        launch.main([])
        assert steps[0].endswith(" --help")

    def test_a_password_in_the_address_is_not_shown(self, steps: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        launch.main(["--torch-index", "https://me:secret@wheels.example/cpu", "demo"])
        assert "secret" not in capsys.readouterr().err

    def test_too_little_disk_is_said_before_anything_is_made(self, root: Path) -> None:
        with pytest.raises(launch.InstallError, match=r"About 8 GB are needed.* has 2\.5 GB free"):
            launch.check_disk(8, 2_500_000_000)
        launch.check_disk(8, 8_000_000_000)


class TestFailures:
    NO_NETWORK = (
        "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError(...: Failed to establish "
        "a new connection: [Errno -2] Name or service not known')'\n"
        "ERROR: Could not find a version that satisfies the requirement torch==2.13.0 (from versions: none)\n"
        "ERROR: No matching distribution found for torch==2.13.0\n"
    )

    @pytest.mark.parametrize(
        ("output", "words"),
        [
            (NO_NETWORK, "can't be reached"),
            ("ERROR: No matching distribution found for torch==2.13.0\n", "torch has no build for this machine"),
            (
                "    tehon 0.1.0 depends on numpy>=1.26\n    The user requested (constraint) numpy==2.4.6\n",
                "numpy has no build for this machine",
            ),
            (
                "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n",
                "disk is full",
            ),
            (
                "The virtual environment was not created successfully because ensurepip is not\navailable.",
                "python3-venv",
            ),
            ("/usr/bin/python3: No module named venv", "python3-venv"),
            ("OSError: [Errno 13] Permission denied: '/srv/.venv'", "can't be written to"),
            ("ERROR: [WinError 5] Access is denied", "can't be written to"),
            (
                "OSError: [Errno 2] No such file\nHINT: This error might have occurred since this system does not have "
                "Windows Long Path support enabled.",
                "too long for Windows",
            ),
        ],
    )
    def test_a_known_one_becomes_its_sentence(self, output: str, words: str) -> None:
        said = launch.explain(output)
        assert words in said
        assert "\n" not in said

    def test_an_unknown_one_goes_to_the_log_that_the_sentence_names(self, root: Path) -> None:
        program = "print('x' * 10, 'odd', sep='\\n'); raise SystemExit(1)"
        with pytest.raises(launch.InstallError) as caught:
            launch.run([sys.executable, "-c", program], False)
        log = root / ".venv" / "install.log"
        assert str(log) in str(caught.value)
        assert log.read_text().splitlines() == ["x" * 10, "odd"]

    def test_a_step_that_goes_well_is_silent_unless_asked(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        launch.run([sys.executable, "-c", "print('pip speaks')"], False)
        assert capsys.readouterr() == ("", "")
        launch.run([sys.executable, "-c", "print('pip speaks')"], True)
        assert capsys.readouterr().err.splitlines() == ["pip speaks"]


class TestLanguages:
    def test_all_speak_the_same_sentences_with_the_same_blanks(self) -> None:
        def blanks(table: dict[str, str]) -> dict[str, set[str]]:
            return {
                key: {name for _, name, _, _ in string.Formatter().parse(text) if name} for key, text in table.items()
            }

        assert blanks(launch.SENTENCES["ja"]) == blanks(launch.SENTENCES["en"])

    def test_every_sign_has_a_sentence(self) -> None:
        assert {key for key, _ in launch.SIGNS} <= set(launch.SENTENCES["en"])

    @pytest.mark.parametrize(
        ("environment", "chosen"),
        [
            ({}, "en"),
            ({"LANG": "ja_JP.UTF-8"}, "ja"),
            ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"),
            ({"LANG": "de_DE.UTF-8", "TEHON_LANG": "ja"}, "ja"),
            ({"LC_ALL": "ja_JP", "TEHON_LANG": "en"}, "en"),
        ],
    )
    def test_the_language_follows_the_environment(self, environment: dict[str, str], chosen: str) -> None:
        assert launch.language(environment) == chosen

    def test_japanese_is_spoken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEHON_LANG", "ja")
        assert "古すぎます" in launch.sentence("old_python", python="3.6")


def test_the_constraints_name_one_torch() -> None:
    assert launch.torch_pin(str(FILE.parent / "constraints.txt")).startswith("torch==")


def test_the_state_is_read_back_as_written(tmp_path: Path) -> None:
    state = {"made": "3.11 /here", "stamp": "x"}
    launch.write_state(str(tmp_path), state)
    assert launch.read_state(str(tmp_path)) == state
    assert json.loads((tmp_path / "tehon.json").read_text()) == state
