"""What a LoRA's metadata say of the models that it is for, where programs look for it.

A1111 goes by `ss_v2` and by how `ss_base_model_version` begins: a file that has metadata without them counts as one for
1.x and is not listed beside other models. What is not known of a file is not written: 2.x models of 512 pixels predict
the noise, those of 768 the velocity, and no tensor of a LoRA tells which it was trained on.

>>> label(FAMILIES["sd2"], "v")["ss_base_model_version"]
'sd_v2_v'
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from tehon.catalog.families import FAMILIES, Family, Prediction

_VERSIONS: dict[str, Prediction] = {
    label.base_version: prediction
    for family in FAMILIES.values()
    for prediction, label in family.labels.items()
    if len({other.base_version for other in family.labels.values()}) > 1
}
"""What each of kohya's versions says is predicted; SDXL's says nothing."""
_HUB = re.compile(r"(?:.*/)?stable-diffusion-2(?:-1)?(-base)?/?")


def label(family: Family, prediction: Prediction | None) -> dict[str, str]:
    """kohya's and modelspec's words for the base of a LoRA, as far as they are known."""
    found = {
        "ss_v2": str(any(own.base_version.startswith("sd_v2") for own in family.labels.values())),
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": family.implementation,
    }
    usual = prediction or family.predicts
    if usual is not None:
        own = family.labels[usual]
        found |= {"ss_base_model_version": own.base_version, "modelspec.architecture": own.architecture}
    return found | ({"modelspec.prediction_type": prediction} if prediction else {})


def told_prediction(metadata: Mapping[str, str]) -> Prediction | None:
    """What the base model of a LoRA predicts, as the file says itself."""
    said = metadata.get("modelspec.prediction_type", "").lower()
    if said in ("v", "v_prediction"):
        return "v"
    return "epsilon" if said == "epsilon" else _VERSIONS.get(metadata.get("ss_base_model_version", ""))


def prediction_of_base(name: object) -> Prediction | None:
    """What a model predicts that is named as peft names it, by a folder of diffusers' layout or one of the well-known
    names of 2.x on the hub; None where that does not say it."""
    if not isinstance(name, str) or not name:
        return None
    try:
        settings = json.loads((Path(name) / "scheduler" / "scheduler_config.json").read_text("utf8"))
        return "v" if settings.get("prediction_type") == "v_prediction" else "epsilon"
    except (OSError, ValueError, AttributeError, RecursionError):
        pass
    known = _HUB.fullmatch(name)
    return None if known is None else "epsilon" if known[1] else "v"


def prediction_in(metadata: Mapping[str, str], header: str, config: str, base: object = None) -> Prediction | None:
    """What all that a file holds says of its base model: its metadata, under the key `header` those that it had before
    it was converted, under `config` peft's settings as diffusers keeps them, or the name of the base in peft's own."""
    own = told_prediction(metadata)
    try:
        before = json.loads(metadata.get(header, "{}")).get("__metadata__", {})
        told: dict[str, object] = json.loads(metadata.get(config, "{}"))
        said = told_prediction({key: str(text) for key, text in before.items()})
        bases = [base, *(value for key, value in told.items() if key.endswith("base_model_name_or_path"))]
    except (ValueError, AttributeError, RecursionError):
        return own or prediction_of_base(base)
    return next(filter(None, [own, said, *map(prediction_of_base, bases)]), None)
