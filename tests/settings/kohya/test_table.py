"""The table of foreign options: every row leads to a setting that there is, and every setting is reached or ours."""

import ast
from pathlib import Path
from string import Formatter

import pytest

import tehon
from tehon.messages.catalogue import sentences
from tehon.settings.fields import fields
from tehon.settings.kohya.gui import option_of
from tehon.settings.kohya.gui_keys import ARGUMENT_KEYS, CONTROLS, OPTION_OF, TYPES
from tehon.settings.kohya.table import OURS_ALONE, ROWS, SCRIPT_OPTIONS

NAMES = {field.name for field in fields()}
REACHED = {name for row in ROWS.values() for name in row.targets}


def test_every_row_leads_to_settings_that_there_are() -> None:
    assert sorted(REACHED - NAMES) == []


def test_every_setting_is_reached_by_a_foreign_key_or_ours_alone() -> None:
    assert sorted(NAMES - REACHED - set(OURS_ALONE)) == []
    assert sorted(set(OURS_ALONE) & REACHED) == []
    assert sorted(set(OURS_ALONE) - NAMES) == []


def test_every_reason_for_a_setting_of_our_own_is_a_sentence() -> None:
    assert {f"kohya.{reason}" for reason in OURS_ALONE.values()} <= sentences("en").keys()


def test_all_options_of_both_scripts_are_known() -> None:
    """train_network.py has 193 options besides help, sdxl_train_network.py 3 more. The rest of our list: two old
    aliases that docs name, what newer or other scripts have."""
    others = {"text_encoder_lr1", "text_encoder_lr2", "no_token_padding", "stop_text_encoder_training"}
    others |= {"train_inpainting", "lowvram", "blocks_to_swap"}
    assert len(set(SCRIPT_OPTIONS) - others) == 193 + 3


@pytest.mark.parametrize("key", sorted({*OPTION_OF, *CONTROLS, *ARGUMENT_KEYS} - {"LyCORIS_preset", "block_size"}))
def test_every_control_of_the_window_has_a_row(key: str) -> None:
    assert option_of(key) in ROWS


def test_every_argument_that_a_type_sends_is_an_argument_key() -> None:
    for _, _, keys in TYPES.values():
        assert keys <= set(ARGUMENT_KEYS)


def test_every_remark_has_the_values_that_its_sentence_has_blanks_for() -> None:
    files = (Path(tehon.__file__).parent / "settings" / "kohya").glob("*.py")
    calls = [
        node for file in files for node in ast.walk(ast.parse(file.read_text("utf8"))) if isinstance(node, ast.Call)
    ]
    checked = 0
    for call in calls:
        if getattr(call.func, "id", "") != "Remark" or not isinstance(call.args[0], ast.Constant):
            continue
        values = call.args[1] if len(call.args) > 1 else ast.Dict([], [])
        if isinstance(values, ast.Dict):
            given = {key.value for key in values.keys if isinstance(key, ast.Constant)}
            assert given == blanks(str(call.args[0].value)), ast.unparse(call)
            checked += 1
    assert checked > 80
    for row in ROWS.values():
        assert not any(blanks(key) for key in (row.differs, row.absent) if key), row.option


def blanks(key: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentences("en")[f"kohya.{key}"]) if name is not None}
