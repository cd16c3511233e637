"""Each sampler draws what diffusers' own pipeline draws with the scheduler that sd-scripts takes for the name."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

from tehon.catalog.detect import demo_folder, find_model
from tehon.catalog.samplers import SAMPLERS
from tehon.families.family import behaviour_of
from tehon.families.samplers import SampleRequest, sample
from tehon.families.schedulers import make_scheduler

# sd-scripts' library/train_util.py at commit 48d368fa
CLASSES = {
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "lms": "LMSDiscreteScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler_a": "EulerAncestralDiscreteScheduler",
    "heun": "HeunDiscreteScheduler",
    "dpm_2": "KDPM2DiscreteScheduler",
    "dpm_2_a": "KDPM2AncestralDiscreteScheduler",
    "dpmsolver": "DPMSolverMultistepScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
    "dpmsingle": "DPMSolverSinglestepScheduler",
}
PROMPTS = ["a red star on a white background", "a big blue heart"]


@pytest.fixture(scope="module")
def pipe() -> Any:
    pipe = StableDiffusionPipeline.from_pretrained(demo_folder(), local_files_only=True).to(torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def model() -> tuple[Any, Any]:
    model = find_model("demo")
    behaviour = behaviour_of(model.family)
    return behaviour, behaviour.load(model, torch.float32, torch.device("cpu"))


@pytest.mark.parametrize("sampler", CLASSES)
def test_pictures_are_those_of_diffusers_and_global_random_state_stays(
    pipe: Any, model: tuple[Any, Any], sampler: str
) -> None:
    pipe.scheduler = make_scheduler(sampler, model[1].schedule)
    options: dict[str, Any] = {"num_inference_steps": 3, "guidance_scale": 5.0, "width": 64, "height": 64}
    theirs = [
        np.asarray(pipe(prompt, generator=torch.Generator().manual_seed(seed), **options).images[0])
        for seed, prompt in enumerate(PROMPTS)
    ]
    state = torch.get_rng_state()
    ours = sample(*model, SampleRequest(PROMPTS, [0, 1], (64, 64), steps=3, guidance=5.0, sampler=sampler)).numpy()
    assert torch.equal(torch.get_rng_state(), state)
    assert np.abs(ours.astype(float) - np.stack(theirs)).mean() < 1


def test_the_names_stand_for_the_schedulers_of_sd_scripts(model: tuple[Any, Any]) -> None:
    for name in SAMPLERS:
        assert type(make_scheduler(name, model[1].schedule)).__name__ == CLASSES[name.removeprefix("k_")]
    for name in ("dpmsolver", "dpmsolver++"):
        scheduler = make_scheduler(name, model[1].schedule)
        assert isinstance(scheduler, DPMSolverMultistepScheduler)
        assert scheduler.config["algorithm_type"] == name


@pytest.mark.parametrize("sampler", CLASSES)
def test_every_sampler_draws_from_pure_noise_where_the_noise_ends_so(model: tuple[Any, Any], sampler: str) -> None:
    """With a network that knows the picture, a bright one, each ends at it; also those of diffusers' schedulers that
    can't rescale their betas themselves."""
    schedule = model[1].schedule | {"prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    wanted = DDIMScheduler.from_config(schedule | {"rescale_betas_zero_snr": True}).alphas_cumprod
    scheduler = make_scheduler(sampler, schedule | {"rescale_betas_zero_snr": True})
    alphas = scheduler.alphas_cumprod
    assert torch.allclose(alphas, wanted, atol=1e-5)
    assert float(alphas[-1]) < 1e-7
    picture = torch.full((1, 4, 8, 8), 1.7)
    scheduler.set_timesteps(20)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * scheduler.init_noise_sigma
    assert int(scheduler.timesteps[0]) == 999
    extra = {"generator": torch.Generator().manual_seed(2)} if SAMPLERS[sampler].draws_noise else {}
    noise = ((1 - alphas) / alphas.clamp(min=2**-24)).log() / 2  # log sigma, between which some samplers go
    for time in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, time)
        low = int(time)
        a = 1 / (1 + torch.lerp(noise[low], noise[min(low + 1, 999)], float(time) - low).exp() ** 2)
        v = (a.sqrt() * seen - picture) / (1 - a).sqrt()
        x = scheduler.step(v, time, x, return_dict=False, **extra)[0]
    assert x.mean() == pytest.approx(1.7, abs=0.03)
    assert x.std() < 0.05, "what is left is no more than the noise of the first timestep, √(1 - a) = 0.03"
