"""What is brought: configurations, data sets, scripts, LoRA files; each is told apart and read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tehon.cli.main import main
from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.settings.kohya.carry import Import
from tehon.settings.kohya.config import read_config
from tehon.settings.kohya.export import export
from tehon.settings.kohya.read import bring, bring_words, command_words, merge_words
from tehon.settings.kohya.table import ROWS


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, "utf8")
    return file


CONFIG = """
[model]
pretrained_model_name_or_path = "m.safetensors"
[folders]
train_data_dir = "p"
output_dir = "o"
[other]
network_module = "lycoris.kohya"
network_args = ["algo=loha", "conv_dim=4", "conv_alpha=1"]
network_dim = 8
lr_warmup_steps = 0.05
text_encoder_lr = [5e-5]
max_train_epochs = 3
prior_loss_weight = 0.5
"""
COMMAND = (
    "accelerate launch train_network.py --pretrained_model_name_or_path=m.safetensors --train_data_dir=p --output_dir=o"
    " --network_module=lycoris.kohya --network_args algo=loha conv_dim=4 conv_alpha=1 --network_dim=8"
    " --lr_warmup_steps=5% --text_encoder_lr 5e-5 --max_train_epochs=3 --prior_loss_weight=0.5"
)
WHOLE: dict[str, Any] = {
    "model": {"path": "m.safetensors"},
    "data": {"folder": "p", "enable_bucket": False, "bucket_no_upscale": False},
    "network": {"kind": "loha", "rank": 8, "alpha": 1.0, "conv_rank": 4, "conv_alpha": 1.0},
    "objective": {"prior_loss_weight": 0.5},
    "optimizer": {
        "name": "AdamW",
        "learning_rate": 2e-6,
        "text_encoder_lr": 5e-5,
        "lr_scheduler": "constant",
        "lr_warmup": 5.0,
    },
    "training": {"epochs": 3, "max_train_steps": 0},
    "samples": {"sampler": "ddim"},
    "output": {"folder": "o", "save_precision": "float", "save_every_n_epochs": 0},
}
"""What is not given is sd-scripts' own default: rate 2e-6, AdamW, constant, alpha 1, no buckets, ddim, float32."""


def test_a_configuration_and_a_command_that_say_the_same_come_to_the_same(tmp_path: Path) -> None:
    script = written(tmp_path, "train.sh", "#!/bin/sh\n" + COMMAND.replace(" --", " \\\n  --"))
    config = written(tmp_path, "config.toml", CONFIG)
    for result in (bring(config), bring(script), bring_words(COMMAND.split()), bring_words([COMMAND])):
        assert result.tree == WHOLE
        assert result.missing == []
        assert result.problems == []


def test_steps_alone_take_as_many_epochs_as_they_need() -> None:
    tree = bring_words(["--max_train_steps=500", "--seed=1"]).tree
    assert tree["training"] == {"max_train_steps": 500, "epochs": 500, "seed": 1}
    assert bring_words(["--seed=1"]).tree["training"]["max_train_steps"] == 1600


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("--network_module=networks.lora --network_args conv_dim=4", {"network.kind": "locon", "network.conv_rank": 4}),
        ("--network_module=networks.dylora --network_args unit=4", {"network.kind": "dylora", "network.unit": 4}),
        ("--network_module=networks.lora_fa", {"network.kind": "lora_fa"}),
        ("--network_module=lycoris.kohya --network_dim=16", {"network.kind": "locon", "network.rank": 16}),
        ("--network_module=lycoris.kohya --network_args algo=loha", {"network.kind": "loha", "network.conv_rank": 4}),
        ("--network_module=lycoris.kohya --network_args preset=attn-mlp", {"network.kind": "lora"}),
        ("--network_module=lycoris.kohya --network_args algo=lokr factor=8 conv_dim=0", {"network.factor": 8}),
        ("--network_module=lycoris.kohya --network_args algo=lora dora_wd=True", {"network.dora_side": "output"}),
        ("--network_module=lycoris.kohya --network_args dora_wd=1 wd_on_output=0", {"network.dora_side": "input"}),
        ("--network_train_unet_only --text_encoder_lr 1e-5", {"optimizer.text_encoder_lr": 0.0}),
        ("--network_train_text_encoder_only --unet_lr 1", {"optimizer.unet_lr": 0.0}),
        ("--text_encoder_lr 1e-5 2e-5", {"optimizer.text_encoder_lr": 1e-5}),
        ("--use_8bit_adam", {"optimizer.name": "AdamW8bit"}),
        ("--optimizer_type=adamw8BIT", {"optimizer.name": "AdamW8bit"}),
        ("--optimizer_type=prodigyplus.ProdigyPlusScheduleFree", {"optimizer.name": "ProdigyPlusScheduleFree"}),
        (
            "--optimizer_args weight_decay=0.1 betas=0.9,0.99",
            {"optimizer.arguments": "weight_decay=0.1 betas=0.9,0.99"},
        ),
        ("--lr_warmup_steps=100", {"optimizer.lr_warmup_steps": 100}),
        ("--lr_scheduler_args step_rules=1:10,0.1", {"optimizer.lr_scheduler_pieces": "1:10,0.1"}),
        ("--save_state --save_every_n_steps=50", {"output.save_state_every_n_steps": 50}),
        ("--max_train_epochs=10 --save_n_epoch_ratio=4", {"output.save_every_n_epochs": 2}),
        ("--alpha_mask", {"data.alpha_mask": True, "objective.masked_loss": True}),
        ("--masked_loss --conditioning_data_dir=m", {"data.mask_folder": "m", "objective.masked_loss": True}),
        ("--in_json=a.json --dataset_repeats=3", {"data.metadata_file": "a.json", "data.repeats": 3}),
        ("--random_crop", {"feed.cache_latents": False}),
        ("--cache_latents_to_disk", {"feed.cache_latents": True, "feed.cache_latents_to_disk": True}),
        ("--mixed_precision=bf16 --full_bf16", {"precision.mixed_precision": "bf16", "precision.full_bf16": True}),
        ("--fp8_base", {"precision.base_storage": "fp8", "precision.base_storage_unet": None}),
        ("--fp8_base_unet", {"precision.base_storage": "fp8", "precision.base_storage_unet": True}),
        ("--gradient_checkpointing", {"memory.gradient_checkpointing": "whole"}),
        ("--mem_eff_attn", {"memory.attention": "mem_eff_attn"}),
        (
            "accelerate launch --num_cpu_threads_per_process=2 train_network.py --seed=1",
            {"training.num_cpu_threads_per_process": 2},
        ),
        ("accelerate launch --num_processes=2 train_network.py --seed=1", {"training.num_processes": 2}),
        ("accelerate launch --num_processes=1 train_network.py --seed=1", {"training.num_processes": None}),
        ("--resolution=512", {"data.resolution": [512, 512]}),
        ("--resolution=512,768", {"data.resolution": [512, 768]}),
    ],
)
def test_options_of_sd_scripts_become_these_settings(words: str, settings: dict[str, Any]) -> None:
    tree = bring_words(words.split()).tree
    found = {name: tree[name.partition(".")[0]].get(name.partition(".")[2]) for name in settings}
    assert found == settings


@pytest.mark.parametrize(("script", "layer", "said"), [("sdxl_", 3, True), ("sdxl_", 2, False), ("", 3, False)])
def test_a_layer_that_sdxl_does_not_read_there_is_told(script: str, layer: int, said: bool) -> None:
    result = bring_words([f"{script}train_network.py", f"--clip_skip={layer}"])
    line = next(line for line in result.lines if line.key == "--clip_skip")
    assert result.tree["text"]["clip_skip"] == layer
    assert any("layer before the last" in str(remark) for remark in line.outcome.differences) == said


def test_sdxl_has_rates_and_lists_of_its_own() -> None:
    words = "sdxl_train_network.py --text_encoder_lr 1e-5 2e-5 --network_module=networks.lora --network_args"
    tree = bring_words([*words.split(), "down_lr_weight=1,1"]).tree
    assert tree["optimizer"]["text_encoder_2_lr"] == 2e-5
    assert tree["network"]["down_lr_weight"] == "1,1,1,1,1,1,1,1,1"


@pytest.mark.parametrize(
    ("general", "subset", "assumed"),
    [
        ("", "", {"enable_bucket": False, "bucket_no_upscale": False}),
        ("enable_bucket = true", "", {"bucket_no_upscale": False}),
        ("enable_bucket = true\nbucket_no_upscale = false", "", {}),
        ("", "enable_bucket = true", {"enable_bucket": False, "bucket_no_upscale": False}),  # the other set's
    ],
)
def test_a_data_set_configuration_that_leaves_buckets_open_has_none(
    general: str, subset: str, assumed: dict[str, bool], tmp_path: Path
) -> None:
    """sd-scripts makes none unless told to, and then enlarges pictures; tehon does the opposite of both."""
    text = f"[general]\n{general}\n"
    text += "".join(f'[[datasets]]\n{more}\n[[datasets.subsets]]\nimage_dir = "p"\n' for more in (subset, ""))
    result = bring(written(tmp_path, "dataset.toml", text))
    data = result.tree["data"]
    assert {name: data[name] for name in data if name != "sets"} == assumed
    said = {line.key: line.reason for line in result.lines if line.fate == "assumed"}
    assert said.keys() == assumed.keys()
    assert all("may say otherwise" in text for text in said.values())


@pytest.mark.parametrize("option", ["train_data_dir", "reg_data_dir", "in_json"])
def test_beside_a_data_set_configuration_other_pictures_are_ignored(option: str, tmp_path: Path) -> None:
    given = {"pretrained_model_name_or_path": "demo", "output_dir": "o", "dataset_config": "d.toml", option: "other"}
    words = [f"--{name}={value}" for name, value in given.items()]
    file = written(tmp_path, "preset.json", json.dumps({"LoRA_type": "Standard", **given}))
    for result in (bring_words([*words, "--dataset_repeats=3"]), bring(file)):
        data = result.tree["data"]
        assert data.keys() - {"enable_bucket", "bucket_no_upscale"} == {"dataset_config"}
        assert (result.missing, result.problems) == ([], [])
        line = next(line for line in result.lines if line.key.removeprefix("--") == option)
        assert (line.fate, line.reason) == (
            "dropped",
            "sd-scripts takes pictures from the dataset_config alone and ignores this",
        )


@pytest.mark.parametrize(("old", "today"), [("conv_dims", "conv_block_dims"), ("conv_alphas", "conv_block_alphas")])
def test_the_names_that_kohya_ss_of_2023_sent_are_understood(old: str, today: str, tmp_path: Path) -> None:
    four = ",".join(["4"] * 25)
    words = f"--network_module=networks.lora --network_args conv_block_dims={four} {old}={four}"
    preset = json.dumps({"LoRA_type": "Standard", "additional_parameters": words})
    for result in (bring_words(words.split()), bring(written(tmp_path, "preset.json", preset))):
        assert result.blocking == []
        assert result.tree["network"][today] == four
        assert any("under a name that the trainer never read" in text for text in remarks(result, old))


NINE, TWELVE = ",".join(["0.5"] * 9), ",".join(["0.5"] * 12)


@pytest.mark.parametrize(
    ("words", "down", "mid"),
    [
        (f"--network_args down_lr_weight={NINE} mid_lr_weight=1,1,0.5", NINE, "1,1,0.5"),
        ("--network_args down_lr_weight=1,1 mid_lr_weight=1,1,0.5", "1,1" + ",1" * 7, "1,1,0.5"),
        (f"--network_args down_lr_weight={NINE} mid_lr_weight=0.5", NINE, "0.5,1,1"),
        (f"--network_args down_lr_weight={TWELVE} mid_lr_weight=1,1,0.5", TWELVE, "1"),
        (f"train_network.py --network_args down_lr_weight={NINE} mid_lr_weight=1,1,0.5", NINE + ",1,1,1", "1"),
        (
            f"--pretrained_model_name_or_path=demo --network_args down_lr_weight={NINE} mid_lr_weight=1",
            NINE + ",1,1,1",
            "1",
        ),
    ],
)
def test_lists_of_sdxls_blocks_are_known_without_the_name_of_its_script(
    words: str, down: str, mid: str, tmp_path: Path
) -> None:
    results = [bring_words(["--network_module=networks.lora", *words.split()])]
    if words.startswith("--network_args"):
        arguments = words.split()[1:]
        results.append(bring(written(tmp_path, "config.toml", f"seed = 1\nnetwork_args = {json.dumps(arguments)}")))
        data = {"LoRA_type": "Standard", **dict(word.split("=") for word in arguments)}
        results.append(bring(written(tmp_path, "preset.json", json.dumps(data))))
    for result in results:
        own = result.tree["network"]
        assert (own["down_lr_weight"], own["mid_lr_weight"]) == (down, mid)


@pytest.fixture
def sdxl(tmp_path: Path) -> str:
    """The files by which a folder is known as SDXL."""
    folder = tmp_path / "sdxl"
    configs = {
        "model_index.json": {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]},
        "unet/config.json": {"addition_embed_type": "text_time", "block_out_channels": [4]},
        "scheduler/scheduler_config.json": {"prediction_type": "epsilon"},
        **{f"{part}/config.json": {} for part in ("text_encoder", "text_encoder_2", "vae")},
    }
    for name, config in configs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        written(folder, name, json.dumps(config))
    return str(folder)


def test_a_model_that_is_there_says_whether_it_is_sdxl(sdxl: str, tmp_path: Path) -> None:
    words = ["--text_encoder_lr", "1e-5", "2e-5", "--bucket_reso_steps=32", "--network_args", "down_lr_weight=1,1"]
    own = bring_words([f"--pretrained_model_name_or_path={sdxl}", *words])
    ours = merge_words(" ".join(words), {"model": {"path": sdxl}, "data": {}, "output": {}})
    for result in (own, ours):
        assert result.tree["optimizer"]["text_encoder_2_lr"] == 2e-5
        assert result.tree["network"]["down_lr_weight"] == ",".join(["1"] * 9)
        assert remarks(result, "bucket_reso_steps") == []


def test_of_steps_for_sdxl_nothing_wrong_is_said_where_the_model_is_not_known() -> None:
    (said,) = remarks(bring_words(["--bucket_reso_steps=32"]), "bucket_reso_steps")
    assert "a multiple of 64 (SDXL: 32)" in said


@pytest.mark.parametrize("module", ["networks.lora", "networks.dylora", "networks.lora_fa", "networks.loha", ""])
def test_convolutions_without_an_alpha_have_the_one_of_sd_scripts(module: str) -> None:
    """Its own modules take 1, whatever the network's alpha is; only LyCORIS takes that."""
    words = [f"--network_module={module}"] if module else []
    result = bring_words([*words, "--network_dim=16", "--network_alpha=16", "--network_args", "conv_dim=8"])
    assert result.tree["network"]["conv_alpha"] == 1.0
    assert "take an alpha of 1" in " ".join(remarks(result, "conv_dim"))


@pytest.mark.parametrize(
    "words",
    [
        "--network_module=lycoris.kohya --network_args conv_dim=8",
        "--network_module=networks.lora --network_args conv_dim=0",
        "--network_module=networks.lora",
    ],
)
def test_others_without_an_alpha_of_convolutions_have_the_networks_or_need_none(words: str) -> None:
    assert "conv_alpha" not in bring_words(["--network_alpha=16", *words.split()]).tree["network"]


def test_convolutions_block_by_block_without_an_alpha_have_the_one_of_sd_scripts(tmp_path: Path) -> None:
    dims = ",".join(["4"] * 25)
    data = {"LoRA_type": "Standard", "network_alpha": 16, "block_dims": dims, "conv_block_dims": dims}
    result = bring(written(tmp_path, "preset.json", json.dumps(data)))
    assert result.tree["network"]["conv_alpha"] == 1.0
    assert "take an alpha of 1" in " ".join(remarks(result, "conv_block_dims"))
    both = bring(written(tmp_path, "preset.json", json.dumps(data | {"conv_block_alphas": dims})))
    assert "conv_alpha" not in both.tree["network"]


@pytest.mark.parametrize(
    ("arguments", "alpha"),
    [
        ("--network_module=networks.lora --network_dim=16 --network_args conv_dim=8 conv_alpha=0", 8.0),
        ("--network_module=lycoris.kohya --network_dim=16 --network_args conv_dim=8 conv_alpha=0", 8.0),
        ("--network_module=lycoris.kohya --network_dim=16 --network_args conv_alpha=0", 16.0),
    ],
)
def test_an_alpha_of_0_for_convolutions_is_their_rank_as_in_sd_scripts(arguments: str, alpha: float) -> None:
    result = bring_words(arguments.split())
    assert result.tree["network"]["conv_alpha"] == alpha
    (line,) = (line for line in result.lines if "conv_alpha" in line.key)
    assert f"so {alpha:.0f} stands here" in str(line.outcome.reasons[0])


def test_an_alpha_of_0_for_convolutions_block_by_block_is_each_ones_rank() -> None:
    dims = ",".join(["4", "8", *["2"] * 23])
    words = ["--network_module=networks.lora", "--network_args", f"conv_block_dims={dims}", "conv_alpha=0"]
    assert bring_words(words).tree["network"]["conv_block_alphas"] == dims
    own = bring_words([*words, f"conv_block_alphas={','.join('1' * 25)}"]).tree["network"]
    assert own["conv_block_alphas"] == ",".join("1" * 25)
    assert "conv_alpha" not in own


def test_a_lora_of_sd_scripts_without_an_alpha_of_convolutions_was_trained_with_one(tmp_path: Path) -> None:
    own = of_lora(tmp_path, METADATA | {"ss_network_args": '{"conv_dim": "4"}'}).tree["network"]
    assert (own["alpha"], own["conv_alpha"]) == (8.0, 1.0)


METADATA = {
    "ss_sd_model_name": "v1-5.safetensors",
    "ss_output_name": "mofu",
    "ss_network_module": "networks.lora",
    "ss_network_dim": "16",
    "ss_network_alpha": "8.0",
    "ss_network_args": '{"conv_dim": "4", "conv_alpha": "1", "dropout": null}',
    "ss_learning_rate": "0.0001",
    "ss_unet_lr": "None",
    "ss_text_encoder_lr": "[5e-05, 5e-05]",
    "ss_lr_scheduler": "cosine",
    "ss_lr_warmup_steps": "50",
    "ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0.05,betas=(0.9, 0.99))",
    "ss_num_epochs": "3",
    "ss_max_train_steps": "12",
    "ss_num_batches_per_epoch": "4",
    "ss_gradient_accumulation_steps": "1",
    "ss_resolution": "(512, 768)",
    "ss_batch_size_per_device": "2",
    "ss_min_snr_gamma": "5.0",
    "ss_seed": "7",
    "ss_clip_skip": "2",
    "ss_tag_frequency": '{"2_cat": {"cat": 4}}',
    "sshs_model_hash": "00",
    "modelspec.prediction_type": "v",
    "modelspec.timestep_range": "10,900",
}


def of_lora(folder: Path, metadata: dict[str, str]) -> Import:
    save_file({"a.alpha": np.zeros((), np.float32)}, folder / "mofu.safetensors", metadata)
    return bring(folder / "mofu.safetensors")


def test_settings_come_back_out_of_a_lora(tmp_path: Path) -> None:
    result = of_lora(tmp_path, METADATA)
    assert result.tree["network"] == {
        "kind": "locon",
        "rank": 16,
        "alpha": 8.0,
        "conv_rank": 4,
        "conv_alpha": 1.0,
    }
    assert result.tree["optimizer"] == {
        "name": "AdamW",
        "arguments": "weight_decay=0.05 betas=(0.9,0.99)",
        "learning_rate": 1e-4,
        "text_encoder_lr": 5e-5,
        "lr_scheduler": "cosine",
        "lr_warmup_steps": 50,
    }
    assert result.tree["training"] == {
        "epochs": 3,
        "max_train_steps": 0,
        "gradient_accumulation_steps": 1,
        "seed": 7,
    }
    assert result.tree["objective"] == {"min_snr_gamma": 5.0, "min_timestep": 10, "max_timestep": 900}
    assert result.tree["data"] == {"resolution": [512, 768], "batch_size": 2}
    assert result.tree["model"] == {"prediction": "v"}
    assert result.missing == ["model.path", "data.folder", "output.folder"]
    keys = {line.key.partition(" ")[0] for line in result.lines}
    assert keys >= set(METADATA) - {"ss_num_batches_per_epoch"}


def test_a_lora_without_metadata_says_so(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="says nothing about its training"):
        of_lora(tmp_path, {"format": "pt"})


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("ours.toml", '[model]\npath = "demo"\n[output]\nfolder = "o"\n', "ours_already"),
        ("other.toml", "[tool.ruff]\nline-length = 120\n", "nothing_known"),
        ("broken.toml", "seed = = 1", "not_toml"),
        ("empty.sh", "", "nothing_known"),
        ("prompts.txt", "a cat --n dog\na dog --n cat", "nothing_known"),
    ],
)
def test_what_is_none_of_these_is_told(tmp_path: Path, name: str, text: str, key: str) -> None:
    with pytest.raises(Problem) as caught:
        bring(written(tmp_path, name, text))
    assert caught.value.key == key


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(bytes(range(256)))
    with pytest.raises(Problem, match="nothing in it is a setting"):
        bring(tmp_path / "a.json")


def test_a_batch_file_in_japanese_encoding_is_read(tmp_path: Path) -> None:
    file = tmp_path / "train.bat"
    file.write_bytes('accelerate launch train_network.py ^\r\n --output_name="猫" --seed 7'.encode("cp932"))
    assert bring(file).tree["output"]["name"] == "猫"


def test_a_file_that_is_no_settings_file_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.json"
    with file.open("wb") as stream:
        stream.truncate(10_000_000)
    with pytest.raises(Problem, match="more than 8 MB"):
        bring(file)


def test_the_command_writes_a_file_once_and_a_report_in_either_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, "config.toml", CONFIG)
    out = tmp_path / "mine.toml"
    assert main(["import", str(config), "--out", str(out)]) == 0
    assert f"Written: {out}" in capsys.readouterr().out
    assert main(["import", str(config), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith(f"{out} is already there;")
    assert main(["import", str(config), "--out", str(out), "--overwrite", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["settings"] == WHOLE
    with pytest.raises(Problem, match="tehon's own settings"):
        bring(out)
    assert main(["import"]) == 2
    assert main(["import", str(config), "--", "--seed=1"]) == 2


def test_what_is_missing_stands_in_the_file_as_a_comment(tmp_path: Path) -> None:
    out = tmp_path / "mine.toml"
    assert main(["import", "--out", str(out), "--", "--seed=7", "--network_module=networks.lora"]) == 0
    text = out.read_text("utf8")
    assert '[model]\n# path = ""  # to fill in\n' in text
    assert '# folder = ""  # to fill in\n' in text


def test_a_warm_up_that_is_no_number_is_told() -> None:
    for text in ("nan", "inf", "-1", "soon"):
        (line,) = bring_words([f"--lr_warmup_steps={text}", "--seed=1"]).blocking
        assert line.reason == f"{text} is neither steps nor a share"


def remarks(result: Import, key: str) -> list[str]:
    return [str(remark) for line in result.lines if key in line.key for remark in line.outcome.differences]


@pytest.mark.parametrize(
    ("script", "count", "said"),
    [
        ("sdxl_train_network.py", 25, "25 numbers, but SDXL has 23 blocks"),
        ("sdxl_train_network.py", 23, ""),
        ("train_network.py", 25, ""),
    ],
)
@pytest.mark.parametrize("name", ["block_dims", "block_alphas"])
def test_lists_of_another_count_than_sdxls_blocks_are_named(name: str, script: str, count: int, said: str) -> None:
    numbers = ",".join(["4"] * count)
    lists = {"block_dims": numbers} | {name: numbers}
    result = bring_words([script, "--network_args", *(f"{key}={value}" for key, value in lists.items())])
    found = " ".join(remarks(result, name))
    assert (said in found) if said else "numbers" not in found


def test_what_sd_scripts_does_otherwise_with_zero_snr_and_huber_is_named() -> None:
    words = ["train_network.py", "--zero_terminal_snr", "--loss_type", "huber", "--huber_scale", "0.5"]
    result = bring_words([*words, "--huber_schedule", "snr"])
    assert any("weighs losses by the noise as it was before" in text for text in remarks(result, "zero_terminal_snr"))
    assert any("does not use it with the schedule snr" in text for text in remarks(result, "huber_scale"))


def test_prodigy_takes_its_arguments_by_the_names_that_sd_scripts_users_know() -> None:
    arguments = ["decouple=True", "d_coef=2", "use_bias_correction=True"]
    rates = ["--learning_rate=1"]
    words = [*COMMAND.split()[2:], *rates, "--text_encoder_lr=1", "--optimizer_type=prodigyopt.Prodigy"]
    result = bring_words([*words, "--optimizer_args", *arguments])
    assert result.tree["optimizer"]["name"] == "Prodigy"
    assert result.tree["optimizer"]["arguments"] == "weight_decouple=True d_coef=2 bias_correction=True"
    line = next(line for line in result.lines if line.key == "--optimizer_args")
    assert "are called weight_decouple" in str(line.reason)
    back = export(validate(result.tree), "theirs.toml")
    assert all(argument in back.files["theirs.toml"] for argument in arguments)


@pytest.mark.parametrize("algorithm", ["loha", "lokr"])
def test_what_would_be_another_training_is_not_called_idle(algorithm: str) -> None:
    words = [*COMMAND.replace("algo=loha", f"algo={algorithm} dora_wd=True").split()[2:]]
    line = next(line for line in bring_words(words).blocking if "dora_wd" in line.key)
    assert f"there are no DoRA lengths for {algorithm}" in str(line.reason)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("sshs_legacy_hash", "0123abcd", "of a file that is never written"),
        ("sshs_model_hash", "0x" + 64 * "0", "one tensor after the other"),
        ("sshs_model_hash", 64 * "0", ""),
    ],
)
def test_hashes_that_mean_something_else_are_named(key: str, text: str, said: str, tmp_path: Path) -> None:
    """T25."""
    found = " ".join(remarks(of_lora(tmp_path, METADATA | {key: text}), key))
    assert (said in found) if said else not found


# Every name that create_network reads in lycoris/kohya.py (3.2.0 and later), in sd-scripts' networks/lora.py,
# lora_fa.py, dylora.py and oft.py.
ARGUMENTS = """
algo block_alphas block_dims block_lr_zero_threshold block_size bypass_mode constraint conv_alpha conv_block_alphas
conv_block_dims conv_dim decompose_both disable_conv_cp dora_wd down_lr_weight dropout enable_all_linear enable_conv
factor full_matrix loraplus_lr_ratio loraplus_text_encoder_lr_ratio loraplus_unet_lr_ratio mid_lr_weight
module_dropout preset rank_dropout rescaled rs_lora train_norm train_t5xxl unbalanced_factorization unit up_lr_weight
use_conv_cp use_cp use_scalar use_tucker wd_on_output constrain rank_dropout_scale train_on_input
"""


@pytest.mark.parametrize("name", ARGUMENTS.split())
def test_every_argument_of_every_network_module_is_known(name: str) -> None:
    assert f"network_args.{name}" in ROWS
    (line,) = (line for line in bring_words(["--seed=1", "--network_args", f"{name}=1"]).lines if name in line.key)
    assert line.reason == "" or "no network module that tehon knows" not in line.reason


@pytest.mark.parametrize(
    ("argument", "tucker"), [("use_conv_cp=True", True), ("use_cp=1", True), ("disable_conv_cp=True", False)]
)
def test_older_names_of_tucker_are_followed(argument: str, tucker: bool) -> None:
    words = ["--network_module=lycoris.kohya", "--network_args", "algo=locon", "conv_dim=4", argument]
    assert bring_words(words).tree["network"].get("tucker", False) == tucker


# As today's GUI writes config_lora-….toml: what is empty, 0 or off is left out, and the rest is sorted.
OF_THE_GUI = """
adaptive_noise_scale = 0.01
bucket_no_upscale = true
bucket_reso_steps = 64
cache_latents = true
cache_latents_to_disk = true
caption_dropout_every_n_epochs = 2
caption_dropout_rate = 0.1
caption_extension = ".txt"
clip_skip = 1
debiased_estimation_loss = true
dynamo_backend = "no"
enable_bucket = true
epoch = 1
flip_aug = true
gradient_accumulation_steps = 1
gradient_checkpointing = true
highvram = true
huber_c = 0.1
huber_scale = 1
huber_schedule = "snr"
huggingface_repo_visibility = "public"
ip_noise_gamma = 0.1
ip_noise_gamma_random_strength = true
keep_tokens = 1
learning_rate = 0.0001
log_config = true
log_tracker_name = "mine"
log_with = "tensorboard"
logging_dir = "{folder}/logs"
loraplus_lr_ratio = 16
loraplus_text_encoder_lr_ratio = 4
loraplus_unet_lr_ratio = 8
loss_type = "l2"
lowvram = true
lr_scheduler = "cosine_with_restarts"
lr_scheduler_args = []
lr_scheduler_num_cycles = 2
lr_scheduler_power = 1
lr_warmup_steps = 160
max_bucket_reso = 2048
max_data_loader_n_workers = 0
max_grad_norm = 1
max_timestep = 1000
max_token_length = 75
max_train_steps = 1600
mem_eff_attn = true
min_bucket_reso = 256
min_snr_gamma = 5
min_timestep = 10
mixed_precision = "bf16"
network_alpha = 1
network_args = ["conv_dim=4", "conv_alpha=1", "rank_dropout=0.1", "module_dropout=0.1"]
network_dim = 8
network_dropout = 0.1
network_module = "networks.lora"
noise_offset = 0.05
noise_offset_random_strength = true
noise_offset_type = "Original"
optimizer_args = ["weight_decay=0.1"]
optimizer_type = "AdamW"
output_dir = "{folder}/out"
output_name = "last"
pretrained_model_name_or_path = "demo"
prior_loss_weight = 1
resolution = "512,512"
sample_prompts = "{folder}/prompt.txt"
sample_sampler = "euler_a"
save_every_n_epochs = 1
save_every_n_steps = 100
save_last_n_epochs = 2
save_last_n_steps = 200
save_last_n_steps_state = 200
save_model_as = "safetensors"
save_precision = "fp16"
save_state = true
save_state_on_train_end = true
scale_weight_norms = 1
seed = 7
shuffle_caption = true
skip_cache_check = true
stop_text_encoder_training = 80
text_encoder_lr = [5e-5, 5e-5]
train_batch_size = 2
train_data_dir = "{pictures}"
training_comment = "mine"
unet_lr = 0.0001
v2 = true
vae_batch_size = 2
wandb_api_key = "0123"
wandb_run_name = "last"
weighted_captions = true
xformers = true
"""


def test_a_configuration_of_todays_gui_is_followed(tree: dict[str, Any], tmp_path: Path) -> None:
    """The GUI names a file of prompts always, and makes an empty one where there are none."""
    (tmp_path / "prompt.txt").touch()
    text = OF_THE_GUI.replace("{folder}", tmp_path.as_posix()).replace("{pictures}", tree["data"]["folder"])
    result = command_words(["--config_file", str(written(tmp_path, "config_lora.toml", text))])
    assert (result.blocking, result.missing, result.problems) == ([], [], [])
    assert make_plan(validate(result.tree)).steps == 1600
    found = {name: result.tree["network"][name] for name in result.tree["network"] if "loraplus" in name}
    assert found == {
        "loraplus_lr_ratio": 16.0,
        "loraplus_unet_lr_ratio": 8.0,
        "loraplus_text_encoder_lr_ratio": 4.0,
    }
    (line,) = (line for line in result.lines if line.key == "sample_prompts")
    assert (line.fate, line.reason) == ("dropped", "nothing asks for samples, and sd-scripts then never opens it")


@pytest.mark.parametrize("asks", ["sample_every_n_steps=100", "sample_every_n_epochs=1", "sample_at_first"])
def test_prompts_of_samples_that_are_asked_for_are_kept(asks: str) -> None:
    assert bring_words([f"--{asks}", "--sample_prompts=a.txt"]).tree["samples"]["prompts_file"] == "a.txt"
    assert "prompts_file" not in bring_words(["--sample_every_n_steps=0", "--sample_prompts=a.txt"]).tree["samples"]


# What else today's GUI writes for Stable Diffusion when it is asked to.
KEYS = """
async_upload cache_text_encoder_outputs color_aug dataset_config dim_from_weights fp8_base full_bf16 full_fp16
huggingface_path_in_repo huggingface_repo_id huggingface_repo_type huggingface_token log_tracker_config
lr_scheduler_type masked_loss max_train_epochs metadata_author metadata_description metadata_license metadata_tags
metadata_title multires_noise_discount multires_noise_iterations network_train_text_encoder_only
network_train_unet_only network_weights no_half_vae persistent_data_loader_workers random_crop reg_data_dir resume
resume_from_huggingface sample_every_n_epochs sample_every_n_steps save_last_n_epochs_state save_state_to_huggingface
scale_v_pred_loss_like_noise_pred sdpa v_parameterization v_pred_like_loss vae
"""


@pytest.mark.parametrize("key", KEYS.split())
def test_every_key_of_todays_gui_is_known(key: str) -> None:
    assert key in read_config({key: True}).given


def test_an_argument_beside_a_key_of_its_name_wins() -> None:
    found = read_config({"loraplus_lr_ratio": 4, "network_args": ["loraplus_lr_ratio=16"]})
    assert found.given["network_args.loraplus_lr_ratio"].value == "16"
    assert [line.key for line in found.lines] == ["loraplus_lr_ratio"]


def test_states_may_be_kept_by_epochs_and_by_steps_at_once() -> None:
    """As sd-scripts keeps those of each kind; here a state stays that one of the two keeps."""
    words = "--pretrained_model_name_or_path=demo --train_data_dir=a --output_dir=b --save_state"
    kept = "--save_every_n_steps=50 --save_last_n_epochs_state=2 --save_last_n_steps_state=200"
    result = bring_words([*words.split(), *kept.split()])
    settings = validate(result.tree)
    assert (settings.output.save_last_n_states, settings.output.save_last_n_steps_state) == (2, 200)
    text = export(settings, "theirs.toml").files["theirs.toml"]
    assert "save_last_n_epochs_state = 2" in text
    assert "save_last_n_steps_state = 200" in text


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        ("", "conv_in, conv_out, time_embedding.linear_1, time_embedding.linear_2"),
        ("--network_args algo=lokr preset=full", "conv_in, conv_out, time_embedding.linear_1, time_embedding.linear_2"),
        ("--network_args conv_dim=0", "time_embedding.linear_1, time_embedding.linear_2"),
        ("--network_args preset=full-lin", "time_embedding.linear_1, time_embedding.linear_2"),
        ("--network_args preset=attn-mlp", ""),
        ("--network_args algo=ia3", ""),
        ("--network_module=networks.lora", ""),
    ],
)
def test_layers_that_lycoris_trains_beside_the_blocks_are_named(words: str, layers: str) -> None:
    """By the names in `unet_target_name` of its presets; sd-scripts' U-Net of SDXL has others."""
    for script, wanted in (("train_network.py", layers), ("sdxl_train_network.py", "")):
        result = command_words(["python", script, "--network_module=lycoris.kohya", *words.split()])
        said = [text for text in remarks(result, "network_module") if "of the U-Net too" in text]
        sentence = (
            f"of 1.x and 2.x models LyCORIS' preset trains {wanted} of the U-Net too, which tehon leaves as they are"
        )
        assert said == ([sentence] if wanted else [])
