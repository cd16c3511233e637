"""The page on switching over, in every language; `python -m tehon.settings.kohya.page docs` writes it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tehon.catalog.layers import OUTSIDE
from tehon.messages.catalogue import languages, say
from tehon.settings.kohya.gui_keys import CONTROLS, OPTION_OF
from tehon.settings.kohya.lines import Remark
from tehon.settings.kohya.rows import ARGUMENT, GUI, LAUNCHER, Around, Row
from tehon.settings.kohya.table import OURS_ALONE, ROWS
from tehon.settings.kohya.values import ANYTHING, NUMBER, NUMBERS, SWITCH, TEXT, TEXTS, WHOLE

_SAMPLES: dict[str, Any] = {SWITCH: True, WHOLE: 2, NUMBER: 2.0, TEXT: "x", TEXTS: ["x"], NUMBERS: [2.0], ANYTHING: 1}
_TRAPS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("epoch, max_train_steps", "steps_end_it_too", {}),
    ("prior_loss_weight, max_grad_norm, learning_rate", "zero_is_zero", {"value": "…"}),
    ("conv_dims, conv_alphas", "old_name", {}),
    ("block_alphas, conv_block_dims, conv_block_alphas", "lists_alone", {}),
    ("conv_dim, conv_block_dims", "conv_alpha_absent", {}),
    ("no_token_padding", "padding_ignored", {}),
    ("stop_text_encoder_training", "stop_ignored", {}),
    ("lr_scheduler_num_cycles", "polynomial_cycles", {}),
    ("lr_scheduler_num_cycles", "cycles_empty", {"epochs": "…"}),
    ("vae_batch_size", "vae_one_at_a_time", {}),
    ("lr_warmup", "warmup_stops", {"schedule": "constant / adafactor"}),
    ("cache_latents_to_disk", "cache_outdated", {}),
    ("caption_dropout_every_n_epochs", "dropout_late", {}),
    ("shuffle_caption", "shuffled_anew", {}),
    ("cache_latents", "drawn_anew", {}),
    ("gradient_accumulation_steps", "group_mean", {}),
    ("multires_noise_iterations", "each_spread", {}),
    ("noise_offset_random_strength, ip_noise_gamma_random_strength", "each_strength", {}),
    ("network_module networks.dylora", "dylora_full_rank", {}),
    ("block_dims, down_lr_weight, network_dropout, module_dropout, scale_weight_norms", "dylora_ignores", {}),
    ("network_args preset=full", "lycoris_outside", {"layers": ", ".join(OUTSIDE)}),
    ("network_weights", "alpha_of_file", {}),
    ("base_weights", "base_adds_layers", {}),
    ("bucket_reso_steps", "bucket_steps_stop", {"wanted": "64 (SDXL: 32)"}),
    ("enable_bucket", "unscaled_without_cache", {}),
    ("bucket_no_upscale", "still_made_smaller", {}),
    ("weighted_captions", "emphasis_mean", {}),
    ("clip_skip", "clip_skip_xl", {}),
    ("resume", "accelerate_state", {"path": "…-state"}),
    ("save_every_n_steps", "last_step_twice", {}),
    ("decompose_both", "false_taken_for_true", {}),
    ("use_cp", "tucker_old_name", {}),
    ("disable_conv_cp", "tucker_opposite", {}),
    ("network_dropout", "dropout_without_effect", {}),
    ("rank_dropout", "rank_dropout_uneven", {}),
    ("persistent_data_loader_workers", "no_loader_processes", {}),
    ("huber_scale", "huber_scale_unused", {}),
    ("zero_terminal_snr", "zero_snr_weights", {}),
    ("sample_prompts", "flags_in_prompt", {}),
    ("sample_every_n_epochs, sample_every_n_steps", "samples_place", {}),
    ("sshs_legacy_hash", "legacy_hash_of_no_file", {}),
    ("sshs_model_hash", "hash_by_tensor", {}),
    ("text_encoder_lr", "one_rate_for_both", {}),
    ("block_dims, block_alphas", "sdxl_block_count", {"found": "25", "wanted": "23"}),
    ("cache_text_encoder_outputs", "captions_frozen", {}),
    ("use_wandb", "wandb_lost", {}),
    ("wandb_api_key, huggingface_token", "secret", {}),
    ("down_lr_weight, mid_lr_weight, up_lr_weight", "list_split_at_blanks", {}),
    ("text_encoder_lr1, text_encoder_lr2", "rates_only_documented", {}),
    ("save_last_n_steps", "steps_not_files", {}),
    ("save_state", "states_anyway", {}),
    ("caption_extension", "caption_only", {}),
    ("output_name", "unnamed", {}),
)


def page() -> str:
    """Markdown in the language to speak."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield f"# {say('switch.page_title')}\n\n{say('switch.page_intro')}"
    yield f"\n## {say('switch.page_traps')}\n\n| {say('switch.page_traps_columns')} |\n|---|---|"
    for options, key, values in _TRAPS:
        names = ", ".join(f"`{option}`" for option in options.split(", "))
        yield f"| {names} | {_cell(Remark(key, values))} |"
    yield f"\n## {say('switch.page_keys')}\n\n| {say('switch.page_keys_columns')} |\n|---|---|---|"
    for row in ROWS.values():
        if row.targets:
            yield f"| {_script(row)} | {_gui(row)} | {', '.join(f'`{name}`' for name in row.targets)} |"
    yield f"\n## {say('switch.page_left')}\n\n| {say('switch.page_left_columns')} |\n|---|---|---|"
    for row in ROWS.values():
        if not row.targets:
            yield f"| {_script(row)} | {_gui(row)} | {_left(row)} |"
    yield f"\n## {say('switch.page_ours')}\n\n| {say('switch.page_ours_columns')} |\n|---|---|"
    for name, reason in OURS_ALONE.items():
        yield f"| `{name}` | {_cell(Remark(reason))} |"


def _left(row: Row) -> str:
    """Why nothing stands for the option, told of a value that would ask for something."""
    outcome = row.carry(_SAMPLES[row.kind], Around({})) if row.carry else None
    if outcome is None or not outcome.reasons:
        return say("switch.page_nothing")
    return _cell(outcome.reasons[0])


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")


def _script(row: Row) -> str:
    """How the option is written on the command line; empty where it is the window's alone."""
    if row.option.startswith(GUI):
        return ""
    if row.option.startswith(ARGUMENT):
        return f"`--network_args {row.option.removeprefix(ARGUMENT)}=`"
    if row.option.startswith(LAUNCHER):
        return f"`accelerate launch --{row.option.removeprefix(LAUNCHER)}`"
    return f"`--{row.option}`"


def _gui(row: Row) -> str:
    """The key in kohya_ss' JSON; empty where there is none."""
    keys = [key for key, option in OPTION_OF.items() if option == row.option]
    keys += [row.option] if row.option in CONTROLS else []
    keys += [row.option.removeprefix(GUI)] if row.option.startswith(GUI) and not keys else []
    return ", ".join(f"`{key}`" for key in keys)


def main(folder: Path) -> None:
    """Writes `switching.md` and `switching.<language>.md`."""
    for language in languages():
        os.environ["TEHON_LANG"] = language
        name = "switching.md" if language == "en" else f"switching.{language}.md"
        (folder / name).write_text(page(), "utf8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
