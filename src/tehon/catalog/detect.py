"""What a model path is: a folder in diffusers' layout, or a checkpoint of one file, and of which family.

Nothing is guessed from names. A folder's configuration files say what it is; a checkpoint's header does: which tensors
there are and how large. What neither says has to be set, and a setting that contradicts the file is refused.

>>> find_model("demo").family.name
'sd1'
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tehon.catalog.checkpoint import network_configs, vae_config
from tehon.catalog.families import FAMILIES, Family, Prediction
from tehon.catalog.header import Header, read_header
from tehon.catalog.hub import hub_folder, is_hub_id, vocabulary_folder
from tehon.catalog.layers import Shapes
from tehon.catalog.model import PREDICTIONS, Model, expanded
from tehon.catalog.pickled import pickled_header
from tehon.catalog.prediction import decide, ends_in_noise, guessed_from, said_in
from tehon.messages.problem import Problem

DEMO = "demo"
_FIELD = "model.path"
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_CLIP = "clip_text_model"
_UNET_START = "model.diffusion_model.input_blocks.0.0.weight"
_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""The noise of every Stable Diffusion, as diffusers' schedulers are told of it."""


def demo_folder() -> Path:
    """The small Stable Diffusion that comes with the package."""
    return Path(__file__).parents[1] / "demo" / "model"


def find_model(
    path: str, *, revision: str = "", vae: str = "", tokenizer: str = "", prediction: Prediction | None = None
) -> Model:
    """The model that the settings name; a Problem when there is none, or none that can be trained.

    `prediction` is what the settings say; None leaves it to the file.
    """
    place = _place(path, revision)
    model = _from_file(place, prediction) if place.is_file() else _from_folder(place, prediction)
    own_vae = _vae(vae, model.family) if vae else None
    if own_vae is not None:
        model = replace(model, vae=own_vae[0], configs={**model.configs, "vae": own_vae[1]})
    if tokenizer:
        return replace(model, tokenizer=_tokenizer(expanded(tokenizer)))
    return replace(model, tokenizer=vocabulary_folder()) if model.single_file else model


def find_networks(path: str) -> Model:
    """The model at a path, for who reads its tensors and draws nothing: it needs no vocabulary, and what its network
    predicts may be unknown."""
    place = _place(path, "")
    make = _from_file if place.is_file() else _from_folder
    try:
        return make(place, None)
    except Problem as problem:
        if problem.key != "prediction_unknown":
            raise
        return make(place, "epsilon")


def _place(path: str, revision: str) -> Path:
    """Where the model lies on this machine; from the hub it is fetched."""
    place = demo_folder() if path == DEMO else expanded(path)
    try:
        there = place.exists()
    except OSError:  # a name too long for the file system
        there = False
    if revision and (there or not is_hub_id(path)):
        raise Problem("revision_alone", field="model.revision", path=path)
    if not there and is_hub_id(path):
        return hub_folder(path, revision)
    if not there:
        raise Problem("model_missing", field=_FIELD, path=path)
    if place.is_dir() and not (place / "model_index.json").is_file():
        raise Problem("model_not_a_folder", field=_FIELD, path=path)
    return place


def _from_folder(folder: Path, wanted: Prediction | None) -> Model:
    index = _json(folder / "model_index.json", folder)
    configs = {part: _json(folder / part / "config.json", folder) for part in ("unet", "text_encoder", "vae")}
    schedule = _json(folder / "scheduler" / "scheduler_config.json", folder)
    unet = configs["unet"]
    _refuse_channels(folder, unet.get("in_channels", 4))
    two = bool((index.get("text_encoder_2") or [None])[0])
    sized = unet.get("addition_embed_type") == "text_time"
    plain = configs["text_encoder"].get("model_type", _CLIP) == _CLIP and "block_out_channels" in unet
    if two != sized or not plain:
        raise Problem("model_unknown", field=_FIELD, path=folder)
    if two:
        configs["text_encoder_2"] = _json(folder / "text_encoder_2" / "config.json", folder)
    family = FAMILIES["sdxl" if two else "sd2" if unet.get("use_linear_projection") else "sd1"]
    said = schedule.get("prediction_type")
    if said is not None and said not in PREDICTIONS:
        raise Problem("model_unknown", field=_FIELD, path=folder)
    guessed: Prediction | None = "v" if schedule.get("rescale_betas_zero_snr") else None
    prediction, source = decide(folder, PREDICTIONS[said] if said else None, wanted, guessed, family.predicts)
    return Model(folder, family, configs, schedule | {"prediction_type": _name_of(prediction)}, told_by=source)


def _json(file: Path, folder: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text("utf8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        content = None
    except OSError as error:
        raise Problem("file_unreadable", path=file, reason=error.strerror or error) from None
    if not isinstance(content, dict):
        raise Problem("model_incomplete", field=_FIELD, path=folder)
    return content


def _from_file(file: Path, wanted: Prediction | None) -> Model:
    header = _header(file)
    family = _family(file, header.shapes)
    try:
        configs = network_configs(header.shapes, family)
    except (KeyError, IndexError, ValueError) as error:
        raise Problem("checkpoint_incomplete", field=_FIELD, path=file, name=error.args[0]) from None
    guessed = guessed_from(file, header, family)
    prediction, source = decide(file, said_in(file, header), wanted, guessed, family.predicts)
    configs["unet"]["sample_size"] = family.labels[prediction].native_side // family.stride
    noise = {"prediction_type": _name_of(prediction), "rescale_betas_zero_snr": ends_in_noise(file, header)}
    return Model(file, family, configs, _SCHEDULE | noise, told_by=source)


def _name_of(prediction: Prediction) -> str:
    """diffusers' word for what is predicted."""
    return next(name for name, ours in PREDICTIONS.items() if ours == prediction)


def _header(file: Path) -> Header:
    if file.suffix.lower() in PICKLES:
        return pickled_header(file)
    return read_header(file)


def _family(file: Path, shapes: Shapes) -> Family:
    """Which family's networks the tensors are; a Problem that says what they are instead."""
    if any(".lora_" in name or ".hada_" in name or ".lokr_" in name for name in shapes):
        raise Problem("checkpoint_is_lora", field=_FIELD, path=file)
    if _UNET_START not in shapes:
        if any(name.removeprefix("first_stage_model.") == "decoder.conv_in.weight" for name in shapes):
            raise Problem("checkpoint_is_vae", field=_FIELD, path=file)
        raise Problem("checkpoint_unknown", field=_FIELD, path=file)
    _refuse_channels(file, shapes[_UNET_START][1])
    if "edm_mean" in shapes or "edm_vpred.sigma_max" in shapes:  # ComfyUI's marks
        raise Problem("model_edm", field=_FIELD, path=file)
    for family in FAMILIES.values():
        starts = [part.prefix for part in family.file_parts.values()]
        if all(any(name.startswith(start) for name in shapes) for start in starts):
            return family
    raise Problem("checkpoint_unknown", field=_FIELD, path=file)


def _refuse_channels(path: Path, channels: int) -> None:
    """More channels than those of latents are for a mask and a picture to paint into, or a picture to change."""
    if channels == 9:
        raise Problem("model_inpainting", field=_FIELD, path=path)
    if channels != 4:
        raise Problem("model_unknown", field=_FIELD, path=path)


def _vae(path: str, family: Family) -> tuple[Path, Mapping[str, Any]]:
    """A VAE of its own, with its configuration: a folder of diffusers, or one file in the original layout."""
    place = expanded(path)
    try:
        if place.is_dir():
            config: dict[str, Any] = json.loads((place / "config.json").read_text("utf8"))
        else:
            shapes = {name.removeprefix("first_stage_model."): shape for name, shape in _header(place).shapes.items()}
            config = vae_config(shapes, family)
        if config["latent_channels"] != family.latent_channels:
            raise ValueError("the VAE of another kind of model")
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
        if isinstance(error, Problem):
            raise
        raise Problem("vae_unknown", field="model.vae", path=path) from None
    return place, config


def _tokenizer(folder: Path) -> Path:
    """A folder with a vocabulary, or the folder of a model that has one."""
    for place in (folder, folder / "tokenizer"):
        if (place / "vocab.json").is_file() and (place / "merges.txt").is_file():
            return place
    raise Problem("tokenizer_missing", field="model.tokenizer", path=folder)
