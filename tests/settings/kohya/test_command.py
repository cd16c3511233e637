"""Command lines as people keep them: in shell scripts, in batch files, pasted."""

import pytest

from tehon.messages.problem import Problem
from tehon.settings.kohya.command import split_command
from tehon.settings.kohya.words import read_words

WANTED = ["accelerate", "launch", "train_network.py", "--output_name=my cat", "--seed", "7"]


@pytest.mark.parametrize(
    "text",
    [
        'accelerate launch train_network.py --output_name="my cat" --seed 7',
        "accelerate launch train_network.py --output_name='my cat' --seed 7",
        "accelerate launch train_network.py --output_name=my\\ cat --seed 7",
        '#!/bin/bash\ncd x\naccelerate launch \\\n  train_network.py \\\n --output_name="my cat" \\\n --seed 7\n',
        'accelerate launch ^\r\n train_network.py ^\r\n --output_name="my cat" ^\r\n --seed 7\r\npause\r\n',
        'accelerate launch `\n train_network.py `\n --output_name="my cat" `\n --seed 7',
        'cd x && accelerate launch train_network.py "--output_name=my cat" --seed 7 > log.txt',
        "# accelerate launch train_network.py --seed 8\n"
        'accelerate launch train_network.py --output_name="my cat" --seed 7; echo done',
        'accelerate launch train_network.py --output_name="my cat" --seed 7  # comment here',
        'REM training\naccelerate launch train_network.py --output_name="my cat" --seed 7 2>&1 | tee log',
    ],
)
def test_a_command_is_split_into_its_words(text: str) -> None:
    assert split_command(text) == WANTED


def test_a_windows_path_keeps_its_backslashes() -> None:
    text = 'C:\\py\\python.exe train_network.py --output_dir="D:\\my loras\\new" --vae E:\\vae.pt'
    assert split_command(text)[2:] == ["--output_dir=D:\\my loras\\new", "--vae", "E:\\vae.pt"]


@pytest.mark.parametrize("script", ["/my dir/train_network.py", "D:\\AI (new)\\sd-scripts\\train_network.py"])
def test_a_script_may_lie_in_a_folder_of_any_name(script: str) -> None:
    found = read_words(split_command(f'accelerate launch --mixed_precision=fp16 "{script}" --seed 5'))
    assert list(found.given) == ["accelerate.mixed_precision", "seed"]
    assert found.lines == []


def test_an_apostrophe_is_no_quote_where_nothing_closes_it() -> None:
    text = "C:\\py\\python.exe train_network.py --training_comment=it's --seed 7"
    assert split_command(text)[2:] == ["--training_comment=it's", "--seed", "7"]


def test_arguments_broken_over_lines_without_a_sign_belong_together() -> None:
    assert split_command("--seed 7\n--network_dim 4\n") == ["--seed", "7", "--network_dim", "4"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("python train_network.py --seed 1\npython train_network.py --seed 2", "commands_several"),
        ('train_network.py --output_name="my cat', "quote_open"),
    ],
)
def test_what_can_not_be_one_command_is_said(text: str, key: str) -> None:
    with pytest.raises(Problem) as caught:
        split_command(text)
    assert caught.value.key == key


@pytest.mark.parametrize("script", ["train_db.py", "flux_train_network.py", "sdxl_train.py", "fine_tune.py"])
def test_another_trainer_is_named(script: str) -> None:
    with pytest.raises(Problem) as caught:
        read_words(["python", f"./{script}", "--seed", "1"])
    assert str(caught.value).startswith(f"{script} trains something else")


def test_options_are_read_as_argparse_reads_them() -> None:
    words = "--network_args conv_dim=4 conv_alpha=1 --optimizer_args betas=0.9,0.99 --flip_aug --noise_offset -0.1"
    found = read_words([*words.split(), "--network_mod", "networks.lora", "--seed=7", "--seed", "8"])
    assert {name: one.value for name, one in found.given.items()} == {
        "network_args.conv_dim": "4",
        "network_args.conv_alpha": "1",
        "optimizer_args": ["betas=0.9,0.99"],
        "flip_aug": True,
        "noise_offset": "-0.1",
        "network_module": "networks.lora",  # a beginning that no other option has
        "seed": "8",
    }
    assert str(found.given["seed"].reasons[0]) == "is given twice; 7 came before and loses"
    assert found.lines == []


@pytest.mark.parametrize(
    ("words", "key", "sentence"),
    [
        (["--network_dimm", "4"], "--network_dimm", "sd-scripts has no such option; --network_dim may be meant"),
        (["--quux=1"], "--quux", "sd-scripts has no such option"),
        (["--network_args", "conv_dimm=1"], "--network_args conv_dimm", "sd-scripts has no such option; conv_dim may"),
        (["--seed"], "--seed", "there is no value behind it"),
        (["--seed", "1", "2"], "2", "belongs to no option; quote values that have blanks"),
    ],
)
def test_what_belongs_nowhere_is_named(words: list[str], key: str, sentence: str) -> None:
    (line,) = read_words(words).lines
    assert line.key == key
    assert line.outcome.blocks
    assert str(line.outcome.reasons[0]).startswith(sentence)


def test_a_secret_is_not_repeated() -> None:
    found = read_words(["--wandb_api_key", "0123456789"])
    assert "0123456789" not in repr(found)


def test_the_launcher_and_the_script_have_arguments_of_their_own() -> None:
    text = "CUDA_VISIBLE_DEVICES=1 accelerate launch --num_cpu_threads_per_process=2 sdxl_train_network.py --seed=1"
    found = read_words(text.split())
    assert found.sdxl
    assert list(found.given) == ["accelerate.num_cpu_threads_per_process", "seed"]
    assert found.lines[0].key == "CUDA_VISIBLE_DEVICES"
