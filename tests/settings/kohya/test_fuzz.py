"""Whatever is in a file or on a command line: a report or a sentence, never a traceback, soon, and in little memory.

`HYPOTHESIS_CASES=10000 pytest tests/settings/kohya/test_fuzz.py` tries that many in all.
"""

import json
import os
import string
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tehon.catalog.detect import find_networks
from tehon.catalog.header import read_header
from tehon.catalog.kinds import dora_side, kind_of, rank_of
from tehon.catalog.lora_names import family_of_lora
from tehon.messages.problem import Problem
from tehon.settings.kohya.carry import Import
from tehon.settings.kohya.command import split_command
from tehon.settings.kohya.gui import option_of
from tehon.settings.kohya.gui_keys import CONTROLS, OLD_NAMES, OPTION_OF
from tehon.settings.kohya.metadata import read_metadata
from tehon.settings.kohya.read import bring, bring_text, bring_words
from tehon.settings.kohya.report import as_data, as_text, as_toml
from tehon.settings.kohya.table import ROWS, SCRIPT_OPTIONS

TESTS = 6
CASES = int(os.environ.get("HYPOTHESIS_CASES", "200")) // TESTS
tried = settings(max_examples=CASES, deadline=10_000, suppress_health_check=list(HealthCheck))

KEYS = sorted(
    {*OPTION_OF, *CONTROLS, *OLD_NAMES, "LoRA_type", "noise_offset_type", "additional_parameters", "xformers"}
)
odd = st.sampled_from(
    ["", "0", "-1", "1e400", "nan", "True", "64.0", "512,512", "a b", "'", '"', "\\", "1,2", "x" * 5000]
)
halves = st.sampled_from(["\ud800", "a\udfff"])
"""Halves of surrogate pairs, which JSON can hold and no file."""
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | odd | halves
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
scripts = st.sampled_from(
    [
        "$x",
        "${x",
        "$(",
        ")",
        "x=(",
        "x=1",
        "\nx=$x",
        "\n$x = 1",
        "\nset x=%x%",
        "%x%",
        "%~dp0",
        "\n",
        "if",
        "fi",
        "{",
        "}",
        "(((",
    ]
)
"""Pieces of scripts, some of which set variables."""
words = (
    st.text(string.printable, max_size=12)
    | odd
    | st.sampled_from(["--", "^", "`", "&&", ";", "train_network.py"])
    | scripts
)


def usable(result: Import) -> None:
    """All three faces of a report can be made of it."""
    assert as_text(result, "source").encode()
    assert json.dumps(as_data(result, "source"), default=str)
    assert as_toml(result).encode() is not None


def sentence(do: Callable[[], object]) -> str:
    """What is said when it can't be done; empty when it can."""
    try:
        do()
    except Problem as problem:
        return str(problem)
    return ""


def brought(text: str, name: str, keys: Collection[str] = ()) -> None:
    """Usable, and with every key in the report."""

    def bring() -> None:
        result = bring_text(text, Path(name))
        usable(result)
        named = {line.key.partition(" ")[0] for line in result.lines} | {line.key for line in result.lines}
        assert set(keys) - named <= {"network_args"}, set(keys) - named  # of these each has its own line

    sentence(bring)


@tried
@given(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), values, max_size=12))
def test_any_json(data: dict[str, Any]) -> None:
    brought(json.dumps(data), "preset.json", () if "datasets" in data else data)


@tried
@given(
    st.text(max_size=200)
    | st.lists(words, max_size=30).map(" ".join)
    | st.sampled_from(["{" * 5000, "[" * 5000, '{"seed":' * 5000, '{"a": "\\ud800"}'])
)
def test_any_text(text: str) -> None:
    for name in ("preset.json", "config.toml", "train.sh"):
        brought(text, name)


@tried
@given(
    st.dictionaries(st.sampled_from(SCRIPT_OPTIONS) | st.text(string.ascii_letters, min_size=1), values, max_size=12)
)
def test_any_configuration(data: dict[str, Any]) -> None:
    try:
        text = tomli_w.dumps({key: value for key, value in data.items() if value is not None})
        text.encode()  # such a file can't be
    except (TypeError, ValueError, RecursionError):
        return
    tables = [value for value in data.values() if isinstance(value, dict)]
    flat = [key for key, value in data.items() if value is not None and not isinstance(value, dict)]
    brought(text, "config.toml", [*flat, *(key for table in tables for key in table)])


@tried
@given(st.lists(st.sampled_from([f"--{name}" for name in SCRIPT_OPTIONS]) | words, max_size=20))
def test_any_command(drawn: list[str]) -> None:
    sentence(lambda: usable(bring_words(drawn)))
    sentence(lambda: usable(bring_words(["train_network.py", *drawn])))
    sentence(lambda: split_command(" ".join(drawn)))


METADATA = [
    *(f"ss_{name}" for name in ROWS if "." not in name),
    *("ss_network_args", "ss_datasets", "ss_optimizer", "ss_max_train_steps", "modelspec.timestep_range"),
]


@tried
@given(st.dictionaries(st.sampled_from(METADATA), st.text(max_size=30) | odd, max_size=12))
def test_any_metadata(data: dict[str, str]) -> None:
    from tehon.settings.kohya.carry import carry

    found = read_metadata(data)
    usable(carry(found.given, found.lines, whole=False))


NAMES = st.sampled_from(
    ["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", "lora_te_x.alpha", "model.diffusion_model.x", "x"]
)
sizes = st.lists(st.integers(0, 9) | scalars, max_size=3) | values
rows = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F16", "F32", "BF16", "I64", "F99"]) | values,
        "shape": sizes,
        "data_offsets": st.lists(st.integers(-9, 99), min_size=2, max_size=2) | sizes,
    },
)


@tried
@given(
    st.dictionaries(NAMES | st.text(max_size=6), rows | values, max_size=4),
    st.dictionaries(st.sampled_from(METADATA) | st.text(max_size=6), st.text(max_size=20) | values, max_size=4)
    | values,
    st.binary(max_size=40),
    st.none() | st.integers(0, 2**64 - 1),
)
def test_any_header(tensors: dict[str, Any], metadata: Any, body: bytes, length: int | None) -> None:
    """Of a safetensors file: what it says of its tensors and itself may be anything, and so may its length."""
    text = json.dumps({"__metadata__": metadata, **tensors}).encode()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.safetensors"
        file.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + body)

        def read() -> None:
            header = read_header(file)
            layers = header.layers()
            for tensors in layers.values():
                kind_of(tensors)
                rank_of(tensors)
                dora_side(tensors)
            family_of_lora(layers, header.metadata)

        sentence(read)
        sentence(lambda: usable(bring(file)))
        sentence(lambda: find_networks(str(file)))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "{}", "[]", "1", '{"a": 1e999}', ""])
def test_headers_that_are_nested_or_of_another_shape(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text.encode())
    sentence(lambda: usable(bring(file)))


@pytest.mark.skipif(sys.platform == "win32", reason="no such measure there")
def test_all_that_took_less_than_a_gigabyte() -> None:
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes on Linux, bytes on a Mac
    assert most < (1e6 if sys.platform == "linux" else 1e9) or "torch" in sys.modules


def test_every_key_that_is_drawn_is_known() -> None:
    special = {"LoRA_type", "noise_offset_type", "additional_parameters", *OLD_NAMES, "block_size"}
    assert [key for key in KEYS if option_of(key) is None and key not in special] == []
