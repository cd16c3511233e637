"""Taggers with small models made here: a WD14-like network whose outputs are known, and a tiny drawn BLIP."""

import csv
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tehon.cli.main import main
from tehon.data.plan.images import open_upright
from tehon.taggers.tagger import Wishes, open_tagger, tag_pictures
from tehon.taggers.wd14 import prepared

TAGS = [("general", 9), ("blue_thing", 0), ("green_thing", 0), ("red_thing", 0), ("^_^", 0), ("mofu_(owl)", 4)]


def wd14(folder: Path, batch: int | str = "n") -> Path:
    """Its outputs are the means of blue, green and red as shares, a rating before and two constants behind them."""
    onnx = pytest.importorskip("onnx")
    help_, kinds = onnx.helper, onnx.TensorProto
    folder.mkdir(parents=True)
    weight = np.zeros((3, 6), np.float32)
    weight[[0, 1, 2], [1, 2, 3]] = 1 / 255
    constant = np.array([[0.9, 0, 0, 0, 0.4, 0.6]], np.float32)
    graph = help_.make_graph(
        [
            help_.make_node("ReduceMean", ["picture", "axes"], ["mean"], keepdims=0),
            help_.make_node("MatMul", ["mean", "weight"], ["product"]),
            help_.make_node("Add", ["product", "constant"], ["shares"]),
        ],
        "tagger",
        [help_.make_tensor_value_info("picture", kinds.FLOAT, [batch, 16, 16, 3])],
        [help_.make_tensor_value_info("shares", kinds.FLOAT, [batch, 6])],
        [
            onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            onnx.numpy_helper.from_array(weight, "weight"),
            onnx.numpy_helper.from_array(constant, "constant"),
        ],
    )
    model = help_.make_model(graph, opset_imports=[help_.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    with (folder / "selected_tags.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["tag_id", "name", "category", "count"])
        writer.writerows([n, name, category, 1] for n, (name, category) in enumerate(TAGS))
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    place = tmp_path / "set"
    place.mkdir()
    Image.new("RGB", (10, 10), (250, 0, 0)).save(place / "1.png")
    Image.new("RGB", (10, 10), (0, 0, 250)).save(place / "2.png")
    Image.new("RGB", (10, 5), (0, 0, 0)).save(place / "3.png")  # half of its square is white
    return place


@pytest.mark.parametrize("batch", ["n", 1])
def test_tags_are_those_of_the_network_the_surest_first(pictures: Path, tmp_path: Path, batch: int | str) -> None:
    tagger = open_tagger(str(wd14(tmp_path / "model", batch)), Wishes(0.35))
    files = sorted(pictures.iterdir())
    assert list(tag_pictures(tagger, files, batch=2)) == [
        "red thing, mofu (owl), ^_^",
        "blue thing, mofu (owl), ^_^",
        "mofu (owl), blue thing, green thing, red thing, ^_^",
    ]
    tagger = open_tagger(str(tmp_path / "model"), Wishes(0.55, 0.7, keep_underscores=True))
    assert list(tag_pictures(tagger, files, batch=5)) == ["red_thing", "blue_thing", ""]


def test_pictures_are_prepared_as_the_networks_know_them() -> None:
    picture = Image.new("RGB", (4, 2), (10, 20, 30))
    values = prepared(picture, 4)
    assert values.dtype == np.float32
    assert values[1, 0].tolist() == [30, 20, 10], "blue first"
    assert values[0, 0].tolist() == [255, 255, 255], "white above and below"


def png(file: Path, colour: int, pixels: list[tuple[int, ...]], clear: bytes = b"") -> None:
    """A row of 16-bit pixels, which Pillow cannot write; `clear` is the colour that stands for nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        whole = name + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    row = b"\0" + b"".join(struct.pack(f">{len(pixel)}H", *pixel) for pixel in pixels)
    head = struct.pack(">IIBBBBB", len(pixels), 1, 16, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *([chunk(b"tRNS", clear)] if clear else []), chunk(b"IDAT", zlib.compress(row))]
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b""))


WHITE, FULL = (255, 255, 255), 65535
GREY, RED = (100, 100, 100), (255, 0, 0)


def test_what_is_transparent_is_white_as_the_networks_were_trained(tmp_path: Path) -> None:
    """SmilingWolf's own code lays each picture on white before it is squared; what lies hidden there is black here."""
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 0))
    rgba.save(tmp_path / "rgba.png")
    rgba.save(tmp_path / "webp.webp", lossless=True)
    rgba.putpixel((1, 0), (0, 0, 0, 51))
    rgba.save(tmp_path / "thin.png")
    la = Image.new("LA", (2, 1), (100, 255))
    la.putpixel((1, 0), (0, 0))
    la.save(tmp_path / "la.png")
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    palette.save(tmp_path / "palette.png", transparency=1)
    palette.save(tmp_path / "gif.gif", transparency=1)
    palette.save(tmp_path / "table.png", transparency=bytes([255, 51]))
    keyed = Image.new("RGB", (2, 1), RED)
    keyed.putpixel((1, 0), (0, 0, 0))
    keyed.save(tmp_path / "keyed.png", transparency=(0, 0, 0))
    png(tmp_path / "deep.png", 6, [(FULL, 0, 0, FULL), (0, 0, 0, 0)])
    png(tmp_path / "deep-la.png", 4, [(25700, FULL), (0, 0)])
    png(tmp_path / "deep-grey.png", 0, [(25700,), (0,)])
    png(tmp_path / "deep-keyed.png", 0, [(25700,), (0,)], clear=b"\0\0")

    class Eye:
        def describe(self, pictures: Sequence[Image.Image]) -> list[str]:
            assert all(picture.mode == "RGB" for picture in pictures)
            return [f"{picture.getpixel((0, 0))} {picture.getpixel((1, 0))}" for picture in pictures]

    files = sorted(tmp_path.iterdir())
    seen = dict(zip((file.stem for file in files), tag_pictures(Eye(), files, batch=5), strict=True))
    thin = (204, 204, 204)  # a fifth of black on white
    assert seen == {
        **dict.fromkeys(["rgba", "webp", "palette", "gif", "keyed", "deep"], f"{RED} {WHITE}"),
        **dict.fromkeys(["thin", "table"], f"{RED} {thin}"),
        **dict.fromkeys(["la", "deep-la", "deep-keyed"], f"{GREY} {WHITE}"),
        "deep-grey": f"{GREY} (0, 0, 0)",
    }
    assert prepared(open_upright(tmp_path / "rgba.png"), 2)[0].tolist() == [[0, 0, 255], [255, 255, 255]]


def test_the_command_leaves_captions_alone_unless_asked(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = wd14(tmp_path / "model")
    (pictures / "1.txt").write_text("mine", "utf8")
    words = ["captions", "tag", str(pictures), "--model", str(model), "--prefix", "photo"]

    def texts() -> list[str]:
        return [file.read_text("utf8").strip() for file in sorted(pictures.glob("*.txt"))]

    assert main([*words, "--dry-run"]) == 0
    assert "2 captions would change" in capsys.readouterr().out
    assert texts() == ["mine"]
    assert main([*words, "--threshold", "0.55"]) == 0
    assert texts() == ["mine", "photo, blue thing, mofu (owl)", "photo, mofu (owl)"]
    assert main([*words, "--threshold", "0.55", "--append"]) == 0
    assert texts()[0] == "mine, photo, red thing, mofu (owl)"
    assert main([*words, "--threshold", "0.9", "--overwrite", "--json"]) == 0
    capsys.readouterr()
    assert texts() == ["photo, red thing", "photo, blue thing", "photo"]
    assert main(["captions", "undo", str(pictures)]) == 0
    assert texts()[0] == "mine, photo, red thing, mofu (owl)"


@pytest.mark.parametrize("more", [[], ["--extension", "txt"]])
def test_the_command_leaves_a_caption_alone_whose_extension_is_written_large(
    pictures: Path, tmp_path: Path, more: list[str]
) -> None:
    (pictures / "1.TXT").write_text("mine", "utf8")
    words = ["captions", "tag", str(pictures), "--model", str(wd14(tmp_path / "model")), *more]
    assert main(words) == 0
    assert sorted(file.name for file in pictures.glob("?.[tT]*")) == ["1.TXT", "2.txt", "3.txt"]
    assert (pictures / "1.TXT").read_text("utf8") == "mine"


def tiny_blip(folder: Path) -> Path:
    from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor, BlipProcessor

    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BlipConfig(
        text_config=small
        | {"vocab_size": 30, "encoder_hidden_size": 16, "bos_token_id": 28, "sep_token_id": 3, "eos_token_id": 3,
           "pad_token_id": 0, "max_position_embeddings": 64},
        vision_config=small | {"image_size": 32, "patch_size": 16},
        projection_dim=16,
    )  # fmt: skip
    BlipForConditionalGeneration(config).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{n}" for n in range(23)), "[DEC]", "[ENC]"]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizer(str(folder / "vocab.txt"))
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(folder)
    return folder


def test_a_model_of_transformers_writes_the_sentence_that_it_says(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoProcessor, BlipForConditionalGeneration

    folder = tiny_blip(tmp_path / "blip")
    model: Any = BlipForConditionalGeneration.from_pretrained(folder).eval()
    processor: Any = AutoProcessor.from_pretrained(folder)
    expected = []
    for number in (1, 2, 3):
        given = processor(images=Image.open(pictures / f"{number}.png").convert("RGB"), return_tensors="pt")
        drawn = model.generate(**given, max_new_tokens=50, do_sample=False, num_beams=3)
        expected.append(processor.batch_decode(drawn, skip_special_tokens=True)[0].strip())
    assert any(expected), "a drawn model says something, if no sense"
    assert main(["captions", "tag", str(pictures), "--model", str(folder), "--json"]) == 0
    changes = json.loads(capsys.readouterr().out.splitlines()[-1])["changes"]
    got = {Path(row["file"]).stem: row["after"] for row in changes}
    assert got == {str(n): text for n, text in enumerate(expected, 1) if text}


def break_tags(folder: Path) -> None:
    (folder / "selected_tags.csv").write_text("tag_id,name,category,count\n0,one,0,1\n")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (break_tags, "there is 1 tag for 6 outputs"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"no"), "cannot be loaded"),
        (lambda folder: (folder / "selected_tags.csv").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "model.onnx").unlink(), "holds neither model.onnx"),
    ],
)
def test_what_is_wrong_with_a_model_is_said(
    damage: Callable[[Path], object],
    sentence: str,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = wd14(tmp_path / "model")
    damage(folder)
    assert main(["captions", "tag", str(pictures), "--model", str(folder)]) == 2
    assert sentence in capsys.readouterr().err
    assert list(pictures.glob("*.txt")) == []


def test_a_library_that_is_missing_is_named(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    folder = wd14(tmp_path / "model")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["captions", "tag", str(pictures), "--model", str(folder)]) == 2
    assert "this model needs onnxruntime, which is not installed" in capsys.readouterr().err
    assert main(["captions", "tag", str(pictures), "--model", "nowhere"]) == 2
    assert "there is no folder nowhere" in capsys.readouterr().err
    assert main(["captions", "tag", str(pictures), "--model", "~no-such-user/tagger/here"]) == 2
    assert "there is no folder ~no-such-user/tagger/here" in capsys.readouterr().err
