import pytest
import torch

from tehon.diffusion.losses import squared_error, weighed


def test_the_loss_is_the_mean_over_channels_and_pixels() -> None:
    a, b = torch.randn(3, 4, 6, 8), torch.randn(3, 4, 6, 8)
    expected = [torch.nn.functional.mse_loss(a[n], b[n]).item() for n in range(3)]
    assert squared_error(a, b).tolist() == pytest.approx(expected)
    assert squared_error(a.half(), b.half()).dtype == torch.float32


def test_a_mask_is_multiplied_in_before_the_mean_over_all_pixels() -> None:
    """By the rule of sd-scripts: half of the picture masked halves the loss, it is not scaled up again."""
    error = torch.zeros(2, 4, 8, 8)
    error[:, :, :, :4] = 3.0
    mask = torch.ones(2, 1, 8, 8)
    mask[1, :, :, 2:] = 0.0
    mask[1, :, :, 0] = 0.5
    losses = squared_error(error, torch.zeros_like(error), mask)
    assert losses.tolist() == pytest.approx([9 * 4 / 8, 9 * 1.5 / 8])
    assert torch.equal(squared_error(error, error * 0, torch.ones(2, 1, 8, 8)), squared_error(error, error * 0))


def test_what_is_masked_moves_nothing() -> None:
    prediction = torch.randn(1, 4, 8, 8, requires_grad=True)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 3] = 1
    squared_error(prediction, torch.zeros_like(prediction), mask).sum().backward()
    assert prediction.grad is not None
    assert (prediction.grad[..., 3] != 0).all()
    assert prediction.grad.count_nonzero() == 4 * 8


def test_a_weight_scales_its_own_sample_and_no_other() -> None:
    losses = torch.tensor([1.0, 2.0, 4.0])
    assert weighed(losses, torch.tensor([1.0, 0.25, 0.0])).tolist() == [1.0, 0.5, 0.0]
