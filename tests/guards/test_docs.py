import re
from pathlib import Path

import pytest

from tehon import training
from tehon.catalog.optimizers import OPTIMIZERS
from tehon.messages.catalogue import languages
from tehon.settings.fields import fields
from tehon.settings.kohya.page import page as switching_page
from tehon.settings.reference import page

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("language", languages())
def test_the_reference_page_is_current(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEHON_LANG", language)
    name = "settings.md" if language == "en" else f"settings.{language}.md"
    assert (DOCS / name).read_text("utf8") == page(), "run python -m tehon.settings.reference docs"


@pytest.mark.parametrize("language", languages())
def test_the_page_on_switching_is_current(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEHON_LANG", language)
    name = "switching.md" if language == "en" else f"switching.{language}.md"
    text = (DOCS / name).read_text("utf8")
    assert text == switching_page(), "run python -m tehon.settings.kohya.page docs"
    assert "…" in text
    assert all(f"`{field.name}`" in text for field in fields())


@pytest.mark.parametrize("name", ["optimizers.md", "optimizers.ja.md"])
def test_the_page_on_optimizers_lists_every_one_with_its_arguments(name: str) -> None:
    rows = [line.split(" | ") for line in (DOCS / name).read_text("utf8").splitlines() if line.startswith("| ")]
    listed = {row[0].strip("| "): set(re.findall(r"`(\w+)`", row[-1])) for row in rows if len(row) == 5}
    for optimizer, row in OPTIMIZERS.items():
        assert listed[optimizer] == set(row.arguments), optimizer


def test_the_page_on_architecture_lists_every_event() -> None:
    told = [
        re.findall(r'self\.(?:tell|_record|_last_words)\("(\w+)"', file.read_text("utf8"))
        for file in Path(training.__path__[0]).glob("*.py")
    ]
    (listed,) = re.findall(r"\| `events\.jsonl` \| (.*?) \|", (DOCS / "architecture.md").read_text("utf8"))
    assert set(re.findall(r"\w+", listed)) - {"and", "how", "it", "ended"} == set().union(*told)


GENERATED = ("settings.ja.md", "switching.ja.md")


@pytest.mark.parametrize("name", sorted(file.name for file in DOCS.glob("*.ja.md") if file.name not in GENERATED))
def test_a_page_has_the_same_sections_and_figures_in_both_languages(name: str) -> None:
    """Pages are written by hand in either language; a table that is measured again has to be in both."""
    pages = [(DOCS / file).read_text("utf8").splitlines() for file in (name, name.replace(".ja.md", ".md"))]
    headings, figures = ([], []), ([], [])
    for lines, levels, tables in zip(pages, headings, figures, strict=True):
        levels += [line.split(" ")[0] for line in lines if re.match(r"#+ ", line)]
        tables += [re.findall(r"\d+(?:[.,]\d+)*", line) for line in lines if line.startswith("|")]
    assert headings[0] == headings[1]
    assert figures[0] == figures[1]
