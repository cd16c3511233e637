"""The dialog that draws checkpoints by strengths."""

from pathlib import Path

import pytest

from tehon.runs.layout import RunDirectory
from tehon.web.grid_dialog import has_prompts


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('prompts = "mofu\\n"', True),
        ('prompts = "# mofu\\n\\n  # on a hill\\n"', False),
        ('prompts_file = "prompts.txt"', True),
        ("every_n_epochs = 1", False),
    ],
)
def test_whether_a_run_has_prompts(text: str, wanted: bool, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.settings.write_text(f"[samples]\n{text}\n", "utf8")
    assert has_prompts(run) == wanted


@pytest.mark.parametrize("text", ["samples = 3", 'samples.prompts = ["mofu"]', "[["])
def test_of_settings_that_somebody_broke_the_drawing_says_so(text: str, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.settings.write_text(text, "utf8")
    assert has_prompts(run)
