"""`tehon kohya`: what train_network.py takes, and what it would have written."""

import json
import re
from pathlib import Path

import pytest

from tehon.catalog.header import read_header
from tehon.cli.main import main
from tehon.settings.kohya.read import bring, bring_words

Words = list[str]


def sixty(model: Path, pictures: Path, out: Path) -> Words:
    """A command line with 60 arguments."""
    text = f"""
    --pretrained_model_name_or_path={model} --train_data_dir={pictures} --output_dir={out} --output_name=mine
    --save_model_as=safetensors --save_precision=float --save_every_n_epochs=1 --save_every_n_steps=3
    --save_last_n_steps=3 --resolution=128,128 --enable_bucket --min_bucket_reso=64 --max_bucket_reso=256
    --bucket_reso_steps=64 --bucket_no_upscale --train_batch_size=2 --max_train_steps=10
    --gradient_accumulation_steps=1 --seed=5 --learning_rate=1e-3 --unet_lr=1e-3 --text_encoder_lr=5e-4
    --lr_scheduler=cosine_with_restarts --lr_scheduler_num_cycles=2 --lr_scheduler_power=1 --lr_warmup_steps=2
    --optimizer_type=AdamW --optimizer_args weight_decay=0.05 betas=0.9,0.99 --max_grad_norm=0.5
    --network_module=networks.lora --network_dim=4 --network_alpha=2 --network_dropout=0.1
    --network_args conv_dim=2 conv_alpha=1 rank_dropout=0.1 --scale_weight_norms=1 --caption_extension=.txt
    --shuffle_caption --keep_tokens=1 --caption_dropout_rate=0.1 --caption_dropout_every_n_epochs=2
    --caption_tag_dropout_rate=0.1 --caption_suffix=end --max_token_length=150 --clip_skip=1 --cache_latents
    --vae_batch_size=2 --flip_aug --max_data_loader_n_workers=0 --min_snr_gamma=5 --noise_offset=0.05
    --adaptive_noise_scale=0.01 --prior_loss_weight=1.0 --loss_type=huber --huber_schedule=constant --huber_c=0.2
    --min_timestep=10 --max_timestep=900 --mixed_precision=no --sdpa --training_comment=sixty
    """
    return text.split()


@pytest.mark.slow
def test_a_command_line_with_sixty_arguments_trains_and_leaves_what_sd_scripts_would(
    album: "object", nano: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The expected names, numbers and texts are sd-scripts': two folders of 2 x 2 and 3 x 1 reads are 7 images. No
    picture is enlarged, and sides are lowered to multiples of 64, so all are in the one bucket 64 x 64: 4 batches of 2
    make an epoch. 10 steps are ⌈10/4⌉ = 3 epochs. An epoch's file is saved after epochs below the last; a step's every
    3 steps, and after step 9 that of step 3 goes (9 - 3 - 1 lowered to a multiple of 3)."""
    assert callable(album)
    pictures = album({"2_red thing": [(64, 64), (96, 64)], "3_blue": [(64, 64)]})
    words = sixty(nano, pictures, tmp_path / "out")
    assert sum(word.startswith("--") for word in words) == 60
    launch = ["accelerate", "launch", "--num_cpu_threads_per_process=2", "train_network.py"]
    assert main(["kohya", *launch, *words]) == 0
    told = capfd.readouterr().out

    names = sorted(file.name for file in (tmp_path / "out").glob("*.safetensors"))
    steps = ["mine-step00000006.safetensors", "mine-step00000009.safetensors"]
    assert names == ["mine-000001.safetensors", "mine-000002.safetensors", *steps, "mine.safetensors"]

    final = read_header(tmp_path / "out" / "mine.safetensors")
    expected = {
        "ss_output_name": "mine",
        "ss_training_comment": "sixty",
        "ss_num_train_images": "7",
        "ss_num_reg_images": "0",
        "ss_num_batches_per_epoch": "4",
        "ss_num_epochs": "3",
        "ss_max_train_steps": "10",
        "ss_steps": "10",
        "ss_epoch": "3",
        "ss_learning_rate": "0.001",
        "ss_unet_lr": "0.001",
        "ss_text_encoder_lr": "0.0005",
        "ss_lr_scheduler": "cosine_with_restarts",
        "ss_lr_warmup_steps": "2",
        "ss_optimizer": "torch.optim.adamw.AdamW(weight_decay=0.05,betas=(0.9, 0.99))",
        "ss_max_grad_norm": "0.5",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "2.0",
        "ss_network_dropout": "0.1",
        "ss_scale_weight_norms": "1.0",
        "ss_gradient_accumulation_steps": "1",
        "ss_seed": "5",
        "ss_max_token_length": "150",
        "ss_clip_skip": "1",
        "ss_cache_latents": "True",
        "ss_mixed_precision": "no",
        "ss_min_snr_gamma": "5.0",
        "ss_noise_offset": "0.05",
        "ss_adaptive_noise_scale": "0.01",
        "ss_loss_type": "huber",
        "ss_huber_schedule": "constant",
        "ss_huber_c": "0.2",
        "ss_prior_loss_weight": "1.0",
        "ss_caption_dropout_rate": "0.1",
        "ss_caption_dropout_every_n_epochs": "2",
        "ss_caption_tag_dropout_rate": "0.1",
        "ss_batch_size_per_device": "2",
        "ss_total_batch_size": "2",
        "ss_resolution": "(128, 128)",
        "ss_enable_bucket": "True",
        "ss_bucket_no_upscale": "True",
        "ss_min_bucket_reso": "64",
        "ss_max_bucket_reso": "256",
        "ss_flip_aug": "True",
        "ss_color_aug": "False",
        "ss_random_crop": "False",
        "ss_shuffle_caption": "True",
        "ss_keep_tokens": "1",
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
    }
    assert {key: final.metadata.get(key) for key in expected} == expected
    arguments = json.loads(final.metadata["ss_network_args"])
    assert {name: float(value) for name, value in arguments.items()} == {
        "conv_dim": 2,
        "conv_alpha": 1,
        "rank_dropout": 0.1,
        "dropout": 0.1,
    }
    assert json.loads(final.metadata["ss_dataset_dirs"]) == {
        "2_red thing": {"n_repeats": 2, "img_count": 2},
        "3_blue": {"n_repeats": 3, "img_count": 1},
    }
    buckets = json.loads(final.metadata["ss_bucket_info"])["buckets"]
    assert buckets == {"0": {"resolution": [64, 64], "count": 7}}
    second = read_header(tmp_path / "out" / "mine-000002.safetensors").metadata
    assert (second["ss_epoch"], second["ss_steps"]) == ("2", "8")

    ranks = {key: shape[0] for key, shape in final.shapes.items() if key.endswith("lora_down.weight")}
    convs = {key for key, shape in final.shapes.items() if key.endswith("lora_down.weight") and shape[2:] == (3, 3)}
    assert convs
    assert {ranks[key] for key in convs} == {2}
    assert {rank for key, rank in ranks.items() if key not in convs} == {4}

    # The LoRA knows its settings: what its metadata record comes back as the command said it.
    said, known = bring_words(words).tree, bring(tmp_path / "out" / "mine.safetensors").tree
    for section in ("network", "objective", "optimizer"):
        both = (said[section].keys() & known[section].keys()) - {"arguments"}
        assert len(both) >= 7
        assert {name: known[section][name] for name in both} == {name: said[section][name] for name in both}
    assert (known["training"]["seed"], known["training"]["max_train_steps"]) == (5, 10)

    assert "--sdpa = true" in told
    assert re.search(r"--save_every_n_steps.*\n.*difference: sd-scripts saves the last step twice", told)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--seedd=1", "--seedd: sd-scripts has no such option; --seed may be meant; take it out of the command"),
        ("--dataset_class my.Data", "--dataset_class: runs somebody's own code for the data"),
        ("--network_module networks.oft", "--network_module: tehon does not have networks.oft; it has networks.lora,"),
        ("--network_module lycoris.kohya --network_args algo=boft", "--network_module: tehon does not train boft;"),
        ("--network_args train_norm=True", "--network_args train_norm: tehon does not train norm layers;"),
        ("--resume out/last-state", "--resume: out/last-state is a state of accelerate, which tehon can't go on with"),
        ("--num_epochs=a b", "--num_epochs: sd-scripts has no such option;"),
        ("--max_train_epochs=many", "--max_train_epochs: 'many' does not fit; give a whole number."),
        ("--seed", "--seed: there is no value behind it; give one, or leave the option out."),
        ("--network_args foo", "--network_args foo: an argument of a network is written name=value; write it so, or"),
        ("--resolution=abc", "--resolution: abc is no size; write 512 or 512,768."),
        ("--seed 1 2", "2: belongs to no option; quote values that have blanks."),
        ("--train_batch_size=0", "--train_batch_size: data.batch_size: 0 does not fit;"),
        ("--huggingface_repo_id a/b", "--huggingface_repo_id: tehon uploads nothing;"),
    ],
)
def test_what_would_make_it_another_training_is_refused_by_name(
    words: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--pretrained_model_name_or_path=demo", "--train_data_dir=p", f"--output_dir={tmp_path}"]
    assert main(["kohya", *base, *words.split()]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[0].startswith(sentence)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_named_as_the_command_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kohya", "--seed", "1"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "--pretrained_model_name_or_path is missing; add it to the command.",
        "--train_data_dir is missing; add it to the command.",
        "--output_dir is missing; add it to the command.",
    ]


def test_what_is_no_command_at_all_is_told_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kohya"]) == 2
    assert (
        capsys.readouterr().err.splitlines()[0] == "--pretrained_model_name_or_path is missing; add it to the command."
    )
    assert main(["kohya", "last-year.toml"]) == 2
    assert capsys.readouterr().err == (
        "last-year.toml: tehon kohya takes arguments of train_network.py; give a TOML with --config_file "
        "last-year.toml, or bring a JSON of kohya_ss along with tehon import.\n"
    )
    assert main(["kohya", "--config_file"]) == 2
    assert capsys.readouterr().err.startswith("--config_file: there is no value behind it; give one")


def test_a_configuration_file_loses_to_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[model]\npretrained_model_name_or_path = "demo"\n[x]\nseed = 1\nnetwork_dim = 32\n', "utf8")
    assert main(["import", "--json", "--", "--config_file", str(file), "--seed=2"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["settings"]["training"]["seed"] == 2
    assert data["settings"]["network"]["rank"] == 32
    lines = [(line["key"], line["reasons"], line["differences"]) for line in data["lines"] if line["key"] == "seed"]
    assert lines == [("seed", [], ["the command line gives another value, which wins"])]
