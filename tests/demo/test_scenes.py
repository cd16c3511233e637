from pathlib import Path

from PIL import Image

from tehon.demo.scenes import COLOURS, scene, write_known_scenes
from tehon.demo.shapes import SHAPES


def test_a_scene_is_a_function_of_its_number() -> None:
    assert scene(1, 5) == scene(1, 5)
    assert scene(1, 5).draw().tobytes() == scene(1, 5).draw().tobytes()
    assert scene(1, 5).caption != scene(2, 5).caption


def test_the_caption_names_what_is_drawn() -> None:
    for number in range(200):
        shown = scene(0, number)
        assert shown.named["colour"] in shown.caption
        assert shown.named["shape"] in shown.caption
        assert shown.things[0].colour == shown.named["colour"]
        assert len(shown.things) == {"a": 1, "two": 2, "three": 3, "four": 4}[shown.named["count"]] + (
            "second shape" in shown.named
        )


def test_scenes_show_everything_there_is() -> None:
    seen = [scene(0, number) for number in range(400)]
    assert {s.named["shape"] for s in seen} == set(SHAPES)
    assert {s.named["colour"] for s in seen} == set(COLOURS)


def test_known_scenes_are_written_in_kohyas_layout(tmp_path: Path) -> None:
    folder = write_known_scenes(tmp_path, 3)
    assert folder.name == "1_scene"
    assert sorted(file.name for file in folder.iterdir()) == [
        f"00{number}.{kind}" for number in range(3) for kind in ("png", "txt")
    ]
    assert Image.open(folder / "000.png").size == (128, 128)
    assert (folder / "000.txt").read_text("utf8") == f"{scene(2024, 0).caption}\n"
