"""Sample prompts: lines as sd-scripts reads them, its files, and when they are drawn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from tehon.catalog.samplers import SAMPLERS
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan, draft_plan, make_plan
from tehon.planning.prompts import SampleRules, parse_line, read_prompts
from tehon.planning.report import as_data, as_text
from tehon.settings.files import validate
from tehon.settings.samples import SamplerName

RULES = SampleRules("euler_a", 512, 7)
Tree = dict[str, Any]


def planned(tree: Tree, **samples: Any) -> Plan:
    return make_plan(validate(tree | {"samples": samples}))


def test_lines_are_read_as_sd_scripts_reads_them(golden: Callable[[str], Any]) -> None:
    cases = golden("sample_prompts")
    assert len(cases) == 6
    for case in cases:
        assert parse_line(case["line"]).fields == case["parsed"]


def test_the_prompt_itself_is_not_read_for_flags_and_a_line_may_begin_with_one() -> None:
    """sd-scripts takes "n foo" for a negative prompt, and all of a line that begins with a flag for the prompt."""
    assert parse_line("n foo").fields == {"prompt": "n foo"}
    assert parse_line("w 100 foo").fields == {"prompt": "w 100 foo"}
    assert parse_line("--n foo").fields == {"prompt": "", "negative_prompt": "foo"}


def test_what_has_no_effect_is_said(tree: Tree) -> None:
    plan = planned(tree, prompts="a -- b --fs 3\nc --s 2000")
    notes = [line for line in as_text(plan).splitlines() if "samples.prompts: prompt" in line]
    assert [note.partition("Note: ")[2] for note in notes] == [
        "samples.prompts: prompt 1: -- b has no effect and is left out.",
        "samples.prompts: prompt 1: --fs 3 has no effect and is left out.",
        "samples.prompts: prompt 2: --s 2000 beyond 1000 has no effect and is left out.",
    ]
    assert [prompt.sample_steps for prompt in plan.samples.prompts] == [30, 1000]
    assert "samples.sampler has no effect: there are no sample prompts" in as_text(planned(tree, sampler="ddim"))


def test_what_a_prompt_leaves_open_is_filled() -> None:
    (one, two), _ = read_prompts("# a remark\n\na cat --w 123 --h 10\na dog --d 3 --l 4 --ss ddim --n x", None, RULES)
    assert (one.width, one.height, one.scale, one.sample_steps, one.sample_sampler) == (120, 64, 7.5, 30, "euler_a")
    assert (two.width, two.seed, two.scale, two.sample_sampler, two.negative_prompt) == (512, 3, 4.0, "ddim", "x")
    again, _ = read_prompts("another", None, RULES)
    assert again[0].seed == one.seed, "the place decides, so that a changed prompt keeps its noise"
    assert read_prompts("a cat", None, SampleRules("euler_a", 512, 8))[0][0].seed != one.seed


def test_all_that_is_wrong_is_told_at_once(tree: Tree) -> None:
    text = "a --l 7.5.5\nb --ss dpm++_2m_karras\nc --w -3\nd --h 99999\ne"
    plan = draft_plan(validate(tree | {"samples": {"prompts": text}}))
    found = [str(problem) for problem in plan.troubles.problems]
    assert [sentence[:50] for sentence in found] == [
        "samples.prompts: prompt 1 cannot be drawn (scale 7",
        "samples.prompts: prompt 2 cannot be drawn (there i",
        "samples.prompts: prompt 3 cannot be drawn (width -",
        "samples.prompts: prompt 4 cannot be drawn (height ",
    ]
    assert "dpmsolver++" in found[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "# two\na cat --n dog --w 640 --d 4\n\na hat --n dog\n"),
        ("p.json", json.dumps(["a cat --n dog --w 640 --d 4", {"prompt": "a hat", "negative_prompt": "dog"}])),
        (
            "p.toml",
            '[prompt]\nnegative_prompt = "dog"\n[[prompt.subset]]\nprompt = "a cat"\nwidth = 640\nseed = 4\n'
            '[[prompt.subset]]\nprompt = "a hat"\n',
        ),
    ],
)
def test_the_three_kinds_of_files_say_the_same(name: str, text: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, "utf8")
    (one, two), remarks = read_prompts("", file, RULES)
    assert (one.prompt, one.negative_prompt, one.width, one.seed) == ("a cat", "dog", 640, 4)
    assert (two.prompt, two.negative_prompt, two.width) == ("a hat", "dog", 512)
    assert remarks == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.json", '{"prompt": "a"}', "no list"),
        ("p.json", "[1]", "no list"),
        ("p.json", "[", "cannot be read"),
        ("p.json", '[{"prompt": "a", "seeds": 1}]', "there is no key seeds"),
        ("p.json", '[{"prompt": "a", "seed": -1}]', "seed -1"),
        ("p.json", '[{"prompt": "a", "width": "1"}]', "width '1'"),
        ("p.toml", "[prompt]\n", "prompt.subset"),
        ("p.toml", '[prompt]\nscale = 1\n[[prompt.subset]]\nscale = 2\nprompt = "a"', "scale stands in"),
        ("p.toml", "prompt", "not valid TOML"),
        ("p.txt", "# nothing\n", "no prompt"),
        ("p.yaml", "a", ".txt, .toml or .json"),
    ],
)
def test_a_broken_file_is_refused_with_its_reason(name: str, text: str, words: str, tree: Tree, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text, "utf8")
    with pytest.raises(Problem, match=words.replace(".", r"\.")):
        planned(tree, prompts_file=str(file), every_n_steps=1)


def test_a_key_for_other_models_is_named(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text('[{"prompt": "a", "flow_shift": 3}]')
    _, remarks = read_prompts("", file, RULES)
    assert len(remarks) == 1
    assert remarks[0].endswith("p.json: prompt 1: flow_shift has no effect and is left out.")


def test_samples_without_prompts_and_prompts_in_two_places_are_refused(tree: Tree, tmp_path: Path) -> None:
    for wanted in ({"every_n_steps": 2}, {"every_n_epochs": 1}, {"at_first": True}):
        with pytest.raises(Problem, match=r"samples\.prompts: samples are to be drawn, but there is no prompt"):
            planned(tree, **wanted)
    with pytest.raises(Problem, match="keep one of the two"):
        planned(tree, prompts="a", prompts_file=str(tmp_path / "p.txt"))
    with pytest.raises(Problem, match="there is no such file"):
        planned(tree, prompts_file=str(tmp_path / "p.txt"))


def test_samples_are_drawn_after_steps_and_epochs(tree: Tree) -> None:
    tree["training"] |= {"epochs": 3, "max_train_steps": 10}
    plan = planned(tree, prompts="a", every_n_steps=4, every_n_epochs=2, at_first=True)
    assert plan.steps_per_epoch == 4
    tags = {step: plan.samples.tag(step) for step in plan.samples.drawn_at()}
    assert tags == {0: "e000000", 4: "000004", 8: "e000002"}
    assert as_data(plan)["samples"]["steps"] == [0, 4, 8]
    assert planned(tree, prompts="a", every_n_epochs=3).samples.tag(10) == "e000003", "the last epoch is cut short"
    assert list(planned(tree, prompts="a").samples.drawn_at()) == []
    assert "Samples    1 prompt, drawn 3 times" in as_text(plan)


def test_the_settings_know_every_sampler() -> None:
    assert set(get_args(SamplerName)) == set(SAMPLERS)
    assert len(SAMPLERS) == 16
