"""TOML, options and the model of the settings say the same; every mistake is one sentence that names its field."""

from copy import deepcopy
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
import tomli_w
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tehon.catalog.detect import find_model
from tehon.messages.problem import Problem
from tehon.settings.fields import fields
from tehon.settings.files import load_settings, read_toml, to_toml, validate
from tehon.settings.network import NetworkSettings
from tehon.settings.network_rules import network_problems
from tehon.settings.options import split_options
from tehon.settings.resolve import resolve
from tehon.settings.settings import Settings

Tree = dict[str, dict[str, Any]]
SMALLEST: Tree = {"model": {"path": "demo"}, "data": {"folder": "pictures"}, "output": {"folder": "out"}}

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
path = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
text_path = st.just("") | path
share = st.floats(0, 1)
rate = st.floats(0, 10)
side = st.integers(1, 512).map(lambda n: 8 * n) | st.integers(8, 4096)
above_zero = st.floats(0, 100, exclude_min=True)
share = st.floats(0, 1, exclude_max=True)
numbers = st.sampled_from(["", "sine", "zeros+0.5", "1, 0.5", "1,2"]) | rate | st.lists(rate, max_size=30)
whole_numbers = st.sampled_from(["", "8,8", "1 2"]) | st.integers(0, 99) | st.lists(st.integers(0, 99), max_size=30)
DEMO_MODEL = find_model("demo")
VALID: dict[str, st.SearchStrategy[Any]] = {
    "model.path": path,
    "model.revision": text,
    "model.vae": path,
    "model.tokenizer": path,
    "model.prediction": st.sampled_from(["epsilon", "v"]),
    "data.folder": path,
    "data.repeats": st.integers(0, 100),
    "data.class_words": text,
    "data.metadata_file": text_path,
    "data.sets": st.lists(st.fixed_dictionaries({"folder": path}, optional={"batch_size": st.integers(1, 9)})),
    "data.dataset_config": st.just(""),
    "data.reg_folder": text_path,
    "data.is_reg": st.just(False),
    "data.validation_split": st.floats(0, 1, exclude_max=True),
    "data.validation_folder": text_path,
    "data.resolution": side | st.lists(side, min_size=2, max_size=2),
    "data.batch_size": st.integers(1, 64),
    "data.enable_bucket": st.booleans(),
    "data.bucket_no_upscale": st.booleans(),
    "data.bucket_reso_steps": st.integers(1, 16).map(lambda n: 8 * n),
    "data.min_bucket_reso": st.integers(8, 256),
    "data.max_bucket_reso": st.integers(256, 4096),
    "data.resize_interpolation": st.sampled_from(["auto", "lanczos", "area", "bicubic", "bilinear", "nearest"]),
    "data.random_crop": st.booleans(),
    "data.flip_aug": st.booleans(),
    "data.color_aug": st.booleans(),
    "data.alpha_mask": st.booleans(),
    "data.mask_folder": text_path,
    "data.background": st.sampled_from(["white", "#8090a0", "rgb(1, 2, 3)", "black"]),
    "data.caption_extension": st.sampled_from(["", ".txt", "caption", ".キャプション"]),
    "data.caption_prefix": text,
    "data.caption_suffix": text,
    "data.enable_wildcard": st.booleans(),
    "data.caption_separator": st.sampled_from([",", ";", "、", " "]),
    "data.secondary_separator": text,
    "data.shuffle_caption": st.booleans(),
    "data.keep_tokens": st.integers(0, 64),
    "data.keep_tokens_separator": text,
    "data.caption_tag_dropout_rate": share,
    "data.caption_dropout_rate": share,
    "data.caption_dropout_every_n_epochs": st.integers(0, 100),
    "data.missing_captions": st.sampled_from(["class_words", "file_name", "skip", "stop"]),
    "data.broken_pictures": st.sampled_from(["stop", "skip"]),
    "text.max_token_length": st.sampled_from([75, 150, 225]),
    "text.no_token_padding": st.booleans(),
    "text.clip_skip": st.integers(1, 12),
    "text.weighted_captions": st.booleans(),
    "feed.cache_latents": st.booleans(),
    "feed.cache_latents_to_disk": st.booleans(),
    "feed.read_npz": st.booleans(),
    "feed.cache_text": st.booleans(),
    "feed.cache_folder": text_path,
    "feed.vae_batch_size": st.integers(0, 64),
    "feed.max_data_loader_n_workers": st.integers(0, 64),
    "feed.persistent_data_loader_workers": st.booleans(),
    "network.kind": st.sampled_from(["lora", "locon", "loha", "lokr", "dylora", "lora_fa", "ia3"]),
    "network.rank": st.integers(1, 512),
    "network.alpha": above_zero,
    "network.rs_lora": st.booleans(),
    "network.conv_rank": st.integers(1, 64),
    "network.conv_alpha": above_zero,
    "network.init": st.sampled_from(["kaiming", "gaussian"]),
    "network.dora": st.booleans(),
    "network.dora_side": st.sampled_from(["output", "input"]),
    "network.tucker": st.booleans(),
    "network.use_scalar": st.booleans(),
    "network.factor": st.integers(-1, 64),
    "network.decompose_both": st.booleans(),
    "network.full_matrix": st.booleans(),
    "network.unit": st.integers(1, 4),
    "network.dropout": share,
    "network.rank_dropout": share,
    "network.module_dropout": share,
    "network.scale_weight_norms": rate,
    "network.loraplus_lr_ratio": above_zero,
    "network.loraplus_unet_lr_ratio": above_zero,
    "network.loraplus_text_encoder_lr_ratio": above_zero,
    "network.down_lr_weight": numbers,
    "network.mid_lr_weight": numbers,
    "network.up_lr_weight": numbers,
    "network.block_lr_zero_threshold": rate,
    "network.block_dims": whole_numbers,
    "network.block_alphas": numbers,
    "network.conv_block_dims": whole_numbers,
    "network.conv_block_alphas": numbers,
    "network.include": st.sampled_from(["", "attn", r"\\.to_[qk]$"]),
    "network.exclude": st.sampled_from(["", "^unet", "(ff|proj)"]),
    "network.weights": path | st.just(""),
    "network.base_weights": path | st.just("") | st.lists(path, min_size=1, max_size=2),
    "network.base_weights_multiplier": st.floats(-2, 2),
    "network.dim_from_weights": st.booleans(),
    "objective.noise_offset": st.floats(0, 1),
    "objective.noise_offset_random_strength": st.booleans(),
    "objective.adaptive_noise_scale": st.floats(-1, 1),
    "objective.multires_noise_iterations": st.integers(0, 64),
    "objective.multires_noise_discount": st.floats(0.01, 1),
    "objective.ip_noise_gamma": st.floats(0, 1),
    "objective.ip_noise_gamma_random_strength": st.booleans(),
    "objective.min_timestep": st.integers(0, 499),
    "objective.max_timestep": st.integers(500, 1000),
    "objective.timestep_sampling": st.sampled_from(["uniform", "logit_normal"]),
    "objective.logit_mean": st.floats(-9, 9),
    "objective.logit_std": st.floats(0.1, 9),
    "objective.stratified_timesteps": st.booleans(),
    "objective.loss_type": st.sampled_from(["l2", "l1", "huber", "smooth_l1"]),
    "objective.huber_schedule": st.sampled_from(["constant", "exponential", "snr"]),
    "objective.huber_c": st.floats(0.01, 1),
    "objective.huber_scale": above_zero,
    "objective.min_snr_gamma": rate,
    "objective.debiased_estimation_loss": st.booleans(),
    "objective.scale_v_pred_loss_like_noise_pred": st.booleans(),
    "objective.zero_terminal_snr": st.booleans(),
    "objective.v_pred_like_loss": rate,
    "objective.prior_loss_weight": rate,
    "objective.masked_loss": st.booleans(),
    "optimizer.name": st.sampled_from(["", "AdamW", "lion", "SGDNesterov", "torch.optim.NAdam"]),
    "optimizer.arguments": st.sampled_from(["", "weight_decay=0.1"]),
    "optimizer.learning_rate": rate,
    "optimizer.unet_lr": rate,
    "optimizer.text_encoder_lr": rate,
    "optimizer.text_encoder_2_lr": rate,
    "optimizer.stop_text_encoder_training": st.floats(0, 100),
    "optimizer.lr_scheduler": st.sampled_from(["constant", "cosine", "linear", "polynomial", "rex", "inverse_sqrt"]),
    "optimizer.lr_warmup": st.floats(0, 100),
    "optimizer.lr_warmup_steps": st.integers(0, 1000),
    "optimizer.lr_scheduler_num_cycles": st.integers(1, 9),
    "optimizer.lr_scheduler_power": above_zero,
    "optimizer.lr_scheduler_min_lr_ratio": st.floats(0, 1),
    "optimizer.lr_decay": st.floats(0, 100),
    "optimizer.lr_scheduler_timescale": st.integers(0, 1000),
    "optimizer.lr_scheduler_pieces": st.sampled_from(["", "1:30,0.1", "0.5"]),
    "optimizer.max_grad_norm": rate,
    "training.epochs": st.integers(1, 1000),
    "training.max_train_epochs": st.integers(1, 1000),
    "training.max_train_steps": st.integers(0, 100_000),
    "training.gradient_accumulation_steps": st.integers(1, 64),
    "training.num_processes": st.integers(1, 64),
    "training.seed": st.integers(0, 2**32 - 1),
    "training.additional_parameters": st.sampled_from(["", "--lowram"]),
    "training.resume": path | st.just(""),
    "training.allow_changes": st.lists(st.sampled_from(["data", "optimizer.unet_lr"])),
    "training.ema_decay": share,
    "training.device": st.sampled_from(["auto", "cpu", "cuda", "mps"]),
    "training.cuda_graphs": st.sampled_from(["auto", "on", "off"]),
    "training.num_cpu_threads_per_process": st.integers(0, 64),
    "precision.mixed_precision": st.sampled_from(["no", "fp16", "bf16"]),
    "precision.full_fp16": st.booleans(),
    "precision.full_bf16": st.booleans(),
    "precision.base_storage": st.sampled_from(["same", "fp16", "bf16", "fp8", "nf4"]),
    "precision.base_storage_unet": st.booleans(),
    "memory.gradient_checkpointing": st.sampled_from(["off", "large", "whole"]),
    "memory.attention": st.sampled_from(["auto", "sdpa", "mem_eff_attn"]),
    "validation.every_n_epochs": st.integers(0, 100),
    "validation.every_n_steps": st.integers(0, 1000),
    "validation.stop_after": st.integers(0, 9),
    "samples.every_n_steps": st.integers(0, 1000),
    "samples.every_n_epochs": st.integers(0, 100),
    "samples.at_first": st.booleans(),
    "samples.sampler": st.sampled_from(["ddim", "euler_a", "dpmsolver++", "k_dpm_2_a"]),
    "samples.prompts": st.sampled_from(["", "a cat --d 1 --n dog", "# two\na cat\n(帽子:1.2)"]),
    "samples.prompts_file": path | st.just(""),
    "logs.folder": path | st.just(""),
    "logs.prefix": st.sampled_from(["", "mofu-"]),
    "logs.log_with": st.sampled_from(["auto", "tensorboard", "wandb", "all"]),
    "logs.tracker_name": st.sampled_from(["", "cats"]),
    "logs.run_name": text,
    "logs.wandb_offline": st.booleans(),
    "output.folder": path,
    "output.name": st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='/\\:*?"<>|'), min_size=1, max_size=45
    ).filter(lambda name: name[-1] not in ". " and not PureWindowsPath(name).is_reserved()),
    "output.overwrite": st.booleans(),
    "output.save_precision": st.sampled_from(["float", "fp16", "bf16"]),
    "output.training_comment": text,
    "output.no_metadata": st.booleans(),
    "output.metadata_title": text,
    "output.metadata_author": text,
    "output.metadata_description": text,
    "output.metadata_license": text,
    "output.metadata_tags": text,
    "output.metadata_trigger_phrase": text,
    "output.metadata_usage_hint": text,
    "output.save_every_n_epochs": st.integers(0, 1000),
    "output.save_every_n_steps": st.integers(0, 1000),
    "output.save_last_n_epochs": st.integers(0, 1000),
    "output.save_last_n_steps": st.integers(0, 1000),
    "output.save_state_every_n_steps": st.integers(0, 1000),
    "output.save_state_every_n_epochs": st.integers(0, 1000),
    "output.save_state_every_n_minutes": rate,
    "output.save_state_on_train_end": st.booleans(),
    "output.save_last_n_states": st.integers(0, 9),
    "output.save_last_n_steps_state": st.integers(0, 1000),
}
unhurried = settings(deadline=None, max_examples=60)  # no limit on time: the machine may be busy
REQUIRED = ("model.path", "data.folder", "output.folder")
RULED = (
    "data.alpha_mask",
    "data.mask_folder",
    "objective.masked_loss",
    "data.class_words",
    "data.validation_split",
    "feed.cache_latents_to_disk",
    "feed.read_npz",
    "feed.persistent_data_loader_workers",
    "data.random_crop",
    "data.color_aug",
    "data.enable_bucket",
    "samples.prompts_file",
    "samples.every_n_steps",
    "samples.every_n_epochs",
    "samples.at_first",
    "logs.log_with",
    "output.save_last_n_epochs",
    "output.save_last_n_steps",
    "output.save_last_n_states",
    "training.allow_changes",
)


def nested(flat: dict[str, Any]) -> Tree:
    tree: Tree = {}
    for name, value in flat.items():
        section, _, field = name.partition(".")
        tree.setdefault(section, {})[field] = value
    return tree


def fits_together(flat: dict[str, Any]) -> bool:
    """Whether the values keep the rules between fields."""
    base = flat.get("optimizer.learning_rate", 1e-4)
    rated = flat.get("optimizer.unet_lr", base) > 0 or flat.get("optimizer.text_encoder_lr", 5e-5) > 0
    sides = flat.get("data.resolution", 8)
    even = all(side % 8 == 0 for side in (sides if isinstance(sides, list) else [sides]))
    cached = flat.get("feed.cache_latents", True)
    changing = flat.get("data.random_crop") or flat.get("data.color_aug")
    masks = [bool(flat.get(f"data.{name}")) for name in ("mask_folder", "alpha_mask")]
    return (
        rated
        and (even or flat.get("data.enable_bucket", True))
        and not (cached and changing)
        and not (flat.get("feed.cache_latents_to_disk") and not cached)
        and not (flat.get("feed.read_npz") and not cached)
        and not (flat.get("feed.persistent_data_loader_workers") and not flat.get("feed.max_data_loader_n_workers"))
        and not (flat.get("data.class_words") and not flat.get("data.repeats"))
        and not (flat.get("data.validation_split") and flat.get("data.validation_folder"))
        and not (flat.get("logs.log_with") in ("tensorboard", "all") and not flat.get("logs.folder"))
        and not (flat.get("samples.prompts") and flat.get("samples.prompts_file"))
        and not (
            any(flat.get(f"samples.{name}") for name in ("every_n_steps", "every_n_epochs", "at_first"))
            and not (flat.get("samples.prompts") or flat.get("samples.prompts_file"))
        )
        and not (flat.get("output.save_last_n_epochs") and not flat.get("output.save_every_n_epochs", 1))
        and not (flat.get("output.save_last_n_steps") and not flat.get("output.save_every_n_steps"))
        and not (flat.get("training.allow_changes") and not flat.get("training.resume"))
        and not all(masks)
        and any(masks) == flat.get("objective.masked_loss", False)
    )


def repaired(flat: dict[str, Any]) -> dict[str, Any]:
    """Most drawn values break some rule, so those that the rules are about are dropped where they do."""
    for name in RULED:
        if fits_together(flat):
            break
        flat = {key: value for key, value in flat.items() if key != name}
    return flat


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    """Settings of a network that mean something together: those that break a rule are taken out one by one."""
    drawn = draw(
        st.fixed_dictionaries({}, optional={n: values for n, values in VALID.items() if n.startswith("network.")})
    )
    while True:
        broken = list(network_problems(NetworkSettings(**{n.partition(".")[2]: value for n, value in drawn.items()})))
        if not broken:
            return drawn
        field = str(broken[0].values["field"])
        drawn.pop(field if field in drawn else "network.kind")


others = (
    st.fixed_dictionaries(
        {name: VALID[name] for name in REQUIRED},
        optional={n: values for n, values in VALID.items() if n not in REQUIRED and not n.startswith("network.")},
    )
    .map(repaired)
    .filter(fits_together)
)


def with_effect(flat: dict[str, Any]) -> dict[str, Any]:
    """Without what a rate of 0, or another setting that is not given, leaves without effect."""
    while True:
        try:
            validate(nested(flat))
            return flat
        except Problem as problem:
            fields_ = {str(one.values["field"]) for one in problem.all}
        heads = ("network.", "objective.", "optimizer.stop_", "precision.")
        void = {name for name in fields_ & flat.keys() if name.startswith(heads)}
        if not void:
            return flat
        flat = {name: value for name, value in flat.items() if name not in void}


settings_by_name = st.builds(lambda one, two: with_effect(one | two), others, networks())


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "settings.toml"


def changed(**values: Any) -> Tree:
    """The smallest settings with section__field=value set."""
    tree = deepcopy(SMALLEST)
    for name, value in values.items():
        section, _, field = name.partition("__")
        tree.setdefault(section, {})[field] = value
    return tree


def with_options(file: Path | None, words: list[str]) -> Settings:
    options, others = split_options(words)
    assert others == []
    return load_settings(file, options)


def complaint(tree: Any) -> str:
    with pytest.raises(Problem) as caught:
        validate(tree)
    return str(caught.value)


def test_valid_values_are_known_for_every_field() -> None:
    assert list(VALID) == [field.name for field in fields()]
    without_default = [field.name for field in fields() if field.required]
    assert without_default == ["model.path", "output.folder"], "data.folder is needed only where nothing else is given"


@unhurried
@given(flat=settings_by_name)
def test_toml_to_settings_to_toml_is_a_fixed_point(file: Path, flat: dict[str, Any]) -> None:
    file.write_bytes(tomli_w.dumps(nested(flat)).encode())
    read = load_settings(file, {})
    written = to_toml(read)
    file.write_bytes(written.encode())
    assert load_settings(file, {}) == read
    assert to_toml(load_settings(file, {})) == written
    values = read.model_dump()
    for name, value in flat.items():
        section, _, field = name.partition(".")
        assert values[section][field] == value, name


@unhurried
@given(flat=settings_by_name, dashes=st.booleans())
def test_options_say_what_a_file_says(flat: dict[str, Any], dashes: bool) -> None:
    words: list[str] = []
    for name, value in flat.items():
        written = value if isinstance(value, str) else tomli_w.dumps({"x": value}).partition("= ")[2]
        words.append(f"--{name.replace('_', '-') if dashes else name}={written}")
    options, others = split_options(words)
    assert others == []
    assert load_settings(None, options) == validate(nested(flat))


@pytest.mark.parametrize(
    "name", [field.name for field in fields() if not field.required and field.info.get_default() is None]
)
def test_an_empty_setting_stays_empty_through_toml(file: Path, name: str) -> None:
    empty = validate(changed(**{name.replace(".", "__"): None}))
    file.write_text(to_toml(empty), "utf8")
    assert load_settings(file, {}) == empty


def test_every_setting_that_may_be_empty_is_empty_by_default() -> None:
    """TOML has no empty value, so a setting that is not empty by default could never be made so."""
    unreachable: list[str] = []
    for field in fields():
        section, _, name = field.name.partition(".")
        try:
            value = validate(changed(**{f"{section}__{name}": None})).model_dump()[section][name]
        except Problem:
            continue
        if value is None and field.info.get_default() is not None:
            unreachable.append(field.name)
    assert unreachable == []


SMALLEST_OPTIONS = ["--model.path", "demo", "--data.folder", "pictures", "--output.folder", "out"]


@pytest.mark.parametrize(
    ("words", "section", "field", "value"),
    [
        (["--network.rank", "16"], "network", "rank", 16),
        (["--network.alpha", "8"], "network", "alpha", 8.0),
        (["--optimizer.unet_lr=0"], "optimizer", "unet_lr", 0.0),
        (["--optimizer.learning_rate", "2e-4"], "optimizer", "learning_rate", 2e-4),
        (["--optimizer.lr-scheduler", "linear"], "optimizer", "lr_scheduler", "linear"),
        (["--data.resolution", "[128, 96]"], "data", "resolution", [128, 96]),
        (["--data.batch-size=3"], "data", "batch_size", 3),
        (["--output.overwrite"], "output", "overwrite", True),
        (["--output.overwrite", "--network.rank", "4"], "output", "overwrite", True),
        (["--data.enable_bucket", "false"], "data", "enable_bucket", False),
        (["--network.rank", "4", "--network.rank", "5"], "network", "rank", 5),
        (["--output.name", "16"], "output", "name", "16"),
        (["--output.name=true"], "output", "name", "true"),
        (["--output.training_comment", "1.50"], "output", "training_comment", "1.50"),
        (["--output.training_comment=--a = [b]"], "output", "training_comment", "--a = [b]"),
        (["--output.training_comment="], "output", "training_comment", ""),
        (["--data.folder", "10"], "data", "folder", "10"),
    ],
)
def test_an_option_is_read_as_its_field_needs_it(words: list[str], section: str, field: str, value: Any) -> None:
    found = with_options(None, [*SMALLEST_OPTIONS, *words]).model_dump()[section][field]
    assert found == value
    assert type(found) is type(value)


def test_options_win_over_the_file_and_leave_the_rest(file: Path) -> None:
    file.write_text(tomli_w.dumps(changed(network__rank=4, network__alpha=2.0)), "utf8")
    network = with_options(file, ["--network.rank", "16"]).network
    assert (network.rank, network.alpha) == (16, 2.0)


@pytest.mark.parametrize("word", ["network.rank", "--rank", "-x", "16", "--json", "--json=1.5", "-1.5"])
def test_a_word_that_is_no_setting_is_handed_back(word: str) -> None:
    assert split_options(["--network.rank", "4", word, "--output.overwrite"]) == (
        {"network.rank": 4, "output.overwrite": True},
        [word],
    )


def test_a_switch_takes_no_word_but_true_and_false() -> None:
    assert split_options(
        ["--output.overwrite", "run.toml", "--data.enable_bucket", "false", "--network.alpha", "-1"]
    ) == (
        {"output.overwrite": True, "data.enable_bucket": False, "network.alpha": -1},
        ["run.toml"],
    )


def test_a_text_option_without_its_text_is_refused() -> None:
    with pytest.raises(Problem, match=r"^output\.name: "):
        with_options(None, [*SMALLEST_OPTIONS, "--output.name"])


def test_a_number_option_without_its_number_is_refused() -> None:
    with pytest.raises(Problem, match=r"^network\.rank: "):
        with_options(None, [*SMALLEST_OPTIONS, "--network.rank", "--output.overwrite"])


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("network__rnak", "network.rank"),
        ("training__rank", "network.rank"),
        ("optimizer__text_encoder_rate", "optimizer.text_encoder_lr"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(name: str, near: str) -> None:
    assert (
        complaint(changed(**{name: 4})) == f"{name.replace('__', '.')}: there is no such setting; did you mean {near}?"
    )


@pytest.mark.parametrize("name", ["network.zzz", "zzz.qqq"])
def test_an_unknown_key_without_a_near_name_is_refused(name: str) -> None:
    sentence = complaint(changed(**{name.replace(".", "__"): 4}))
    assert sentence.startswith(name.removesuffix(".qqq") + ": there is no such setting; remove it")
    assert len(sentence.splitlines()) == 1


def test_a_name_that_files_could_not_bear_is_told_with_its_length() -> None:
    assert complaint(changed(output__name="名" * 61)).startswith("output.name: it takes 183 bytes,")
    validate(changed(output__name="名" * 60))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("network__rank", "8", "network.rank: '8' does not fit; give a whole number, at least 1."),
        ("network__rank", 8.0, "network.rank: 8.0 does not fit; give a whole number, at least 1."),
        ("network__rank", True, "network.rank: True does not fit; give a whole number, at least 1."),
        ("network__rank", 0, "network.rank: 0 does not fit; give a whole number, at least 1."),
        ("network__rank", {"a": 1}, "network.rank: {'a': 1} does not fit; give a whole number, at least 1."),
        ("network__alpha", 0, "network.alpha: 0 does not fit; give a number, above 0."),
        ("optimizer__lr_warmup", 101, "optimizer.lr_warmup: 101 does not fit; give a number, at least 0, at most 100."),
        ("optimizer__unet_lr", -1e-4, "optimizer.unet_lr: -0.0001 does not fit; give a number, at least 0."),
        ("optimizer__learning_rate", float("nan"), "optimizer.learning_rate: nan does not fit; give a number, "),
        (
            "data__bucket_reso_steps",
            12,
            "data.bucket_reso_steps: 12 does not fit; give a whole number, at least 8, a m",
        ),
        ("data__enable_bucket", 1, "data.enable_bucket: 1 does not fit; give true or false."),
        ("data__folder", 10, "data.folder: 10 does not fit; give text."),
        ("training__seed", 2**32, "training.seed: 4294967296 does not fit; give a whole number, at least 0, below 42"),
        ("training__epochs", 10**12, "training.epochs: 1000000000000 does not fit; give a whole number, at"),
        ("training__max_train_steps", 10**9, "training.max_train_steps: 1000000000 does not fit; give a whole"),
        ("training__device", "gpu", "training.device: 'gpu' does not fit; give one of auto, cpu, cuda, mps."),
        ("output__name", "a/b", "output.name: 'a/b' does not fit; give a file name without slashes"),
        ("training__allow_changes", "data", "training.allow_changes: 'data' does not fit; give a list of texts."),
        ("output__name", "", "output.name: '' does not fit; give a file name"),
        ("output__name", "a\n", "output.name: 'a\\n' does not fit; give a file name"),
        ("data__resolution", "big", "data.resolution: 'big' does not fit; give a whole number or a list of two whole"),
        ("data__resolution", 7, "data.resolution: 7 does not fit; give a whole number or a list of two whole numbers"),
        ("data__resolution", [4, 4], "data.resolution: [4, 4] does not fit; give a whole number or a list of two"),
        ("data__resolution", [64, "a"], "data.resolution: [64, 'a'] does not fit; give a whole number or a list of"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_in_one_sentence(name: str, value: Any, sentence: str) -> None:
    found = complaint(changed(**{name: value}))
    assert found.startswith(sentence)
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    "name", ["network__alpha", "optimizer__learning_rate", "optimizer__unet_lr", "optimizer__lr_scheduler_power"]
)
def test_infinity_is_refused(name: str) -> None:
    assert complaint(changed(**{name: float("inf")})).startswith(f"{name.replace('__', '.')}: inf does not fit")


@pytest.mark.parametrize("extension", [".", "a/b", "..", "/"])
def test_a_caption_extension_that_no_file_can_have_is_refused(extension: str) -> None:
    assert complaint(changed(data__caption_extension=extension)).startswith("data.caption_extension: ")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_setting_is_named_with_its_help(name: str) -> None:
    help_of = {field.name: field.help for field in fields()}[name]
    expected = f"{name}: this setting is missing and has no default; add it ({help_of})"
    section, _, field = name.partition(".")
    without_section = {key: value for key, value in SMALLEST.items() if key != section}
    without_field = without_section | {section: {k: v for k, v in SMALLEST[section].items() if k != field}}
    assert complaint(without_section) == complaint(without_field) == expected


@pytest.mark.parametrize("section", Settings.model_fields)
@pytest.mark.parametrize("value", [5, "text", [{"rank": 4}]])
def test_a_section_that_is_no_table_is_refused(section: str, value: Any) -> None:
    tree: Any = SMALLEST | {section: value}
    assert complaint(tree) == (
        f"{section}: this is a section with settings of its own; write it as a table, [{section}]."
    )


def test_options_for_a_section_that_is_no_table_do_not_hide_it(file: Path) -> None:
    file.write_text("network = 5\n" + tomli_w.dumps(SMALLEST), "utf8")
    with pytest.raises(Problem, match=r"^network: this is a section"):
        with_options(file, ["--network.rank", "4"])


def test_all_problems_are_told_at_once() -> None:
    lines = complaint({"model": {"pth": "demo"}, "data": {"batch_size": 0}, "network": 3, "zzz": {}}).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == [
        "data.batch_size",
        "data.folder",
        "model.path",
        "model.pth",
        "network",
        "output.folder",
        "zzz",
    ]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"optimizer__unet_lr": 0, "optimizer__text_encoder_lr": 0}, "optimizer.unet_lr: both learning rates are 0"),
        ({"optimizer__learning_rate": 0, "optimizer__text_encoder_lr": 0}, "optimizer.unet_lr: both learning rates"),
        (
            {"optimizer__lr_scheduler": "piecewise_constant"},
            "optimizer.lr_scheduler_pieces: '' says no pieces; write them like 1:300,0.1:600,0.01",
        ),
        (
            {"optimizer__lr_scheduler": "warmup_stable_decay", "optimizer__lr_warmup": 30, "optimizer__lr_decay": 71},
            "optimizer.lr_decay: 30.0 % of warm-up and 71.0 % of decay are more than the whole run",
        ),
        ({"data__resolution": [64, 64, 64]}, "data.resolution: it has 3 numbers; give one side, or width and height."),
        ({"data__resolution": []}, "data.resolution: it has 0 numbers"),
        (
            {"data__resolution": 100, "data__enable_bucket": False},
            "data.resolution: without buckets its sides must be multiples of 8, 100 is not",
        ),
        ({"data__resolution": [64, 100], "data__enable_bucket": False}, "data.resolution: without buckets its sides"),
        (
            {"data__min_bucket_reso": 512, "data__max_bucket_reso": 256},
            "data.min_bucket_reso: the shortest side 512 is above the longest, 256;",
        ),
        ({"data__random_crop": True}, "data.random_crop: cached latents are the same at each reading;"),
        ({"data__color_aug": True}, "data.color_aug: cached latents are the same at each reading;"),
        (
            {"data__sets": [{"folder": "a"}, {"folder": "b", "color_aug": True}]},
            "data.sets[1].color_aug: cached latents are the same at each reading;",
        ),
        (
            {"feed__cache_latents": False, "feed__cache_latents_to_disk": True},
            "feed.cache_latents_to_disk: caching to disk needs the cache, but feed.cache_latents is false;",
        ),
        (
            {"feed__cache_latents": False, "feed__read_npz": True},
            "feed.read_npz: these latents go into the cache, but feed.cache_latents is false;",
        ),
        ({"output__save_last_n_steps": 300}, "output.save_last_n_steps: nothing is saved that could be kept, since"),
        (
            {"output__save_last_n_epochs": 2, "output__save_every_n_epochs": 0},
            "output.save_last_n_epochs: nothing is saved that could be kept, since output.save_every_n_epochs is 0;",
        ),
        ({"training__allow_changes": ["data"]}, "training.allow_changes: nothing is resumed, so there is nothing to"),
        (
            {"feed__persistent_data_loader_workers": True},
            "feed.persistent_data_loader_workers: there are no processes to keep;",
        ),
        ({"data__mask_folder": "m"}, "data.mask_folder: masks count only in a masked loss;"),
        ({"data__alpha_mask": True}, "data.alpha_mask: masks count only in a masked loss;"),
        ({"objective__masked_loss": True}, "objective.masked_loss: there are no masks;"),
        (
            {"optimizer__stop_text_encoder_training": 50.0, "optimizer__text_encoder_lr": 0.0},
            "optimizer.stop_text_encoder_training: the learning rate of the text encoder is 0",
        ),
        (
            {"optimizer__stop_text_encoder_training": 50.0, "optimizer__unet_lr": 0.0},
            "optimizer.stop_text_encoder_training: only the text encoder is trained, so that nothing would be left",
        ),
        (
            {"objective__masked_loss": True, "data__alpha_mask": True, "data__mask_folder": "m"},
            "data.alpha_mask: a set has its masks either from a folder or from transparency;",
        ),
        (
            {"data__validation_split": 0.1, "data__validation_folder": "v"},
            "data.validation_split: pictures are held out either by share or by folder;",
        ),
        (
            {"data__sets": [{"folder": "a"}, {"folder": "b", "is_reg": True, "validation_split": 0.1}]},
            "data.sets[1].validation_split: regularisation pictures are never held out;",
        ),
        (
            {"data__background": "whitish", "data__reg_folder": "r", "data__validation_folder": "v"},
            "data.background: 'whitish' is not a colour;",
        ),
        (
            {"data__sets": [{"folder": "a", "background": "#fff"}], "data__background": "x", "data__reg_folder": "r"},
            "data.background: 'x' is not a colour;",
        ),
        ({"data__class_words": "cat"}, "data.class_words: the names of the picture folders say the words;"),
        ({"data__is_reg": True}, "data.is_reg: there is nothing to learn besides regularisation pictures;"),
        ({"data__background": "whitish"}, "data.background: 'whitish' is not a colour;"),
        ({"data__dataset_config": "a.toml"}, "data.dataset_config: it says itself where the pictures are;"),
        ({"data__sets": [{"reg_folder": "x"}]}, "data.sets[0].reg_folder: reg_folder belongs to the whole run"),
        ({"data__sets": [{"repeats": 1.5}]}, "data.sets[0].repeats: 1.5 does not fit; give a whole number, at least 0"),
        ({"data__sets": [5]}, "data.sets: 5 does not fit; give a list of tables."),
        ({"data__sets": [{"resolution": [64]}]}, "data.sets[0].resolution: it has 1 number;"),
        ({"data__sets": [{"resolution": [64, "a"]}]}, "data.sets[0].resolution: [64, 'a'] does not fit;"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(values: dict[str, Any], sentence: str) -> None:
    assert complaint(changed(**values)).startswith(sentence)


@pytest.mark.parametrize(
    "values",
    [
        {"data__random_crop": True, "data__color_aug": True, "feed__cache_latents": False},
        {"data__flip_aug": True},
        {"feed__cache_latents_to_disk": True},
        {"feed__persistent_data_loader_workers": True, "feed__max_data_loader_n_workers": 1},
        {"data__sets": [{"folder": "a"}, {"alpha_mask": True}], "objective__masked_loss": True},
        {"data__class_words": "cat", "data__repeats": 3},
        {"data__sets": [{"folder": "a"}, {"folder": "b", "is_reg": True}]},
        {"data__sets": [{"folder": "a"}, {"folder": "b", "is_reg": True}], "data__validation_split": 0.2},
    ],
)
def test_fields_that_fit_together_are_let_pass(values: dict[str, Any]) -> None:
    settings = validate(changed(**values)).model_dump()
    for name, value in values.items():
        section, _, field = name.partition("__")
        assert settings[section][field] == value


@pytest.mark.parametrize("data", [{}, {"sets": []}, {"sets": [{"folder": "a"}, {"repeats": 2}]}])
def test_pictures_must_be_somewhere(data: dict[str, Any]) -> None:
    assert complaint(SMALLEST | {"data": data}).startswith("data.folder: this setting is missing")
    validate(SMALLEST | {"data": {"sets": [{"folder": "a"}]}})


def test_one_part_alone_may_have_the_rate_zero() -> None:
    assert validate(changed(optimizer__unet_lr=0)).optimizer.unet_lr == 0
    assert validate(changed(optimizer__text_encoder_lr=0, optimizer__learning_rate=1e-3)).optimizer.text_encoder_lr == 0


@pytest.mark.parametrize("name", ["CON", "aux", "nul.x", "nul .x", "Com1", "mine.", "mine "])
def test_a_name_that_windows_cannot_bear_is_refused(name: str) -> None:
    with pytest.raises(Problem, match=f"output.name: Windows takes no file named {name!r}; give one"):
        validate(changed(output__name=name))


@pytest.mark.parametrize("name", ["console", "my.nul", ".hidden", "com10", "LPT0", "猫 2"])
def test_a_name_that_only_resembles_a_device_is_taken(name: str) -> None:
    assert validate(changed(output__name=name)).output.name == name


def test_all_broken_rules_are_told_at_once() -> None:
    broken = changed(
        optimizer__unet_lr=0,
        optimizer__text_encoder_lr=0,
        data__resolution=[64],
        data__min_bucket_reso=512,
        data__max_bucket_reso=256,
    )
    assert [line.partition(":")[0] for line in complaint(broken).splitlines()] == [
        "optimizer.unet_lr",
        "data.resolution",
        "data.min_bucket_reso",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"network = ", "this is not valid TOML"),
        (b"[a]\n[a]\n", "this is not valid TOML"),
        (b'x = "\xff"', "the settings are not UTF-8 text"),
    ],
)
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_bytes(content)
    with pytest.raises(Problem) as caught:
        load_settings(broken, {})
    assert str(caught.value).startswith(f"{broken}: {sentence}")
    assert len(str(caught.value).splitlines()) == 1


def test_the_mark_that_powershell_begins_a_file_with_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "marked.toml"
    file.write_text("[network]\nrank = 3\n", "utf-8-sig")
    assert read_toml(file) == {"network": {"rank": 3}}


@pytest.mark.parametrize("path", [r"C:\Users\me", r"D:\pictures", r"\\server\share"])
def test_a_windows_path_that_toml_takes_for_something_else_gets_its_remedy(tmp_path: Path, path: str) -> None:
    file = tmp_path / "path.toml"
    file.write_text(f'[data]\nfolder = "{path}"\n', "utf8")
    with pytest.raises(Problem, match=r"line 2.*write paths with / or in 'single quotes'"):
        load_settings(file, {})
    file.write_text(f"[data]\nfolder = '{path}'\n", "utf8")
    assert read_toml(file)["data"]["folder"] == path


def test_a_settings_file_that_is_missing_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="there is no such file"):
        load_settings(tmp_path / "none.toml", {})
    with pytest.raises(Problem, match="this is a folder"):
        load_settings(tmp_path, {})


@unhurried
@given(flat=settings_by_name)
def test_resolving_leaves_nothing_open_and_is_done_after_one_time(flat: dict[str, Any]) -> None:
    resolved = resolve(validate(nested(flat)), DEMO_MODEL)
    empty = [f"{s}.{f}" for s, fs in resolved.model_dump().items() for f, value in fs.items() if value is None]
    assert empty == []
    assert resolve(resolved, DEMO_MODEL) == resolved
    assert validate(resolved.model_dump()) == resolved


@unhurried
@given(flat=settings_by_name)
def test_resolving_keeps_what_was_given(flat: dict[str, Any]) -> None:
    assume(flat.get("feed.vae_batch_size", 1))
    resolved = resolve(validate(nested(flat)), DEMO_MODEL).model_dump()
    paths = {"model.path", "data.folder", "data.reg_folder", "data.validation_folder", "data.mask_folder"}
    filled = paths | {
        "model.vae",
        "model.tokenizer",
        "network.weights",
        "network.base_weights",
        "samples.prompts_file",
        "logs.folder",
        "data.metadata_file",
        "data.sets",
        "data.resolution",
        "feed.cache_folder",
        "optimizer.name",  # as the catalog writes it, and the default where it is empty
        "output.folder",
        "training.resume",
        "training.additional_parameters",  # their words have become settings
    }
    for name, value in flat.items():
        section, _, field = name.partition(".")
        assert name in filled or resolved[section][field] == value, name


def test_a_resolved_run_is_written_down_whole(file: Path) -> None:
    """Defaults too, so that a later version with other defaults repeats the run."""
    file.write_text(to_toml(resolve(validate(SMALLEST), DEMO_MODEL)), "utf8")
    stored = [f"{section}.{field}" for section, values in read_toml(file).items() for field in values]
    assert sorted(stored) == sorted(VALID)


def test_empty_settings_are_filled_from_the_model_and_their_neighbours() -> None:
    given_ = changed(optimizer__learning_rate=3e-4, training__epochs=7, data__batch_size=5)
    resolved = resolve(validate(given_), DEMO_MODEL)
    assert resolved.data.resolution == [128, 128]
    assert resolved.feed.vae_batch_size == 5
    assert resolved.optimizer.unet_lr == 3e-4
    assert resolved.training.max_train_epochs == 7
    assert resolve(validate(changed(data__resolution=96)), DEMO_MODEL).data.resolution == [96, 96]
    assert resolve(validate(changed(data__resolution=[96, 64])), DEMO_MODEL).data.resolution == [96, 64]


def test_zero_is_a_value_and_not_empty() -> None:
    values = changed(training__seed=0, optimizer__unet_lr=0, optimizer__lr_warmup=0, optimizer__learning_rate=1e-3)
    resolved = resolve(validate(values), DEMO_MODEL)
    assert resolved.training.seed == 0
    assert resolved.optimizer.unet_lr == 0
    assert resolved.optimizer.lr_warmup == 0
    text_left_out = resolve(validate(changed(optimizer__text_encoder_lr=0)), DEMO_MODEL)
    assert text_left_out.optimizer.text_encoder_lr == 0


def test_a_seed_is_drawn_once() -> None:
    first, second = (resolve(validate(SMALLEST), DEMO_MODEL) for _ in range(2))
    assert first.training.seed != second.training.seed
    assert first.training.seed in range(2**32)
    assert resolve(first, DEMO_MODEL).training.seed == first.training.seed


def test_resolving_makes_paths_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    resolved = resolve(validate(changed(data__folder="~/pictures", model__path="models/of/mine")), DEMO_MODEL)
    assert resolved.model.path == str(tmp_path / "models" / "of" / "mine")
    assert resolved.data.folder == str(tmp_path / "home" / "pictures")
    assert resolved.output.folder == str(tmp_path / "out")
    assert resolve(validate(SMALLEST), DEMO_MODEL).model.path == "demo"
