"""What a person who took a wrong turn is told to do is what helps, with the words of the command that was given."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import tehon
from tehon.cli.main import main
from tehon.settings.fields import fields

MESSAGES = Path(tehon.__file__).parent / "messages"
LAYER = "lora_unet_mid_block_attentions_0_proj_in"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with a LoRA of one rank and one of two, a JSON of each kind, a text and a picture folder."""
    monkeypatch.chdir(tmp_path)
    for name, rank in (("one", 1), ("two", 2)):
        down, up = np.ones((rank, 6), np.float32), np.ones((4, rank), np.float32)
        save_file({f"{LAYER}.lora_down.weight": down, f"{LAYER}.lora_up.weight": up}, f"{name}.safetensors")
    Path("preset.json").write_text('{"LoRA_type": "Standard"}')
    Path("list.json").write_text("[1]")
    Path("text.txt").write_text("hello")
    Path("pictures").mkdir()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("import list.json", "list.json: this JSON is no object with settings; give one that kohya_ss has saved."),
        (
            "import text.txt",
            "text.txt: nothing in it is a setting of kohya_ss or sd-scripts; give a JSON of the GUI, a",
        ),
        ("import pictures", "pictures: this is a folder; give the file that is meant."),
        (
            "import two.safetensors",
            "two.safetensors: the file says nothing about its training, so that no settings can",
        ),
        (
            "export preset.json out.json",
            "preset.json: these are no settings of tehon's, which are TOML; bring the file ",
        ),
        (
            "plan preset.json",
            "preset.json: these are no settings of tehon's, which are TOML; bring the file along with `t",
        ),
        (
            "plan two.safetensors",
            "two.safetensors: these are no settings of tehon's, which are TOML; bring the file ",
        ),
        ("plan pictures", "pictures: this is a folder; give the file that is meant."),
        ("inspect pictures", "pictures: this is a folder; give the file that is meant."),
        ("resize pictures --rank 1", "pictures: this is a folder; give the file that is meant."),
        ("resize two.safetensors --rank 1 --sv-ratio 0.5", "--sv-ratio: 0.5 does not fit; give a number above 1."),
        ("resize two.safetensors --rank 1 --sv-fro 2", "--sv-fro: 2.0 does not fit; give a share between 0 and 1."),
        (
            "cut one.safetensors 1",
            "one.safetensors: its layers have one rank each, of which nothing can be cut; use th",
        ),
        (
            "merge --lora two.safetensors:much -o out.safetensors",
            "--lora: the strength behind two.safetensors is no fin",
        ),
        (
            "merge none --lora two.safetensors -o out.safetensors",
            "MODEL: there is no model at none; give a checkpoint ",
        ),
        (
            "merge two.safetensors --lora two.safetensors -o out.safetensors",
            "MODEL: two.safetensors is a LoRA and no b",
        ),
        (
            "extract none demo -o out.safetensors",
            "BASE: there is no model at none; give a checkpoint file, a diffusers",
        ),
        (
            "extract demo two.safetensors -o out.safetensors",
            "TUNED: two.safetensors is a LoRA and no base model; give ",
        ),
        (
            "extract demo demo --device mps -o out.safetensors",
            "--device: this machine has no mps device that PyTorch ca",
        ),
    ],
)
def test_the_remedy_fits_what_was_done(line: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(sentence)
    assert not list(Path().glob("out*"))


@pytest.mark.parametrize("name", ["\ud800", "9" * 5000])
@pytest.mark.parametrize("command", ["import", "plan", "runs", "inspect", "train"])
def test_a_name_that_no_file_can_have_is_refused(command: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, name]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_number_of_thousands_of_digits_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Python itself does not turn such a text into a number."""
    Path("a.toml").write_text('[model]\npath = "demo"\n[data]\nfolder = "pictures"\n[output]\nfolder = "out"\n')
    assert main(["plan", "a.toml", "--network.rank", "9" * 5000]) == 2
    assert capsys.readouterr().err.startswith("network.rank: '999")
    Path("b.toml").write_text(f"[network]\nrank = {'9' * 5000}\n")
    assert main(["plan", "b.toml"]) == 2
    assert capsys.readouterr().err.startswith("b.toml: this is not valid TOML (")


def test_nothing_can_not_be_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    """Even where there is no caption that could show it."""
    assert main(["captions", "replace", "pictures", "", "owl"]) == 2
    assert capsys.readouterr().err == "what is to be replaced is empty; give a tag or a text.\n"


def test_pictures_that_are_too_large_for_the_memory_are_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*anything: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("tehon.families.samplers.sample", full)
    assert main(["sample", "demo", "a", "--width", "64", "--height", "64", "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("--device: the memory of cpu is too small for these pictures; draw smaller ones (--width")


def test_the_list_of_settings_is_where_it_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    Path("strange.toml").write_text("[network]\nzzz = 1\n")
    assert main(["plan", "strange.toml"]) == 2
    assert (
        "network.zzz: there is no such setting; remove it, or look for it in docs/settings.md,"
        in capsys.readouterr().err
    )
    for language in ("en", "ja"):
        sentences = json.loads((MESSAGES / f"{language}.json").read_text("utf8"))
        for sentence in (sentences["problem"]["unknown_key"], sentences["cli"]["settings_too"]):
            (place,) = re.findall(r"docs/settings[.\w]*\.md", sentence)
            listed = (MESSAGES.parents[2] / place).read_text("utf8")
            assert all(f"| `{field.name}` |" in listed for field in fields())


@pytest.mark.skipif(sys.platform == "win32", reason="there such a name is one that nothing has")
@pytest.mark.parametrize(
    "line", ["captions list NAME", "stop NAME", "grid NAME", "convert --to peft NAME", "train two --run NAME"]
)
def test_a_name_that_no_file_can_have_is_a_sentence(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = "a" * 300
    assert main(line.replace("NAME", name).split()) == 2
    said = capsys.readouterr().err
    assert name in said
    assert said.endswith(": the system takes no name as long as this; check the path.\n")
