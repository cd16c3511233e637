"""The demo's data set: the same bytes each time, kohya's layout, captions that name what is drawn."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from tehon.demo.mofu import TRIGGER, draw_mofu, pictures, write_data_set
from tehon.demo.scenes import BACKGROUNDS, POSITIONS, SIDE, TEXTURES, finish, paint_background

CAPTION = re.compile(
    rf"(an? (picture|drawing|image) of )?mofu( ({'|'.join(POSITIONS)}))?"
    rf"( on a (({'|'.join(TEXTURES[1:])}) )?({'|'.join(BACKGROUNDS)}) background)?"
)


def test_every_caption_has_the_trigger_and_names_what_is_drawn() -> None:
    drawn = pictures()
    assert [stem for stem, _, _ in drawn] == [f"{number:02}" for number in range(1, 17)]
    assert all(TRIGGER in caption.split() and CAPTION.fullmatch(caption) for _, _, caption in drawn)
    words = " ".join(caption for _, _, caption in drawn)
    assert all(word in words for word in (*BACKGROUNDS, *TEXTURES[1:]))
    assert sum(" in the " in c or " on the " in c or " at the " in c for _, _, c in drawn) == 8, "half name the place"


def test_captions_tell_the_background_and_the_position() -> None:
    for _, picture, caption in pictures():
        pixels = np.asarray(picture).astype(int)
        for background in (name for name in BACKGROUNDS if f"{name} background" in caption):
            near = np.abs(pixels - BACKGROUNDS[background]).max(-1) <= 26
            assert near.mean() > 0.4
        if not any(position in caption for position in POSITIONS):
            continue
        rows, columns = np.nonzero(np.abs(pixels - (16, 174, 182)).max(-1) < 12)  # the body
        middle = {"left": columns.mean() < 50, "right": columns.mean() > 78}
        middle |= {"top": rows.mean() < 50, "bottom": rows.mean() > 78}
        assert [name for name, holds in middle.items() if holds] == [name for name in middle if name in caption.split()]


def test_mofu_lies_wholly_inside_the_picture() -> None:
    for _, picture, _ in pictures(32):
        pixels = np.asarray(picture).astype(int)
        rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        tones = np.array(list(BACKGROUNDS.values()))
        assert np.abs(rim[:, None] - tones).max(-1).min(-1).max() <= 26


def test_size_and_place_are_shares_of_the_side() -> None:
    canvas = paint_background("white", "plain", 0)
    draw_mofu(canvas, 0.4, 0.6, 0.5)
    rows, columns = np.nonzero(np.asarray(finish(canvas)).min(-1) < 240)
    assert abs((columns.min() + columns.max() + 1) / 2 / SIDE - 0.4) < 0.01
    assert abs((columns.max() + 1 - columns.min()) / SIDE - 0.5) < 0.02
    assert abs((rows.max() + 1 - rows.min()) / SIDE - 0.5) < 0.02


def test_write_data_set_makes_the_layout_and_the_same_bytes_twice(tmp_path: Path) -> None:
    first, second = write_data_set(tmp_path / "first"), write_data_set(tmp_path / "second")
    assert first == tmp_path / "first" / "10_mofu"
    names = sorted(file.name for file in first.iterdir())
    assert names == sorted(f"{number:02}.{kind}" for number in range(1, 17) for kind in ("png", "txt"))
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    assert sum((first / name).stat().st_size for name in names) < 100_000
    for stem, picture, caption in pictures():
        assert (first / f"{stem}.txt").read_text("utf8") == f"{caption}\n"
        with Image.open(first / f"{stem}.png") as file:
            assert file.size == (SIDE, SIDE)
            assert file.mode == "RGB"
            assert np.array_equal(np.asarray(file), np.asarray(picture))


def test_a_longer_series_begins_like_a_shorter_one() -> None:
    short, long = pictures(5), pictures(20)
    assert [(stem, picture.tobytes(), caption) for stem, picture, caption in short] == [
        (stem, picture.tobytes(), caption) for stem, picture, caption in long[:5]
    ]
