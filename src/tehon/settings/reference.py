"""The reference page of all settings, in every language; `python -m tehon.settings.reference docs` writes it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from tehon.messages.catalogue import languages, say
from tehon.settings.fields import fields


def page() -> str:
    """Markdown in the language to speak."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f"# {say('reference.title')}\n\n{say('reference.note')}"
    section = ""
    for field in fields():
        if field.name.partition(".")[0] != section:
            section = field.name.partition(".")[0]
            yield f"\n## {section}\n\n| {say('reference.columns')} |\n|---|---|---|---|"
        default = say("reference.required") if field.required else f"`{_shown(field.default)}`"
        yield f"| `{field.name}` | {default} | {field.expected} | {' '.join(field.help.split())} |"


def _shown(value: object) -> str:
    if value in (None, "", []):
        return say("reference.empty")
    return str(value).lower() if isinstance(value, bool) else str(value)


def main(folder: Path) -> None:
    """Writes `settings.md` and `settings.<language>.md`."""
    for language in languages():
        os.environ["TEHON_LANG"] = language
        name = "settings.md" if language == "en" else f"settings.{language}.md"
        (folder / name).write_text(page(), "utf8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
