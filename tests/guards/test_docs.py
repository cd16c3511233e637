from pathlib import Path

import pytest

from tehon.messages.catalogue import languages
from tehon.settings.reference import page

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("language", languages())
def test_the_reference_page_is_current(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEHON_LANG", language)
    name = "settings.md" if language == "en" else f"settings.{language}.md"
    assert (DOCS / name).read_text("utf8") == page(), "run python -m tehon.settings.reference docs"
