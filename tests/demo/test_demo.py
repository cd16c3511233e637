"""The demo from end to end: what a newcomer sees first."""

import json
from pathlib import Path

import pytest
from PIL import Image

from tehon.catalog.header import read_header
from tehon.cli.main import main
from tehon.demo.lesson import prepared


@pytest.mark.slow
def test_the_demo_teaches_mofu_and_keeps_what_the_model_knew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shown"
    assert main(["demo", str(folder), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    result = json.loads((folder / "result.json").read_text())
    assert result["seeds"] == 32
    assert result["concept"]["z"] > 8, "the concept score must rise far outside seed noise"
    assert result["concept"]["difference"] > 0.12
    assert result["control"]["base"]["both"] > 0.85
    assert result["control"]["adapted"]["both"] > 0.6, "the model must still draw what it drew"
    assert len(read_header(folder / "mofu.safetensors").shapes) == 3 * 264
    assert Image.open(folder / "before-after.png").width > 800
    assert len(list((folder / "pictures" / "10_mofu").glob("*.png"))) == 16
    assert (next((folder / "runs").iterdir()) / "settings.toml").is_file()

    assert main(["demo", str(folder), "--quiet"]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_the_demo_into_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["demo", str(tmp_path / "file"), "--quiet"]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--overwrite"]])
def test_the_demo_takes_no_pictures_away_that_are_not_its_own(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "pictures" / "10_mycat" / "01.png"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    assert main(["demo", str(tmp_path), "--quiet", *words]) == 2
    assert "this is here already; give another folder" in capsys.readouterr().err
    assert [place for place in tmp_path.rglob("*") if place.is_file()] == [own]


@pytest.mark.parametrize("name", ["pictures/10_mofu/mine.png", "before-after.png", "result.json"])
def test_the_demo_replaces_nothing_unasked(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    assert main(["demo", str(tmp_path), "--quiet"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert [place for place in tmp_path.rglob("*") if place.is_file()] == [tmp_path / name]


def test_pictures_that_are_there_stay_and_what_is_not_as_it_was_is_replaced_at_once(tmp_path: Path) -> None:
    prepared(tmp_path)
    files = sorted(place for place in (tmp_path / "pictures").rglob("*") if place.is_file())
    before = {place: (place.stat().st_ino, place.read_bytes()) for place in files}
    changed, gone = tmp_path / "pictures/10_mofu/03.txt", tmp_path / "pictures/1_scene/007.png"
    changed.write_text("a caption of mine\n", "utf8")
    gone.unlink()
    with changed.open() as reader:
        prepared(tmp_path)
        assert reader.read() == "a caption of mine\n", "who is reading the old file reads all of it"
    assert {place: place.read_bytes() for place in files} == {place: content for place, (_, content) in before.items()}
    assert {place for place in files if place.stat().st_ino != before[place][0]} <= {changed, gone}
    assert changed.stat().st_ino != before[changed][0]


def test_the_pictures_of_an_earlier_demo_are_drawn_anew(tmp_path: Path) -> None:
    for name in ("10_mofu/17.png", ".tehon-captions.json"):
        (tmp_path / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pictures" / name).write_bytes(b"old")
    prepared(tmp_path)
    assert sorted(place.name for place in (tmp_path / "pictures").iterdir()) == [
        ".tehon-captions.json",
        "10_mofu",
        "1_scene",
    ]
    assert not (tmp_path / "pictures" / "10_mofu" / "17.png").exists()


def test_the_model_in_the_package_is_small_and_has_the_topology_of_sd1() -> None:
    from tehon.catalog.detect import demo_folder

    files = [file for file in demo_folder().rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 24_000_000
    assert {
        dtype for file in files if file.suffix == ".safetensors" for dtype in read_header(file).dtypes.values()
    } == {"F16"}
    unet = json.loads((demo_folder() / "unet" / "config.json").read_text())
    assert unet["down_block_types"] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    assert unet["layers_per_block"] == 2
    text = json.loads((demo_folder() / "text_encoder" / "config.json").read_text())
    assert (text["num_hidden_layers"], text["max_position_embeddings"]) == (12, 77)
    vae = json.loads((demo_folder() / "vae" / "config.json").read_text())
    assert (vae["latent_channels"], len(vae["block_out_channels"])) == (4, 4)
