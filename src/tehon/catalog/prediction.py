"""What a model was trained to predict, and whether its noise ends in pure noise, as far as its file tells.

>>> decide(path, said=None, wanted=None, guessed="v", usual="epsilon")
('v', 'weights')
"""

import re
from pathlib import Path
from statistics import pstdev

from tehon.catalog.families import Family, Prediction
from tehon.catalog.header import Header, read_floats
from tehon.catalog.model import Source
from tehon.messages.problem import Problem

_ALPHAS = "alphas_cumprod"
# ComfyUI tells the 2.x models that predict the velocity from the others by how much this norm's shifts differ.
_SHIFTS = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
_SHIFTS_OF_V = 0.09


def decide(
    path: Path,
    said: Prediction | None,
    wanted: Prediction | None,
    guessed: Prediction | None,
    usual: Prediction | None,
) -> tuple[Prediction, Source]:
    """What a model is taken to predict and who says so: the file, else the setting, else its weights, else what the
    family does as a rule. Problems when the setting contradicts the file, and when nobody knows."""
    if said and wanted and said != wanted:
        raise Problem("prediction_contradicts", field="model.prediction", path=path, own=said, wanted=wanted)
    answers: list[tuple[Prediction | None, Source]] = [
        (said, "file"),
        (wanted, "setting"),
        (guessed, "weights"),
        (usual, "family"),
    ]
    for prediction, source in answers:
        if prediction is not None:
            return prediction, source
    raise Problem("prediction_unknown", field="model.prediction", path=path)


def said_in(file: Path, header: Header) -> Prediction | None:
    """What a checkpoint itself says: modelspec's metadata, the empty tensor `v_pred` of SDXL models, or the
    configuration that A1111 reads beside a checkpoint."""
    said = header.metadata.get("modelspec.prediction_type", "").lower()
    beside = file.with_suffix(".yaml")
    if "v_pred" in header.shapes or said in ("v", "v_prediction"):
        return "v"
    if said == "epsilon":
        return "epsilon"
    if beside.is_file():
        text = beside.read_text("utf8", errors="replace")
        return "v" if re.search(r"""parameterization["']?:\s*["']?v\b""", text) else "epsilon"
    return None


def guessed_from(file: Path, header: Header, family: Family) -> Prediction | None:
    """What the tensors of a checkpoint that doesn't say it hint at. From pure noise there is no noise to be learned, so
    that a schedule which ends there goes with the velocity (arXiv 2305.08891)."""
    if ends_in_noise(file, header):
        return "v"
    if family.predicts is None and _SHIFTS in header.starts:
        return "v" if pstdev(read_floats(file, header, _SHIFTS)) > _SHIFTS_OF_V else "epsilon"
    return None


def ends_in_noise(file: Path, header: Header) -> bool:
    """Whether a checkpoint's own schedule has no signal left at its end."""
    if "ztsnr" in header.shapes:
        return True
    if _ALPHAS not in header.starts:
        return False
    return abs(read_floats(file, header, _ALPHAS)[-1]) < 1e-6
