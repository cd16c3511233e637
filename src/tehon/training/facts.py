"""What a run says about itself in the metadata of its LoRA files."""

from collections import Counter
from typing import Any

from tehon import __version__
from tehon.catalog.detect import DEMO
from tehon.catalog.optimizers import optimizer_row
from tehon.planning.network_facts import network_facts
from tehon.planning.plan import Plan
from tehon.weights.hashes import file_hashes

NEEDED = frozenset(
    (
        *("session_id", "v2", "base_model_version", "zero_terminal_snr"),
        *("network_module", "network_dim", "network_alpha", "network_args"),
    )
)
"""The facts that a file without metadata has all the same: sd-scripts' own, by which programs use it, whose it is, and
with which noise it draws."""


def run_facts(plan: Plan, session: int, started: float) -> dict[str, Any]:
    """Facts under kohya's names, without their `ss_`; the same for all files of a run."""
    settings = plan.settings
    version = plan.family.labels[plan.model.prediction].base_version
    rates, training, data = settings.optimizer, settings.training, settings.data
    fp8 = settings.precision.base_storage == "fp8"
    return {
        "session_id": session,
        "training_started_at": started,
        "output_name": settings.output.name,
        "training_comment": settings.output.training_comment or None,
        "learning_rate": None if plan.optimizer.relative else rates.learning_rate,
        "text_encoder_lr": None if plan.optimizer.relative else rates.text_encoder_lr,
        "unet_lr": None if plan.optimizer.relative else rates.unet_lr,
        "num_train_images": sum(picture.repeats for picture in plan.pictures if not picture.is_reg),
        "num_validation_images": len(plan.validation),
        "num_reg_images": plan.reg_reads,
        "num_batches_per_epoch": plan.batches_per_epoch,
        "num_epochs": plan.epochs,
        "max_train_steps": plan.steps,
        "gradient_checkpointing": settings.memory.gradient_checkpointing != "off",
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "stop_text_encoder_training": rates.stop_text_encoder_training or None,
        "lr_warmup_steps": plan.schedule.warmup,
        "lr_scheduler": f"adafactor:{rates.learning_rate}" if plan.optimizer.relative else rates.lr_scheduler,
        **network_facts(plan),
        "mixed_precision": settings.precision.mixed_precision,
        "full_fp16": settings.precision.full_fp16,
        "fp8_base": fp8 and not settings.precision.base_storage_unet,
        "fp8_base_unet": fp8 and settings.precision.base_storage_unet,
        "lowram": False,
        "v2": version.startswith("sd_v2"),
        "base_model_version": version,
        "clip_skip": settings.text.clip_skip,
        "max_token_length": settings.text.max_token_length,
        "cache_latents": settings.feed.cache_latents,
        "seed": training.seed,
        "zero_terminal_snr": plan.model.zero_snr,
        "sd_scripts_commit_hash": f"tehon {__version__}",
        "optimizer": _optimizer(plan),
        "max_grad_norm": rates.max_grad_norm,
        "caption_dropout_rate": data.caption_dropout_rate,
        "caption_dropout_every_n_epochs": data.caption_dropout_every_n_epochs,
        "caption_tag_dropout_rate": data.caption_tag_dropout_rate,
        **_objective(plan),
        **_validation(plan),
        **_models(plan),
        **_data_facts(plan),
        "batch_size_per_device": data.batch_size,
        "total_batch_size": data.batch_size * plan.processes,
        **_variation(plan),
        "keep_tokens": data.keep_tokens,
        "enable_bucket": data.enable_bucket,
        "bucket_no_upscale": data.bucket_no_upscale,
        "min_bucket_reso": data.min_bucket_reso,
        "max_bucket_reso": data.max_bucket_reso,
    }


def _variation(plan: Plan) -> dict[str, Any]:
    """What changes a picture or its caption from reading to reading, in any of the sets."""
    return {
        "color_aug": any(one.look.colour for one in plan.sets),
        "flip_aug": any(one.look.flip for one in plan.sets),
        "face_crop_aug_range": None,
        "random_crop": any(one.look.random_crop for one in plan.sets),
        "shuffle_caption": any(one.wording.shuffle for one in plan.sets),
    }


def _models(plan: Plan) -> dict[str, Any]:
    """The names of the base model and of a VAE of its own, with the hashes of those that are files."""
    model = plan.model
    found: dict[str, Any] = {"sd_model_name": DEMO if plan.settings.model.path == DEMO else model.path.name}
    if model.single_file:
        found["sd_model_hash"], found["new_sd_model_hash"] = file_hashes(model.path)
    if model.vae is not None:
        found["vae_name"] = model.vae.name
        if model.vae.is_file():
            found["vae_hash"], found["new_vae_hash"] = file_hashes(model.vae)
    return found


def _objective(plan: Plan) -> dict[str, Any]:
    """Noise and loss; None where sd-scripts' option would not have been given."""
    own = plan.settings.objective
    return {
        "noise_offset": own.noise_offset or None,
        "noise_offset_random_strength": own.noise_offset_random_strength,
        "adaptive_noise_scale": own.adaptive_noise_scale or None,
        "multires_noise_iterations": own.multires_noise_iterations or None,
        "multires_noise_discount": own.multires_noise_discount,
        "ip_noise_gamma": own.ip_noise_gamma or None,
        "ip_noise_gamma_random_strength": own.ip_noise_gamma_random_strength,
        "prior_loss_weight": own.prior_loss_weight,
        "min_snr_gamma": own.min_snr_gamma or None,
        "scale_v_pred_loss_like_noise_pred": own.scale_v_pred_loss_like_noise_pred,
        "v_pred_like_loss": own.v_pred_like_loss or None,
        "debiased_estimation": own.debiased_estimation_loss,
        "loss_type": own.loss_type,
        "huber_schedule": own.huber_schedule,
        "huber_scale": own.huber_scale,
        "huber_c": own.huber_c,
    }


def _validation(plan: Plan) -> dict[str, Any]:
    """When the loss on held-out pictures is measured; which are held out follows from the run's seed, and all count."""
    own = plan.settings.validation
    return {
        "validation_seed": None,
        "validation_split": plan.settings.data.validation_split,
        "max_validation_steps": None,
        "validate_every_n_epochs": own.every_n_epochs or None,
        "validate_every_n_steps": own.every_n_steps or None,
    }


def _optimizer(plan: Plan) -> str:
    """The class and its arguments, as sd-scripts writes them."""
    choice = plan.optimizer
    row = optimizer_row(choice.name)
    values = row.fixed | choice.arguments
    if choice.name == "Adafactor":
        values |= {"relative_step": choice.relative, "warmup_init": choice.warmup_init}
    arguments = ",".join(f"{name}={value}" for name, value in values.items())
    return f"{row.told or row.path}({arguments})" if arguments else row.told or row.path


def _data_facts(plan: Plan) -> dict[str, Any]:
    folders: dict[bool, dict[str, dict[str, int]]] = {False: {}, True: {}}
    tags: dict[str, Counter[str]] = {}
    errors: list[float] = []
    for picture in plan.pictures:
        name = picture.folder.path.name
        row = folders[picture.is_reg].setdefault(name, {"n_repeats": picture.folder.repeats, "img_count": 0})
        row["img_count"] += 1
        words = (word.strip().lower() for word in picture.caption.text.split(","))
        tags.setdefault(name, Counter()).update(word for word in words if word)
        errors.append(picture.placement.ratio_error(picture.size))
    buckets = {
        str(number): {"resolution": list(group.bucket), "count": group.reads(plan.repeats)}
        for number, group in enumerate(plan.groups)
    }
    resolution = plan.settings.data.resolution
    return {
        "resolution": str(tuple(resolution)) if isinstance(resolution, list) else str(resolution),
        "bucket_info": {"buckets": buckets, "mean_img_ar_error": sum(errors) / len(errors)},
        "dataset_dirs": folders[False],
        "tag_frequency": {name: dict(count) for name, count in tags.items()},
        "reg_dataset_dirs": folders[True],
    }
