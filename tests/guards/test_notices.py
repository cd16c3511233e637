"""Every notice is asked for by some test, which has to spell a good part of it."""

from pathlib import Path

from tehon.messages.catalogue import sentences

TESTS = Path(__file__).parents[1]


def test_every_notice_is_spelled_in_a_test() -> None:
    spelled = "".join(
        "".join(file.read_text("utf8").split()).replace('""', "") for file in TESTS.rglob("test_*.py")
    )  # without blanks and the seams of split texts
    unspelled: list[str] = []
    for key, text in sentences("en").items():
        if not key.startswith("notice."):
            continue
        parts = [word for piece in text.replace("}", "{").split("{")[::2] for word in piece.split(";")]
        if not any(len(part.split()) > 1 and "".join(part.split()).strip(".,:") in spelled for part in parts):
            unspelled.append(key)
    assert unspelled == []
