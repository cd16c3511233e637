"""The contact sheet shows what is cut away, what is learned, and the final captions."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from PIL import Image, ImageFont

from tehon.cli.main import main
from tehon.planning import sheet as module
from tehon.planning.plan import make_plan
from tehon.planning.sheet import find_font, write_sheet
from tehon.settings.files import validate

Tree = dict[str, Any]
RED = (232, 69, 44)


def drawn(tree: Tree, file: Path) -> Image.Image:
    write_sheet(make_plan(validate(tree)), file)
    return Image.open(file).convert("RGB")


def test_what_is_cut_away_is_dark_and_what_is_learned_is_framed(tree: Tree, tmp_path: Path) -> None:
    folder = tmp_path / "one" / "1_cat"
    folder.mkdir(parents=True)
    Image.new("RGB", (192, 96), (200, 200, 200)).save(folder / "a.png")
    tree["data"] |= {"folder": str(folder.parent), "enable_bucket": False, "resolution": [96, 96]}
    found = drawn(tree, tmp_path / "sheet.png")
    row = [found.getpixel((x, 2 * 14 + 12 + 100)) for x in range(12, 212)]
    dark, frame, bright = (70, 70, 70), RED, (200, 200, 200)
    assert row == [dark] * 50 + [frame] + [bright] * 98 + [frame] + [dark] * 50


def test_the_sheet_is_as_large_as_it_needs_to_be(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three = drawn(tree, tmp_path / "sheet.png")
    monkeypatch.setattr(module, "MOST", 2)
    two = drawn(tree, tmp_path / "sheet.png")
    assert three.width - two.width == 212
    assert three.height == two.height


def test_another_caption_gives_another_sheet_and_the_same_plan_the_same(tree: Tree, tmp_path: Path) -> None:
    first, again = (drawn(tree, tmp_path / "sheet.png").tobytes() for _ in range(2))
    tree["data"]["caption_prefix"] = "猫の写真"
    assert first == again
    assert drawn(tree, tmp_path / "sheet.png").tobytes() != first


def test_without_a_font_pillows_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FONTS", ("no such font.ttf",))
    monkeypatch.setattr(module, "_searched", lambda: None)
    assert isinstance(find_font(), ImageFont.FreeTypeFont | ImageFont.ImageFont)
    assert find_font().getlength("a caption") > 20


def test_the_command_writes_the_sheet(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(tomli_w.dumps(tree), "utf8")
    assert main(["plan", str(config), "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert Image.open(tmp_path / "sheet.png").width == 3 * 212 + 12
    own = next(Path(tree["data"]["folder"]).rglob("*.png"))
    was = own.read_bytes()
    assert main(["plan", str(config), "--sheet", str(own)]) == 2
    assert own.read_bytes() == was
    capsys.readouterr()
    assert main(["plan", str(config), "--sheet", str(tmp_path / "none" / "sheet.png")]) == 2
    assert capsys.readouterr().err.startswith(f"--sheet: {tmp_path / 'none' / 'sheet.png'} cannot be written (")


def test_the_background_is_that_of_the_training(tree: Tree, tmp_path: Path) -> None:
    folder = tmp_path / "one" / "1_cat"
    folder.mkdir(parents=True)
    Image.new("RGBA", (96, 96), (200, 200, 200, 0)).save(folder / "a.png")
    tree["data"] |= {"folder": str(folder.parent), "background": "#102030"}
    assert drawn(tree, tmp_path / "sheet.png").getpixel((112, 2 * 14 + 12 + 100)) == (16, 32, 48)


def test_letters_that_no_font_has_are_named(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "find_font", lambda: ImageFont.load_default(12))
    config = tmp_path / "mine.toml"
    config.write_text(tomli_w.dumps(tree), "utf8")
    assert main(["plan", str(config), "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert "draw" not in capsys.readouterr().err
    tree["data"]["caption_prefix"] = "猫の写真"
    config.write_text(tomli_w.dumps(tree), "utf8")
    assert main(["plan", str(config), "--sheet", str(tmp_path / "sheet.png"), "--overwrite"]) == 0
    assert "No font on this machine can draw の写猫真" in capsys.readouterr().err
