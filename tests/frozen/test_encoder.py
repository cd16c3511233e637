"""The quick encoder of a VAE against diffusers' own."""

import gc
import weakref
from copy import deepcopy
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from tehon.frozen import convolution
from tehon.frozen.convolution import FrozenConv2d
from tehon.frozen.encoder import make_quick
from tehon.machine import products


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that multiplies as fast with MKL, for which these layers are large enough, whatever this machine has."""
    for module in (convolution, products):
        monkeypatch.setattr(module, "onednn_is_faster", lambda: False)


@pytest.fixture(scope="module")
def vae() -> Any:
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(96, 96, 160, 160),
        layers_per_block=2,
    ).requires_grad_(False)


@pytest.mark.parametrize("size", [(128, 128), (72, 104)])
def test_it_gives_the_same_and_leaves_the_picture_as_it_was(vae: Any, size: tuple[int, int]) -> None:
    quick = deepcopy(vae).eval()
    make_quick(quick.encoder, 2**30)
    pictures = torch.rand(2, 3, *size) * 2 - 1
    before = pictures.clone()
    with torch.no_grad():
        wanted = vae.eval().encode(pictures).latent_dist.parameters
        found = quick.encode(pictures).latent_dist.parameters
    assert (found - wanted).norm() < 2e-5 * wanted.norm()
    assert torch.equal(pictures, before)
    layers = [module for module in quick.encoder.modules() if isinstance(module, FrozenConv2d)]
    assert any(layer.transformed is not None for layer in layers), "none was computed in Winograd's way"


def test_with_gradients_it_is_diffusers_own(vae: Any) -> None:
    quick = deepcopy(vae).eval()
    make_quick(quick.encoder, 0)
    gradients: list[torch.Tensor] = []
    for one in (vae.eval(), quick):
        pictures = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32).requires_grad_()
        gradients += torch.autograd.grad(one.encode(pictures).latent_dist.mean.square().sum(), pictures)
    assert (gradients[1] - gradients[0]).norm() < 1e-4 * gradients[0].norm()


def test_weights_take_no_more_room_than_given(vae: Any) -> None:
    quick = deepcopy(vae)
    make_quick(quick.encoder, 2**21)
    frozen = [module for module in quick.encoder.modules() if isinstance(module, FrozenConv2d)]
    wide = [36 * layer.in_channels * layer.out_channels * 4 for layer in frozen if layer.may_transform]
    assert 0 < sum(wide) <= 2**21


def test_it_is_gone_with_its_last_user(vae: Any) -> None:
    """Nothing in it points back at it, which would keep it until the next collection of garbage."""
    quick = deepcopy(vae.encoder)
    make_quick(quick, 2**30)
    gone = weakref.ref(quick.down_blocks[0].resnets[0])
    gc.disable()
    try:
        del quick
        assert gone() is None
    finally:
        gc.enable()
