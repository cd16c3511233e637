"""What single settings make of a plan, number by number; `guards/heeded.toml` names the tests of all settings."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tehon.data.plan.epochs import Read
from trainings import planned

Tree = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]


def captions(tree: Tree, text: str, **data: Any) -> list[str]:
    """The first picture's captions of twelve epochs when `text` stands beside it."""
    for file in Path(tree["data"]["folder"]).rglob("*.txt"):
        file.write_text(text, "utf8")
    plan = planned(tree, data=data)
    return [plan.caption(epoch, Read(0, 0)) for epoch in range(12)]


CAPTIONS: dict[str, tuple[Tree, str, set[str]]] = {
    # setting: (all that is set, the text beside a picture, its captions)
    "caption_separator": ({"caption_separator": ";", "shuffle_caption": True}, "a, b; c", {"a, b; c", "c; a, b"}),
    "secondary_separator": ({"secondary_separator": ";;", "shuffle_caption": True}, "a;;b, c", {"a,b, c", "c, a,b"}),
    "shuffle_caption": ({"shuffle_caption": True}, "a, b", {"a, b", "b, a"}),
    "keep_tokens": ({"keep_tokens": 2, "shuffle_caption": True}, "a, b, c, d", {"a, b, c, d", "a, b, d, c"}),
    "keep_tokens_separator": (
        {"keep_tokens_separator": "|||", "shuffle_caption": True},
        "a, b ||| c, d",
        {"a, b, c, d", "a, b, d, c"},
    ),
    "caption_tag_dropout_rate": ({"caption_tag_dropout_rate": 1.0, "keep_tokens": 1}, "a, b, c", {"a"}),
    "caption_dropout_rate": ({"caption_dropout_rate": 1.0}, "a, b", {""}),
    "enable_wildcard": ({"enable_wildcard": True}, "{red|blue} cat", {"red cat", "blue cat"}),
    "caption_prefix": ({"caption_prefix": "photo of"}, "a cat", {"photo of a cat"}),
    "caption_suffix": ({"caption_suffix": "in rain"}, "a cat", {"a cat in rain"}),
}


@pytest.mark.parametrize("name", CAPTIONS)
def test_captions_are_what_the_setting_makes_of_them(tree: Tree, name: str) -> None:
    data, text, wanted = CAPTIONS[name]
    assert set(captions(tree, text, **data)) == wanted


def test_every_third_epoch_goes_without_captions(tree: Tree) -> None:
    assert captions(tree, "a", caption_dropout_every_n_epochs=3) == ["a", "a", ""] * 4


RATES: dict[str, tuple[str, Any, dict[int, float]]] = {
    # setting: (schedule, value, factors after some of eight steps)
    "lr_scheduler_num_cycles": ("cosine_with_restarts", 2, {0: 1.0, 2: 0.5, 4: 1.0, 6: 0.5}),
    "lr_scheduler_power": ("polynomial", 2.0, {0: 1.0, 2: 0.75**2, 4: 0.5**2, 6: 0.25**2}),
    "lr_scheduler_min_lr_ratio": ("cosine_with_min_lr", 0.5, {0: 1.0, 4: 0.75}),
    "lr_scheduler_timescale": ("inverse_sqrt", 2, {0: 1.0, 6: 0.5}),
    "lr_scheduler_pieces": ("piecewise_constant", "1:3,0.5", {0: 1.0, 2: 1.0, 3: 0.5, 7: 0.5}),
    "lr_decay": ("warmup_stable_decay", 50.0, {0: 1.0, 4: 1.0, 6: 0.5}),
    "unet_lr": ("constant", 5e-3, {0: 0.5}),
    "lr_warmup": ("cosine", 50.0, {0: 0.0, 2: 0.5, 4: 1.0, 6: 0.5}),
    "lr_warmup_steps": ("cosine", 2, {0: 0.0, 1: 0.5, 2: 1.0, 5: 0.5}),
}


@pytest.mark.parametrize("name", RATES)
def test_rates_are_what_the_setting_makes_of_the_schedule(tree: Tree, name: str) -> None:
    schedule, value, factors = RATES[name]
    rates = {"lr_warmup": 0.0, "learning_rate": 1e-2, "lr_scheduler": schedule, name: value}
    plan = planned(tree, optimizer=rates, training={"epochs": 2})
    assert plan.steps == 8
    found = {step: plan.rate("lora_unet", step) / 1e-2 for step in factors}
    assert found == pytest.approx(factors, rel=1e-3)


BUCKETS: dict[str, tuple[Tree, tuple[int, int]]] = {
    # setting: (what is changed, the bucket of a picture of 160 x 40)
    "bucket_no_upscale": ({}, (256, 64)),  # False, for all these but one
    "resolution": ({"resolution": 64}, (64, 64)),
    "enable_bucket": ({"enable_bucket": False}, (128, 128)),
    "own size": ({"bucket_no_upscale": True}, (128, 40)),
    "min_bucket_reso": ({"min_bucket_reso": 128}, (128, 128)),
    "max_bucket_reso": ({"max_bucket_reso": 192}, (192, 64)),
}


@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_is_as_large_as_the_setting_says(tree: Tree, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "wide"
    folder.mkdir()
    Image.new("RGB", (160, 40)).save(folder / "a.png")
    enlarged = {"bucket_no_upscale": False, "bucket_reso_steps": 64, "min_bucket_reso": 64, "max_bucket_reso": 256}
    changed, bucket = BUCKETS[name]
    plan = planned(tree, data={"folder": str(folder), "repeats": 1} | enlarged | changed)
    assert plan.pictures.placements[0].bucket == bucket


ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
FEEDFORWARD = "mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"
CONVOLUTION = "down_blocks.0.resnets.0.conv1"
TENSORS: dict[str, tuple[str, Tree, Shapes]] = {
    # setting: (a layer, what is changed, some of its adapter's tensors)
    "rank": (ATTENTION, {"rank": 4}, {"lora_down.weight": (4, 32), "lora_up.weight": (32, 4)}),
    "dora": (ATTENTION, {"dora": True}, {"dora_scale": (1, 32)}),
    "dora_side": (ATTENTION, {"dora": True, "dora_side": "output"}, {"dora_scale": (32, 1)}),
    "factor": (ATTENTION, {"kind": "lokr", "factor": 2}, {"lokr_w1": (2, 2), "lokr_w2_a": (16, 2)}),
    "decompose_both": (
        ATTENTION,
        {"kind": "lokr", "decompose_both": True, "rank": 1},
        {"lokr_w1_a": (4, 1), "lokr_w1_b": (1, 4)},
    ),
    "full_matrix": (FEEDFORWARD, {"kind": "lokr", "full_matrix": True, "rank": 8}, {"lokr_w2": (32, 16)}),
    "conv_rank": (CONVOLUTION, {"conv_rank": 3}, {"lora_down.weight": (3, 32, 3, 3), "lora_up.weight": (32, 3, 1, 1)}),
    "tucker": (CONVOLUTION, {"conv_rank": 2, "tucker": True}, {"lora_mid.weight": (2, 2, 3, 3)}),
}


@pytest.mark.parametrize("name", TENSORS)
def test_an_adapter_has_the_tensors_of_the_setting(tree: Tree, name: str) -> None:
    layer, network, wanted = TENSORS[name]
    plan = planned(tree, network=network)
    (found,) = [one.tensors for one in plan.modules if one.path.endswith(layer)]
    assert found | wanted == found


def test_the_smaller_of_two_numbers_of_epochs_holds(tree: Tree) -> None:
    assert planned(tree, training={"epochs": 3, "max_train_epochs": 2}).steps == 8


def test_prompts_are_drawn_by_the_sampler(tree: Tree) -> None:
    (prompt,) = planned(tree, samples={"prompts": "a", "sampler": "ddim"}).samples.prompts
    assert prompt.sample_sampler == "ddim"


def test_a_set_is_for_regularisation_when_the_section_says_so(tree: Tree) -> None:
    folder = tree["data"].pop("folder")
    plan = planned(tree, data={"is_reg": True, "sets": [{"folder": folder, "is_reg": False}, {"folder": folder}]})
    assert [picture.is_reg for picture in plan.pictures] == [False] * 3 + [True] * 3


def test_additional_parameters_are_settings_of_the_plan(tree: Tree) -> None:
    assert planned(tree, training={"additional_parameters": "--max_train_steps 3"}).steps == 3
