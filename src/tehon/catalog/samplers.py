"""The samplers, by the names that A1111 and kohya use, and diffusers' scheduler for each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sampler:
    """A scheduler class of diffusers, the module it lies in, and whether each of its steps draws fresh noise."""

    module: str
    scheduler: str
    draws_noise: bool = False


SAMPLERS = {
    "ddim": Sampler("scheduling_ddim", "DDIMScheduler"),
    "euler": Sampler("scheduling_euler_discrete", "EulerDiscreteScheduler"),
    "euler_a": Sampler("scheduling_euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", draws_noise=True),
    "dpmsolver++": Sampler("scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler"),
}
