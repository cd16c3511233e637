"""Variables in scripts and commands: those that the script sets are followed, the others are named and never taken."""

from pathlib import Path
from typing import Any

import pytest

from tehon.cli.main import main
from tehon.messages.problem import Problem
from tehon.settings.files import validate
from tehon.settings.kohya.command import split_command
from tehon.settings.kohya.read import bring_text, bring_words
from tehon.settings.kohya.report import as_toml
from tehon.settings.kohya.variables import shell_of, unexpanded

TRAIN = "accelerate launch train_network.py"


def behind(text: str) -> list[str]:
    """The words behind the script."""
    words = split_command(text)
    return words[words.index("train_network.py") + 1 :]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f'out=/loras\n{TRAIN} --output_dir="$out/cat"', ["--output_dir=/loras/cat"]),
        (f"out='/my loras'  # where\n{TRAIN} --output_dir=\"${{out}}\"", ["--output_dir=/my loras"]),
        (f"export a=1 b=2\n{TRAIN} --seed $a --network_dim=$b", ["--seed", "1", "--network_dim=2"]),
        (f"a=/x; b=$a/y\n{TRAIN} --vae $b", ["--vae", "/x/y"]),
        (f'a="/x y"\nb=$a/z\n{TRAIN} --vae "$b"', ["--vae", "/x y/z"]),
        (f'more="--seed 7 --flip_aug"\n{TRAIN} $more', ["--seed", "7", "--flip_aug"]),
        (f'more=(\n  --seed 7  # why not\n  "--vae=a b"\n)\n{TRAIN} "${{more[@]}}"', ["--seed", "7", "--vae=a b"]),
        (f'more=(--seed 7)\nmore+=(--flip_aug)\n{TRAIN} "${{more[@]}}"', ["--seed", "7", "--flip_aug"]),
        (f"out=/loras\n{TRAIN} --output_dir='$out'", ["--output_dir=$out"]),
        (f"{TRAIN} --output_dir=\\$out", ["--output_dir=$out"]),
        (f"set OUT=C:\\my loras\\\n{TRAIN} --output_dir %out%", ["--output_dir", "C:\\my", "loras\\"]),
        (f'@set "OUT=C:\\my loras"\n{TRAIN} --output_dir "%OUT%\\x"', ["--output_dir", "C:\\my loras\\x"]),
        (f'set OUT="C:\\my loras"\n{TRAIN} --output_dir=%OUT%', ["--output_dir=C:\\my loras"]),
        (f"setlocal enabledelayedexpansion\nset N=7\n{TRAIN} --seed !N! --vae !M!", ["--seed", "7", "--vae", "%M%"]),
        (f"@echo off\n{TRAIN} --lr_warmup_steps 10%%", ["--lr_warmup_steps", "10%"]),
        (f'$out = "D:\\my x" # why\n{TRAIN} `\n  --vae=$out --seed 7', ["--vae=D:\\my x", "--seed", "7"]),
        (f'$a = 32\n$sub = "x\\$a"\n$b = $sub\n{TRAIN} --seed $A --vae $b', ["--seed", "32", "--vae", "x\\32"]),
        (f"$Env:VAE = 'a b'\n{TRAIN} --vae $env:vae", ["--vae", "a b"]),
        (f"{TRAIN} ` --seed 7 ` --flip_aug", ["--seed", "7", "--flip_aug"]),
        (f"{TRAIN} \\ --seed 7", ["--seed", "7"]),
    ],
)  # fmt: skip
def test_what_a_script_sets_itself_is_followed(text: str, words: list[str]) -> None:
    assert behind(text) == words


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"{TRAIN} --vae $out", "$out"),
        (f"{TRAIN} --vae ${{out:-x y}}", "${out:-x y}"),
        (f"{TRAIN} --vae $(cd x; pwd)/y", "$(cd x; pwd)/y"),
        (f"{TRAIN} --vae `pwd`/y", "`pwd`"),
        (f"out=$(pwd)\n{TRAIN} --vae $out/y", "$(pwd)/y"),
        (f"if [ x ]; then\n  out=a\nfi\n{TRAIN} --vae $out", "$out"),
        (f"out=a\nif [ x ]; then out=b; fi\n{TRAIN} --vae $out", "$out"),
        (f"[ x ] && out=a\n{TRAIN} --vae $out", "$out"),
        (f"read out\n{TRAIN} --vae $out", "$out"),
        (f"{TRAIN} --vae $out\nout=late", "$out"),
        (f"{TRAIN} --vae %CD%\\x", "%CD%"),
        (f'{TRAIN} --vae "%~dp0x"', "%~dp0"),
        (f"{TRAIN} --vae %1", "%1"),
        (f'set out=a\nif "%1"=="" set out=b\n{TRAIN} --vae %out%', "%out%"),
        (f"if exist x (\n  set out=b\n)\n{TRAIN} --vae %out%", "%out%"),
        (f"set /p out=\n{TRAIN} --vae %out%", "%out%"),
        (f"{TRAIN} --vae %out:~0,3%", "%out:~0,3%"),
        (f"{TRAIN} --vae $env:USERPROFILE\\x", "$env:USERPROFILE"),
        (f"$out = 'a'\nif ($x) {{\n  $out = 'b'\n}}\n{TRAIN} --vae $out", "$out"),
        (f"$out = Get-Location\n$out = $out.Path\n{TRAIN} --vae $out", "$out"),
    ],
)
def test_what_is_not_plain_stays_and_is_named(text: str, left: str) -> None:
    value = behind(text)[1]
    assert unexpanded(value) == left
    (line,) = bring_text(text + " --seed 7", Path("train.bat")).blocking
    assert line.key == "--vae"
    assert str(line.reason) == (
        f"{left} is for a shell to fill in, and nothing here says what it stands for; "
        "write the value itself in its place, or give model.vae"
    )


@pytest.mark.parametrize("text", ["10%", "a$", "C:\\x", "100% wool 5% silk", "$", "a@b", "%(name)s", "x!y", "`"])
def test_signs_that_are_no_variables_are_left_alone(text: str) -> None:
    assert unexpanded(text) == ""


@pytest.mark.parametrize(
    ("text", "shell"),
    [
        (TRAIN, "sh"),
        ("a=1\n", "sh"),
        ("$a = 1\n", "powershell"),
        ("x `\n y", "powershell"),
        ("@echo off", "batch"),
        ("x ^\n y", "batch"),
        ("x %CD%", "batch"),
    ],
)
def test_whose_script_it_is_is_seen(text: str, shell: str) -> None:
    assert shell_of(text) == shell


SCRIPT = f"""#!/bin/bash
model="./model.ckpt" # base model
launch=()
more=()
if [[ $cards == 1 ]]; then launch+=("--multi_gpu"); fi
if [[ $v2 == 1 ]]; then more+=("--v2"); else more+=("--clip_skip 2"); fi
{TRAIN.replace("train_", "${launch[@]} ./sd-scripts/train_")} --pretrained_model_name_or_path=$model \\
  --output_dir="$OUT/x" --learning_rate=$rate --network_args conv_dim=$dim $rest --wandb_api_key=$KEY \\
  --training_comment="by $me" ${{more[@]}}
"""


def test_an_import_names_all_that_is_left_and_takes_none_of_it() -> None:
    result = bring_text(SCRIPT, Path("train.sh"))
    refused = [line.key for line in result.lines if "for a shell to fill in" in line.reason]
    assert refused == [
        "${launch[@]}",
        "--output_dir",
        "--learning_rate",
        "--network_args conv_dim",
        "--network_args $rest",
        "--training_comment",
        "${more[@]}",
    ]
    assert result.tree["model"] == {"path": "./model.ckpt"}
    assert "learning_rate" not in result.tree["optimizer"], "sd-scripts' default is not what was meant"
    assert "$" not in as_toml(result)
    assert result.missing == [
        *("data.folder", "output.folder"),
        *("optimizer.learning_rate", "network.conv_rank", "output.training_comment"),
    ]
    assert '# learning_rate = ""  # to fill in' in as_toml(result)


def test_a_script_in_the_folder_of_a_batch_file_is_the_script() -> None:
    assert bring_text("%~dp0sdxl_train_network.py --seed 7", Path("a.bat")).tree["training"]["seed"] == 7
    with pytest.raises(Problem, match=r"^train_db\.py trains something else"):
        bring_text('python "%~dp0train_db.py" --seed 7', Path("a.bat"))


def test_tehon_kohya_refuses_what_no_shell_has_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["kohya", "--pretrained_model_name_or_path=demo", "--train_data_dir", "%CD%\\p"]
    assert main([*base, f"--output_dir={tmp_path}/$x", "--training_comment", "$5 for `all`", "$more"]) == 2
    told = "is for a shell to fill in, and nothing here says what it stands for; write the value itself in its place"
    assert capsys.readouterr().err.splitlines() == [
        f"--train_data_dir: %CD% {told}, or give data.folder.",
        f"--output_dir: $x {told}, or give output.folder.",
        f"$more: $more {told}.",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_called_so_is_no_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("$out").mkdir()
    assert bring_words(["--output_dir=$out", "--seed=7"]).tree["output"]["folder"] == "$out"


def test_additional_parameters_with_a_variable_are_refused(tree: dict[str, Any]) -> None:
    tree["training"]["additional_parameters"] = "--vae $VAE"
    with pytest.raises(Problem, match=r"^training\.additional_parameters: --vae: \$VAE is for a shell to fill in"):
        validate(tree)
