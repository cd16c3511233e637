"""`tehon compare`: what differs between runs, as text, data and one safe page."""

import json
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tehon.cli.main import main
from tehon.reports.comparison import as_text, compare
from tehon.reports.curves import chart, smoothed, thinned, ticks
from tehon.runs.layout import RunDirectory
from tehon.runs.read import open_run
from tehon.runs.record import append_rows
from tehon.runs.status import look
from tehon.settings.files import to_toml, validate

Tree = dict[str, Any]
EVIL = '<script>alert("x")</script>'


class Page(HTMLParser):
    """Tags, sources and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def check(self) -> None:
        """Nothing comes from elsewhere, and nothing that people wrote became markup."""
        assert not {"script", "link", "iframe", "object"} & set(self.tags)
        sources = [value or "" for name, value in self.attributes if name in ("src", "href", "srcset", "data")]
        assert all(source.startswith("data:image/webp;base64,") for source in sources)
        assert not [name for name, _ in self.attributes if name.startswith("on")]


def make_run(path: Path, tree: Tree, losses: Sequence[float], held: dict[int, float], colour: str) -> RunDirectory:
    run = RunDirectory(path)
    run.make()
    run.settings.write_text(to_toml(validate(tree)), "utf8")
    steps = [{"step": n, "epoch": 1, "loss": x, "rates": {"lora_unet": 1e-4}} for n, x in enumerate(losses, 1)]
    append_rows(run.metrics, [*steps, *({"step": s, "epoch": 1, "validation_loss": x} for s, x in held.items())])
    run.previews.mkdir()
    prompt = {"prompt": f"a cat {EVIL}", "negative_prompt": "", "width": 64, "height": 64, "seed": 3, "scale": 7.5}
    prompt |= {"sample_steps": 30, "sample_sampler": "euler_a", "line": 0}
    for tag, step, paint in (("base", 0, "gray"), ("000001", 1, "black"), ("000002", 2, colour)):
        Image.new("RGB", (64, 64), paint).save(run.previews / f"{tag}.png")
        append_rows(run.samples, [{"step": step, "tag": tag, "file": f"{tag}.png", **prompt}])
    return run


@pytest.fixture
def pair(tree: Tree, tmp_path: Path) -> list[str]:
    tree["output"]["training_comment"] = "one"
    make_run(tmp_path / "one", tree, [0.4, 0.3], {2: 0.25}, "red")
    tree["network"]["rank"] = 8
    tree["output"]["training_comment"] = EVIL
    make_run(tmp_path / "two", tree, [0.4, 0.2, 0.1], {}, "blue")
    return [str(tmp_path / "one"), str(tmp_path / "two")]


def test_what_differs_is_told_and_nothing_else(pair: list[str]) -> None:
    found = compare([open_run(Path(path)) for path in pair])
    assert dict(found.settings) == {"network.rank": ("2", "8"), "output.training_comment": ("one", EVIL)}
    assert [run.steps for run in found.runs] == [2, 3]
    assert [run.loss for run in found.runs] == pytest.approx([0.35, 0.7 / 3])
    assert found.runs[0].best is not None
    assert found.runs[0].best.loss == 0.25
    assert found.runs[1].best is None


@pytest.mark.parametrize("count", [12, 250])
def test_the_loss_is_the_one_that_is_shown_of_each_run_by_itself(tree: Tree, tmp_path: Path, count: int) -> None:
    """Of two runs that learn the same, one must not seem the better by the noise of their last steps."""
    steps = [1.0 + (-1) ** n for n in range(count)]
    runs = [make_run(tmp_path / name, tree, losses, {}, "red") for name, losses in (("a", steps), ("b", steps[1:]))]
    found = compare(runs)
    assert [run.loss for run in found.runs] == pytest.approx([1.0, 1.0], abs=0.1)
    assert found.runs[0].loss == pytest.approx(look(runs[0]).loss)
    assert ("where there are fewer" in as_text(found)) == (count == 12)
    ends = [loss for _, loss in found.runs[0].training[-3:]]
    assert max(ends) - min(ends) <= 0.7, "of 2 from step to step"


def test_the_command_writes_one_page_that_holds_everything(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "compare.html"
    assert main(["compare", *pair, "--out", str(out)]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["network.rank", "2", "8"] in shown
    said = "loss, mean of the last 100 steps, of all where there are fewer"
    assert [*said.split(), "0.3500", "0.2333"] in shown
    assert shown[-1] == ["Page", str(out)]
    text = out.read_text("utf8")
    page = Page(text)
    page.check()
    assert page.tags.count("img") == 3, "the base model's picture and the last of each run"
    assert page.tags.count("polyline") == 5, "two of the loss, one held-out, two of the rate"
    assert any(EVIL in words for words in page.texts)
    assert "Network rank (dimension) · network.rank" in page.texts
    assert "default-src 'none'" in text

    assert main(["compare", *pair, pair[0], "--out", str(out)]) == 2
    assert capsys.readouterr().err == f"{out} is already there; give another name, or --overwrite.\n"
    assert out.read_text("utf8") == text
    assert main(["compare", *pair, pair[0], "--out", str(out), "--json", "--overwrite"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["settings"]["network.rank"] == ["2", "8", "2"]
    assert data["runs"][0]["best"]["step"] == 2


def test_a_run_that_is_none_and_a_page_that_cannot_be_written_are_refused(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", pair[0], str(tmp_path)]) == 2
    assert "not a run directory" in capsys.readouterr().err
    (tmp_path / "no").write_text("a file")
    assert main(["compare", *pair, "--out", str(tmp_path / "no" / "page.html")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "page.html").mkdir()
    assert main(["compare", *pair, "--out", str(tmp_path / "page.html"), "--overwrite"]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_curves_keep_their_ends_and_means() -> None:
    line = [(float(x), float(x % 7)) for x in range(5000)]
    short = thinned(line)
    assert len(short) == 600
    assert (short[0], short[-1]) == (line[0], line[-1])
    assert smoothed([(1, 1.0), (2, 3.0), (3, 5.0)], 2) == [(1, 1.0), (2, 2.0), (3, 4.0)]
    assert ticks(0.03, 0.28) == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25])
    assert all(3 <= len(ticks(low, high)) <= 10 for low, high in [(0, 1), (1, 1.001), (-3, 40000), (1e-7, 3e-7)])
    assert chart("nothing", {"a": []}) == ""
    assert "polyline" in chart("one point", {"a": [(1, 0.5)]})
