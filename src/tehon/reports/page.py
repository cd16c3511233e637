"""A page that is one file: its style, curves and pictures are inside it, and whatever people wrote is escaped.

>>> page("Two runs", [heading("Settings"), table(["name", "a"], [["network.rank", "16"]])])
"""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

from PIL import Image

from tehon.messages.catalogue import language

_STYLE = """
:root { color-scheme: light dark; --ink: #2c2a28; --quiet: #767169; --page: #fcfbf9; --line: #e2dfd9; --mark: #b3541e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ece9e4; --quiet: #a29c93; --page: #1c1b1a; --line: #3a3733; --mark: #e59866; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 2.5rem auto;
  max-width: 82rem; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; font-weight: 600; margin: 0 0 1.5rem; }
h2 { font-size: 1.05rem; font-weight: 600; margin: 2.5rem 0 .75rem; }
p { color: var(--quiet); margin: .25rem 0; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; }
th { text-align: left; font-weight: 500; color: var(--quiet); white-space: nowrap; }
th, td { padding: .3rem 1rem .3rem 0; vertical-align: top; border-bottom: 1px solid var(--line); }
td { overflow-wrap: anywhere; }
table.pictures th, table.pictures td { border: 0; padding: .25rem .5rem .25rem 0; }
table.pictures th[scope=row] { vertical-align: middle; white-space: normal; max-width: 14rem; }
.best { color: var(--mark); font-weight: 600; }
img { display: block; max-width: 100%; height: auto; min-width: 7rem; border: 1px solid var(--line); }
figure { margin: 0; } figcaption { color: var(--quiet); margin-bottom: .25rem; }
svg { width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: var(--quiet); }
.key { display: inline-block; width: .8rem; height: .8rem; margin-right: .4rem; border-radius: 2px; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole HTML document."""
    body = "\n".join(parts)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="{language()}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Plain text in rows."""
    first = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    rest = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    return f'<div class="wide"><table>\n<thead><tr>{first}</tr></thead>\n<tbody>\n{rest}\n</tbody></table></div>'


def picture_table(
    head: Sequence[str], lines: Iterable[tuple[str, Sequence[Image.Image | None]]], best: str = ""
) -> str:
    """Pictures in rows, each with its name before it; the row called `best` is marked. None is an empty place."""
    first = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in ["", *head])
    rows: list[str] = []
    for name, pictures in lines:
        mark = ' class="best"' if best and name == best else ""
        cells = [picture and image(picture, f"{name}, {what}") for what, picture in zip(head, pictures, strict=True)]
        inside = "".join(f"<td>{cell or ''}</td>" for cell in cells)
        rows.append(f'<tr><th scope="row"{mark}>{escape(name)}</th>{inside}</tr>')
    body = "\n".join(rows)
    return f'<div class="wide"><table class="pictures">\n<thead><tr>{first}</tr></thead>\n{body}\n</table></div>'


def image(picture: Image.Image, words: str) -> str:
    """A picture inside the page, in WebP, which makes it a tenth of a PNG."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "WEBP", quality=92)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f'width="{picture.width}" height="{picture.height}"'
    return f'<img src="data:image/webp;base64,{data}" alt="{escape(words)}" {size}>'
