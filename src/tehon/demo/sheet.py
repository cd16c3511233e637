"""Sheets of pictures on a light page: prompts against LoRA strengths, or a plain album with captions.

>>> from PIL import Image
>>> picture = Image.new("RGB", (128, 128), "teal")
>>> before_after(["base", "LoRA 1.0"], ["mofu on a beige background"], [[picture, picture]]).size
(810, 366)

"""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_PAGE, _HAIRLINE = (252, 251, 249), (226, 223, 217)
_INK, _QUIET = (44, 42, 40), (118, 113, 106)
_MARGIN, _GAP, _PROMPTS = 40, 10, 208
_PROMPT_SIZE, _HEAD_SIZE, _CAPTION_SIZE = 19, 15, 14
_LEADING = 1.4

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    """Lines no wider than `width`; a longer word is broken."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and font.getlength(f"{line} {word}") > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".lstrip()
        while len(line) > 1 and font.getlength(line) > width:
            fits = next(n for n in range(len(line) - 1, 0, -1) if n == 1 or font.getlength(line[:n]) <= width)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line] if line else lines


def _height(lines: Sequence[str], size: int) -> int:
    return round(len(lines) * size * _LEADING)


def _write(page: Image.Image, lines: Sequence[str], place: tuple[int, int], size: int, ink: Colour) -> None:
    """Lines of text with the top of the first one's tall letters at `place`."""
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    rise = round(font.getbbox("H")[1])
    for number, line in enumerate(lines):
        draw.text((place[0], place[1] - rise + _height(lines[:number], size)), line, fill=ink, font=font)


def _hang(page: Image.Image, picture: Image.Image, place: tuple[int, int], side: tuple[int, int]) -> None:
    """The enlarged picture with its corner at `place`, and a hairline around it, which keeps white ones in shape."""
    left, top = place
    ImageDraw.Draw(page).rectangle((left - 1, top - 1, left + side[0], top + side[1]), outline=_HAIRLINE)
    page.paste(picture.convert("RGB").resize(side, Image.Resampling.LANCZOS), place)


def _enlarged(pictures: Sequence[Image.Image], enlarge: int) -> tuple[int, int]:
    """The size of a cell: that of the largest picture, enlarged."""
    return max(picture.width for picture in pictures) * enlarge, max(picture.height for picture in pictures) * enlarge


def before_after(
    columns: list[str], rows: list[str], pictures: list[list[Image.Image]], enlarge: int = 2
) -> Image.Image:
    """A comparison: `pictures[row][column]`, a prompt to the left of each row, a head above each column."""
    if not rows or not columns or [len(row) for row in pictures] != [len(columns)] * len(rows):
        counts = f"rows of {[len(row) for row in pictures]} for {len(rows)} prompts and {len(columns)} columns"
        raise ValueError(f"pictures: {counts}; give a full grid")
    wide, high = _enlarged([picture for row in pictures for picture in row], enlarge)
    font = ImageFont.load_default(_PROMPT_SIZE)
    prompts = [_wrapped(prompt, font, _PROMPTS - 28) for prompt in rows]
    heights = [max(high, _height(prompt, _PROMPT_SIZE)) for prompt in prompts]
    left, top = _MARGIN + _PROMPTS, _MARGIN + 2 * _HEAD_SIZE
    width = left + len(columns) * (wide + _GAP) - _GAP + _MARGIN
    page = Image.new("RGB", (width, top + sum(heights) + _GAP * (len(rows) - 1) + _MARGIN), _PAGE)
    places = [left + number * (wide + _GAP) for number in range(len(columns))]
    for x, head in zip(places, columns, strict=True):
        _write(page, [head], (x, _MARGIN), _HEAD_SIZE, _QUIET)
    y = top
    for prompt, row, height in zip(prompts, pictures, heights, strict=True):
        _write(page, prompt, (_MARGIN, y + 2), _PROMPT_SIZE, _INK)
        for x, picture in zip(places, row, strict=True):
            _hang(page, picture, (x, y), (wide, high))
        y += height + _GAP
    return page


def album(pictures: list[Image.Image], captions: list[str], columns: int, enlarge: int = 2) -> Image.Image:
    """A plain sheet: pictures in rows of `columns`, each with its caption underneath."""
    if not pictures or len(pictures) != len(captions) or columns < 1:
        counts = f"{len(pictures)} pictures, {len(captions)} captions, {columns} columns"
        raise ValueError(f"pictures, captions, columns: {counts}; give one caption for each picture")
    wide, high = _enlarged(pictures, enlarge)
    columns = min(columns, len(pictures))
    font = ImageFont.load_default(_CAPTION_SIZE)
    texts = [_wrapped(caption, font, wide - 8) for caption in captions]
    starts = range(0, len(pictures), columns)
    heights = [max(_height(text, _CAPTION_SIZE) for text in texts[start : start + columns]) for start in starts]
    gap = 2 * _GAP
    width = 2 * _MARGIN + columns * (wide + gap) - gap
    page = Image.new("RGB", (width, 2 * _MARGIN + sum(heights) + len(heights) * (high + 2 * gap) - gap), _PAGE)
    y = _MARGIN
    for start, height in zip(starts, heights, strict=True):
        for number in range(start, min(start + columns, len(pictures))):
            x = _MARGIN + (number - start) * (wide + gap)
            _hang(page, pictures[number], (x, y), (wide, high))
            _write(page, texts[number], (x, y + high + _GAP), _CAPTION_SIZE, _QUIET)
        y += high + height + 2 * gap
    return page
