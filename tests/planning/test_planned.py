"""Pictures as columns: what a row is, and what is chosen of them."""

from pathlib import Path

from tehon.data.plan.buckets import BucketRule, Placement
from tehon.data.plan.captions import Caption
from tehon.data.plan.folders import PictureFolder
from tehon.data.plan.variation import LookRules
from tehon.data.plan.wording import Wording
from tehon.planning.planned import PictureSet, PlannedPicture, PlannedPictures

RULE = BucketRule((64, 64), 64, 64, 64, upscale=True)
FOLDER = PictureFolder(Path("10_cat"), 10, "cat")


def a_set(place: str, is_reg: bool = False) -> PictureSet:
    return PictureSet(place, is_reg, RULE, 1, LookRules(), Wording(), "auto", "white", alpha_mask=False)


CATS, REGS = a_set("data"), a_set("data.reg_folder", is_reg=True)
WIDE, HIGH = Placement((96, 64), (96, 64)), Placement((64, 96), (64, 96))


def rows(count: int) -> list[PlannedPicture]:
    """Different in every field that may differ within a folder; every third one is of another set."""
    return [
        PlannedPicture(
            set=REGS if number % 3 == 2 else CATS,
            folder=FOLDER,
            name=f"{number}.png",
            size=(number, 2 * number),
            placement=WIDE if number % 2 else HIGH,
            text=f"cat {number}",
            text_source=".txt",
            digest=bytes([number]) * 16,
            repeats=number + 1,
            mask=Path(f"mask {number}.png") if number else None,
        )
        for number in range(count)
    ]


def pictures_of(found: list[PlannedPicture]) -> PlannedPictures:
    return PlannedPictures(*map(list, zip(*found, strict=True)))


def test_a_row_has_its_field_of_each_column_in_their_order() -> None:
    wanted = rows(5)
    pictures = pictures_of(wanted)
    assert list(pictures) == [pictures[number] for number in range(5)] == wanted
    assert (len(pictures), pictures[-1], list(pictures[1:4:2])) == (5, wanted[4], [wanted[1], wanted[3]])
    assert (pictures.names[3], pictures.repeats[3], pictures.masks[3]) == ("3.png", 4, Path("mask 3.png"))
    assert pictures[3].path == Path("10_cat/3.png")
    assert pictures[3].caption == Caption("cat 3", ".txt")


def test_what_is_selected_or_left_out_keeps_its_order() -> None:
    wanted = rows(5)
    pictures = pictures_of(wanted)
    assert list(pictures.select([3, 0])) == [wanted[3], wanted[0]]
    assert list(pictures.without({1, 3})) == [wanted[0], wanted[2], wanted[4]]
    assert pictures.without(()) is pictures


def test_parts_are_joined_one_after_the_other() -> None:
    wanted = rows(5)
    parts = [pictures_of(wanted[:2]), PlannedPictures(), pictures_of(wanted[2:])]
    assert list(PlannedPictures.joined(parts)) == wanted
    assert list(PlannedPictures.joined([])) == []


def test_pictures_are_alike_in_set_and_placement() -> None:
    found = pictures_of(rows(7)).alike
    assert found == [(CATS, HIGH, [0, 4, 6]), (CATS, WIDE, [1, 3]), (REGS, HIGH, [2]), (REGS, WIDE, [5])]
