"""Bad input: one sentence that names the field or the path, exit code 2, no traceback, and no long wait for it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from PIL import Image

import tehon
from tehon.catalog.detect import demo_folder
from tehon.cli.main import main

Tree = dict[str, Any]
Made = tuple[list[str], str]
"""The words behind a command, and what its sentence must begin with or, after an ellipsis, contain."""


def unknown_key(tree: Tree, folder: Path) -> Made:
    tree["network"]["rnak"] = 4
    return [], "network.rnak: there is no such setting; did you mean network.rank?"


def unknown_section(tree: Tree, folder: Path) -> Made:
    tree["zzz"] = {"rank": 4}
    return [], "zzz: there is no such setting"


def unknown_setting_as_option(tree: Tree, folder: Path) -> Made:
    return ["--network.zzz", "4"], "network.zzz: there is no such setting"


def wrong_type(tree: Tree, folder: Path) -> Made:
    tree["data"]["batch_size"] = "many"
    return [], "data.batch_size: 'many' does not fit; give a whole number, at least 1."


def wrong_type_as_option(tree: Tree, folder: Path) -> Made:
    return ["--data.batch_size", "many"], "data.batch_size: 'many' does not fit; give a whole number, at least 1."


def negative_number(tree: Tree, folder: Path) -> Made:
    return ["--network.rank", "-3"], "network.rank: -3 does not fit; give a whole number, at least 1."


def negative_small_number(tree: Tree, folder: Path) -> Made:
    return ["--optimizer.unet_lr", "-1e-4"], "optimizer.unet_lr: -0.0001 does not fit; give a number, at least 0."


def resolution_of_words(tree: Tree, folder: Path) -> Made:
    tree["data"]["resolution"] = [128, "high"]
    return [], "data.resolution: "


def missing_setting(tree: Tree, folder: Path) -> Made:
    del tree["model"]["path"]
    return [], "model.path: this setting is missing"


def no_table(tree: Tree, folder: Path) -> Made:
    tree["network"] = 4
    return [], "network: this is a section"


def nothing_to_train(tree: Tree, folder: Path) -> Made:
    return ["--optimizer.unet_lr=0", "--optimizer.text-encoder-lr=0"], "optimizer.unet_lr: both learning rates are 0"


def missing_model(tree: Tree, folder: Path) -> Made:
    tree["model"]["path"] = str(folder / "no-model")
    return [], f"model.path: there is no model at {folder / 'no-model'};"


def model_that_is_a_file(tree: Tree, folder: Path) -> Made:
    (folder / "model.ckpt").write_bytes(b"weights")
    return ["--model.path", str(folder / "model.ckpt")], f"model.path: {folder / 'model.ckpt'} is damaged, or older"


def model_that_is_any_folder(tree: Tree, folder: Path) -> Made:
    return ["--model.path", str(folder)], f"model.path: {folder} is not a model in the diffusers layout"


def model_without_its_configuration(tree: Tree, folder: Path) -> Made:
    (folder / "half").mkdir()
    (folder / "half" / "model_index.json").write_text("{}")
    return ["--model.path", str(folder / "half")], f"model.path: the model in {folder / 'half'} lacks configuration"


def missing_folder(tree: Tree, folder: Path) -> Made:
    tree["data"]["folder"] = str(folder / "no-pictures")
    return [], f"data.folder: the folder {folder / 'no-pictures'} does not exist;"


def folder_too_deep(tree: Tree, folder: Path) -> Made:
    tree["data"]["folder"] += "/3_blue"
    return [], f"data.folder: {folder / 'pictures' / '3_blue'} is one level too deep, "


def folder_too_shallow(tree: Tree, folder: Path) -> Made:
    tree["data"]["folder"] = str(folder)
    return [], f"data.folder: {folder} is one level too shallow, the picture folders lie in {folder / 'pictures'};"


def folder_of_pictures_without_name(tree: Tree, folder: Path) -> Made:
    (folder / "pictures" / "3_blue").rename(folder / "blue")
    tree["data"]["folder"] = str(folder / "blue")
    return [], f"data.folder: pictures lie directly in {folder / 'blue'};"


def folder_without_pictures(tree: Tree, folder: Path) -> Made:
    (folder / "empty").mkdir()
    tree["data"]["folder"] = str(folder / "empty")
    return [], f"data.folder: no pictures were found in {folder / 'empty'};"


def picture_folder_without_pictures(tree: Tree, folder: Path) -> Made:
    (folder / "new" / "10_cat").mkdir(parents=True)
    tree["data"]["folder"] = str(folder / "new")
    return [], f"data.folder: no pictures were found in {folder / 'new'};"


def broken_picture(tree: Tree, folder: Path) -> Made:
    file = folder / "pictures" / "3_blue" / "02.png"
    file.write_bytes(file.read_bytes()[:-40])
    return [], f"{file}: the picture cannot be read ("


def text_file_named_png(tree: Tree, folder: Path) -> Made:
    file = folder / "pictures" / "3_blue" / "poem.png"
    file.write_text("roses are red")
    return [], f"{file}: the picture cannot be read (not a picture);"


def picture_too_small(tree: Tree, folder: Path) -> Made:
    file = folder / "pictures" / "3_blue" / "tiny.png"
    Image.new("RGB", (6, 200)).save(file)
    return [], f"{file}: the picture has 6x200 pixels"


def caption_in_another_encoding(tree: Tree, folder: Path) -> Made:
    file = folder / "pictures" / "3_blue" / "02.txt"
    file.write_bytes("青".encode("shift_jis"))
    return [], f"{file}: the caption is not UTF-8 text"


def caption_extension_that_no_file_has(tree: Tree, folder: Path) -> Made:
    return ["--data.caption_extension", "a/b"], "data.caption_extension: "


def home_of_nobody(tree: Tree, folder: Path) -> Made:
    return ["--data.folder", "~nobody-of-this-name/pictures"], "…~nobody-of-this-name"


def model_in_the_home_of_nobody(tree: Tree, folder: Path) -> Made:
    return ["--model.path", "~nobody-of-this-name/model"], "…~nobody-of-this-name"


def path_too_long(tree: Tree, folder: Path) -> Made:
    return ["--data.folder", "a" * 300], "data.folder: "


def model_path_too_long(tree: Tree, folder: Path) -> Made:
    return ["--model.path", "a" * 300], "model.path: "


def resolution_outside_the_buckets(tree: Tree, folder: Path) -> Made:
    return ["--data.bucket_no_upscale", "false"], "data.resolution: with enlarging buckets its sides must lie between 2"


def option_that_is_no_setting(tree: Tree, folder: Path) -> Made:
    return ["--zzz"], "--zzz: there is no such option"


def short_option(tree: Tree, folder: Path) -> Made:
    return ["-x"], "-x: there is no such option"


def word_too_many(tree: Tree, folder: Path) -> Made:
    return ["--network.rank", "4", "16"], "16: this is one word more than tehon "


PICTURES = (broken_picture, text_file_named_png, picture_too_small, caption_in_another_encoding)
"""Where the rest of the pictures can still be planned."""
SETTINGS: list[Callable[[Tree, Path], Made]] = [
    unknown_key,
    unknown_section,
    unknown_setting_as_option,
    wrong_type,
    wrong_type_as_option,
    negative_number,
    negative_small_number,
    resolution_of_words,
    missing_setting,
    no_table,
    nothing_to_train,
    missing_model,
    model_that_is_a_file,
    model_that_is_any_folder,
    model_without_its_configuration,
    missing_folder,
    folder_too_deep,
    folder_too_shallow,
    folder_of_pictures_without_name,
    folder_without_pictures,
    picture_folder_without_pictures,
    broken_picture,
    text_file_named_png,
    picture_too_small,
    caption_in_another_encoding,
    caption_extension_that_no_file_has,
    home_of_nobody,
    model_in_the_home_of_nobody,
    path_too_long,
    model_path_too_long,
    resolution_outside_the_buckets,
    option_that_is_no_setting,
    short_option,
    word_too_many,
]


def config_missing(folder: Path) -> Made:
    return ["plan", str(folder / "none.toml")], f"{folder / 'none.toml'}: there is no such file"


def config_that_is_no_toml(folder: Path) -> Made:
    (folder / "a.toml").write_text("rank 4")
    return ["plan", str(folder / "a.toml")], f"{folder / 'a.toml'}: this is not valid TOML"


def config_that_is_a_folder(folder: Path) -> Made:
    return ["train", str(folder)], f"{folder}: this is a folder; give the file that is meant."


def inspect_a_text_file(folder: Path) -> Made:
    (folder / "a.safetensors").write_text("this is not a LoRA, but it is longer than eight bytes")
    return ["inspect", str(folder / "a.safetensors")], f"{folder / 'a.safetensors'}: this is not a safetensors file"


def inspect_an_empty_file(folder: Path) -> Made:
    (folder / "a.safetensors").write_bytes(b"")
    return ["inspect", "--json", str(folder / "a.safetensors")], f"{folder / 'a.safetensors'}: this is not a safetensor"


def inspect_json_that_is_no_header(folder: Path) -> Made:
    (folder / "a.safetensors").write_bytes((8).to_bytes(8, "little") + b'[1, "a"]' + bytes(64))
    return ["inspect", str(folder / "a.safetensors")], f"{folder / 'a.safetensors'}: this is not a safetensors file"


def inspect_a_half_file(folder: Path) -> Made:
    (folder / "a.safetensors").write_bytes((500).to_bytes(8, "little") + b'{"x": {')
    return ["inspect", str(folder / "a.safetensors")], f"{folder / 'a.safetensors'}: this is not a safetensors file"


def inspect_nothing(folder: Path) -> Made:
    return ["inspect", str(folder / "none")], f"{folder / 'none'}: there is no such file"


def inspect_with_an_unknown_option(folder: Path) -> Made:
    return ["inspect", str(folder / "none"), "--zzz"], "--zzz: there is no such option"


def resume_a_folder_that_is_no_run(folder: Path) -> Made:
    return ["resume", str(folder)], f"{folder}: this is not a run directory"


def resume_nothing(folder: Path) -> Made:
    return ["resume", str(folder / "none")], f"{folder / 'none'}: this is not a run directory"


def run_in(folder: Path, settings: str) -> str:
    (folder / "run").mkdir()
    (folder / "run" / "settings.toml").write_text(settings)
    return str(folder / "run")


def resume_a_run_with_damaged_settings(folder: Path) -> Made:
    return ["resume", run_in(folder, "[model")], f"{folder / 'run' / 'settings.toml'}: this is not valid TOML ("


def resume_with_an_unknown_setting(folder: Path) -> Made:
    settings = '[model]\npath = "demo"\n[data]\nfolder = "p"\n[output]\nfolder = "o"\n'
    words = ["resume", run_in(folder, settings), "--network.rnak", "4"]
    return words, "network.rnak: there is no such setting; did you mean network.rank?"


def sample_without_a_model(folder: Path) -> Made:
    return ["sample", str(folder / "none"), "a cat"], f"model.path: there is no model at {folder / 'none'}"


def sample_with_a_missing_lora(folder: Path) -> Made:
    words = ["sample", "demo", "a cat", "--lora", f"{folder / 'none.safetensors'}:0.5", "--out", str(folder / "out")]
    return words, f"{folder / 'none.safetensors'}: there is no such file"


def sample_with_a_lora_that_is_none(folder: Path) -> Made:
    (folder / "a.safetensors").write_text("this is not a LoRA, but it is longer than eight bytes")
    words = ["sample", "demo", "a cat", "--lora", str(folder / "a.safetensors"), "--out", str(folder / "out")]
    return words, f"{folder / 'a.safetensors'}: this is not a safetensors file"


def sample_with_a_vae_that_is_none(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--vae", str(folder)], f"--vae: {folder} is no VAE of Stable Diffusion"


def sample_with_a_vocabulary_that_is_none(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--tokenizer", str(folder)], f"--tokenizer: {folder} has no vocab.json"


def sample_with_the_wrong_prediction(folder: Path) -> Made:
    words = ["sample", "demo", "a cat", "--prediction", "v"]
    return words, f"--prediction: {demo_folder()} says itself that it predicts epsilon, not v; remove the setting."


def sample_with_a_revision_of_no_repository(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--revision", "main"], "--revision: only a model by its name on the hub"


def sample_with_no_steps(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--steps", "-1"], "--steps: -1 does not fit; give a number from 1 to 1000."


def sample_with_no_pictures(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--count", "0"], "--count: 0 does not fit; give a number from 1 to 10000."


def sample_with_a_negative_seed(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--seed", "-1"], "--seed: -1 does not fit; give a number from 0 to "


def sample_into_a_file(folder: Path) -> Made:
    (folder / "out").write_text("")
    return ["sample", "demo", "a cat", "--out", str(folder / "out")], f"--out: {folder / 'out'} cannot be written ("


def sample_with_an_odd_width(folder: Path) -> Made:
    return [
        "sample",
        "demo",
        "a cat",
        "--width",
        "100",
    ], "--width: 100 does not fit; give a multiple of 8, at least 64."


def sample_with_a_width_of_zero(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--width", "0"], "--width: 0 does not fit; give a multiple of 8, at least 64."


def sample_with_a_negative_height(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--height", "-64"], "--height: -64 does not fit; give a multiple of 8, at least"


def sample_with_a_guidance_that_is_no_number(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--cfg", "nan"], "--cfg: 'nan' does not fit; give a number."


def sample_with_a_guidance_without_end(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--cfg", "inf"], "--cfg: 'inf' does not fit; give a number."


def sample_with_a_strength_that_is_no_number(folder: Path) -> Made:
    words = ["sample", "demo", "a cat", "--lora", f"{folder / 'a.safetensors'}:nan"]
    return words, f"--lora: the strength behind {folder / 'a.safetensors'} is no finite number"


def sample_with_an_unknown_option(folder: Path) -> Made:
    return ["sample", "demo", "a cat", "--zzz=1"], "--zzz: there is no such option"


def demo_where_one_has_been(folder: Path) -> Made:
    (folder / "mofu.toml").write_text("")
    return ["demo", str(folder), "--quiet"], f"{folder / 'mofu.toml'}: this is here already"


def demo_below_a_file(folder: Path) -> Made:
    (folder / "file").write_text("")
    return ["demo", str(folder / "file" / "demo"), "--quiet"], f"DIR: {folder / 'file' / 'demo'} cannot be written"


COMMANDS: list[Callable[[Path], Made]] = [
    config_missing,
    config_that_is_no_toml,
    config_that_is_a_folder,
    inspect_a_text_file,
    inspect_an_empty_file,
    inspect_json_that_is_no_header,
    inspect_a_half_file,
    inspect_nothing,
    inspect_with_an_unknown_option,
    resume_a_folder_that_is_no_run,
    resume_nothing,
    resume_a_run_with_damaged_settings,
    resume_with_an_unknown_setting,
    sample_without_a_model,
    sample_with_a_missing_lora,
    sample_with_a_lora_that_is_none,
    sample_with_a_vae_that_is_none,
    sample_with_a_vocabulary_that_is_none,
    sample_with_the_wrong_prediction,
    sample_with_a_revision_of_no_repository,
    sample_with_no_steps,
    sample_with_no_pictures,
    sample_with_a_negative_seed,
    sample_into_a_file,
    sample_with_an_odd_width,
    sample_with_a_width_of_zero,
    sample_with_a_negative_height,
    sample_with_a_guidance_that_is_no_number,
    sample_with_a_guidance_without_end,
    sample_with_a_strength_that_is_no_number,
    sample_with_an_unknown_option,
    demo_where_one_has_been,
    demo_below_a_file,
]


def written(tree: Tree, folder: Path) -> str:
    config = folder / "mine.toml"
    config.write_text(tomli_w.dumps(tree), "utf8")
    return str(config)


def check(words: list[str], start: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must refuse its input; gives what it printed on stdout."""
    code = main(words)
    printed, errors = capsys.readouterr()
    assert code == 2
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith(start) or (start[0] == "…" and start[1:] in errors), errors
    return printed


@pytest.mark.parametrize("command", ["plan", "train"])
@pytest.mark.parametrize("make", SETTINGS)
def test_settings_and_pictures_that_cannot_be_trained_are_refused(
    make: Callable[[Tree, Path], Made], command: str, tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, start = make(tree, tmp_path)
    printed = check([command, written(tree, tmp_path), *words], start, capsys)
    still_planned = command == "plan" and make in PICTURES
    assert printed.startswith("1 problem stands above." if still_planned else "")
    assert bool(printed) == still_planned
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("make", COMMANDS)
def test_files_and_folders_that_are_not_what_a_command_needs_are_refused(
    make: Callable[[Path], Made], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words, start = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert check(words, start, capsys) == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("make", [folder_too_deep, unknown_key, broken_picture])
def test_the_sentence_is_spoken_in_japanese(
    make: Callable[[Tree, Path], Made],
    tree: Tree,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEHON_LANG", "ja")
    words, start = make(tree, tmp_path)
    check(["plan", written(tree, tmp_path), *words], start.partition(":")[0], capsys)
    main(["plan", written(tree, tmp_path), *words])
    assert re.search(r"[\u3040-\u30ff]+.*。$", capsys.readouterr().err.strip())


RUN = """
import json, sys
from tehon.cli.main import main
for line in sys.stdin:
    words = json.loads(line)
    code = main(words)
    heavy = sorted({"torch", "diffusers", "transformers"} & set(sys.modules))
    print(json.dumps([code, heavy]), flush=True)
    if heavy:
        break
"""


def test_whatever_can_be_refused_at_once_is_refused_without_torch(tree: Tree, tmp_path: Path) -> None:
    """The commands above in one fresh process, which ends at the first that imports torch."""
    commands: dict[str, list[str]] = {}
    for make in COMMANDS:
        (tmp_path / make.__name__).mkdir()
        commands[make.__name__] = make(tmp_path / make.__name__)[0]
    for make_settings in (unknown_key, missing_model, missing_folder, folder_too_deep, text_file_named_png):
        copy = json.loads(json.dumps(tree))
        words = make_settings(copy, tmp_path)[0]
        (tmp_path / make_settings.__name__).mkdir()
        commands[make_settings.__name__] = ["train", written(copy, tmp_path / make_settings.__name__), *words]
    environment = os.environ | {"PYTHONPATH": str(Path(tehon.__file__).parents[1])}
    lines = "".join(json.dumps(words) + "\n" for words in commands.values())
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=lines,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert dict(zip(commands, results, strict=False)) == {name: [2, []] for name in commands}


def test_a_lora_that_exists_stops_the_start_and_stays(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "out" / "mine.safetensors"
    there.parent.mkdir()
    there.write_bytes(b"precious")
    config = written(tree, tmp_path)
    start = f"output.name: {there} exists already; choose another name, or set output.overwrite to true."
    assert check(["train", config, "--quiet"], start, capsys) == ""
    assert main(["plan", config]) == 0
    plan = capsys.readouterr().out
    assert check(["train", config], start, capsys) == plan
    assert there.read_bytes() == b"precious"
    assert list(there.parent.iterdir()) == [there]


def below_a_file(folder: Path) -> tuple[list[str], str]:
    (folder / "file").write_text("")
    return ["--output.folder", str(folder / "file" / "out")], f"output.folder: {folder / 'file' / 'out'} cannot be writ"


def a_file(folder: Path) -> tuple[list[str], str]:
    (folder / "file").write_text("")
    return ["--output.folder", str(folder / "file")], f"output.folder: {folder / 'file'} cannot be written ("


def with_a_file_for_its_runs(folder: Path) -> tuple[list[str], str]:
    (folder / "out").mkdir()
    (folder / "out" / "runs").write_text("")
    return [], f"output.folder: {folder / 'out'} cannot be written ("


def with_a_folder_in_place_of_the_lora(folder: Path) -> tuple[list[str], str]:
    (folder / "out" / "mine.safetensors").mkdir(parents=True)
    return ["--output.overwrite", "--training.max_train_steps", "1"], "output."


def with_too_long_a_name(folder: Path) -> tuple[list[str], str]:
    (folder / "out").mkdir()
    return ["--output.name", "a" * 300], "output."


@pytest.mark.parametrize(
    "make",
    [below_a_file, a_file, with_a_file_for_its_runs, with_a_folder_in_place_of_the_lora, with_too_long_a_name],
)
def test_an_output_that_cannot_be_written_stops_the_start(
    make: Callable[[Path], tuple[list[str], str]], tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, start = make(tmp_path)
    assert check(["train", written(tree, tmp_path), "--quiet", *words], start, capsys) == ""


@pytest.mark.parametrize("name", ["model.path", "data.folder", "training.resume"])
def test_in_the_home_of_nobody_there_is_nothing(
    name: str, tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree["training"].pop("seed", None)  # which else is that of the run to go on with
    words = ["train", written(tree, tmp_path), "--quiet", f"--{name}", "~no-such-user/cat"]
    assert check(words, "…~no-such-user/cat", capsys) == ""


def test_a_device_that_is_not_there_stops_the_start(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    device = "mps" if torch.cuda.is_available() else "cuda"
    start = f"training.device: this machine has no {device} device that PyTorch can use;"
    words = ["train", written(tree, tmp_path), "--quiet", f"--training.device={device}"]
    assert check(words, start, capsys) == ""
