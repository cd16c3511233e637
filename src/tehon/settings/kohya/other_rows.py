"""Options that no setting of ours stands for: needless here, or not to be had.

Which is which decides what `tehon kohya` does: needless ones are mentioned, the others refuse the start.
"""

from collections.abc import Mapping
from typing import Any

from tehon.settings.kohya.lines import Outcome, Remark, carried, dropped, refused
from tehon.settings.kohya.row_kinds import lacking, needless, renamed
from tehon.settings.kohya.rows import GUI, LAUNCHER, Around, Back, Carry, Row
from tehon.settings.kohya.values import ANYTHING, NUMBER, SWITCH, TEXT, WHOLE


def _processes(value: int, around: Around) -> Outcome:
    """One is what every configuration says; that leaves it open, so that more may be started."""
    return carried({"training.num_processes": value} if value > 1 else {})


def _initial(value: int, around: Around) -> Outcome:
    return refused(Remark("initial_step")) if value else carried({})


def _interval(value: Any, around: Around) -> Outcome:
    """The default of tag warm-up that asks for nothing."""
    return refused(Remark("no_token_warmup")) if value else carried({})


def _fused(value: bool, around: Around) -> Outcome:
    return dropped(Remark("never_fused")) if value else carried({})


_PRECISION, _PRECISION_BACK = renamed(
    "precision.mixed_precision", {"no": "no", "": "no", "fp16": "fp16", "bf16": "bf16"}
)


def _checkpointing(value: bool, around: Around) -> Outcome:
    return carried({"memory.gradient_checkpointing": "whole"} if value else {})


def _checkpointing_back(own: Mapping[str, Any]) -> Any:
    return own["memory.gradient_checkpointing"] != "off"


def _eight_bits(unet_alone: bool) -> tuple[Carry, Back]:
    def carry(value: bool, around: Around) -> Outcome:
        found = {"precision.base_storage": "fp8"} | ({"precision.base_storage_unet": True} if unet_alone else {})
        return carried(found if value else {})

    def back(own: Mapping[str, Any]) -> Any:
        return own["precision.base_storage"] == "fp8" and own["precision.base_storage_unet"] == unet_alone

    return carry, back


def _by_pieces(value: bool, around: Around) -> Outcome:
    return carried({"memory.attention": "mem_eff_attn"} if value else {})


def _by_pieces_back(own: Mapping[str, Any]) -> Any:
    return own["memory.attention"] == "mem_eff_attn"


_FP8, _FP8_BACK = _eight_bits(unet_alone=False)
_FP8_UNET, _FP8_UNET_BACK = _eight_bits(unet_alone=True)


SCRIPT = (
    # the model says it itself
    needless("v2", SWITCH, "family_detected"),
    needless("tokenizer_cache_dir", TEXT, "tokenizer_cache"),
    needless("disable_mmap_load_safetensors", SWITCH, "same_result"),
    needless("no_half_vae", SWITCH, "vae_precise"),
    # data
    lacking("dataset_class", TEXT, "no_dataset_class"),
    lacking("face_crop_aug_range", TEXT, "no_face_crop"),
    Row("token_warmup_min", WHOLE, carry=lambda value, around: carried({})),
    Row("token_warmup_step", NUMBER, carry=_interval),
    needless("cache_info", SWITCH, "indexed"),
    needless("skip_cache_check", SWITCH, "found_by_content"),
    lacking("debug_dataset", SWITCH, "see_plan"),
    # precision and speed
    Row("mixed_precision", TEXT, "precision.mixed_precision", carry=_PRECISION, back=_PRECISION_BACK),
    Row("full_fp16", SWITCH, "precision.full_fp16"),
    Row("full_bf16", SWITCH, "precision.full_bf16"),
    Row("fp8_base", SWITCH, "precision.base_storage", carry=_FP8, back=_FP8_BACK),
    Row("fp8_base_unet", SWITCH, carry=_FP8_UNET, back=_FP8_UNET_BACK, reaches=("precision.base_storage_unet",)),
    Row(
        "gradient_checkpointing",
        SWITCH,
        "memory.gradient_checkpointing",
        carry=_checkpointing,
        back=_checkpointing_back,
    ),
    needless("cpu_offload_checkpointing", SWITCH, "not_yet_memory"),
    needless("xformers", SWITCH, "attention"),
    needless("sdpa", SWITCH, "attention"),
    Row("mem_eff_attn", SWITCH, "memory.attention", carry=_by_pieces, back=_by_pieces_back),
    needless("lowram", SWITCH, "same_result"),
    needless("highvram", SWITCH, "same_result"),
    needless("lowvram", SWITCH, "same_result"),
    needless("torch_compile", SWITCH, "same_result"),
    needless("dynamo_backend", TEXT, "same_result"),
    Row("fused_backward_pass", SWITCH, carry=_fused),
    needless("blocks_to_swap", WHOLE, "other_families"),
    # several processes
    lacking("deepspeed", SWITCH, "no_deepspeed"),
    needless("zero_stage", WHOLE, "only_deepspeed"),
    needless("offload_optimizer_device", TEXT, "only_deepspeed"),
    needless("offload_optimizer_nvme_path", TEXT, "only_deepspeed"),
    needless("offload_param_device", TEXT, "only_deepspeed"),
    needless("offload_param_nvme_path", TEXT, "only_deepspeed"),
    needless("zero3_init_flag", SWITCH, "only_deepspeed"),
    needless("zero3_save_16bit_model", SWITCH, "only_deepspeed"),
    needless("fp16_master_weights_and_gradients", SWITCH, "only_deepspeed"),
    needless("ddp_timeout", WHOLE, "only_processes"),
    needless("ddp_gradient_as_bucket_view", SWITCH, "only_processes"),
    needless("ddp_static_graph", SWITCH, "only_processes"),
    # saving, resuming, validation
    lacking("initial_epoch", WHOLE, "initial_step"),
    Row("initial_step", WHOLE, carry=_initial),
    lacking("skip_until_initial_step", SWITCH, "initial_step"),
    needless("validation_seed", WHOLE, "validation_fixed"),
    needless("max_validation_steps", WHOLE, "validation_whole"),
    lacking("huggingface_repo_id", TEXT, "no_upload"),
    needless("huggingface_repo_type", TEXT, "only_upload"),
    needless("huggingface_path_in_repo", TEXT, "only_upload"),
    needless("huggingface_token", TEXT, "secret"),
    needless("huggingface_repo_visibility", TEXT, "only_upload"),
    needless("async_upload", SWITCH, "only_upload"),
    lacking("save_state_to_huggingface", SWITCH, "no_upload"),
    lacking("resume_from_huggingface", SWITCH, "no_upload"),
    # what files say about themselves
    *(lacking(f"metadata_{name}", TEXT, "no_modelspec") for name in ("thumbnail", "merged_from", "preprocessor")),
    lacking("metadata_is_negative_embedding", TEXT, "no_modelspec"),
    # logs
    needless("wandb_api_key", TEXT, "secret"),
    needless("log_tracker_config", TEXT, "tracker_config"),
    needless("log_config", SWITCH, "config_recorded"),
    needless("console_log_level", TEXT, "console"),
    needless("console_log_file", TEXT, "console"),
    needless("console_log_simple", SWITCH, "console"),
    lacking("output_config", SWITCH, "see_import"),
    lacking("train_inpainting", SWITCH, "no_inpainting"),
)

LAUNCH = (
    Row(f"{LAUNCHER}num_processes", WHOLE, "training.num_processes", carry=_processes),
    needless(f"{LAUNCHER}num_machines", WHOLE, "several_cards"),
    needless(f"{LAUNCHER}multi_gpu", SWITCH, "several_cards"),
    needless(f"{LAUNCHER}gpu_ids", TEXT, "which_card"),
    Row(f"{LAUNCHER}num_cpu_threads_per_process", WHOLE, "training.num_cpu_threads_per_process"),
    needless(f"{LAUNCHER}mixed_precision", TEXT, "launcher_precision"),
    *(
        needless(f"{LAUNCHER}{name}", TEXT, "launcher")
        for name in ("main_process_port", "main_process_ip", "machine_rank", "config_file", "rdzv_backend")
    ),
    *(needless(f"{LAUNCHER}dynamo_{name}", TEXT, "same_result") for name in ("backend", "mode")),
    *(needless(f"{LAUNCHER}dynamo_use_{name}", SWITCH, "same_result") for name in ("fullgraph", "dynamic")),
    *(needless(f"{LAUNCHER}{name}", SWITCH, "launcher") for name in ("quiet", "same_network", "module", "debug")),
    needless(f"{LAUNCHER}cpu", SWITCH, "launcher_cpu"),
    lacking(f"{LAUNCHER}use_deepspeed", SWITCH, "no_deepspeed"),
)

_OTHER_FAMILIES = (
    "ae", "apply_t5_attn_mask", "clip_g", "clip_l", "t5xxl", "discrete_flow_shift", "guidance_scale", "mem_eff_save",
    "model_prediction_type", "single_blocks_to_swap", "double_blocks_to_swap", "split_mode", "split_qkv",
    "t5xxl_max_token_length", "timestep_sampling", "train_blocks", "logit_mean", "logit_std", "mode_scale",
    "weighting_scheme", "t5xxl_device", "t5xxl_dtype", "sd3_text_encoder_batch_size", "sd3_cache_text_encoder_outputs",
    "sd3_cache_text_encoder_outputs_to_disk", "sd3_fused_backward_pass", "clip_g_dropout_rate", "clip_l_dropout_rate",
    "t5_dropout_rate", "save_clip", "save_t5xxl", "train_t5xxl", "pos_emb_random_crop_rate", "enable_scaled_pos_embed",
    "in_dims", "in_attn_dim", "t5xxl_lr", "sd3_clip_l", "sd3_clip_g", "sd3_t5xxl", "flux_fused_backward_pass",
    "apply_lg_attn_mask", "enable_all_linear", "fused_optimizer_groups",
    "img_attn_dim", "img_mlp_dim", "img_mod_dim", "single_dim", "single_mod_dim", "txt_attn_dim", "txt_mlp_dim",
    "txt_mod_dim", "train_double_block_indices", "train_single_block_indices", "train_lora_ggpo", "ggpo_beta",
    "ggpo_sigma", "sigmoid_scale", "gemma2", "gemma2_max_token_length", "use_flash_attn", "use_sage_attn",
)  # fmt: skip

GUI_ONLY = (
    needless(f"{GUI}sdxl", SWITCH, "family_detected"),
    needless(f"{GUI}model_list", TEXT, "model_list"),
    needless(f"{GUI}headless", SWITCH, "gui_alone"),
    needless(f"{GUI}print_only", SWITCH, "gui_alone"),
    needless(f"{GUI}save_as_bool", SWITCH, "gui_alone"),
    needless(f"{GUI}training_preset", TEXT, "gui_alone"),
    needless(f"{GUI}extra_accelerate_launch_args", TEXT, "launcher"),
    *(
        lacking(f"{GUI}{name}", SWITCH, "no_such_family")
        for name in ("sd3_checkbox", "flux1_checkbox", "lumina_checkbox", "anima_checkbox", "hunyuan_image_checkbox")
    ),
    *(needless(f"{GUI}{name}", ANYTHING, "other_families") for name in _OTHER_FAMILIES),
    *(
        needless(f"{GUI}flux1_{name}", ANYTHING, "other_families")
        for name in ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk", "clip_l", "t5xxl")
    ),
)

ROWS = (*SCRIPT, *LAUNCH, *GUI_ONLY)
