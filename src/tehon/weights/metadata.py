"""The text metadata of a LoRA file: kohya's `ss_` keys and the `modelspec` block.

Every value is a string, as Python's str() writes it; dictionaries are JSON. Formats: sd-scripts' train_network.py and
sai_model_spec.py.
"""

import json
import time
from collections.abc import Mapping
from datetime import datetime, timezone


def kohya_metadata(facts: Mapping[str, object]) -> dict[str, str]:
    """`ss_` keys for facts named without that prefix. Dictionaries and lists become JSON."""
    return {
        f"ss_{name}": json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        for name, value in facts.items()
    }


def modelspec_metadata(
    *,
    architecture: str,
    title: str,
    resolution: tuple[int, int],
    prediction_type: str,
    version: str,
    implementation: str = "diffusers",
    encoder_layer: int = 1,
    timestep_range: tuple[int, int] = (0, 1000),
    about: Mapping[str, str] | None = None,
    at: float | None = None,
) -> dict[str, str]:
    """The block that other programs read to tell what a file is (https://github.com/Stability-AI/ModelSpec, 1.0.1). The
    text encoder's layer, counted from the last, and the timesteps are named where they are not the usual ones. `about`
    are more of its fields, such as `author`; empty ones are left out."""
    date = datetime.fromtimestamp(time.time() if at is None else at, timezone.utc)
    return {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": architecture,
        "modelspec.implementation": implementation,
        "modelspec.implementation_version": f"tehon/{version}",
        "modelspec.title": title,
        "modelspec.resolution": f"{resolution[0]}x{resolution[1]}",
        "modelspec.date": date.replace(tzinfo=None).isoformat(timespec="seconds"),
        "modelspec.prediction_type": prediction_type,
        **({} if encoder_layer == 1 else {"modelspec.encoder_layer": str(encoder_layer)}),
        **({} if timestep_range == (0, 1000) else {"modelspec.timestep_range": "{},{}".format(*timestep_range)}),
        **{f"modelspec.{name}": text for name, text in (about or {}).items() if text},
    }
