"""`tehon captions VERB FOLDER …`: captions of many pictures at once, to count, edit, take back and write by a model."""

import argparse
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tehon.captions import tags
from tehon.cli.json_text import json_text
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem

_ENDING = re.compile(r"(\.?[\w-][\w.-]*)?")
_SHOWN = 20  # changes that are printed without --json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, *, edits: bool = True) -> argparse.ArgumentParser:
        one = verbs.add_parser(name, help=say(f"cli.captions_{name}"), description=say(f"cli.captions_{name}"))
        one.add_argument("folder", type=Path, metavar="FOLDER", help=say("cli.captions_folder"))
        one.add_argument("--extension", default="", help=say("cli.captions_extension"))
        one.add_argument("--json", action="store_true", help=say("cli.json"))
        if edits:
            one.add_argument("--dry-run", action="store_true", help=say("cli.captions_dry_run"))
        return one

    verb("list", edits=False).add_argument("--every-line", action="store_true", help=say("cli.captions_every_line"))
    add = verb("add")
    add.add_argument("tags", metavar="TAGS", help=say("cli.captions_tags"))
    add.add_argument("--first", action="store_true", help=say("cli.captions_first"))
    verb("remove").add_argument("tags", metavar="TAGS", help=say("cli.captions_tags"))
    replace = verb("replace")
    replace.add_argument("old", metavar="OLD", help=say("cli.captions_old"))
    replace.add_argument("new", metavar="NEW", help=say("cli.captions_new"))
    replace.add_argument("--text", action="store_true", help=say("cli.captions_text"))
    verb("sort").add_argument("--keep", type=int, default=0, help=say("cli.captions_keep"))
    verb("dedupe")
    verb("undo", edits=False)
    _add_tag(verb("tag"))


def _add_tag(one: argparse.ArgumentParser) -> None:
    one.add_argument("--model", required=True, help=say("cli.captions_model"))
    one.add_argument("--threshold", type=float, default=0.35, help=say("cli.captions_threshold"))
    one.add_argument("--character-threshold", type=float, help=say("cli.captions_character_threshold"))
    one.add_argument("--keep-underscores", action="store_true", help=say("cli.captions_keep_underscores"))
    one.add_argument("--prefix", default="", help=say("cli.captions_prefix"))
    one.add_argument("--batch", type=int, default=4, help=say("cli.captions_batch"))
    rule = one.add_mutually_exclusive_group()
    rule.add_argument("--append", action="store_true", help=say("cli.captions_append"))
    rule.add_argument("--overwrite", action="store_true", help=say("cli.captions_overwrite"))


def run(options: argparse.Namespace) -> int:
    if not options.folder.is_dir():
        raise Problem("captions_no_folder", path=options.folder)
    _check(options)
    return {"list": _list, "undo": _undo, "tag": _tag}.get(options.verb, _edit)(options)


def _check(options: argparse.Namespace) -> None:
    """A Problem for an option that can't mean anything."""
    from tehon.data.plan.captions import new_suffix
    from tehon.data.plan.entries import EXTENSIONS

    if not _ENDING.fullmatch(options.extension) or new_suffix(options.extension).lower() in EXTENSIONS:
        raise Problem("captions_extension", field="--extension", value=options.extension)
    for name in ("tags", "new", "prefix"):
        if len(getattr(options, name, "").splitlines()) > 1:
            raise Problem("captions_lines", value=name.upper())
    if options.verb == "replace" and not options.old:
        raise Problem("captions_replace_nothing")
    if options.verb in ("add", "remove") and not tags.split(options.tags):
        raise Problem("captions_no_tags")
    for name, least in (("keep", 0), ("batch", 1)):
        if getattr(options, name, least) < least:
            raise Problem("captions_least", field=f"--{name}", value=getattr(options, name), least=least)
    for name in ("threshold", "character_threshold"):
        value = getattr(options, name, None)
        if value is not None and not 0 < value < 1:
            raise Problem("captions_threshold", field=f"--{name.replace('_', '-')}", value=value)


def _list(options: argparse.Namespace) -> int:
    from tehon.captions.files import read_lines

    files = list(_caption_files(options))
    texts = {file: read_lines(file) for _, file in files if file.is_file()}
    counts = tags.count(texts.values(), every_line=options.every_line)
    left_out = 0 if options.every_line else sum(any(map(str.strip, text.splitlines()[1:])) for text in texts.values())
    if options.json:
        rows = [{"tag": tag, "captions": count} for tag, count in counts]
        print(json_text({"pictures": len(files), "captions": len(texts), "lines_left_out": left_out, "tags": rows}))
        return 0
    print(say("captions.counted", pictures=len(files), captions=len(texts), tags=len(counts)))
    if left_out:
        print(say("captions.lines_left_out", count=left_out))
    for tag, count in counts:
        print(f"{count:6}  {tag}")
    return 0


def _edit(options: argparse.Namespace) -> int:
    from tehon.captions.files import read_text

    files = [file for _, file in _caption_files(options)]
    old = {file: read_text(file) for file in files if file.is_file()}
    new = {file: tags.by_line(_edit_of(options), text) for file, text in old.items()}
    if len(old) < len(files) and not options.json:
        print(say("captions.without", count=len(files) - len(old)))
    same = {file for file, text in new.items() if text == "\n".join(old[file].splitlines())}
    return _change(options, old, {file: text for file, text in new.items() if file not in same})


def _edit_of(options: argparse.Namespace) -> tags.Edit:
    if options.verb == "add":
        return partial(tags.add, tags.split(options.tags), first=options.first)
    if options.verb == "remove":
        return partial(tags.remove, tags.split(options.tags))
    if options.verb == "replace":
        return partial(tags.replace, options.old, options.new, whole_tags=not options.text)
    return partial(tags.sort, keep=options.keep) if options.verb == "sort" else tags.dedupe


def _change(options: argparse.Namespace, old: dict[Path, str], new: dict[Path, str]) -> int:
    """Writes new texts, unless it is only to be shown what would be written."""
    from tehon.captions.undo import change_files

    if not options.dry_run:
        change_files(options.folder, new)
    if options.json:
        rows = [{"file": str(file), "before": old.get(file), "after": text} for file, text in new.items()]
        print(json_text({"written": not options.dry_run, "changes": rows}))
        return 0
    for file, text in list(new.items())[:_SHOWN]:
        print(f"{file.relative_to(options.folder)}\n  - {old.get(file, '')}\n  + {text}")
    if len(new) > _SHOWN:
        print(say("captions.more", count=len(new) - _SHOWN))
    if options.dry_run:
        print(say("captions.would_change", count=len(new)))
    else:
        print(say("captions.changed", count=len(new)) if new else say("captions.none_changed"))
    return 0


def _undo(options: argparse.Namespace) -> int:
    from tehon.captions.undo import undo_last

    files = undo_last(options.folder)
    if options.json:
        print(json_text({"files": [str(file) for file in files]}))
    else:
        print(say("captions.undone", count=len(files)))
    return 0


def _tag(options: argparse.Namespace) -> int:
    """Captions of pictures that have none, or of all with --append or --overwrite."""
    from tehon.captions.files import read_text
    from tehon.taggers.tagger import Wishes, open_tagger, tag_pictures

    files = list(_caption_files(options))
    old = {file: read_text(file) for _, file in files if file.is_file()}
    wanted = [row for row in files if row[1] not in old or options.append or options.overwrite]
    wishes = Wishes(options.threshold, options.character_threshold, options.keep_underscores)
    tagger = open_tagger(options.model, wishes)
    new: dict[Path, str] = {}
    told = tag_pictures(tagger, [picture for picture, _ in wanted], options.batch)
    for (_, file), text in zip(wanted, told, strict=True):
        text = ", ".join(filter(None, (options.prefix.strip(), text)))
        before = old.get(file, "")
        text = tags.add(tags.split(text), before) if options.append and before else text
        if text != before:
            new[file] = text
    return _change(options, old, new)


def _caption_files(options: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """(picture, its caption file, which may not be there yet) of all pictures in a folder and the folders below it."""
    from tehon.data.plan.captions import caption_files, caption_suffixes
    from tehon.data.plan.listing import list_folder

    waiting: list[Any] = [options.folder]
    while waiting:
        folder = waiting.pop(0)
        try:
            listing = list_folder(folder, caption_suffixes(options.extension))
        except OSError as error:
            raise Problem("file_unreadable", path=folder, reason=error.strerror or error) from None
        for name, file in zip(listing.pictures.names, caption_files(listing, options.extension), strict=True):
            yield folder / name, folder / file
        waiting += [path for path in listing.folders if not path.is_symlink()]
