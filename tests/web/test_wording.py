"""What the page says of a run in a few words, in both languages."""

import pytest

from tehon.web.wording import duration


@pytest.mark.parametrize(
    ("seconds", "english", "japanese"),
    [(45.2, "45 s", "45 秒"), (720, "12 min", "12 分"), (12_000, "3 h 20 min", "3 時間 20 分")],
)
def test_times_have_the_units_of_the_language(
    seconds: float, english: str, japanese: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEHON_LANG", "en")
    assert duration(seconds) == english
    monkeypatch.setenv("TEHON_LANG", "ja")
    assert duration(seconds) == japanese
