"""Schedulers are what diffusers' own `from_config` makes of a schedule."""

from importlib import import_module
from inspect import signature
from typing import Any

import pytest
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from tehon.catalog.samplers import SAMPLERS
from tehon.families.schedulers import ddim, make_scheduler

SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
SCHEDULES = {
    "of SD 1.5, from another scheduler": {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.6.0",
        **SCALED,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "trained_betas": None,
        "clip_sample": False,
    },
    "of SD 2.1": {"_class_name": "DDIMScheduler", **SCALED, "prediction_type": "v_prediction", "clip_sample": False},
    "as short as can be": SCALED,
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_schedulers_are_those_of_from_config(schedule: dict[str, Any]) -> None:
    oracle: Any = DDIMScheduler.from_config(schedule)
    ours = ddim(schedule)
    assert {**ours.config} == {name: value for name, value in oracle.config.items() if name in ours.config}
    assert ours.alphas_cumprod.equal(oracle.alphas_cumprod)
    whole = {**schedule, **ours.config}  # as the parts of a model keep it
    for name, row in SAMPLERS.items():
        kind: Any = getattr(import_module(f"diffusers.schedulers.{row.module}"), row.scheduler)
        expected = kind.from_config(dict(oracle.config), **row.options).config
        made = make_scheduler(name, whole)
        assert type(made) is kind
        known = signature(kind).parameters.keys() - {"kwargs"}
        assert {key: made.config[key] for key in known} == {key: expected[key] for key in known}, name
