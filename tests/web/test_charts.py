"""The numbers of blocks as a picture."""

from typing import Any
from xml.etree import ElementTree

import pytest

from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.web.charts import SEAL, blocks
from tehon.web.plan_view import block_numbers_of


def test_bars_are_as_high_as_the_numbers() -> None:
    numbers = {"IN00": 0.0, "IN01": 0.5, "MID": 2.0, "OUT<": 1.0}
    picture = ElementTree.fromstring(blocks("Rank & more", numbers))  # so it is whole XML
    bars = picture.findall("rect")
    assert [float(bar.attrib["height"]) for bar in bars] == [1, 10, 40, 20]
    assert [float(bar.attrib["y"]) + float(bar.attrib["height"]) for bar in bars] == [42] * 4
    assert [float(bar.attrib["x"]) for bar in bars] == pytest.approx([9, 84, 159, 234])
    assert [bar.attrib["fill"] == SEAL for bar in bars] == [False, True, True, True]
    assert [bar.findtext("title") for bar in bars] == ["IN00: 0", "IN01: 0.5", "MID: 2", "OUT<: 1"]
    assert picture.attrib["aria-label"] == "Rank & more: IN00 0, IN01 0.5, MID 2, OUT< 1"
    assert [text.text for text in picture.findall("text")] == ["IN00", "MID", "OUT<"]


def test_blocks_that_are_all_zero_have_bars_of_a_line() -> None:
    picture = ElementTree.fromstring(blocks("Rank", {"IN00": 0.0, "IN01": 0.0}))
    assert [bar.attrib["height"] for bar in picture.findall("rect")] == ["1.0", "1.0"]


def test_only_lists_that_are_given_are_shown(tree: dict[str, Any]) -> None:
    assert block_numbers_of(make_plan(validate(tree))) == {}
    tree["network"] |= {"up_lr_weight": "linear+1", "block_dims": ",".join(["2"] * 12 + ["4"] + ["3"] * 12)}
    shown = block_numbers_of(make_plan(validate(tree)))
    rates, ranks = shown["Factor on the learning rate, by block"], shown["Rank by block"]
    assert list(shown) == ["Factor on the learning rate, by block", "Rank by block"]
    assert list(rates) == list(ranks) == [*(f"IN{n:02}" for n in range(12)), "MID", *(f"OUT{n:02}" for n in range(12))]
    assert (rates["IN11"], rates["MID"], rates["OUT00"], rates["OUT11"]) == (1, 1, 1, 2)
    assert (ranks["IN00"], ranks["MID"], ranks["OUT11"]) == (2, 4, 3)


@pytest.mark.slow
def test_the_plan_shows_them_beside_the_form(server: Any, visit: Any) -> None:
    page = visit(server.url)
    page.get_by_role("button", name="Presets").click()
    page.get_by_text("Demo", exact=True).click()
    page.locator(".figure-number", has_text="176").wait_for()
    assert page.locator("svg.blocks").count() == 0
    page.get_by_label("Search settings").fill("down_lr_weight")
    page.locator('.setting[data-name="network.down_lr_weight"] input').fill("reverse_linear")
    page.locator("svg.blocks rect").nth(24).wait_for()
    heights = [float(bar.get_attribute("height")) for bar in page.locator("svg.blocks rect").all()]
    assert len(heights) == 25
    assert heights == pytest.approx([*(max(1, 40 * (11 - n) / 11) for n in range(12)), *[40] * 13], abs=0.06)
