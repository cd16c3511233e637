"""The keys of kohya_ss' JSON: which of sd-scripts' options each stands for, and what is sent for each type of LoRA.

Keys that are named as their option are not listed.
"""

from tehon.settings.kohya.rows import ARGUMENT, GUI, LAUNCHER

_LISTS = ("down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold", "block_dims", "block_alphas")
_CONV_LISTS = ("conv_block_dims", "conv_block_alphas")
_PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
_LYCORIS = ("rank_dropout_scale", "bypass_mode", "dora_wd", "use_tucker", "use_scalar", "train_norm")
_MORE = ("factor", "use_cp", "decompose_both", "train_on_input", "constrain", "rescaled", "unit", "block_size")
_CONV = ("conv_dim", "conv_alpha")
_DROPOUTS = ("rank_dropout", "module_dropout")
_LAUNCH = (
    "num_processes", "num_machines", "multi_gpu", "gpu_ids", "main_process_port", "num_cpu_threads_per_process",
    "dynamo_backend", "dynamo_mode", "dynamo_use_fullgraph", "dynamo_use_dynamic",
)  # fmt: skip
ARGUMENT_KEYS = (*_LISTS, *_CONV_LISTS, *_PLUS, *_LYCORIS, *_MORE, *_CONV, *_DROPOUTS, "LyCORIS_preset")

OLD_NAMES = {
    "lora_network_weights": "network_weights",
    "conv_dims": "conv_block_dims",
    "conv_alphas": "conv_block_alphas",
    "stop_text_encoder_training_pct": "stop_text_encoder_training",
}
"""Keys of older files by today's."""

OPTION_OF = {
    "max_resolution": "resolution",
    "optimizer": "optimizer_type",
    "epoch": f"{GUI}epoch",
    "lr_warmup": f"{GUI}lr_warmup",
    "lr_warmup_steps": f"{GUI}lr_warmup_steps",
    "sample_prompts": f"{GUI}sample_prompts",
    "no_token_padding": f"{GUI}no_token_padding",
    "stop_text_encoder_training": f"{GUI}stop_text_encoder_training",
    "use_wandb": f"{GUI}use_wandb",
    "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
    "sdxl_no_half_vae": "no_half_vae",
    **{name: f"{ARGUMENT}{name}" for name in ARGUMENT_KEYS if name not in ("LyCORIS_preset",)},
    "LyCORIS_preset": f"{ARGUMENT}preset",
    **{name: f"{LAUNCHER}{name}" for name in _LAUNCH},
}

_PLAIN = {*_LISTS, *_CONV_LISTS, *_PLUS, *_DROPOUTS}
_LYCORIS_ALL = {"LyCORIS_preset", *_CONV, *_LYCORIS, *_DROPOUTS, *_PLUS}
TYPES: dict[str, tuple[str, str, set[str]]] = {
    "Standard": ("networks.lora", "", _PLAIN),
    "Kohya LoCon": ("networks.lora", "", _PLAIN | {*_CONV}),
    "Kohya DyLoRA": ("networks.dylora", "", _PLAIN | {*_CONV, "unit"}),
    "LoRA-FA": ("networks.lora_fa", "", _PLAIN),
    "Kohya LoHa": ("networks.loha", "", {*_CONV, *_DROPOUTS, *_PLUS, "use_tucker"}),
    "Kohya LoKr": ("networks.lokr", "", {*_CONV, *_DROPOUTS, *_PLUS, "use_tucker", "factor"}),
    "LyCORIS/LoCon": ("lycoris.kohya", "locon", _LYCORIS_ALL),
    "LyCORIS/LoHa": ("lycoris.kohya", "loha", _LYCORIS_ALL),
    "LyCORIS/LoKr": ("lycoris.kohya", "lokr", _LYCORIS_ALL | {"factor", "use_cp", "decompose_both"}),
    "LyCORIS/iA3": ("lycoris.kohya", "ia3", {"LyCORIS_preset", *_CONV, "train_on_input"}),
    "LyCORIS/DyLoRA": ("lycoris.kohya", "dylora", {"LyCORIS_preset", *_CONV, "unit"}),
    "LyCORIS/GLoRA": ("lycoris.kohya", "glora", _LYCORIS_ALL),
    "LyCORIS/BOFT": ("lycoris.kohya", "boft", _LYCORIS_ALL),
    "LyCORIS/Diag-OFT": ("lycoris.kohya", "diag-oft", _LYCORIS_ALL),
    "LyCORIS/Native Fine-Tuning": ("lycoris.kohya", "full", _LYCORIS_ALL),
}
"""LoRA type: (module, LyCORIS' algorithm, the keys that are sent as its arguments)."""

OTHER_TYPES = ("Flux1", "Flux1 OFT", "Anima", "HunyuanImage-2.1", "Lumina")

UNREADABLE_AS: dict[str, object] = {
    **dict.fromkeys(("clip_skip", "epoch", "gradient_accumulation_steps", "keep_tokens", "lr_warmup"), 0),
    **dict.fromkeys(("max_data_loader_n_workers", "max_train_epochs", "save_every_n_epochs", "seed"), 0),
    **dict.fromkeys(("max_train_steps", "caption_dropout_every_n_epochs"), 0),
    **dict.fromkeys(("adaptive_noise_scale", "noise_offset", "learning_rate", "text_encoder_lr", "unet_lr"), 0),
    "lr_scheduler_num_cycles": 1,
    "lr_scheduler_power": 1,
    "max_token_length": 75,
}
"""What kohya_ss makes of a text that is no number when it loads a file."""

ZERO_BECOMES = {
    "prior_loss_weight": "1.0",
    "max_grad_norm": "1.0",
    "learning_rate": "2e-06",
}
"""What sd-scripts takes where today's GUI drops a 0."""

ZERO_IS_UNSET = (
    "max_train_epochs", "clip_skip", "seed", "loraplus_lr_ratio", "loraplus_unet_lr_ratio", "max_timestep",
    "loraplus_text_encoder_lr_ratio", "conv_alpha", "huber_scale", "huber_c",
    "train_batch_size", "gradient_accumulation_steps", "max_token_length", "unit",
    "bucket_reso_steps", "min_bucket_reso", "max_bucket_reso",
)  # fmt: skip
"""Keys whose 0 is as not given: today's GUI drops it, and what sd-scripts then takes is what tehon does without it."""

CONTROLS = (
    "mixed_precision", "full_fp16", "full_bf16", "fp8_base", "fp8_base_unet", "gradient_checkpointing",
    "mem_eff_attn", "scale_v_pred_loss_like_noise_pred", "pretrained_model_name_or_path", "v_parameterization",
    "vae", "train_data_dir", "reg_data_dir", "dataset_config", "output_dir", "output_name", "logging_dir",
    "training_comment", "metadata_title", "metadata_author", "metadata_description", "metadata_license",
    "metadata_tags", "network_weights", "dim_from_weights", "train_batch_size", "max_train_epochs",
    "max_train_steps", "save_every_n_epochs", "save_precision", "seed", "caption_extension", "cache_latents",
    "cache_latents_to_disk", "learning_rate", "lr_scheduler", "lr_scheduler_num_cycles", "lr_scheduler_power",
    "lr_scheduler_args", "optimizer_args", "max_grad_norm", "network_dim", "network_alpha", "network_dropout",
    "scale_weight_norms", "enable_bucket", "min_bucket_reso", "max_bucket_reso", "bucket_no_upscale",
    "bucket_reso_steps", "random_crop", "color_aug", "flip_aug", "masked_loss", "gradient_accumulation_steps",
    "weighted_captions", "prior_loss_weight", "v_pred_like_loss", "min_snr_gamma", "debiased_estimation_loss",
    "loss_type", "huber_schedule", "huber_c", "huber_scale", "min_timestep", "max_timestep", "ip_noise_gamma",
    "ip_noise_gamma_random_strength", "noise_offset", "noise_offset_random_strength", "adaptive_noise_scale",
    "multires_noise_iterations", "multires_noise_discount", "save_every_n_steps", "save_last_n_steps",
    "save_last_n_steps_state", "save_last_n_epochs", "save_state", "save_last_n_epochs_state",
    "save_state_on_train_end", "keep_tokens", "shuffle_caption", "clip_skip", "max_token_length",
    "caption_dropout_every_n_epochs", "caption_dropout_rate", "vae_batch_size", "max_data_loader_n_workers",
    "persistent_data_loader_workers", "log_with", "wandb_run_name", "log_tracker_name", "sample_every_n_steps",
    "sample_every_n_epochs", "sample_sampler", "save_model_as",
)  # fmt: skip
"""Options that today's window has a control for, under the option's own name."""
