"""Which optimizer is chosen, and what is said when it cannot be."""

from typing import Any

import pytest

from tehon.catalog.optimizers import OPTIMIZERS
from tehon.messages.problem import Problem, raise_all
from tehon.settings import optimizer_rules
from tehon.settings.network import NetworkSettings
from tehon.settings.optimizer import OptimizerSettings
from tehon.settings.optimizer_rules import (
    OptimizerChoice,
    choose_optimizer,
    optimizer_problems,
    read_arguments,
    resolved_name,
    resolved_schedule,
)


def chosen(**values: Any) -> OptimizerChoice:
    """As for equal rates, which every optimizer takes, and with the name filled in."""
    settings = OptimizerSettings(**{"learning_rate": 1.0, "text_encoder_lr": 1.0} | values)
    raise_all(list(optimizer_problems(settings, NetworkSettings())))
    return choose_optimizer(settings.model_copy(update={"name": resolved_name(settings.name)}))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_name_is_taken_in_any_case(name: str) -> None:
    assert chosen(name=name.upper()).name == name


def test_an_empty_name_is_the_articles_where_that_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer_rules.sys, "platform", "linux")
    assert chosen() == OptimizerChoice("AdamW8bit")
    monkeypatch.setattr(optimizer_rules.sys, "platform", "darwin")
    assert chosen() == OptimizerChoice("AdamW")
    monkeypatch.setattr(optimizer_rules.sys, "platform", "linux")
    monkeypatch.setattr(optimizer_rules, "find_spec", lambda name: None)
    assert chosen() == OptimizerChoice("AdamW")


def test_one_that_was_asked_for_and_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer_rules, "find_spec", lambda name: None)
    with pytest.raises(Problem, match=r"^optimizer.name: Lion8bit needs .* run pip install bitsandbytes, or choose"):
        chosen(name="Lion8bit")
    with pytest.raises(Problem, match="pip install prodigy-plus-schedule-free"):
        chosen(name="ProdigyPlusScheduleFree")


@pytest.mark.parametrize(
    ("values", "schedule"),
    [
        ({"name": "Adafactor", "lr_scheduler": "linear"}, "adafactor"),
        ({"name": "Adafactor", "lr_scheduler": "linear", "arguments": "relative_step=False"}, "linear"),
        ({"name": "AdamWScheduleFree"}, "constant_with_warmup"),
        ({"name": "AdamWScheduleFree", "lr_scheduler": "constant"}, "constant"),
        ({"name": "AdamW"}, "cosine"),
    ],
)
def test_an_optimizer_may_bring_its_own_schedule(values: dict[str, Any], schedule: str) -> None:
    assert resolved_schedule(OptimizerSettings(**values)) == schedule


def test_adafactor_finds_its_own_rates_unless_told_not_to() -> None:
    assert chosen(name="adafactor").relative
    assert not chosen(name="adafactor", arguments="relative_step=False").relative
    assert chosen(name="adafactor", arguments="warmup_init=True").warmup_init
    assert chosen(name="adafactor", arguments="relative_step=False clip_threshold=0.5").arguments == {
        "clip_threshold": 0.5
    }


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("  weight_decay=0.1  ", {"weight_decay": 0.1}),
        ("betas=0.9,0.99 eps=1e-6", {"betas": (0.9, 0.99), "eps": 1e-6}),
        ("betas=(0.9, 0.99) decouple=True", {"betas": (0.9, 0.99), "decouple": True}),
        ("betas=[0.9, 0.99]", {"betas": (0.9, 0.99)}),
        ("decouple=true growth_rate=inf beta3=None", {"decouple": True, "growth_rate": float("inf"), "beta3": None}),
        ("mode='a b' other=plain", {"mode": "a b", "other": "plain"}),
    ],
)
def test_arguments_are_read_as_people_write_them(text: str, values: dict[str, Any]) -> None:
    assert read_arguments(text) == values


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"name": "Adam W"}, "optimizer.name: there is no optimizer Adam W; give one of AdamW, AdamW8bit"),
        ({"arguments": "betas"}, "betas is not of the form name=value"),
        ({"arguments": "eps=1e-6 0.9"}, "0.9 is not of the form"),
        ({"arguments": "betas=(0.9"}, "is not of the form"),
        (
            {"name": "AdamW", "arguments": "momentum=0.9"},
            "AdamW does not take momentum; it takes betas, eps, weight_decay",
        ),
        ({"name": "SGDNesterov", "arguments": "weight_decay=0.1 beta=1"}, "does not take beta"),
        ({"name": "DAdaptLion", "arguments": "d0=small"}, r"\(d0\): 'small' does not fit; give a number"),
        ({"name": "AdamW", "arguments": "betas=0.9"}, r"\(betas\): 0.9 does not fit; give two numbers with a comma"),
        ({"name": "Prodigy", "arguments": "safeguard_warmup=1"}, "give true or false"),
        ({"name": "CAME", "arguments": "betas=0.9,0.99"}, "give three numbers with commas"),
        ({"name": "Adafactor", "arguments": "relative_step=False warmup_init=True"}, "warmup_init belongs"),
        (
            {"name": "AdamW", "lr_scheduler": "adafactor"},
            "the schedule adafactor is how Adafactor finds its own rates, which AdamW with these arguments does not",
        ),
        (
            {"name": "adafactor", "arguments": "relative_step=False", "lr_scheduler": "adafactor"},
            "which Adafactor with these arguments does not; choose another schedule",
        ),
        (
            {"name": "Prodigy", "unet_lr": 0.5},
            "optimizer.text_encoder_lr: Prodigy finds one rate for all parts, but the U-Net has 0.5 and the text "
            "encoder 1.0; set both to the same",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        chosen(**values)


def test_one_part_alone_may_have_its_rate_found() -> None:
    assert chosen(name="Prodigy", text_encoder_lr=0.0).name == "Prodigy"
    assert chosen(name="DAdaptAdam", unet_lr=0.0).name == "DAdaptAdam"


@pytest.mark.parametrize(
    ("name", "network", "sentence"),
    [
        ("Prodigy", {"loraplus_lr_ratio": 4.0}, "network.loraplus_lr_ratio: Prodigy finds one rate for all weights"),
        ("AdamWScheduleFree", {"scale_weight_norms": 1.0}, "network.scale_weight_norms: AdamWScheduleFree saves an"),
    ],
)
def test_what_an_optimizer_makes_void_is_refused(name: str, network: dict[str, Any], sentence: str) -> None:
    rates = OptimizerSettings(name=name, learning_rate=1.0, text_encoder_lr=1.0)
    (problem,) = optimizer_problems(rates, NetworkSettings(**network))
    assert str(problem).startswith(sentence)
