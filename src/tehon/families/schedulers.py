"""Schedulers of diffusers for a model's own noise schedule."""

import warnings
from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

import torch

from tehon.catalog.samplers import SAMPLERS


def make_scheduler(name: str, schedule: dict[str, Any]) -> Any:
    """A diffusers scheduler for a model's own noise schedule."""
    row = SAMPLERS[name]
    kind = getattr(import_module(f"diffusers.schedulers.{row.module}"), row.scheduler)
    if schedule.get("rescale_betas_zero_snr") and "rescale_betas_zero_snr" not in signature(kind).parameters:
        schedule = {**schedule, "trained_betas": _betas_to_noise(schedule)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # diffusers wants to do without the first dpmsolver some day
        return _configured(kind, schedule, **row.options)


def ddim(schedule: Mapping[str, Any]) -> Any:
    """The scheduler that tells a schedule's cumulative alphas, a tensor (steps), and what a schedule has by default."""
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    return _configured(DDIMScheduler, schedule)


def _configured(kind: Any, schedule: Mapping[str, Any], **options: Any) -> Any:
    """A diffusers scheduler as its `from_config` makes it, which would import all its relatives to look at them: of the
    schedule it takes what it knows and its last owner was given, and its own defaults for the rest."""
    unsaid = schedule.get("_use_default_values", ())
    known = signature(kind).parameters.keys() - {"self", "kwargs", *unsaid}
    return kind(**{name: value for name, value in schedule.items() if name in known} | options)


def _betas_to_noise(schedule: dict[str, Any]) -> list[float]:
    """The betas of noise that ends in pure noise, for schedulers of diffusers that don't rescale them by themselves.
    The last cumulative alpha is 2^-24, as in those that do, since some divide by it."""
    rescaled: Any = ddim(schedule)
    alphas = rescaled.alphas_cumprod.double()
    alphas[-1] = max(float(alphas[-1]), 2**-24)
    return (1 - alphas / torch.cat([torch.ones(1, dtype=alphas.dtype), alphas[:-1]])).tolist()
