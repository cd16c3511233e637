"""Editing tags: what each edit does to one caption, and what it leaves alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tehon.captions import tags

TAG = st.text("abc xyz猫", min_size=1, max_size=6).map(str.strip).filter(bool)
CAPTION = st.lists(TAG, max_size=6, unique=True).map(tags.join)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (tags.add(["red"], "owl, sitting"), "owl, sitting, red"),
        (tags.add(["red"], "owl, sitting", first=True), "red, owl, sitting"),
        (tags.add(["owl", "red", "red"], "owl,sitting"), "owl, sitting, red"),
        (tags.add(["owl"], "owl,sitting"), "owl,sitting"),
        (tags.add(["red"], ""), "red"),
        (tags.remove(["sitting"], "owl, sitting, red"), "owl, red"),
        (tags.remove(["sit"], "owl,sitting"), "owl,sitting"),
        (tags.replace("owl", "mofu", "an owl, owl, red"), "an owl, mofu, red"),
        (tags.replace("owl", "red", "owl, red"), "red"),
        (tags.replace("owl", "mofu", "an owl, owlish", whole_tags=False), "an mofu, mofuish"),
        (tags.sort("red, Blue, apple"), "apple, Blue, red"),
        (tags.sort("mofu, red, apple", keep=1), "mofu, apple, red"),
    ],
)
def test_an_edit_gives_the_caption(found: str, expected: str) -> None:
    assert found == expected


def test_tags_are_counted_once_a_caption() -> None:
    assert tags.count(["owl, red", "owl, owl", "blue"]) == [("owl", 2), ("blue", 1), ("red", 1)]


@given(caption=CAPTION, new=st.lists(TAG, max_size=3))
def test_what_is_added_is_there_once_and_removing_it_brings_the_rest_back(caption: str, new: list[str]) -> None:
    after = tags.split(tags.add(new, caption))
    assert set(after) == set(tags.split(caption)) | set(new)
    assert len(after) == len(set(after))
    rest = [tag for tag in tags.split(caption) if tag not in new]
    assert tags.split(tags.remove(new, tags.join(after))) == rest
