"""Which networks are in memory at the same time, and that those which come back are the same as before."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tehon.families.parts import LatentParts
from tehon.planning.plan import make_plan
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble
from tehon.training.attach import file_tensors
from tehon.training.run import start_run
from tehon.weights.lora_file import write_lora

Tree = dict[str, Any]
ALL = {"unet", "vae", "text_encoder"}


def assembled(tree: Tree, **changes: Tree) -> Trainer:
    return assemble(make_plan(validate({name: tree.get(name, {}) | changes.get(name, {}) for name in tree | changes})))


def loaded(trainer: Trainer) -> set[str]:
    return ALL & trainer.parts.__dict__.keys()


@pytest.fixture
def still(tree: Tree) -> Tree:
    """Two steps of the U-Net alone."""
    return tree | {"optimizer": {"text_encoder_lr": 0.0}, "training": tree["training"] | {"max_train_steps": 2}}


def test_each_network_is_alone_until_the_u_net_is_there(still: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples bring the others back for as long as they are drawn, the loss on held-out pictures the text encoder."""
    found: list[set[str]] = []
    filled = vars(LatentParts)["_filled"]

    def watched(self: LatentParts, part: str, *rest: Any) -> Any:
        found.append({part, *ALL & self.__dict__.keys()})
        return filled(self, part, *rest)

    monkeypatch.setattr(LatentParts, "_filled", watched)
    still["samples"] = {"prompts": "star --w 64 --h 64 --s 1", "every_n_steps": 2}
    still["data"] |= {"validation_split": 0.4}
    still["validation"] = {"every_n_steps": 2}
    start_run(make_plan(validate(still)), lambda *_: None)
    drawn, measured = [{"unet", "text_encoder"}, ALL], [{"unet", "text_encoder"}]
    assert found == [{"vae"}, {"text_encoder"}, {"unet"}, *drawn, *measured, *drawn]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"optimizer": {"text_encoder_lr": 1e-4}}, {"unet", "text_encoder"}),
        ({"feed": {"cache_text": False}}, {"unet", "text_encoder"}),
        ({"feed": {"cache_latents": False}}, {"unet", "vae"}),
    ],
    ids=["encoder trained", "texts not kept", "latents not kept"],
)
def test_what_the_updates_use_stays(changes: Tree, kept: set[str], still: Tree) -> None:
    trainer = assembled(still, **changes)
    list(trainer.updates())
    assert loaded(trainer) == trainer.needed == kept


@torch.no_grad()
def test_a_network_that_comes_back_has_the_merged_loras_again(still: Tree, tmp_path: Path) -> None:
    """Text states are those of the changed encoder, from the first time on to after samples and measurements."""
    both = assembled(still, optimizer={"text_encoder_lr": 1e-4})
    for layers in both.adapters.values():
        for adapter in layers.values():
            for tensor in adapter.tensors.values():
                tensor.copy_(0.3 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1)))
    file = tmp_path / "base.safetensors"
    write_lora(file, file_tensors(both.adapters), {}, "float")
    changed = both.behaviour.encode_text(both.parts, ["caption 1"])["states"]
    plain, merged = assembled(still), assembled(still, network={"base_weights": str(file)})
    assert torch.allclose(merged.texts.read(["caption 1"])["states"], changed, atol=1e-5)
    assert not torch.allclose(plain.texts.read(["caption 1"])["states"], changed, atol=1e-2)
    with merged.letting_go():
        again = merged.behaviour.encode_text(merged.parts, ["caption 1"])["states"]
        assert torch.allclose(again, changed, atol=1e-5)
    assert loaded(merged) == {"unet"}
