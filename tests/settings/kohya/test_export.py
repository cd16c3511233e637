"""Out and back: what is exported means the same when it is brought back, and what can't is named."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tehon.cli.main import main
from tehon.messages.problem import Problem
from tehon.settings.files import validate
from tehon.settings.kohya.export import export
from tehon.settings.kohya.meaning import meaning
from tehon.settings.kohya.read import bring_text
from tehon.settings.kohya.table import OURS_ALONE

Flat = dict[str, Any]
numbers = st.integers(0, 20)
shares = st.sampled_from([0.0, 0.05, 0.1, 0.5])
rates = st.sampled_from([0.0, 1e-6, 5e-5, 1e-4, 2.5e-4, 1.0])
paths = st.sampled_from(["", "a/b", "C:\\models\\x", "with blank/x"])
flags = st.booleans()
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "model.vae": paths,
    "model.prediction": st.sampled_from([None, "v"]),
    "data.reg_folder": paths,
    "data.resolution": st.sampled_from([None, 512, [512, 768]]),
    "data.batch_size": st.integers(1, 8),
    "data.enable_bucket": flags,
    "data.bucket_no_upscale": flags,
    "data.bucket_reso_steps": st.sampled_from([8, 32, 64]),
    "data.min_bucket_reso": st.sampled_from([64, 256]),
    "data.max_bucket_reso": st.sampled_from([1024, 2048]),
    "data.resize_interpolation": st.sampled_from(["auto", "lanczos", "area", "nearest"]),
    "data.flip_aug": flags,
    "data.caption_extension": st.sampled_from(["", ".txt", "cap"]),
    "data.caption_prefix": st.sampled_from(["", "photo", "a photo of"]),
    "data.shuffle_caption": flags,
    "data.keep_tokens": numbers,
    "data.caption_dropout_rate": shares,
    "data.caption_dropout_every_n_epochs": numbers,
    "text.max_token_length": st.sampled_from([75, 150, 225]),
    "text.clip_skip": st.integers(1, 12),
    "text.weighted_captions": flags,
    "feed.cache_latents_to_disk": flags,
    "feed.vae_batch_size": numbers,
    "feed.max_data_loader_n_workers": numbers,
    "network.kind": st.sampled_from(["lora", "locon", "loha", "lokr", "dylora", "lora_fa", "ia3"]),
    "network.rank": st.integers(1, 64),
    "network.alpha": st.sampled_from([0.5, 1.0, 16.0]),
    "network.conv_rank": st.sampled_from([None, 0, 4]),
    "network.conv_alpha": st.sampled_from([None, 2.0]),
    "network.dropout": shares,
    "network.rank_dropout": shares,
    "network.module_dropout": shares,
    "network.dora": flags,
    "network.tucker": flags,
    "network.rs_lora": flags,
    "network.use_scalar": flags,
    "network.factor": st.sampled_from([-1, 4, 8]),
    "network.decompose_both": flags,
    "network.full_matrix": flags,
    "network.scale_weight_norms": st.sampled_from([0.0, 1.0]),
    "network.loraplus_lr_ratio": st.sampled_from([1.0, 16.0]),
    "network.down_lr_weight": st.sampled_from(["", "sine", "cosine+.5", ",".join(["0.5"] * 12), [1.0] * 12]),
    "network.block_dims": st.sampled_from(["", ",".join(["4"] * 25), " ".join(["8"] * 25)]),
    "network.base_weights": st.sampled_from(["", "a.safetensors", ["a.safetensors", "b.safetensors"]]),
    "objective.noise_offset": shares,
    "objective.adaptive_noise_scale": st.sampled_from([0.0, -0.1, 0.1]),
    "objective.multires_noise_iterations": numbers,
    "objective.multires_noise_discount": st.sampled_from([0.3, 0.8]),
    "objective.ip_noise_gamma": shares,
    "objective.min_timestep": st.sampled_from([0, 100]),
    "objective.max_timestep": st.sampled_from([900, 1000]),
    "objective.loss_type": st.sampled_from(["l2", "l1", "huber", "smooth_l1"]),
    "objective.huber_c": st.sampled_from([0.1, 0.2]),
    "objective.huber_schedule": st.sampled_from(["snr", "constant"]),
    "objective.min_snr_gamma": st.sampled_from([0.0, 1.0, 5.0, 5.5]),
    "objective.debiased_estimation_loss": flags,
    "objective.prior_loss_weight": st.sampled_from([0.0, 0.5, 1.0]),
    "optimizer.name": st.sampled_from(["", "AdamW", "Lion", "SGDNesterov", "CAME", "AdEMAMix8bit", "my.own.Class"]),
    "optimizer.arguments": st.sampled_from(["", "weight_decay=0.1", "weight_decay=0.1 eps=1e-7"]),
    "optimizer.learning_rate": rates,
    "optimizer.unet_lr": st.none() | rates,
    "optimizer.text_encoder_lr": rates,
    "optimizer.lr_scheduler": st.sampled_from(["constant", "cosine", "polynomial", "cosine_with_min_lr", "rex"]),
    "optimizer.lr_warmup": st.sampled_from([0.0, 5.0, 10.0, 12.5, 33.3]),
    "optimizer.lr_warmup_steps": st.sampled_from([0, 1, 100]),
    "optimizer.lr_scheduler_num_cycles": st.integers(1, 5),
    "optimizer.lr_scheduler_power": st.sampled_from([0.5, 1.0, 2.0]),
    "optimizer.lr_scheduler_min_lr_ratio": shares,
    "optimizer.max_grad_norm": st.sampled_from([0.0, 1.0, 0.5]),
    "training.epochs": st.integers(1, 50),
    "training.max_train_epochs": st.none() | st.integers(1, 50),
    "training.max_train_steps": st.sampled_from([0, 500]),
    "training.gradient_accumulation_steps": st.integers(1, 4),
    "training.seed": st.sampled_from([None, 0, 1, 2**32 - 1]),
    "precision.mixed_precision": st.sampled_from(["no", "fp16", "bf16"]),
    "precision.full_fp16": flags,
    "precision.base_storage": st.sampled_from(["same", "fp8", "fp16"]),
    "precision.base_storage_unet": flags,
    "memory.gradient_checkpointing": st.sampled_from(["off", "large", "whole"]),
    "memory.attention": st.sampled_from(["auto", "sdpa", "mem_eff_attn"]),
    "training.num_cpu_threads_per_process": st.sampled_from([0, 2]),
    "training.num_processes": st.sampled_from([None, 2]),
    "validation.every_n_steps": numbers,
    "samples.every_n_epochs": numbers,
    "samples.prompts": st.sampled_from(["", "a cat --n dog --d 1\na dog"]),
    "samples.sampler": st.sampled_from(["euler_a", "ddim"]),
    "logs.folder": paths,
    "output.save_precision": st.sampled_from(["float", "fp16", "bf16"]),
    "output.save_every_n_epochs": numbers,
    "output.save_every_n_steps": numbers,
    "output.save_last_n_steps": numbers,
    "output.training_comment": st.sampled_from(["", "one", "two words", "日本語"]),
    "output.metadata_author": st.sampled_from(["", "one", "two words", "日本語"]),
    "output.metadata_usage_hint": st.sampled_from(["", "one", "日本語"]),
}
MAY_BE_LOST = {
    "data.caption_prefix",  # kohya_ss splits additional parameters at blanks
    "training.epochs",  # sd-scripts counts steps, or epochs
    "training.max_train_steps",
    "network.rank_dropout",  # not every module has it
    "network.rs_lora",
    "network.module_dropout",
    "network.scale_weight_norms",
    "network.down_lr_weight",
    "network.block_dims",
    "network.full_matrix",
    "network.loraplus_lr_ratio",
    "network.loraplus_unet_lr_ratio",
    "network.loraplus_text_encoder_lr_ratio",
    "network.base_weights",
    "network.base_weights_multiplier",
    "output.save_state_every_n_epochs",
    "precision.base_storage",  # sd-scripts has fp8 alone
    "precision.base_storage_unet",
    "memory.gradient_checkpointing",  # on or off
    "memory.attention",
    "training.num_cpu_threads_per_process",  # accelerate's, not the script's
    "training.num_processes",
    "optimizer.lr_scheduler",
}


@st.composite
def trees(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Settings that tehon takes: what breaks a rule is taken out."""
    flat: Flat = draw(st.fixed_dictionaries({}, optional=FIELDS))
    flat |= {"model.path": "demo", "data.folder": "pictures", "output.folder": "out"}
    while True:
        tree: dict[str, dict[str, Any]] = {}
        for name, value in flat.items():
            section, _, field = name.partition(".")
            tree.setdefault(section, {})[field] = value
        try:
            validate(tree)
            return tree
        except Problem as problem:
            broken = {str(one.values.get("field")).partition(" ")[0] for one in problem.all} & flat.keys()
            assume(broken)
            flat = {name: value for name, value in flat.items() if name not in broken}


@pytest.mark.parametrize("name", ["theirs.json", "theirs.toml"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(trees())
def test_what_comes_back_is_what_went_out(name: str, tree: dict[str, dict[str, Any]]) -> None:
    here = meaning(validate(tree).model_dump())
    first = export(validate(tree), name)
    back = bring_text(first.files[name], Path(name))
    there = meaning(back.tree)
    beside = {"samples.prompts", "samples.prompts_file"}
    different = {key for key in here if here[key] != there[key]} - beside
    assert different <= set(first.lost)
    assert set(first.lost) <= MAY_BE_LOST | set(OURS_ALONE)
    again = export(validate(back.tree), name)
    once_more = bring_text(again.files[name], Path(name))
    assert meaning(once_more.tree) == there


def test_what_can_not_be_said_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        '[model]\npath = "demo"\n[data]\nfolder = "p"\nbackground = "black"\n[network]\nexclude = "to_k"\n'
        '[samples]\nprompts = "a cat"\n[output]\nfolder = "o"\n'
    )
    out = tmp_path / "theirs.toml"
    assert main(["export", str(config), str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Written: {out}",
        f"Written: {tmp_path / 'theirs-prompts.txt'}",
        "Can't be expressed there (2):",
        '  data.background = "black"; there: "white"',
        '  network.exclude = "to_k"; there: ""',
    ]
    assert main(["export", str(config), str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"{out} is already there;")
    assert main(["export", str(config), str(tmp_path / "x.yaml")]) == 2


def test_sets_become_a_data_set_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(
        '[model]\npath = "demo"\n[output]\nfolder = "o"\n'
        '[[data.sets]]\nfolder = "a"\nrepeats = 3\nresolution = 512\n'
        '[[data.sets]]\nfolder = "b"\nrepeats = 2\nresolution = 512\nis_reg = true\n'
        '[[data.sets]]\nfolder = "c"\nrepeats = 1\nresolution = 768\nbackground = "red"\n'
    )
    assert main(["export", str(config), str(tmp_path / "t.json"), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["lost"] == {"data.sets[2].background": {"here": "red", "there": None}}
    assert main(["import", str(tmp_path / "t-dataset.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["data"]["sets"] == [
        {"repeats": 3, "resolution": 512, "folder": "a"},
        {"repeats": 2, "resolution": 512, "folder": "b", "is_reg": True},
        {"repeats": 1, "resolution": 768, "folder": "c"},
    ]
