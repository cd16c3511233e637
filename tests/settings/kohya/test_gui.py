"""kohya_ss' JSON: every key of a preset is in the report, and what its labels say is what the settings say."""

import json
from pathlib import Path
from typing import Any

import pytest

from tehon.settings.kohya.export import gui_json
from tehon.settings.kohya.meaning import meaning, values_of
from tehon.settings.kohya.read import bring, bring_text
from tehon.settings.kohya.report import as_text
from tehon.settings.settings import Settings

Preset = dict[str, Any]


def imported(preset: Preset) -> Any:
    return bring_text(json.dumps(preset), Path("preset.json"))


def outcome(preset: Preset, key: str) -> Any:
    return next(line.outcome for line in imported(preset).lines if line.key == key)


def test_every_key_of_a_preset_is_in_the_report(preset: Preset) -> None:
    result = imported(preset)
    more = {line.key for line in result.lines} - {"optimizer", *preset}
    assert all(key.startswith("additional_parameters --") for key in more)
    assert {line.key for line in result.lines} >= set(preset)
    assert result.missing == ["data.folder", "output.folder"]
    assert result.problems == []
    report = as_text(result, "preset.json")
    assert all(f"  {key} = " in report for key in preset)


def test_import_export_import_is_a_fixed_point(preset: Preset) -> None:
    once = imported(preset)
    own = values_of(Settings.model_validate(_filled(once.tree)))
    again = imported(gui_json(own))
    once_more = imported(gui_json(values_of(Settings.model_validate(_filled(again.tree)))))
    assert meaning(_filled(again.tree)) == meaning(_filled(once.tree))
    assert once_more.tree == again.tree


def _filled(tree: dict[str, Any]) -> dict[str, Any]:
    return tree | {
        "data": {**tree.get("data", {}), "folder": "pictures"},
        "output": {**tree.get("output", {}), "folder": "out"},
    }


def test_a_preset_of_2023_comes_to_these_settings(presets: dict[str, Preset]) -> None:
    """Row by row of the article: what each label says."""
    tree = imported(presets["old LoCon of kohya"]).tree
    assert tree["model"] == {"path": "runwayml/stable-diffusion-v1-5"}
    assert tree["network"] == {
        "kind": "locon",
        "rank": 32,
        "alpha": 1.0,
        "conv_rank": 8,
        "conv_alpha": 4.0,
        "dim_from_weights": False,
    }
    assert tree["optimizer"] == {
        "name": "AdamW8bit",
        "learning_rate": 1e-4,
        "unet_lr": 1e-4,
        "text_encoder_lr": 5e-5,
        "lr_scheduler": "cosine",
        "lr_warmup": 10.0,
    }
    assert tree["training"] == {"epochs": 1, "gradient_accumulation_steps": 1, "num_cpu_threads_per_process": 2}
    assert tree["precision"]["mixed_precision"] == "fp16"
    assert tree["output"]["save_precision"] == "fp16"
    assert tree["data"]["bucket_reso_steps"] == 64


@pytest.mark.parametrize(
    ("change", "key", "settings"),
    [
        ({"seed": "0"}, "seed", {"training.seed": 0}),
        ({"seed": 0}, "seed", {}),
        ({"seed": "abc"}, "seed", {}),
        ({"max_token_length": "x"}, "max_token_length", {"text.max_token_length": 75}),
        ({"epoch": "3"}, "epoch", {"training.epochs": 3}),
        ({"lora_network_weights": "a.safetensors"}, "lora_network_weights", {"network.weights": "a.safetensors"}),
        ({"text_encoder_lr": 0}, "text_encoder_lr", {"optimizer.text_encoder_lr": 0.0}),
        ({"unet_lr": 0}, "unet_lr", {"optimizer.unet_lr": 0.0}),
        ({"unet_lr": 0, "text_encoder_lr": 0}, "unet_lr", {"optimizer.unet_lr": 1e-4}),
        ({"bucket_reso_steps": 1}, "bucket_reso_steps", {"data.bucket_reso_steps": 8}),
        ({"prior_loss_weight": 0}, "prior_loss_weight", {"objective.prior_loss_weight": 0.0}),
        ({"use_wandb": True}, "use_wandb", {"logs.log_with": "wandb"}),
        ({"no_token_padding": True}, "no_token_padding", {"text.no_token_padding": True}),
        (
            {"stop_text_encoder_training_pct": 80},
            "stop_text_encoder_training_pct",
            {"optimizer.stop_text_encoder_training": 80.0},
        ),
        ({"stop_text_encoder_training": -1}, "stop_text_encoder_training", {}),
        ({"sample_prompts": "a cat --n dog"}, "sample_prompts", {"samples.prompts": "a cat --n dog"}),
        ({"resume": "out/last-state"}, "resume", {}),
        ({"save_model_as": "ckpt"}, "save_model_as", {}),
        ({"conv_dim": 8}, "conv_dim", {}),
        ({"multires_noise_iterations": 6}, "multires_noise_iterations", {}),
        ({"down_lr_weight": "1,0.5"}, "down_lr_weight", {"network.down_lr_weight": "1,0.5" + ",1" * 10}),
        ({"optimizer": "pytorch_optimizer.CAME"}, "optimizer", {"optimizer.name": "CAME"}),
    ],
)
def test_a_key_becomes_these_settings(
    presets: dict[str, Preset], change: Preset, key: str, settings: dict[str, Any]
) -> None:
    assert outcome(presets["old standard"] | change, key).settings == settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((name, 0) for name in ("train_batch_size", "bucket_reso_steps", "min_bucket_reso", "max_token_length")),
        ("gradient_accumulation_steps", "many"),
        ("unit", 0),
    ],
)
def test_a_zero_that_todays_gui_drops_is_as_not_given(presets: dict[str, Preset], key: str, value: object) -> None:
    """A text that is no number is 0 to kohya_ss when it loads the file."""
    given = outcome(presets["old standard"] | {"LoRA_type": "Kohya DyLoRA", key: value}, key)
    assert (given.settings, given.blocks) == ({}, False)


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"max_train_steps": 1600}, "max_train_steps", "ignores Epoch, even at its own default of 1600"),  # T1
        ({"prior_loss_weight": 0}, "prior_loss_weight", "sd-scripts takes 1.0; in tehon 0 is 0"),  # T2
        ({"conv_dims": "4"}, "conv_dims", "under a name that the trainer never read"),  # T3
        ({"no_token_padding": True}, "no_token_padding", "stops with an error when LoRA is trained with it"),  # T4
        ({"stop_text_encoder_training": 80}, "stop_text_encoder_training", "never worked for LoRA in kohya_ss"),  # T4
        ({"lr_scheduler": "polynomial", "lr_scheduler_num_cycles": "3"}, "lr_scheduler", "ignores the cycles"),  # T5
        ({"lr_scheduler": "cosine_with_restarts", "epoch": 4}, "lr_scheduler_num_cycles", "number of epochs, 4"),  # T5
        ({"vae_batch_size": 0}, "vae_batch_size", "encodes one picture at a time"),  # T6
        ({"lr_scheduler": "constant"}, "lr_scheduler", "tehon ignores the warm-up"),  # T7
        ({"cache_latents_to_disk": True}, "cache_latents_to_disk", "after the resolution has changed"),  # T8
        ({"shuffle_caption": True}, "shuffle_caption", "some pictures come twice"),  # T9
        ({"LoRA_type": "Kohya DyLoRA"}, "LoRA_type", "in some updates, with the first few alone"),  # T10
        ({"lora_network_weights": "a"}, "lora_network_weights", "goes on at the strength that the file has"),  # T11
        ({"additional_parameters": "--base_weights a"}, "additional_parameters --base_weights", "grows layers"),  # T12
        ({"bucket_reso_steps": 16}, "bucket_reso_steps", "unless it is a multiple of 64"),  # T13
        ({"enable_bucket": False, "cache_latents": False}, "enable_bucket", "does not scale pictures then"),  # T14
        ({"bucket_no_upscale": True}, "bucket_no_upscale", "pictures are still made smaller"),  # T15
        ({"weighted_captions": True}, "weighted_captions", "restores the mean in samples"),  # T16
        ({"resume": "last-state"}, "resume", "is a state of accelerate"),  # T17
        ({"save_every_n_steps": 100}, "save_every_n_steps", "saves the last step twice"),  # T18
        (
            {"LoRA_type": "LyCORIS/LoKr", "decompose_both": False},
            "decompose_both",
            "takes the text False for true",
        ),  # T19
        ({"LoRA_type": "LyCORIS/LoCon", "network_dropout": 0.1}, "network_dropout", "no effect on most types"),  # T20
        ({"LoRA_type": "LyCORIS/LoHa", "rank_dropout": 0.1}, "rank_dropout", "leaves out rows of the output"),  # T20
        ({"lr_scheduler": "adafactor", "optimizer": "Adafactor"}, "lr_scheduler", "tehon ignores the warm-up"),  # T7
        ({"sdxl": True, "block_dims": ",".join(["4"] * 25)}, "block_dims", "SDXL has 23 blocks"),  # T26
        ({"additional_parameters": "--zero_terminal_snr"}, "additional_parameters --zero_terminal_snr", "by the noise"),
        ({"additional_parameters": "--text_encoder_lr1 1e-5"}, "additional_parameters --text_encoder_lr1", "does not"),
        ({"down_lr_weight": "0.5"}, "down_lr_weight", "1 number for 12 blocks"),  # T29
        ({"down_lr_weight": ",".join(["1"] * 13)}, "down_lr_weight", "13 numbers for 12 blocks"),  # T29
        ({"persistent_data_loader_workers": True}, "persistent_data_loader_workers", "no loader processes"),  # T22
        ({"sample_prompts": "n foo"}, "sample_prompts", "flags out of a line that begins like one"),  # T24
        ({"sdxl": True, "sdxl_cache_text_encoder_outputs": True}, "sdxl_cache_text_encoder_outputs", "ignores prefix"),
        ({"use_wandb": True}, "use_wandb", "loses this when it loads the file"),  # T28
        ({"wandb_api_key": "0123"}, "wandb_api_key", "tehon never writes it down"),  # T28
        ({"mid_lr_weight": "1, 1"}, "mid_lr_weight", "sd-scripts fills up with 1 and cuts"),  # T29
        ({"save_last_n_steps": 300, "save_every_n_steps": 100}, "save_last_n_steps", "a number of steps"),  # T30
        ({"cache_latents": True}, "cache_latents", "tehon draws anew at each reading"),
        ({"gradient_accumulation_steps": "2"}, "gradient_accumulation_steps", "in tehon each picture counts alike"),
        ({"noise_offset_type": "Multires", "multires_noise_iterations": 6}, "multires_noise_iterations", "whole batch"),
        ({"noise_offset": 0.1, "noise_offset_random_strength": True}, "noise_offset_random_strength", "one strength"),
        (
            {"additional_parameters": "--ip_noise_gamma_random_strength"},
            "additional_parameters --ip_noise_gamma_random_strength",
            "one strength",
        ),
    ],
)
def test_what_the_old_program_does_differently_is_said(
    presets: dict[str, Preset], change: Preset, key: str, words: str
) -> None:
    own = outcome(presets["old standard"] | change, key)
    assert words in " ".join(map(str, (*own.reasons, *own.differences)))


def test_what_is_off_differs_in_nothing(presets: dict[str, Preset]) -> None:
    for change in ({"cache_latents": False}, {"gradient_accumulation_steps": 1}, {"multires_noise_iterations": 0}):
        assert outcome(presets["old standard"] | change, next(iter(change))).differences == ()


DYLORA = {
    **dict.fromkeys(("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"), ",".join(["4"] * 25)),
    **dict.fromkeys(("down_lr_weight", "up_lr_weight"), ",".join(["0"] * 12)),
    "mid_lr_weight": "1",
    "block_lr_zero_threshold": "0.1",
    "network_dropout": 0.1,
    "module_dropout": 0.1,
    "scale_weight_norms": 1,
}


@pytest.mark.parametrize("key", DYLORA)
def test_what_dylora_there_ignores_is_said(presets: dict[str, Preset], key: str) -> None:
    for kind, ignored in (("Kohya DyLoRA", True), ("Kohya LoCon", False)):
        own = outcome(presets["old standard"] | DYLORA | {"LoRA_type": kind}, key)
        assert own.settings
        assert ("DyLoRA ignores this" in " ".join(map(str, own.differences))) == ignored


def test_lora_fa_has_no_convolutions_as_kohya_ss_sends_none(presets: dict[str, Preset]) -> None:
    preset = presets["old standard"] | {"LoRA_type": "LoRA-FA", "conv_dim": 8, "conv_alpha": 4}
    assert not {"conv_rank", "conv_alpha"} & imported(preset).tree["network"].keys()
    assert "LoRA type LoRA-FA" in str(outcome(preset, "conv_dim").reasons[0])


def test_two_rates_of_a_rate_free_optimizer_are_refused_at_once(presets: dict[str, Preset]) -> None:
    """T21: announced as a warning by sd-scripts, in fact an error in the middle."""
    (problem,) = imported(presets["new Prodigy"] | {"text_encoder_lr": 0.5}).problems
    assert problem.key == "one_rate"


def test_what_means_nothing_here_is_left_out_with_its_reason(presets: dict[str, Preset]) -> None:
    result = imported(presets["old LoHa"] | {"network_dropout": 0.1})
    line = next(line for line in result.lines if line.key == "network_dropout")
    assert line.fate == "dropped"
    assert "dropout" not in result.tree["network"]
    assert "network.dropout" in str(line.outcome.reasons[-1])


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[1, 2]", "json_no_object"),
        ("{", "not_json"),
        ('{"a": 1}', "nothing_known"),
        ("[" * 100_000, "not_json"),
        ('{"seed": ' + "9" * 5000 + "}", "not_json"),
    ],
)
def test_a_json_of_something_else_is_a_sentence(text: str, key: str, tmp_path: Path) -> None:
    from tehon.messages.problem import Problem

    file = tmp_path / "file.json"
    file.write_text(text)
    with pytest.raises(Problem) as caught:
        bring(file)
    assert caught.value.key == key


def test_of_two_keys_for_one_option_the_later_wins_and_both_are_told(presets: dict[str, Preset]) -> None:
    preset = presets["old standard"] | {"lora_network_weights": "a", "network_weights": "b"}
    assert imported(preset).tree["network"]["weights"] == "b"
    own = outcome(preset, "lora_network_weights")
    assert (own.fate, str(own.reasons[0])) == ("dropped", "network_weights is given too and wins")


def test_keys_of_other_families_stop_nothing() -> None:
    """Whatever they hold: those that are off are carried, and those that are set are named and left out."""
    others = {"split_mode": False, "guidance_scale": 3.5, "mode_scale": 1.29, "train_t5xxl": True, "in_dims": [1, 2]}
    result = imported({"LoRA_type": "Standard", "pretrained_model_name_or_path": "m.safetensors", **others})
    fates = {line.key: line.outcome.fate for line in result.lines if line.key in others}
    assert fates == dict.fromkeys(others, "dropped") | {"split_mode": "carried"}
    assert result.blocking == []
    told = next(line for line in result.lines if line.key == "guidance_scale")
    assert "famil" in str(told.reason)
