"""A contact sheet of the first epoch: each picture with the piece that is learned and the final caption.

>>> write_sheet(plan, Path("sheet.png"))
"""

import os
import sys
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from tehon.data.plan.epochs import Read
from tehon.data.plan.images import open_upright
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan

MOST = 120
"""So many pictures are shown; a larger sheet could not be looked at."""
_COLUMNS = 6
_SIDE, _TEXT, _GAP = 200, 96, 12
_LINE = 14
_NO_LETTER = "\U0010fffd"  # for private use, so no font has it
_INK, _PAPER, _FRAME, _DARK = "#222222", "#ffffff", "#e8452c", 0.65
_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansJP-Regular.otf",
    "YuGothM.ttc",
    "meiryo.ttc",
    "msgothic.ttc",
    "ヒラギノ角ゴシック W3.ttc",
    "Hiragino Sans GB.ttc",
    "ipagp.ttf",
    "TakaoPGothic.ttf",
    "VL-PGothic-Regular.ttf",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "DejaVuSans.ttf",
)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def write_sheet(plan: Plan, file: Path) -> str:
    """Draws the sheet; a Problem when it cannot be written. Returns the letters that no font here can draw."""
    first: dict[int, Read] = {}
    for batch in plan.epoch(0):
        for read in batch.reads:
            first.setdefault(read.picture, read)
    shown = [first[number] for number in sorted(first)][:MOST]
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    wide, high = _SIDE + _GAP, _SIDE + _TEXT + _GAP
    sheet = Image.new("RGB", (columns * wide + _GAP, rows * high + _GAP + 2 * _LINE), _PAPER)
    draw, font = ImageDraw.Draw(sheet), find_font()
    title = say("sheet.title", shown=len(shown), total=len(plan.pictures))
    draw.text((_GAP, _GAP // 2), title, _INK, font)
    written = [title]
    for number, read in enumerate(shown):
        row, column = divmod(number, columns)
        corner = _GAP + column * wide, _GAP + 2 * _LINE + row * high
        texts = _texts(plan, read, font)
        sheet.paste(_cell(plan, read, texts, font), corner)
        written += texts
    try:
        sheet.save(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Problem("file_unwritable", field="--sheet", path=file, reason=reason) from None
    return _undrawn("".join(written), font)


def _texts(plan: Plan, read: Read, font: Font) -> list[str]:
    """The lines below a picture: its name, what is done with it, its caption."""
    picture = plan.pictures[read.picture]
    marks = [f"x{picture.repeats}", "{}x{}".format(*picture.placement.bucket)]
    marks += [say("sheet.flip")] * plan.look(0, read).flip + [say("sheet.reg")] * picture.is_reg
    caption = wrapped(plan.caption(0, read) or say("sheet.no_caption"), font, _SIDE)
    return [picture.name, "  ".join(marks), *caption][: _TEXT // _LINE]


def _undrawn(text: str, font: Font) -> str:
    """The letters of the text for which the font has nothing but its box."""
    box = font.getmask(_NO_LETTER)
    return "".join(one for one in sorted(set(text)) if not one.isspace() and _same(font.getmask(one), box))


def _same(one: Any, other: Any) -> bool:
    return one.size == other.size and bytes(one) == bytes(other)


def _cell(plan: Plan, read: Read, texts: list[str], font: Font) -> Image.Image:
    picture, look = plan.pictures[read.picture], plan.look(0, read)
    cell = Image.new("RGB", (_SIDE, _SIDE + _TEXT), _PAPER)
    whole = open_upright(picture.path, picture.set.background)
    seen = _seen(whole, picture.placement.resized, (*look.crop, *picture.placement.bucket))
    cell.paste(ImageOps.mirror(seen) if look.flip else seen, ((_SIDE - seen.width) // 2, (_SIDE - seen.height) // 2))
    draw = ImageDraw.Draw(cell)
    for number, text in enumerate(texts):
        draw.text((0, _SIDE + 4 + number * _LINE), _fitting(text, font), _FRAME if number == 1 else _INK, font)
    return cell


def _seen(picture: Image.Image, resized: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """The scaled picture, small, what is cut away darkened and the piece that is learned framed."""
    scale = _SIDE / max(resized)
    small = picture.resize((max(1, round(resized[0] * scale)), max(1, round(resized[1] * scale))))
    left, top = (round(value * scale) for value in box[:2])
    right, bottom = round((box[0] + box[2]) * scale), round((box[1] + box[3]) * scale)
    kept = small.crop((left, top, right, bottom))
    small = Image.blend(small, Image.new("RGB", small.size), _DARK)
    small.paste(kept, (left, top))
    ImageDraw.Draw(small).rectangle((left, top, right - 1, bottom - 1), outline=_FRAME)
    return small


def wrapped(text: str, font: Font, width: float) -> list[str]:
    """Lines no wider than `width`, broken at blanks, or anywhere where there are none, as in Japanese."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _fitting(text: str, font: Font) -> str:
    while text and font.getlength(text) > _SIDE:
        text = text[:-2] + "…" if len(text) > 2 else ""
    return text


def find_font(size: int = 12) -> Font:
    """A font with Japanese letters where the system has one, else Pillow's own."""
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    found = _searched()
    return ImageFont.truetype(found, size) if found else ImageFont.load_default(size)


def _searched() -> str | None:
    """The first file of such a font below the places where Linux keeps them."""
    if not sys.platform.startswith("linux"):
        return None
    wanted = ("cjk", "gothic", "ipag", "japan", "wqy")
    for place in ("/usr/share/fonts", "/usr/local/share/fonts", os.path.expanduser("~/.local/share/fonts")):
        for folder, _, names in os.walk(place):
            for name in sorted(names):
                if name.lower().endswith((".ttf", ".ttc", ".otf")) and any(one in name.lower() for one in wanted):
                    return os.path.join(folder, name)
    return None
