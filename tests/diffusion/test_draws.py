import pytest
import torch
from diffusers import DDPMScheduler

from tehon.diffusion.draws import draw_normal, draw_times, generator_for
from tehon.diffusion.losses import squared_error
from tehon.diffusion.noising import add_noise


def test_a_draw_depends_on_its_own_key_alone() -> None:
    alone = draw_normal(1, "noise", [(0, 3, 1)], (4, 2, 2))
    in_company = draw_normal(1, "noise", [(0, 2, 0), (0, 3, 1)], (4, 2, 2))
    assert torch.equal(alone[0], in_company[1])


@pytest.mark.parametrize("other", [(2, "noise", (0, 3, 1)), (1, "posterior", (0, 3, 1)), (1, "noise", (1, 3, 1))])
def test_every_part_of_the_key_matters(other: tuple[int, str, tuple[int, ...]]) -> None:
    first = torch.randn(8, generator=generator_for(1, "noise", (0, 3, 1)))
    assert not torch.equal(first, torch.randn(8, generator=generator_for(*other)))


def test_times_are_uniform() -> None:
    times = draw_times(5, [(0, i, 0) for i in range(4000)])
    assert times.min() < 5
    assert times.max() > 994
    counts = torch.histc(times.float(), 10, 0, 1000)
    assert counts.min() > 330
    assert counts.max() < 470


def test_noise_is_standard_normal() -> None:
    noise = draw_normal(5, "noise", [(0, i, 0) for i in range(500)], (4, 8, 8))
    assert noise.mean().abs() < 0.01
    assert noise.std() == pytest.approx(1, abs=0.01)


def test_noising_is_that_of_diffusers() -> None:
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    clean, noise, times = torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8), torch.tensor([0, 500, 999])
    ours = add_noise(clean, noise, scheduler.alphas_cumprod, times)
    assert torch.allclose(ours, scheduler.add_noise(clean, noise, times), atol=1e-6)


def test_squared_error_is_one_number_per_sample() -> None:
    loss = squared_error(torch.ones(2, 4, 3, 3), torch.stack([torch.zeros(4, 3, 3), torch.full((4, 3, 3), 3.0)]))
    assert loss.tolist() == [1.0, 4.0]
