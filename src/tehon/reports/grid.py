"""Checkpoints against strengths, one block for each prompt, as a picture and as a page.

>>> picture = sheet(grid)
>>> text = as_page(grid, title="mofu")
"""

from dataclasses import dataclass

from PIL import Image, ImageDraw

from tehon.messages.catalogue import say
from tehon.planning.sheet import find_font, wrapped
from tehon.reports.page import heading, page, paragraph, picture_table

_PAGE, _HAIRLINE, _INK, _QUIET, _MARK = "#fcfbf9", "#e2dfd9", "#2c2a28", "#767169", "#b3541e"
_MARGIN, _GAP, _NAMES, _LINE = 36, 8, 168, 22
_CELL = 256


@dataclass(frozen=True)
class Block:
    """The pictures of one prompt: `base` is the base model's, `pictures[checkpoint][strength]` the others."""

    prompt: str
    base: Image.Image
    pictures: list[list[Image.Image]]


@dataclass(frozen=True)
class Grid:
    """`checkpoints` and `strengths` are the names of rows and columns; `best` is a name of a row, or empty."""

    checkpoints: list[str]
    strengths: list[str]
    blocks: list[Block]
    best: str = ""
    note: str = ""

    @property
    def heads(self) -> list[str]:
        """What stands above the columns, the base model's first."""
        return [say("grid.base"), *(say("grid.strength", strength=strength) for strength in self.strengths)]


def as_page(grid: Grid, title: str) -> str:
    """One HTML file with all pictures in it at their full size."""
    parts = [paragraph(grid.note)] if grid.note else []
    for block in grid.blocks:
        lines = list(zip(grid.checkpoints, block.pictures, strict=True))
        with_base = [
            (name, [block.base if number == 0 else None, *pictures]) for number, (name, pictures) in enumerate(lines)
        ]
        parts += [heading(block.prompt), picture_table(grid.heads, with_base, best=grid.best)]
    return page(title, parts)


def sheet(grid: Grid) -> Image.Image:
    """One picture of it all: checkpoints downwards, strengths to the right, the base model's picture before them."""
    font, small = find_font(16), find_font(13)
    every = (row for block in grid.blocks for row in ([block.base], *block.pictures))
    sizes = [picture.size for row in every for picture in row]
    scale = min(1.0, _CELL / max(max(size) for size in sizes))
    wide, high = (round(max(size[axis] for size in sizes) * scale) for axis in (0, 1))
    columns = len(grid.strengths) + 1
    width = 2 * _MARGIN + _NAMES + columns * (wide + _GAP) - _GAP
    titles = [wrapped(block.prompt, font, width - 2 * _MARGIN) for block in grid.blocks]
    rows = len(grid.checkpoints) * (high + _GAP)
    height = 2 * _MARGIN + sum((len(title) + 1) * _LINE + _GAP + rows + _MARGIN for title in titles) - _MARGIN
    paper = Image.new("RGB", (width, height), _PAGE)
    draw = ImageDraw.Draw(paper)
    top = _MARGIN
    for block, title in zip(grid.blocks, titles, strict=True):
        for line in title:
            draw.text((_MARGIN, top), line, _INK, font)
            top += _LINE
        for column, head in enumerate(grid.heads):
            draw.text((_MARGIN + _NAMES + column * (wide + _GAP), top), head, _QUIET, small)
        top += _LINE
        for row, (name, pictures) in enumerate(zip(grid.checkpoints, block.pictures, strict=True)):
            ink = _MARK if name == grid.best else _QUIET
            for number, line in enumerate(wrapped(name, small, _NAMES - 12)):
                draw.text((_MARGIN, top + high // 2 - 10 + number * 18), line, ink, small)
            shown = [block.base if row == 0 else None, *pictures]
            for column, picture in enumerate(shown):
                if picture is not None:
                    _hang(paper, picture, (_MARGIN + _NAMES + column * (wide + _GAP), top), scale)
            top += high + _GAP
        top += _MARGIN
    return paper


def _hang(paper: Image.Image, picture: Image.Image, place: tuple[int, int], scale: float) -> None:
    """The picture with a hairline around it, which keeps white ones in shape."""
    side = round(picture.width * scale), round(picture.height * scale)
    small = picture.convert("RGB").resize(side, Image.Resampling.LANCZOS)
    left, top = place
    ImageDraw.Draw(paper).rectangle((left - 1, top - 1, left + side[0], top + side[1]), outline=_HAIRLINE)
    paper.paste(small, place)
