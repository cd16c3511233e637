"""Options about the base model, the pictures, their captions, and how they are fed."""

import os
from collections.abc import Mapping
from typing import Any

from tehon.settings.kohya.lines import Outcome, Remark, carried, changed, dropped, refused
from tehon.settings.kohya.row_kinds import renamed
from tehon.settings.kohya.rows import GUI, Around, Carry, Row
from tehon.settings.kohya.values import NUMBER, SWITCH, TEXT, WHOLE

_FILTERS = {
    "lanczos": "lanczos",
    "lanczos4": "lanczos",
    "area": "area",
    "box": "area",
    "cubic": "bicubic",
    "bicubic": "bicubic",
    "linear": "bilinear",
    "bilinear": "bilinear",
    "nearest": "nearest",
}
_FILTER, _FILTER_BACK = renamed("data.resize_interpolation", _FILTERS)
_STEPS, _STEPS_SDXL, _STRIDE = 64, 32, 8
_UNUSED_XL = 2  # SDXL's layer before the last is always the one
_WORKERS = 8


def _prediction(value: bool, around: Around) -> Outcome:
    return carried({"model.prediction": "v"} if value else {})


def _sides(value: str, around: Around) -> Outcome:
    words = value.lower().replace("x", ",").strip("()[] ").split(",")
    try:
        sides = [int(float(word)) for word in words]
    except (ValueError, OverflowError):
        return refused(Remark("not_a_size", {"value": value}))
    if len(sides) > 2 or min(sides) < _STRIDE:
        return refused(Remark("not_a_size", {"value": value}))
    return carried({"data.resolution": sides * 2 if len(sides) == 1 else sides})


def _sides_back(settings: Mapping[str, Any]) -> str | None:
    sides = settings["data.resolution"]
    if sides is None:
        return None
    return ",".join(map(str, sides if isinstance(sides, list) else [sides, sides]))


def _extension(value: str, around: Around) -> Outcome:
    return carried({"data.caption_extension": value})


def _buckets(value: bool, around: Around) -> Outcome:
    differences = [] if value or around.get("cache_latents") else [Remark("unscaled_without_cache")]
    return carried({"data.enable_bucket": value}, *differences)


def _no_upscale(value: bool, around: Around) -> Outcome:
    return carried({"data.bucket_no_upscale": value}, *([Remark("still_made_smaller")] if value else []))


def _bucket_steps(value: int, around: Around) -> Outcome:
    nearest = max(_STRIDE, round(value / _STRIDE) * _STRIDE)
    if nearest != value:
        return changed({"data.bucket_reso_steps": nearest}, Remark("steps_of_eight", {"value": nearest}))
    wanted, said = (_STEPS_SDXL, f"{_STEPS_SDXL}") if around.sdxl else (_STEPS, f"{_STEPS} (SDXL: {_STEPS_SDXL})")
    differences = [Remark("bucket_steps_stop", {"wanted": said})] if value % wanted else []
    return carried({"data.bucket_reso_steps": value}, *differences)


def _cache(value: bool | None, around: Around) -> Outcome:
    """Cached latents are drawn anew at each reading, so that caching changes nothing but the speed; pictures that look
    different at each reading can't be cached."""
    if value is None:
        moving = around.get("color_aug") or around.get("random_crop") or around.get("dataset_config")
        return carried({"feed.cache_latents": False} if moving else {})
    cached = value or bool(around.get("cache_latents_to_disk"))
    return carried({"feed.cache_latents": cached}, *([Remark("drawn_anew")] if cached else []))


def _cache_on_disk(value: bool, around: Around) -> Outcome:
    if not value:
        return carried({"feed.cache_latents_to_disk": False})
    return carried({"feed.cache_latents": True, "feed.cache_latents_to_disk": True}, Remark("cache_outdated"))


def _clip_skip(value: int, around: Around) -> Outcome:
    if value == 0:
        return changed({}, Remark("zero_unset"))
    return carried({"text.clip_skip": value}, *([Remark("clip_skip_xl")] if around.sdxl and value > _UNUSED_XL else []))


def _vae_batch(value: int, around: Around) -> Outcome:
    return carried({"feed.vae_batch_size": value}, *([] if value else [Remark("vae_one_at_a_time")]))


def _workers(value: int | None, around: Around) -> Outcome:
    """How many there are changes no result; only who wants to keep them has to have some."""
    if value is not None:
        return carried({"feed.max_data_loader_n_workers": value})
    keep = around.get("persistent_data_loader_workers")
    return carried({"feed.max_data_loader_n_workers": min(_WORKERS, os.cpu_count() or 1)} if keep else {})


def _persistent(value: bool, around: Around) -> Outcome:
    if value and not around.get("max_data_loader_n_workers", _WORKERS if around.whole else 0):
        return changed({"feed.persistent_data_loader_workers": False}, Remark("no_loader_processes"))
    return carried({"feed.persistent_data_loader_workers": value})


def _masks(value: str, around: Around) -> Outcome:
    if not around.get("masked_loss"):
        return changed({}, Remark("masks_unused"))
    return carried({"data.mask_folder": value})


def _masked(value: bool, around: Around) -> Outcome:
    sources = ("conditioning_data_dir", "alpha_mask", "dataset_config")
    if value and not any(around.get(source) for source in sources):
        return changed({"objective.masked_loss": False}, Remark("masks_nowhere"))
    return carried({"objective.masked_loss": value})


def _alpha_mask(value: bool, around: Around) -> Outcome:
    """sd-scripts weighs by transparency without a second switch."""
    if not value:
        return carried({"data.alpha_mask": False})
    return carried({"data.alpha_mask": True, "objective.masked_loss": True})


def _source(target: str) -> Carry:
    """Where pictures are, which a data set configuration says alone."""

    def carry(value: str, around: Around) -> Outcome:
        if around.get("dataset_config"):
            return dropped(Remark("dataset_config_wins"))
        return carried({target: value})

    return carry


def _dataset_config(value: str, around: Around) -> Outcome:
    """It says alone where pictures are, also of settings that it is put on top of."""
    config = {"data.dataset_config": value}
    if not around.on_top:
        return carried(config)
    others = {"data.folder": "", "data.sets": [], "data.reg_folder": "", "data.metadata_file": ""}
    return carried(config | others, Remark("dataset_config_instead"))


def _repeats(value: int, around: Around) -> Outcome:
    heeded = around.get("in_json") and not around.get("dataset_config")
    return carried({"data.repeats": value} if heeded else {})


def _metadata(value: str, around: Around) -> Outcome:
    if around.get("dataset_config"):
        return dropped(Remark("dataset_config_wins"))
    return carried({"data.metadata_file": value, "data.repeats": around.get("dataset_repeats", 1)})


def _cache_text(value: bool, around: Around) -> Outcome:
    return carried({"feed.cache_text": True} if value else {}, *([Remark("captions_frozen")] if value else []))


def _no_padding(value: bool, around: Around) -> Outcome:
    return carried({"text.no_token_padding": value}, *([Remark("padding_ignored")] if value else []))


ROWS = (
    # the base model
    Row("pretrained_model_name_or_path", TEXT, "model.path"),
    Row("vae", TEXT, "model.vae"),
    Row("v_parameterization", SWITCH, "model.prediction", carry=_prediction,
        back=lambda own: own["model.prediction"] == "v"),
    # pictures
    Row("train_data_dir", TEXT, "data.folder", carry=_source("data.folder")),
    Row("reg_data_dir", TEXT, "data.reg_folder", carry=_source("data.reg_folder")),
    Row("in_json", TEXT, "data.metadata_file", carry=_metadata, reaches=("data.repeats",)),
    Row("dataset_repeats", WHOLE, carry=_repeats, reaches=("data.repeats",),
        back=lambda own: (own["data.repeats"] or None) if own["data.metadata_file"] else None),
    Row("dataset_config", TEXT, "data.dataset_config", carry=_dataset_config),
    Row("validation_split", NUMBER, "data.validation_split"),
    Row("resolution", TEXT, "data.resolution", carry=_sides, back=_sides_back),
    Row("train_batch_size", WHOLE, "data.batch_size"),
    Row("enable_bucket", SWITCH, "data.enable_bucket", False, carry=_buckets),
    Row("bucket_no_upscale", SWITCH, "data.bucket_no_upscale", False, carry=_no_upscale),
    Row("bucket_reso_steps", WHOLE, "data.bucket_reso_steps", carry=_bucket_steps),
    Row("min_bucket_reso", WHOLE, "data.min_bucket_reso"),
    Row("max_bucket_reso", WHOLE, "data.max_bucket_reso"),
    Row("resize_interpolation", TEXT, "data.resize_interpolation", carry=_FILTER, back=_FILTER_BACK),
    Row("random_crop", SWITCH, "data.random_crop"),
    Row("flip_aug", SWITCH, "data.flip_aug"),
    Row("color_aug", SWITCH, "data.color_aug"),
    Row("alpha_mask", SWITCH, "data.alpha_mask", carry=_alpha_mask),
    Row("conditioning_data_dir", TEXT, "data.mask_folder", carry=_masks),
    Row("masked_loss", SWITCH, "objective.masked_loss", carry=_masked,
        back=lambda own: own["objective.masked_loss"] and not own["data.alpha_mask"]),
    # captions
    Row("caption_extension", TEXT, "data.caption_extension", carry=_extension, absent="caption_only"),
    Row("caption_extention", TEXT, carry=_extension, reaches=("data.caption_extension",)),
    Row("caption_prefix", TEXT, "data.caption_prefix"),
    Row("caption_suffix", TEXT, "data.caption_suffix"),
    Row("enable_wildcard", SWITCH, "data.enable_wildcard"),
    Row("caption_separator", TEXT, "data.caption_separator"),
    Row("secondary_separator", TEXT, "data.secondary_separator"),
    Row("shuffle_caption", SWITCH, "data.shuffle_caption", differs="shuffled_anew"),
    Row("keep_tokens", WHOLE, "data.keep_tokens"),
    Row("keep_tokens_separator", TEXT, "data.keep_tokens_separator"),
    Row("caption_tag_dropout_rate", NUMBER, "data.caption_tag_dropout_rate"),
    Row("caption_dropout_rate", NUMBER, "data.caption_dropout_rate"),
    Row("caption_dropout_every_n_epochs", WHOLE, "data.caption_dropout_every_n_epochs", differs="dropout_late"),
    # text
    Row("max_token_length", WHOLE, "text.max_token_length"),
    Row("clip_skip", WHOLE, "text.clip_skip", carry=_clip_skip,
        back=lambda own: own["text.clip_skip"] if own["text.clip_skip"] > 1 else None),
    Row("weighted_captions", SWITCH, "text.weighted_captions", differs="emphasis_mean"),
    Row("no_token_padding", SWITCH, "text.no_token_padding", carry=_no_padding, back=lambda own: None),
    Row(f"{GUI}no_token_padding", SWITCH, "text.no_token_padding", carry=_no_padding),
    # caches and loader processes
    Row("cache_latents", SWITCH, "feed.cache_latents", None, carry=_cache),
    Row("cache_latents_to_disk", SWITCH, "feed.cache_latents_to_disk", carry=_cache_on_disk,
        reaches=("feed.cache_latents",)),
    Row("cache_text_encoder_outputs", SWITCH, "feed.cache_text", carry=_cache_text, back=lambda own: None),
    Row("cache_text_encoder_outputs_to_disk", SWITCH, carry=_cache_text, reaches=("feed.cache_text",)),
    Row("vae_batch_size", WHOLE, "feed.vae_batch_size", carry=_vae_batch,
        back=lambda own: own["feed.vae_batch_size"] or own["data.batch_size"], always=True),
    Row("max_data_loader_n_workers", WHOLE, "feed.max_data_loader_n_workers", None, carry=_workers),
    Row("persistent_data_loader_workers", SWITCH, "feed.persistent_data_loader_workers", carry=_persistent),
)  # fmt: skip
