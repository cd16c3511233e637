"""What `--json` prints is JSON, whatever numbers are in it."""

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from safetensors.numpy import save_file

from tehon.cli.json_text import json_text
from tehon.cli.main import main

NAN, INF = float("nan"), float("inf")


def strictly(text: str) -> Any:
    """As programs read it that know JSON alone; Python's own reader takes NaN as well."""

    def refuse(name: str) -> NoReturn:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_numbers_that_json_has_not_are_texts() -> None:
    data = {"a": [NAN, (INF, -INF)], "b": {"c": 0.5, NAN: 1}, "d": Path("x"), "e": None, "f": "ö", "g": True}
    assert strictly(json_text(data)) == {
        "a": ["NaN", ["Infinity", "-Infinity"]],
        "b": {"c": 0.5, "NaN": 1},
        "d": "x",
        "e": None,
        "f": "ö",
        "g": True,
    }


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("preset.json", '{"LoRA_type": "Standard", "noise_offset": NaN}', "noise_offset", "NaN"),
        ("preset.json", '{"LoRA_type": "Standard", "learning_rate": 1e999}', "learning_rate", "Infinity"),
        ("preset.json", '{"LoRA_type": "Standard", "t5xxl": [NaN]}', "t5xxl", ["NaN"]),
        ("config.toml", "network_dim = 4\nlearning_rate = nan\n", "learning_rate", "NaN"),
        ("config.toml", "network_dim = 4\nunet_lr = -inf\n", "unet_lr", "-Infinity"),
        ("config.toml", "network_dim = 4\noptimizer_args = [nan]\n", "optimizer_args", ["NaN"]),
    ],
)
def test_an_import_with_numbers_that_are_none_is_json_and_says_so(
    name: str, text: str, key: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["import", str(tmp_path / name), "--json"]) == 0
    data = strictly(capsys.readouterr().out)
    (line,) = [line for line in data["lines"] if line["key"] == key and line["fate"] != "assumed"]
    assert line["value"] == value
    assert line["reasons"] or any("nan" in problem for problem in data["problems"])


def test_a_subset_with_a_number_that_is_none_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sets.toml"
    file.write_text('[[datasets]]\n[[datasets.subsets]]\nimage_dir = "p"\ncaption_dropout_rate = nan\n')
    code = main(["import", str(file), "--json"])
    printed, said = capsys.readouterr()
    assert (code, printed) == (2, "") or strictly(printed)["problems"]
    assert said or "NaN" in printed


def test_a_file_with_an_alpha_that_is_no_number_is_inspected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    tensors = {f"{layer}.lora_down.weight": np.ones((1, 6)), f"{layer}.lora_up.weight": np.ones((4, 1))}
    tensors[f"{layer}.alpha"] = np.array(NAN)
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    save_file(tensors, tmp_path / "x.safetensors", {"ss_datasets": '{"a": NaN}'})
    assert main(["inspect", str(tmp_path / "x.safetensors"), "--json"]) == 0
    data = strictly(capsys.readouterr().out)
    assert data["alphas"] == {"nan": 1}
    assert data["not_finite"] == [f"{layer}.alpha"]
    assert data["norms"]["MID"]["norm"] is None
