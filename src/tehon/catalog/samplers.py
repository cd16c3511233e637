"""The samplers, by the names that kohya uses, and diffusers' scheduler for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sampler:
    """A scheduler class of diffusers, the module it lies in, whether each of its steps draws fresh noise, and what it
    is told beside the model's own schedule."""

    module: str
    scheduler: str
    draws_noise: bool = False
    options: Mapping[str, object] = field(default_factory=dict[str, object])


_PLAIN = {
    "lms": Sampler("scheduling_lms_discrete", "LMSDiscreteScheduler"),
    "euler": Sampler("scheduling_euler_discrete", "EulerDiscreteScheduler"),
    "euler_a": Sampler("scheduling_euler_ancestral_discrete", "EulerAncestralDiscreteScheduler", draws_noise=True),
    "dpm_2": Sampler("scheduling_k_dpm_2_discrete", "KDPM2DiscreteScheduler"),
    "dpm_2_a": Sampler("scheduling_k_dpm_2_ancestral_discrete", "KDPM2AncestralDiscreteScheduler", draws_noise=True),
}
SAMPLERS = {
    "ddim": Sampler("scheduling_ddim", "DDIMScheduler"),
    "pndm": Sampler("scheduling_pndm", "PNDMScheduler", options={"skip_prk_steps": True}),
    "heun": Sampler("scheduling_heun_discrete", "HeunDiscreteScheduler"),
    # The first of the two knows no last step to a noise of zero.
    "dpmsolver": Sampler(
        "scheduling_dpmsolver_multistep",
        "DPMSolverMultistepScheduler",
        options={"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
    ),
    "dpmsolver++": Sampler(
        "scheduling_dpmsolver_multistep", "DPMSolverMultistepScheduler", options={"algorithm_type": "dpmsolver++"}
    ),
    "dpmsingle": Sampler(
        "scheduling_dpmsolver_singlestep", "DPMSolverSinglestepScheduler", options={"lower_order_final": True}
    ),
    **_PLAIN,
    **{f"k_{name}": row for name, row in _PLAIN.items()},  # kohya offers both names for one thing
}
