"""Every notice is asked for by some test, which names it or spells three words of it."""

import re
from pathlib import Path

from tehon.messages.catalogue import sentences

TESTS = Path(__file__).parents[1]


def runs_of_three(text: str) -> set[str]:
    of_several = re.sub(r"\{\w+:[^|{}]*\|([^{}]*)\}", r"\1", text)
    words = re.findall(r"[\w.'{}]+", of_several)
    return {" ".join(three) for three in zip(words, words[1:], words[2:]) if "{" not in "".join(three)}  # noqa: B905


def test_every_notice_is_named_or_spelled_in_a_test() -> None:
    tests = " ".join(file.read_text("utf8") for file in TESTS.rglob("test_*.py"))
    spelled = runs_of_three(tests)
    notices = {key.partition(".")[2]: text for key, text in sentences("en").items() if key.startswith("notice.")}
    assert [name for name, text in notices.items() if name not in tests and not runs_of_three(text) & spelled] == []
