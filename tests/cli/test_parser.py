"""Command lines that do not parse: one sentence with the option, what is wrong and the remedy, and exit code 2."""

import re

import pytest

from tehon.cli.main import COMMANDS, main

RULES = "--sv-ratio 2 --sv-fro 0.5"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "tehon: it is not said what to do; add one of the commands that `tehon --help` lists."),
        ("trainn", "trainn: there is no such command; did you mean `tehon train`?"),
        ("TRAIN", "TRAIN: there is no such command; did you mean `tehon train`?"),
        ("zzzz", "zzzz: there is no such command; `tehon --help` lists those there are."),
        ("captions", "tehon captions: it is not said what to do; add one of the commands that `tehon captions --help`"),
        ("captions ttag x", "ttag: there is no such command; did you mean `tehon captions tag`?"),
        ("queue startt", "startt: there is no such command; did you mean `tehon queue start`?"),
        ("plan", "CONFIG: tehon plan needs this and it is not given; add it, as `tehon plan --help` shows."),
        ("captions tag", "FOLDER, --model: tehon captions tag needs this and it is not given; add it, as `tehon cap"),
        ("sample demo", "PROMPT: tehon sample needs this and it is not given; add it, as `tehon sample --help` shows."),
        ("resize a --rank", "--rank: there is no value behind it; give one, as `tehon resize --help` shows."),
        ("resize a --rank many", "--rank: 'many' does not fit; give a whole number."),
        ("resize a --rnak 4", "--rnak: there is no such option; did you mean --rank?"),
        ("resize a --quux=4", "--quux: there is no such option; `tehon resize --help` lists those there are."),
        ("resize a -x", "-x: there is no such option; `tehon resize --help` lists those there are."),
        (f"resize a --rank 4 {RULES}", "--sv-fro: it does not go together with --sv-ratio; leave one of the two out."),
        ("resize a --sv 4", "--sv: this may be short for --sv-ratio, --sv-fro, --sv-cumulative; write the one that is"),
        ("cut a many", "RANK: 'many' does not fit; give a whole number."),
        ("cut a -1x", "-1x: there is no such option; `tehon cut --help` lists those there are."),
        ("grid r --strengths 1 a", "--strengths: 'a' does not fit; give a number."),
        ("convert a --to khoya", "--to: 'khoya' does not fit; give one of kohya, diffusers, peft."),
        ("convert a --json=3", "--json: it takes no value, but '3' stands behind it; leave that out."),
        (
            "inspect a b",
            "b: this is one word more than tehon inspect takes; leave it out, or put what has blanks",
        ),
        ("train a.toml --quiet --json", "--json: it does not go together with --quiet; leave one of the two out."),
        ("train a.toml --rank 4", "--rank: there is no such option; did you mean --network.rank?"),
        ("plan a.toml --quux", "--quux: there is no such option; settings are written --section.field value, and `te"),
        ("queue list --network.rank 4", "--network.rank: this command takes no settings; leave it out."),
        ("merge --blocks 1 -o x", "--blocks: there is no --lora before it whose blocks these could be; put it behind"),
        ("import accelerate launch train_network.py --seed 7", "--seed: tehon import has no such option; put -- be"),
        ("--quux plan", "--quux: there is no such option; `tehon --help` lists those there are."),
    ],
)
def test_what_does_not_parse_is_one_sentence(line: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    printed, said = capsys.readouterr()
    assert printed == ""
    assert said.count("\n") == 1
    assert said.startswith(sentence)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_a_block_of_usage(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """kohya takes options of another program, and names those by itself."""
    assert main([command, "--quux"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("--quux: ")
    assert len(said) == 1 or command == "kohya"
    assert "usage" not in said[0]


@pytest.mark.parametrize(
    "line", ["trainn", "plan", "resize a --rank", "resize a --rnak 4", "cut a b", "inspect a b", "train a --rank 4"]
)
def test_it_is_said_in_japanese_too(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEHON_LANG", "ja")
    assert main(line.split()) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert re.search(r"[\u3040-\u30ff]+.*。$", said)


def test_a_small_negative_number_is_a_value_and_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["captions", "tag", ".", "--model", "x", "--threshold", "-1e-4"]) == 2
    assert capsys.readouterr().err == "--threshold: -0.0001 does not fit; give a share between 0 and 1.\n"


def test_help_is_still_argparse_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["resize", "--help"])
    assert ended.value.code == 0
    assert "--sv-cumulative" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["", *COMMANDS, "queue start", "captions tag"])
def test_help_speaks_the_readers_language(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where argparse has English words of its own."""
    monkeypatch.setenv("TEHON_LANG", "ja")
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    help_text = capsys.readouterr().out
    assert help_text.startswith("使い方: tehon")
    assert re.findall(r"usage:|arguments:|options:|show |\(default", help_text) == []


def test_help_names_what_an_option_is_when_it_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--steps STEPS sampling steps (default: 30)" in shown
    assert "--negative NEGATIVE what not to draw --seed" in shown, "nothing is no default worth a word"
