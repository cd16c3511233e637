"""`tehon grid`: checkpoints x strengths x prompts, as a picture and a page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from tehon.cli.main import main
from tehon.planning.plan import make_plan
from tehon.reports.grid import Block, Grid, sheet
from tehon.runs.record import append_rows
from tehon.settings.files import validate
from tehon.training.run import start_run

SMALL = "--w 64 --h 64 --s 2"


def test_every_picture_is_in_its_place() -> None:
    def plain(colour: str) -> Image.Image:
        return Image.new("RGB", (400, 200), colour)

    colours = [["red", "lime"], ["blue", "yellow"]]
    blocks = [Block("帽子の絵 " * 40, plain("gray"), [[plain(c) for c in row] for row in colours]) for _ in range(2)]
    paper = sheet(Grid(["step 1", "step 2"], ["0.5", "1"], blocks, best="step 2"))
    pixels = np.asarray(paper)

    def places(colour: tuple[int, int, int]) -> list[tuple[int, int]]:
        """Left upper corners of what has this colour: one for each block."""
        rows, columns = np.nonzero((pixels == colour).all(2))
        tops = [int(row) for row in np.unique(rows) if row - 1 not in rows]
        return [(int(columns.min()), top) for top in tops]

    grey, red, lime, blue, yellow = (
        places(colour) for colour in [(128, 128, 128), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
    )
    assert [len(found) for found in (grey, red, lime, blue, yellow)] == [2] * 5
    assert grey[0][0] < red[0][0] < lime[0][0]
    assert grey[0][1] == red[0][1] == lime[0][1] < blue[0][1] == yellow[0][1] < red[1][1]
    assert blue[0][0] == red[0][0]
    assert red[0][0] + 256 <= lime[0][0]


def test_a_grid_of_a_run(tree: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree["optimizer"] = {"learning_rate": 1e-2, "lr_scheduler": "constant"}
    tree["samples"] = {"prompts": f"caption 1 {SMALL}"}
    tree["training"]["max_train_steps"] = 2
    run = start_run(make_plan(validate(tree)), lambda name, facts: None).run
    first = run.weights / "mine-step00000001.safetensors"
    save_file(load_file(run.weights / "mine.safetensors"), first, {"ss_steps": "1"})
    append_rows(run.metrics, [{"step": 1, "epoch": 1, "validation_loss": 0.125}])
    capsys.readouterr()
    assert main(["grid", str(run.path), "--strengths", "0", "1", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    text = (run.path / "grid" / "grid.html").read_text("utf8")
    assert text.count("<img ") == 5
    assert "Lowest loss on held-out pictures: 0.1250 at step 1." in text
    assert '<th scope="row" class="best">step 1: mine-step00000001</th>' in text
    cells = np.asarray(Image.open(run.path / "grid" / "grid.png").convert("RGB")).astype(int)
    left = [36 + 168 + column * (64 + 8) for column in range(3)]
    top = 36 + 22 + 22
    base, none, full = (cells[top : top + 64, x : x + 64] for x in left)
    assert (base == none).all(), "strength 0 is the base model"
    assert np.abs(base - full).mean() > 1

    assert main(["grid", str(run.path), "--quiet"]) == 2
    assert (
        capsys.readouterr().err
        == f"{run.path / 'grid' / 'grid.png'} is already there; give another name, or --overwrite.\n"
    )
    assert main(["grid", str(run.path), "--strengths", "nan"]) == 2
    assert capsys.readouterr().err.startswith("--strengths: 'nan' does not fit")
    assert (run.path / "grid" / "grid.html").read_text("utf8") == text
    assert main(["grid", str(run.path), "--strengths", "0", "1", "--quiet", "--overwrite"]) == 0

    words = ["grid", str(run.path), "--steps", "2", "--strengths", "1", "--out", str(tmp_path / "else")]
    assert main([*words, "--prompt", f"a <b> {SMALL}"]) == 0
    assert "grid.png" in capsys.readouterr().out
    text = (tmp_path / "else" / "grid.html").read_text("utf8")
    assert text.count("<img ") == 2
    assert "<h2>a &lt;b&gt;</h2>" in text
    remarked = [*words, "--prompt", f"a {SMALL} --fs 2", "--overwrite"]
    assert main([*remarked, "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["notice", "drawn"]
    assert main([*remarked, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*words[:3], "7"]) == 2
    assert "no LoRA of step 7 is there; choose from 1, 2" in capsys.readouterr().err
    for file in run.weights.iterdir():
        file.unlink()
    assert main(["grid", str(run.path)]) == 2
    assert "there is no LoRA in it" in capsys.readouterr().err
