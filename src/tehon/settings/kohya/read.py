"""From what somebody brings, a file or words, to an import: finds out what it is, and reads it.

>>> bring(Path("last-year.json")).tree["network"]["rank"]
32
"""

import json
import sys
from pathlib import Path
from typing import Any

from tehon.catalog.header import read_header
from tehon.messages.problem import Problem
from tehon.settings.fields import fields
from tehon.settings.files import not_toml, read_toml
from tehon.settings.kohya.carry import Import, Tree, carry
from tehon.settings.kohya.command import split_command
from tehon.settings.kohya.config import read_config
from tehon.settings.kohya.gui import option_of, read_gui
from tehon.settings.kohya.lines import Line, Outcome, Remark, carried
from tehon.settings.kohya.metadata import read_metadata
from tehon.settings.kohya.recipe import take_recipe
from tehon.settings.kohya.rows import Given
from tehon.settings.kohya.table import ROWS
from tehon.settings.kohya.words import Read, read_words
from tehon.settings.recipe import RECIPE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LARGEST = 8_000_000
_OURS_TOO = ("LoRA_type", "noise_offset_type", "additional_parameters")


def bring(file: Path) -> Import:
    """Settings from a kohya_ss JSON, an sd-scripts TOML, a script with a command line, or a LoRA file."""
    if file.suffix.lower() == ".safetensors":
        metadata = read_header(file).metadata
        if not any(key.startswith("ss_") for key in metadata):
            raise Problem("metadata_none", path=file)
        found = read_metadata(metadata, file.stem)
        if RECIPE in metadata:
            take_recipe(metadata, found)
        return _carried(found)
    return bring_text(_text(file), file)


def bring_text(text: str, file: Path) -> Import:
    """The same for the text of a file, whose name is for messages and for what its ending says."""
    ending = file.suffix.lower()
    if ending == ".json" or text.lstrip("\ufeff \t\r\n")[:1] == "{":
        return _of_json(text.lstrip("\ufeff"), file)
    try:
        tree = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        if ending == ".toml":
            raise not_toml(file, error) from None
        return _of_command(split_command(text), True, str(file))
    return _of_toml(tree, file)


def bring_words(words: list[str], script: bool = False) -> Import:
    """The same for a command line; one word with blanks in it is a command that was pasted as one text. `script`: no
    shell has filled it in."""
    if len(words) == 1 and " " in words[0].strip():
        words, script = split_command(words[0]), True
    return _of_command(words, script, " ".join(words)[:60] or "''")


def command_words(words: list[str]) -> Import:
    """The same for arguments that are meant to be train_network.py's and nothing else: none of them may be known."""
    return _carried(_with_config(read_words(words)), whole=True)


def _of_command(words: list[str], script: bool, source: str) -> Import:
    found = read_words(words, script)
    if not (found.given or found.config_file or any(line.waits for line in found.lines)):
        raise Problem("nothing_known", path=source)
    return _carried(_with_config(found), whole=True)


def merge_words(text: str, tree: Tree) -> Import:
    """Additional parameters on top of settings: only what they name is changed."""
    found = read_words(split_command(text), script=True)
    if found.config_file:
        raise Problem("config_in_parameters", field="training.additional_parameters", path=found.config_file)
    training = {name: value for name, value in tree.get("training", {}).items() if name != "additional_parameters"}
    return carry(found.given, found.lines, whole=False, sdxl=found.sdxl, base=tree | {"training": training})


def _of_json(text: str, file: Path) -> Import:
    try:
        data = json.loads(text)
        json.dumps(data, ensure_ascii=False).encode()  # half a pair of surrogates is no letter that we could write
    except (ValueError, RecursionError) as error:
        raise Problem("not_json", path=file, reason=error) from None
    if not isinstance(data, dict):
        raise Problem("json_no_object", path=file)
    if "datasets" in data:
        return _of_dataset(file)
    if not any(option_of(key) or key in _OURS_TOO for key in data):
        raise Problem("nothing_known", path=file)
    return _carried(read_gui(data))


def _of_toml(tree: dict[str, Any], file: Path) -> Import:
    if "datasets" in tree:
        return _of_dataset(file)
    if _is_ours(tree):
        raise Problem("ours_already", path=file)
    found = read_config(tree)
    if not found.given:
        raise Problem("nothing_known", path=file)
    return _carried(found, whole=True)


def _of_dataset(file: Path) -> Import:
    """A data set configuration becomes sets of pictures. Of what it leaves to the command line, sd-scripts' default is
    written down where ours is another one."""
    from tehon.settings.dataset_config import read_dataset_config

    tables = read_dataset_config(file)
    data: dict[str, Any] = {"sets": tables}
    assumed: list[Line] = []
    for name in ("enable_bucket", "bucket_no_upscale"):
        if not all(name in table for table in tables):
            data[name] = ROWS[name].default
            outcome = Outcome("assumed", {f"data.{name}": data[name]}, (Remark("command_may_say"),))
            assumed.append(Line(name, data[name], outcome))
    result = carry({}, assumed, whole=False, base={"data": data})
    for number, table in enumerate(tables):
        settings = {f"data.sets[{number}].{name}": value for name, value in table.items()}
        result.lines.append(Line(f"subset {number}", table.get("folder"), carried(settings)))
    if any(table.get("mask_folder") or table.get("alpha_mask") for table in tables):
        result.tree["objective"] = {"masked_loss": True}
        result.problems = []
    return result


def _carried(found: Read, whole: bool = False) -> Import:
    return carry(found.given, found.lines, whole, found.sdxl)


def _with_config(found: Read) -> Read:
    """The command's own options win over those of the file that it names."""
    if not found.config_file:
        return found
    file = Path(found.config_file)
    file = file if file.suffix else file.with_suffix(".toml")
    config = read_config(read_toml(file))
    found.lines.append(
        Line("--config_file", str(file), carried({}, Remark("config_read", {"count": len(config.given)})))
    )
    own: dict[str, Given] = found.given
    found.lines += [
        Line(one.key, one.raw, carried({}, Remark("command_wins"))) for name, one in config.given.items() if name in own
    ]
    found.lines += config.lines
    found.given = {**{name: one for name, one in config.given.items() if name not in own}, **own}
    return found


def _is_ours(tree: dict[str, Any]) -> bool:
    sections = {field.name.partition(".")[0] for field in fields()}
    names = {field.name for field in fields()}
    inner = [f"{section}.{name}" for section, table in tree.items() if isinstance(table, dict) for name in table]
    return set(tree) <= sections and bool(names & set(inner)) and set(inner) <= names


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > _LARGEST:
            raise Problem("file_too_large", path=file, most=f"{_LARGEST // 1_000_000} MB")
        return file.read_text("utf-8-sig")
    except (FileNotFoundError, UnicodeEncodeError):  # half a character is in no file's name
        raise Problem("file_missing", path=file) from None
    except UnicodeDecodeError:
        pass
    except IsADirectoryError:
        raise Problem("file_is_folder", path=file) from None
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None
    try:
        return file.read_bytes().decode("utf-16" if file.read_bytes()[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp932")
    except UnicodeDecodeError:
        raise Problem("nothing_known", path=file) from None
