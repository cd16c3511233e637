"""Where each setting stands on the page: in the article's groups and order, the usual ones open, the rest folded.

A test sees to it that every setting stands here exactly once.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """A card of the form. `name` is the key of its title; `advanced` settings are folded away under `basic` ones."""

    name: str
    icon: str
    basic: tuple[str, ...]
    advanced: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return self.basic + self.advanced


def _of(section: str, names: str) -> tuple[str, ...]:
    return tuple(f"{section}.{name}" for name in names.split())


GROUPS = (
    Group("model", "layers", _of("model", "path"), _of("model", "vae prediction tokenizer revision")),
    Group(
        "pictures",
        "photo_library",
        _of("data", "folder reg_folder resolution batch_size"),
        _of(
            "data",
            "repeats class_words metadata_file sets dataset_config is_reg missing_captions broken_pictures background",
        )
        + _of("objective", "prior_loss_weight masked_loss")
        + _of("data", "mask_folder alpha_mask"),
    ),
    Group(
        "output",
        "inventory_2",
        _of("output", "folder name save_precision save_every_n_epochs"),
        _of("output", "training_comment overwrite save_every_n_steps save_last_n_epochs save_last_n_steps")
        + _of("output", "metadata_title metadata_author metadata_description metadata_license metadata_tags")
        + _of("output", "metadata_trigger_phrase metadata_usage_hint no_metadata"),
    ),
    Group(
        "length",
        "timer",
        _of("training", "epochs seed"),
        _of("training", "max_train_epochs max_train_steps gradient_accumulation_steps device num_processes")
        + _of("training", "additional_parameters"),
    ),
    Group(
        "rates",
        "show_chart",
        _of("optimizer", "name learning_rate unet_lr text_encoder_lr lr_scheduler lr_warmup"),
        _of(
            "optimizer",
            "arguments text_encoder_2_lr lr_warmup_steps lr_scheduler_num_cycles lr_scheduler_power"
            " lr_scheduler_min_lr_ratio lr_decay lr_scheduler_timescale lr_scheduler_pieces max_grad_norm"
            " stop_text_encoder_training",
        )
        + _of("training", "ema_decay"),
    ),
    Group(
        "precision",
        "memory",
        _of("precision", "mixed_precision") + _of("memory", "gradient_checkpointing"),
        _of("precision", "full_fp16 full_bf16 base_storage base_storage_unet")
        + _of("memory", "attention")
        + _of("training", "cuda_graphs num_cpu_threads_per_process"),
    ),
    Group(
        "network",
        "hub",
        _of("network", "kind rank alpha conv_rank conv_alpha"),
        _of(
            "network",
            "weights dim_from_weights dropout rank_dropout module_dropout scale_weight_norms dora dora_side rs_lora"
            " init unit factor decompose_both full_matrix tucker use_scalar loraplus_lr_ratio loraplus_unet_lr_ratio"
            " loraplus_text_encoder_lr_ratio base_weights base_weights_multiplier",
        ),
    ),
    Group(
        "blocks",
        "view_week",
        (),
        _of(
            "network",
            "down_lr_weight mid_lr_weight up_lr_weight block_lr_zero_threshold block_dims block_alphas"
            " conv_block_dims conv_block_alphas include exclude",
        ),
    ),
    Group(
        "captions",
        "notes",
        _of("data", "caption_extension shuffle_caption keep_tokens") + _of("text", "max_token_length clip_skip"),
        _of(
            "data",
            "caption_prefix caption_suffix caption_dropout_rate caption_dropout_every_n_epochs"
            " caption_tag_dropout_rate keep_tokens_separator caption_separator secondary_separator enable_wildcard",
        )
        + _of("text", "weighted_captions no_token_padding"),
    ),
    Group(
        "buckets",
        "grid_view",
        _of("data", "enable_bucket bucket_no_upscale bucket_reso_steps flip_aug"),
        _of("data", "min_bucket_reso max_bucket_reso resize_interpolation random_crop color_aug"),
    ),
    Group(
        "loss",
        "tune",
        _of("objective", "min_snr_gamma noise_offset"),
        _of(
            "objective",
            "noise_offset_random_strength adaptive_noise_scale multires_noise_iterations multires_noise_discount"
            " ip_noise_gamma ip_noise_gamma_random_strength min_timestep max_timestep timestep_sampling logit_mean"
            " logit_std stratified_timesteps loss_type huber_schedule huber_c huber_scale debiased_estimation_loss"
            " v_pred_like_loss scale_v_pred_loss_like_noise_pred zero_terminal_snr",
        ),
    ),
    Group(
        "samples",
        "palette",
        _of("samples", "prompts every_n_epochs every_n_steps"),
        _of("samples", "sampler at_first prompts_file"),
    ),
    Group(
        "validation",
        "fact_check",
        (),
        _of("data", "validation_split validation_folder")
        + _of("validation", "every_n_epochs every_n_steps stop_after"),
    ),
    Group(
        "states",
        "history",
        (),
        _of(
            "output",
            "save_state_every_n_minutes save_state_every_n_epochs save_state_every_n_steps save_state_on_train_end"
            " save_last_n_states save_last_n_steps_state",
        )
        + _of("training", "resume allow_changes"),
    ),
    Group(
        "caches",
        "memory",
        (),
        _of(
            "feed",
            "cache_latents cache_latents_to_disk cache_text vae_batch_size max_data_loader_n_workers"
            " persistent_data_loader_workers cache_folder read_npz",
        ),
    ),
    Group("logs", "show_chart", (), _of("logs", "folder prefix log_with tracker_name run_name wandb_offline")),
)

FOLDERS = (
    "data.folder", "data.reg_folder", "data.validation_folder", "data.mask_folder", "output.folder", "logs.folder",
    "feed.cache_folder", "model.tokenizer", "training.resume",
)  # fmt: skip
"""Settings whose value is a folder, for the picker."""

FILES = {
    "model.path": (".safetensors", ".ckpt"),
    "model.vae": (".safetensors", ".ckpt", ".pt"),
    "network.weights": (".safetensors",),
    "data.metadata_file": (".json", ".jsonl"),
    "data.dataset_config": (".toml", ".json"),
    "samples.prompts_file": (".txt", ".toml", ".json"),
}
"""Settings whose value is a file, with its endings; a model's may be a folder as well."""

LONG = (
    *("samples.prompts", "output.training_comment", "training.additional_parameters"),
    *("output.metadata_description", "output.metadata_usage_hint"),
)
"""Settings with texts of several lines."""
