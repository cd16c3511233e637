"""A folder with every trouble that folders have: one plan names all of it, and the policies do what they say."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from PIL import Image

from tehon.cli.main import main

Tree = dict[str, Any]
Named = Callable[[Path], str]
SETS_APART = sys.platform != "win32"  # where links need no rights and names may be any bytes


def noise(file: Path, size: tuple[int, int] = (96, 96), mode: str = "RGB", **how: Any) -> bytes:
    """A picture with a caption, and its bytes."""
    depth = len(Image.new(mode, (1, 1)).tobytes())
    Image.frombytes(mode, size, os.urandom(size[0] * size[1] * depth)).save(file, **how)
    file.with_suffix(".txt").write_text(f"about {file.stem}", "utf8")
    return file.read_bytes()


def truncated_png(d: Path) -> None:
    noise(d / "truncated_png.png")
    (d / "truncated_png.png").write_bytes((d / "truncated_png.png").read_bytes()[:-200])


def truncated_jpg(d: Path) -> None:
    noise(d / "truncated_jpg.jpg")
    (d / "truncated_jpg.jpg").write_bytes((d / "truncated_jpg.jpg").read_bytes()[:-900])


def truncated_webp(d: Path) -> None:
    noise(d / "truncated_webp.webp")
    (d / "truncated_webp.webp").write_bytes((d / "truncated_webp.webp").read_bytes()[:300])


def truncated_avif(d: Path) -> None:
    noise(d / "truncated_avif.avif")
    (d / "truncated_avif.avif").write_bytes((d / "truncated_avif.avif").read_bytes()[:200])


def flipped_bytes(d: Path) -> None:
    content = bytearray(noise(d / "flipped_bytes.png"))
    content[4000:4100] = bytes(100)
    (d / "flipped_bytes.png").write_bytes(content)


def empty(d: Path) -> None:
    (d / "empty.png").write_bytes(b"")


def poem(d: Path) -> None:
    (d / "poem.png").write_text("roses are red")


def web_page(d: Path) -> None:
    (d / "web_page.jpg").write_text("<!doctype html><title>404</title>")


def head_alone(d: Path) -> None:
    (d / "head_alone.png").write_bytes(noise(d / "head_alone.png")[:33])


def bomb(d: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(d / "bomb.png")


def resource_fork(d: Path) -> None:
    (d / "._00.png").write_bytes(b"\0\5\x16\7 Mac OS X" + bytes(80))


def tiny(d: Path) -> None:
    noise(d / "tiny.png", (5, 90))


def thin(d: Path) -> None:
    noise(d / "thin.png", (8000, 9))


def link_to_nothing(d: Path) -> None:
    (d / "link_to_nothing.png").symlink_to(d / "nowhere.png")


def link_to_itself(d: Path) -> None:
    (d / "link_to_itself.png").symlink_to(d / "link_to_itself.png")


def odd_name(d: Path) -> None:
    noise(d / "odd.png")
    (d / "odd.txt").unlink()
    os.rename(os.fsencode(d / "odd.png"), os.fsencode(d) + b"/odd\xff.png")


BROKEN = [truncated_png, truncated_jpg, truncated_webp, truncated_avif, flipped_bytes, empty, poem, web_page]
BROKEN += [head_alone, bomb, resource_fork, tiny, thin]
BROKEN += [link_to_nothing, link_to_itself, odd_name] if SETS_APART else []


def wrong_encoding(d: Path) -> None:
    noise(d / "wrong_encoding.png")
    (d / "wrong_encoding.txt").write_bytes("赤い猫".encode("shift_jis"))


def utf16(d: Path) -> None:
    noise(d / "utf16.png")
    (d / "utf16.txt").write_bytes("a cat".encode("utf-16"))


def caption_link(d: Path) -> None:
    noise(d / "caption_link.png")
    (d / "caption_link.txt").unlink()
    (d / "caption_link.txt").symlink_to(d / "nowhere.txt")


CAPTIONS = [wrong_encoding, utf16, *([caption_link] if SETS_APART else [])]


def missing(d: Path) -> None:
    noise(d / "missing.png")
    (d / "missing.txt").unlink()


def folder_for_a_caption(d: Path) -> None:
    noise(d / "folder_for_a_caption.png")
    (d / "folder_for_a_caption.txt").unlink()
    (d / "folder_for_a_caption.txt").mkdir()


MISSING = [missing, folder_for_a_caption]


def nothing_said(d: Path) -> str:
    noise(d / "nothing_said.png")
    (d / "nothing_said.txt").write_text("")
    return "1 picture has an empty caption: nothing_said.png"


def of_nobody(d: Path) -> str:
    (d / "of_nobody.txt").write_text("a cat")
    return "1 caption file belongs to no picture: of_nobody.txt"


def twin(d: Path) -> str:
    (d / "twin.png").write_bytes((d / "00.png").read_bytes())
    (d / "twin.txt").write_text("a cat")
    return "1 picture is the same as another one, byte for byte: twin.png = 00.png"


def same_stem(d: Path) -> str:
    noise(d / "01.webp")
    return "1 picture shares its name with another of a different extension, and so its caption and mask: 01.webp"


def moving(d: Path) -> str:
    frames = [Image.frombytes("RGB", (96, 96), os.urandom(96 * 96 * 3)) for _ in range(3)]
    frames[0].save(d / "moving.webp", save_all=True, append_images=frames[1:])
    (d / "moving.txt").write_text("a cat")
    return "1 picture is animated, and only its first frame is learned: moving.webp"


def other_kinds(d: Path) -> str:
    for name in ("a.gif", "b.TIFF", "c.heic", "d.jxl", "e.psd"):
        (d / name).write_bytes(b"")
    return "5 files are pictures of a kind that is not read: a.gif, b.TIFF, c.heic, d.jxl, e.psd"


def other_captions(d: Path) -> str:
    noise(d / "other_captions.png")
    (d / "other_captions.caption").write_text("a cat")
    return "Captions come from files of several kinds: "


def far_too_long(d: Path) -> str:
    noise(d / "far_too_long.png")
    (d / "far_too_long.txt").write_text("a red star and " * 40 + "a dog")
    return "far_too_long.png: the caption is "


def folder_inside(d: Path) -> str:
    (d / "more").mkdir()
    noise(d / "more" / "x.png")
    return f"{d / 'more'} lies inside a picture folder and is not read;"


def no_repeats(d: Path) -> str:
    (d.parent / "dog").mkdir()
    noise(d.parent / "dog" / "x.png")
    return f"{d.parent / 'dog'} is not used: its name has no repeats;"


def zero_repeats(d: Path) -> str:
    (d.parent / "0_bird").mkdir()
    noise(d.parent / "0_bird" / "x.png")
    return f"{d.parent / '0_bird'} is not used: its name has no repeats;"


def no_pictures(d: Path) -> str:
    (d.parent / "3_fish").mkdir()
    return f"{d.parent / '3_fish'} holds no pictures."


ODD: list[Named] = [nothing_said, of_nobody, twin, same_stem, moving, other_kinds, other_captions, far_too_long]
ODD += [folder_inside, no_repeats, zero_repeats, no_pictures]


def harmless(d: Path) -> None:
    """What looks odd and is fine."""
    noise(d / "grey.png", mode="L")
    noise(d / "palette.png", mode="P")
    noise(d / "clear.png", mode="RGBA")
    noise(d / "ink.jpg", mode="CMYK")
    noise(d / "deep.png", mode="I;16")
    noise(d / "猫 with blanks & a very long name indeed.png")
    noise(d / "LOUD.JpEg")


@pytest.fixture
def nasty(tmp_path: Path) -> tuple[Path, list[str]]:
    """(the settings file, the notices that there must be) of 200 files with more than 30 kinds of trouble."""
    folder = tmp_path / "pictures" / "1_cat"
    folder.mkdir(parents=True)
    for number in range(70):
        noise(folder / f"{number:02d}.png")
    for make in (*BROKEN, *CAPTIONS, *MISSING, harmless):
        make(folder)
    notices = [make(folder) for make in ODD]
    assert len([file for file in tmp_path.rglob("*") if not file.is_dir()]) >= 200
    assert len([*BROKEN, *CAPTIONS, *MISSING, *ODD]) >= 30
    tree = {
        "model": {"path": "demo"},
        "data": {"folder": str(folder.parent), "resolution": 96, "bucket_reso_steps": 32},
        "training": {"seed": 1, "device": "cpu", "max_train_steps": 1},
        "output": {"folder": str(tmp_path / "out")},
    }
    (tmp_path / "nasty.toml").write_text(tomli_w.dumps(tree), "utf8")
    return tmp_path / "nasty.toml", notices


def stem(make: Callable[[Path], Any]) -> str:
    return {"resource_fork": "._00", "odd_name": "odd"}.get(make.__name__, make.__name__)


def about(make: Callable[[Path], Any], sentences: list[str]) -> list[str]:
    return [line for line in sentences if f"{os.sep}{stem(make)}" in line.partition(": ")[0].replace("Left out", "")]


def test_one_plan_names_every_trouble_within_seconds(
    nasty: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    config, notices = nasty
    start = time.perf_counter()
    assert main(["plan", str(config), "--json"]) == 2
    assert time.perf_counter() - start < 10
    printed, errors = capsys.readouterr()
    data = json.loads(printed)
    problems = errors.splitlines()
    assert data["problems"] == problems
    assert all(len(about(make, problems)) == 1 for make in (*BROKEN, *CAPTIONS))
    assert len(problems) == len(BROKEN) + len(CAPTIONS)
    for notice in notices:
        assert sum(line.startswith(notice) for line in data["warnings"]) == 1, notice
    named = data["troubles"]["captions_missing"]
    assert all(any(f"{stem(make)}.png" in path for path in named) for make in MISSING)
    assert len(named) == len(MISSING)
    assert data["steps"]["images"] == 70 + len(MISSING) + 7 + 6, "all that can be learned is in the plan"


def test_people_read_the_problems_first(nasty: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(nasty[0])]) == 2
    printed, errors = capsys.readouterr()
    count = len(errors.splitlines())
    assert printed.startswith(f"{count} problems stand above. This is the plan without what they are about:\nModel ")


def test_training_refuses_with_the_same_sentences(
    nasty: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["plan", str(nasty[0])])
    problems = capsys.readouterr().err
    assert main(["train", str(nasty[0])]) == 2
    printed, errors = capsys.readouterr()
    assert (printed, errors) == ("", problems)
    assert not (tmp_path / "out").exists()


def test_skipping_leaves_out_exactly_what_is_broken_and_says_so(
    nasty: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["plan", str(nasty[0]), "--json", "--data.broken_pictures", "skip"]
    assert main(words) == 2
    printed, errors = capsys.readouterr()
    assert len(errors.splitlines()) == len(CAPTIONS), "what cannot be read of a caption is no broken picture"
    data = json.loads(printed)
    assert all(len(about(make, data["skipped"])) == 1 for make in BROKEN)
    assert len(data["skipped"]) == len(BROKEN)
    assert sum(line.startswith("Left out: ") for line in data["warnings"]) == len(BROKEN)
    for make in CAPTIONS:
        for file in (nasty[0].parent / "pictures" / "1_cat").glob(f"{stem(make)}*"):
            file.unlink()
    assert main([*words, "--data.missing_captions", "skip"]) == 0
    skipped = json.loads(capsys.readouterr().out)
    assert len(skipped["skipped"]) == len(BROKEN) + len(MISSING)
    assert skipped["steps"]["images"] == data["steps"]["images"] - len(MISSING)
    assert main([*words, "--data.missing_captions", "stop"]) == 2
    assert all(about(make, capsys.readouterr().err.splitlines()) for make in MISSING[:1])


@pytest.mark.slow
def test_training_goes_on_without_what_is_skipped(
    nasty: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for make in CAPTIONS:
        for file in (tmp_path / "pictures" / "1_cat").glob(f"{stem(make)}*"):
            file.unlink()
    assert main(["train", str(nasty[0]), "--data.broken_pictures", "skip"]) == 0
    assert "Left out: " in capsys.readouterr().out
    assert (tmp_path / "out" / "last.safetensors").is_file()
