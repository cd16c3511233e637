"""The rules between the settings of the objective: what does nothing alone."""

from collections.abc import Iterator

from tehon.messages.problem import Problem
from tehon.settings.objective import ObjectiveSettings


def objective_problems(settings: ObjectiveSettings) -> Iterator[Problem]:
    """A Problem for each setting that would have no effect without another, and for an empty range."""
    bent = settings.loss_type in ("huber", "smooth_l1")
    drawn = settings.timestep_sampling == "logit_normal"
    needs = (
        (("noise_offset_random_strength", "adaptive_noise_scale"), settings.noise_offset > 0, "noise_offset"),
        (("multires_noise_discount",), settings.multires_noise_iterations > 0, "multires_noise_iterations"),
        (("ip_noise_gamma_random_strength",), settings.ip_noise_gamma > 0, "ip_noise_gamma"),
        (("logit_mean", "logit_std"), drawn, "timestep_sampling logit_normal"),
        (("huber_schedule", "huber_c", "huber_scale"), bent, "loss_type huber or smooth_l1"),
    )
    for names, there, wanted in needs:
        for name in names if not there else ():
            if getattr(settings, name) != ObjectiveSettings.model_fields[name].default:
                yield Problem("objective_alone", field=f"objective.{name}", wanted=f"objective.{wanted}")
    if settings.min_timestep >= settings.max_timestep:
        low, high = settings.min_timestep, settings.max_timestep
        yield Problem("timestep_range", field="objective.min_timestep", low=low, high=high)
