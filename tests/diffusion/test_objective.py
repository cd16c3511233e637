"""Schedules, targets, weights, losses and noise, against sd-scripts' numbers, diffusers, and the papers' formulas."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling, compute_snr
from torch import Tensor

from tehon.diffusion import losses, noise, schedule, timesteps, weighting
from tehon.diffusion.objectives import target

ALPHAS = schedule.scaled_linear(0.00085, 0.012, 1000)


def latents(seed: int, n: int = 3) -> Tensor:
    return torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


WEIGHTS: dict[str, Callable[[Tensor, dict[str, Any]], Tensor]] = {
    "min_snr": lambda snr, row: weighting.min_snr(snr, row["gamma"], "v" if row["v_prediction"] else "epsilon"),
    "debiased": lambda snr, row: weighting.debiased(snr, "v" if row["v_prediction"] else "epsilon"),
    "scale_v_pred_loss_like_noise_pred": lambda snr, row: weighting.like_noise(snr),
}


def test_weights_and_alphas_are_those_of_sd_scripts(golden: Callable[[str], Any]) -> None:
    rows = golden("loss_weights")
    assert len(rows) == 10
    for row in rows:
        times = torch.tensor(row["timesteps"])
        if row["kind"] == "alphas_cumprod":
            assert ALPHAS[times].tolist() == pytest.approx(row["value"], rel=1e-5)
            continue
        snr = schedule.signal_to_noise(ALPHAS[times])
        assert WEIGHTS[row["kind"]](snr, row).tolist() == pytest.approx(row["weight"], rel=3e-4), row["kind"]


def test_adding_the_v_like_loss_is_the_sum_of_both() -> None:
    snr = torch.tensor([0.01, 1.0, 50.0])
    loss = torch.tensor([0.3, 0.2, 0.1])
    assert torch.allclose(loss * weighting.with_v_like(snr, 0.25), loss + 0.25 * loss * (snr + 1) / snr)
    assert torch.equal(weighting.with_v_like(snr, 0.0), torch.ones(3))


def test_weights_for_v_are_finite_at_pure_noise() -> None:
    """SNR 0 occurs where the noise ends in pure noise."""
    snr, alphas = torch.tensor([0.0, 0.5]), torch.tensor([0.3, 0.0])
    assert weighting.min_snr(snr, 5.0, "v").tolist() == pytest.approx([0, 1 / 3])
    assert weighting.debiased(snr, "v").tolist() == pytest.approx([1, 2 / 3])
    assert weighting.like_noise(snr).tolist() == pytest.approx([0, 1 / 3])
    assert losses.thresholds("snr", 0.1, 1.0, alphas, torch.tensor([1])).item() == pytest.approx(0.1)


def test_snr_is_that_of_diffusers() -> None:
    scheduler, times = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear"), torch.tensor([0, 400, 999])
    assert torch.allclose(schedule.signal_to_noise(ALPHAS[times]), compute_snr(scheduler, times), rtol=1e-4)


def test_scaling_turns_an_error_in_v_into_that_in_the_noise() -> None:
    """The same guess at the picture, once told as noise and once as v: e = √a v + √(1 - a) x_t."""
    clean, drawn, wrong, times = latents(1), latents(2), latents(3), torch.tensor([5, 400, 990])
    a = ALPHAS[times].view(-1, 1, 1, 1)
    noisy = a.sqrt() * clean + (1 - a).sqrt() * drawn
    v = target("v", clean, drawn, ALPHAS, times)
    as_noise = [a.sqrt() * guess + (1 - a).sqrt() * noisy for guess in (v + wrong, v)]
    in_noise, in_v = losses.squared_error(*as_noise), losses.squared_error(v + wrong, v)
    snr = schedule.signal_to_noise(ALPHAS[times])
    assert torch.allclose(in_noise[1:], (in_v * weighting.like_noise(snr))[1:], rtol=1e-3)
    assert torch.allclose(in_v[1:], in_noise[1:] * (weighting.with_v_like(snr, 1.0) - 1)[1:], rtol=1e-3)


def test_velocity_is_that_of_diffusers_and_noise_is_itself() -> None:
    clean, drawn, times = latents(1), latents(2), torch.tensor([0, 400, 999])
    theirs = DDPMScheduler(1000, 0.00085, 0.012, "scaled_linear").get_velocity(clean, drawn, times)
    assert torch.allclose(target("v", clean, drawn, ALPHAS, times), theirs, atol=1e-5)
    assert target("epsilon", clean, drawn, ALPHAS, times) is drawn


def test_losses_are_their_formulas() -> None:
    prediction, wanted = latents(3), latents(4)
    d = prediction - wanted
    c = torch.tensor([0.1, 0.5, 2.0])
    assert torch.equal(losses.errors("l2", prediction, wanted), d * d)
    assert torch.allclose(
        losses.errors("l1", prediction, wanted), torch.nn.functional.l1_loss(d, d * 0, reduction="none")
    )
    huber = losses.errors("huber", prediction, wanted, c)
    smooth = losses.errors("smooth_l1", prediction, wanted, c)
    for row, value in enumerate(c.tolist()):
        root = (d[row] ** 2 + value**2).sqrt() - value
        assert torch.allclose(huber[row], 2 * value * root, atol=1e-6)
        assert torch.allclose(smooth[row], 2 * root, atol=1e-6)
    assert torch.allclose(losses.errors("huber", d * 1e-3, d * 0, c + 1), (d * 1e-3) ** 2, rtol=1e-3, atol=1e-9)
    assert torch.equal(losses.squared_error(prediction, wanted), (d * d).mean((1, 2, 3)))


def test_thresholds_are_their_formulas() -> None:
    times = torch.tensor([0, 250, 999])
    assert losses.thresholds("constant", 0.1, 2.0, ALPHAS, times).tolist() == pytest.approx([0.2] * 3)
    exponential = losses.thresholds("exponential", 0.1, 1.0, ALPHAS, times)
    assert exponential.tolist() == pytest.approx([math.exp(t * math.log(0.1) / 1000) for t in (0, 250, 999)])
    found = losses.thresholds("snr", 0.1, 1.0, ALPHAS, times)
    sigma = ((1 - ALPHAS[times]) / ALPHAS[times]).sqrt()
    assert torch.allclose(found, 0.9 / (1 + sigma) ** 2 + 0.1)
    assert torch.allclose(losses.thresholds("snr", 0.1, 3.0, ALPHAS, times), 3 * found), "the scale counts here too"


def test_uniform_timesteps_fill_their_range() -> None:
    u = (torch.arange(1000) + 0.5) / 1000
    assert timesteps.uniform(u, 0, 1000).tolist() == list(range(1000))
    assert set(timesteps.uniform(u, 200, 210).tolist()) == set(range(200, 210))
    assert timesteps.uniform(torch.tensor([0.0, 0.999999]), 5, 6).tolist() == [5, 5]


def test_logit_normal_timesteps_have_their_median_and_quartiles() -> None:
    u = torch.tensor([0.25, 0.5, 0.75])
    assert timesteps.logit_normal(u, 0, 1000).tolist() == [337, 500, 662]
    shifted = timesteps.logit_normal(u, 0, 1000, mean=1.0, spread=0.5)
    assert shifted.tolist()[1] == int(1000 / (1 + math.exp(-1)))
    assert shifted[2] - shifted[0] < 325
    assert timesteps.logit_normal(torch.tensor([0.0, 0.9999999]), 0, 1000).tolist() == [2, 994]


def test_logit_normal_timesteps_are_distributed_as_those_of_diffusers() -> None:
    shares = compute_density_for_timestep_sampling(
        "logit_normal", 20000, 0.5, 0.8, generator=torch.Generator().manual_seed(1)
    )
    u = (torch.arange(20000) + 0.5) / 20000
    ours = timesteps.logit_normal(u, 0, 1000, mean=0.5, spread=0.8).double() / 1000
    levels = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], dtype=torch.float64)
    assert torch.allclose(ours.quantile(levels), shares.double().quantile(levels), atol=0.01)


def test_strata_cover_the_range_once_each() -> None:
    u = timesteps.draw_uniform(3, "timestep", [(0, i, 0) for i in range(8)])
    assert (timesteps.stratified(u, 0, 8) * 8).long().tolist() == list(range(8))
    assert torch.equal(timesteps.stratified(u, 0, 8)[5:], timesteps.stratified(u[5:], 5, 8))
    alone = timesteps.draw_uniform(3, "timestep", [(0, 5, 0)])
    assert torch.equal(alone[0], u[5])


def test_offset_noise_moves_each_channel_by_its_own_amount() -> None:
    drawn, shift = latents(5), torch.tensor([[1.0, -2.0, 0.0, 3.0]] * 3)
    moved = noise.offset(drawn, torch.full((3, 1), 0.1), shift)
    assert torch.allclose((moved - drawn)[0, :, 0, 0], torch.tensor([0.1, -0.2, 0.0, 0.3]), atol=1e-6)
    assert torch.allclose((moved - drawn).std((2, 3)), torch.zeros(3, 4), atol=1e-6)


def test_adaptive_strength_follows_the_mean_and_stays_positive() -> None:
    clean = torch.ones(1, 4, 2, 2) * torch.tensor([0.0, 1.0, -2.0, 4.0]).view(1, 4, 1, 1)
    base = torch.tensor([[0.1]])
    assert noise.adaptive_strength(base, 0.05, clean)[0].tolist() == pytest.approx([0.1, 0.15, 0.2, 0.3])
    assert noise.adaptive_strength(base, -0.05, clean)[0].tolist() == pytest.approx([0.1, 0.05, 0.0, 0.0])


def test_pyramid_noise_has_low_frequencies_and_the_spread_one() -> None:
    drawn = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(1))
    sizes = noise.pyramid_sizes((64, 64), [2.0] * 10)
    assert sizes == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    assert noise.pyramid_sizes((64, 8), [2.0, 3.0, 3.9]) == [(64, 8), (21, 2), (4, 1)]
    rng = torch.Generator().manual_seed(2)
    levels = [torch.randn(2, 4, *size, generator=rng) for size in sizes]
    mixed = noise.pyramid(drawn, levels, 0.8)
    assert torch.allclose(mixed.std((1, 2, 3)), torch.ones(2), atol=1e-5)
    coarse = [torch.nn.functional.avg_pool2d(x, 16).std() for x in (drawn, mixed)]
    assert coarse[1] > 4 * coarse[0]
    ups = [torch.nn.Upsample((64, 64), mode="bilinear")(level) * 0.8**i for i, level in enumerate(levels)]
    whole = drawn + torch.stack(ups).sum(0)
    assert torch.allclose(mixed, whole / whole.flatten(1).std(1).view(-1, 1, 1, 1), atol=1e-5), "its formula"
    alone = noise.pyramid(drawn[:1], [level[:1] for level in levels], 0.8)
    assert torch.allclose(alone[0], mixed[0], atol=1e-6), "a sample's noise must not depend on its batch"


def test_input_perturbation_adds_a_share_of_other_noise() -> None:
    drawn, extra = latents(6), latents(7)
    gamma = 0.1 * torch.tensor([0.0, 0.5, 1.0])
    assert torch.equal(noise.perturbed(drawn, extra, gamma)[0], drawn[0])
    assert torch.allclose(noise.perturbed(drawn, extra, gamma)[2], drawn[2] + 0.1 * extra[2])
