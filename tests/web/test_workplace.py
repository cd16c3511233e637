"""What the page keeps of its user."""

import os
from pathlib import Path

import pytest

from tehon.messages.problem import Problem
from tehon.web.workplace import Workplace


def test_a_language_that_cannot_be_kept_is_spoken_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEHON_LANG", "en")
    workplace = Workplace(tmp_path)
    workplace.file.mkdir()
    with pytest.raises(Problem, match=r"preferences\.json"):
        workplace.prefer(language="ja")
    assert workplace.preferences.language == os.environ["TEHON_LANG"] == "ja"
