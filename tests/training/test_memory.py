"""Settings that save memory: the same losses and gradients, whatever the adapters draw, with less kept."""

from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tehon.families.attention import by_loops, by_pieces
from tehon.families.packing import PackedConv2d, PackedLinear, pack
from tehon.loops import kept as keeping
from tehon.messages.problem import Problem
from tehon.planning.memory import recomputed
from tehon.planning.plan import make_plan
from tehon.runs.read import read_json, rows
from tehon.settings import precision_rules
from tehon.settings.files import validate
from tehon.training import device
from tehon.training.assemble import Trainer, assemble
from tehon.training.device import check_device
from tehon.training.run import resume_run, start_run

Tree = dict[str, Any]
RESTRAINED = {"dropout": 0.3, "rank_dropout": 0.3, "module_dropout": 0.3}
NETWORKS: dict[str, Tree] = {
    "locon": {"kind": "locon", "conv_rank": 2, **RESTRAINED},
    "dylora": {"kind": "dylora", "rank": 4, "alpha": 4.0, "dropout": 0.3},
    "dora": {"dora": True},
    "loha": {"kind": "loha", "rank_dropout": 0.3, "module_dropout": 0.3},
}


def trainer_of(tree: Tree, network: Tree, how: str) -> Trainer:
    tree = tree | {"network": {"rank": 2, "alpha": 1.0} | network, "memory": {"gradient_checkpointing": how}}
    trainer = assemble(make_plan(validate(tree)))
    weights = trainer.state.flat.weights
    weights.copy_(torch.randn(weights.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    return trainer


def step_of(trainer: Trainer) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Losses, gradients, and how many numbers are kept for the backward."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    epoch, batches = trainer.plan.group(0)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        losses = trainer.step.losses_of(epoch, batches[0])
    losses.sum().backward()
    frozen = {p.untyped_storage().data_ptr() for p in trainer.parts.unet.parameters()}
    numbers = sum(count for place, count in kept.items() if place not in frozen)
    return losses.detach(), trainer.state.flat.gradients.clone(), numbers


@pytest.mark.parametrize("name", NETWORKS)
def test_losses_and_gradients_are_the_same_with_less_kept(tree: Tree, name: str) -> None:
    losses, gradients, kept = step_of(trainer_of(tree, NETWORKS[name], "off"))
    before = kept
    for how in ("large", "whole"):
        again, too, kept = step_of(trainer_of(tree, NETWORKS[name], how))
        assert (again - losses).abs().max() <= 1e-6
        assert (too - gradients).abs().max() <= 1e-6
        assert kept < before, how
        before = kept
    assert gradients.abs().max() > 1e-4


def test_the_large_blocks_are_those_that_keep_the_most(tree: Tree) -> None:
    """On the demo model, with levels of 64, 128 and 192 channels and attention everywhere but at the end."""
    tree["model"] = {"path": "demo"}

    def paths(how: str) -> dict[str, list[str]]:
        return recomputed(make_plan(validate(tree | {"memory": {"gradient_checkpointing": how}})))

    large, whole = paths("large"), paths("whole")
    assert set(large["lora_unet"]) < set(whole["lora_unet"])
    assert all(path.startswith(("down_blocks.0", "up_blocks", "down_blocks.1")) for path in large["lora_unet"])
    assert "mid_block.resnets.0" in whole["lora_unet"]
    assert len(whole["lora_te"]) > 0


def test_what_is_not_trained_has_nothing_to_compute_again(tree: Tree) -> None:
    tree |= {"optimizer": {"text_encoder_lr": 0.0}, "memory": {"gradient_checkpointing": "whole"}}
    assert set(recomputed(make_plan(validate(tree)))) == {"lora_unet"}


@pytest.mark.parametrize("padded", [True, False])
def test_the_setting_reaches_the_u_net_and_leaves_the_prediction(tree: dict[str, Any], padded: bool) -> None:
    found: dict[str, torch.Tensor] = {}
    tree["text"] = {"no_token_padding": not padded}
    ways = {"sdpa": F.scaled_dot_product_attention, "mem_eff_attn": by_pieces, "auto": by_loops}
    for name, way in ways.items():
        trainer = assemble(make_plan(validate(tree | {"memory": {"attention": name}})))
        used = [one.attend for one in trainer.parts.unet.attn_processors.values()]
        assert {one.args[0] if isinstance(one, partial) else one for one in used} == {way}
        assert trainer.attention == ("loops" if name == "auto" else name)
        epoch, batches = trainer.plan.group(0)
        found[name] = trainer.step.losses_of(epoch, batches[0]).detach()
    for name in ("mem_eff_attn", "auto"):
        assert (found["sdpa"] - found[name]).abs().max() < 1e-6


def test_whoever_waits_for_loops_to_be_compiled_is_told(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = "Compiling loops for this processor, once for this version: some seconds."
    kept = tmp_path / "of this version"
    monkeypatch.setattr(keeping, "kept", lambda: kept)

    def told(precision: str = "no") -> bool:
        notices: list[Any] = []
        assemble(make_plan(validate(tree | {"precision": {"mixed_precision": precision}})), notices.append)
        return sentence in notices

    assert not told("bf16")
    assert told()
    with monkeypatch.context() as patched:
        patched.setattr(keeping, "kept", lambda: None)
        assert not told()  # it would not be once
    kept.mkdir()
    assert told()  # as numba leaves it when it is interrupted
    for file in keeping.FILES:
        assert told()
        (kept / f"{file}.loop.nbi").touch()
    assert not told()


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_xformers_is_refused_where_it_cannot_run(tree: Tree, kind: str) -> None:
    with pytest.raises(Problem, match=r"memory.attention: xformers is not installed; install it \(pip install"):
        make_plan(validate(tree | {"memory": {"attention": "xformers"}}))
    with pytest.raises(Problem, match=f"memory.attention: xformers does not run on {kind}; set auto, sdpa"):
        check_device(torch.device(kind), torch.float32, "xformers")


def test_the_threads_are_set_and_recorded(tree: Tree) -> None:
    """Another number at a resume is said, since the last digits may differ, and goes on."""
    tree["training"] |= {"num_cpu_threads_per_process": 3, "epochs": 2, "max_train_steps": 4}
    outcome = start_run(make_plan(validate(tree)), print)
    assert torch.get_num_threads() == 3
    assert read_json(outcome.run.origin)["threads"] == 3
    started = next(row for row in rows(outcome.run.events) if row["event"] == "started")
    assert (started["threads"], started["attention"]) == (3, "loops")
    opened = next(row for row in rows(outcome.run.events) if row["event"] == "opened")
    assert opened["versions"]["numba"] == version("numba")  # its compiler arranges sums
    told: list[str] = []
    more = {"training.max_train_steps": 5, "training.num_cpu_threads_per_process": 2}
    resume_run(outcome.run, lambda name, facts: told.append(str(facts.get("text"))), more)
    assert torch.get_num_threads() == 2
    assert any("threads 3" in text and "threads 2" in text and "not to the last bit" in text for text in told)


@pytest.mark.parametrize(("storage", "error"), [("fp16", 1e-3), ("fp8", 0.1), ("nf4", 0.4)])
def test_a_packed_base_model_trains_as_its_wide_one_but_for_rounding(tree: Tree, storage: str, error: float) -> None:
    losses, gradients, _ = step_of(trainer_of(tree, {}, "off"))
    packed, too, _ = step_of(trainer_of(tree | {"precision": {"base_storage": storage}}, {}, "off"))
    assert 0 < (packed - losses).abs().max() < error
    assert 0 < (too - gradients).norm() < error * gradients.norm() * 2


def test_the_text_encoder_can_be_spared(tree: Tree) -> None:
    def packed(**precision: Any) -> list[bool]:
        parts = trainer_of(tree | {"precision": precision}, {}, "off").parts
        return [any(isinstance(one, PackedLinear) for one in net.modules()) for net in (parts.unet, parts.text_encoder)]

    assert packed(base_storage="fp8") == [True, True]
    assert packed(base_storage="fp8", base_storage_unet=True) == [True, False]


def test_loras_are_merged_into_the_base_model_before_it_is_packed(tree: Tree, tmp_path: Path) -> None:
    """Afterwards the change would be far smaller than a step of 4 bits, and lost."""
    tree["output"] |= {"folder": str(tmp_path / "first")}
    tree["optimizer"] = {"learning_rate": 1e-4}
    lora = start_run(make_plan(validate(tree)), print).lora
    trained = trainer_of(tree | {"precision": {"base_storage": "nf4"}}, {"base_weights": str(lora)}, "off")
    wide = assemble(make_plan(validate(tree | {"network": {"base_weights": str(lora)}})))
    pack(wide.parts.unet, "nf4", torch.float32)
    path = "mid_block.attentions.0.proj_in"
    one, other = (trainer.parts.unet.get_submodule(path) for trainer in (trained, wide))
    assert isinstance(one, PackedConv2d)
    assert torch.equal(one.weight, other.weight)


@pytest.mark.parametrize(
    ("precision", "sentence"),
    [
        ({"base_storage_unet": True}, "precision.base_storage_unet: all parts lie in memory as they compute"),
        ({"base_storage": "fp16", "mixed_precision": "bf16"}, "precision.base_storage: fp16 is no smaller than bf16"),
    ],
)
def test_storage_that_saves_nothing_is_refused(tree: Tree, precision: Tree, sentence: str) -> None:
    with pytest.raises(Problem, match=sentence):
        make_plan(validate(tree | {"precision": precision}))


def test_four_bits_without_bitsandbytes_are_refused(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_rules, "find_spec", lambda name: None)
    with pytest.raises(Problem, match=r"precision.base_storage: 4 bits need bitsandbytes, which is not installed;"):
        make_plan(validate(tree | {"precision": {"base_storage": "nf4"}}))


def test_storage_that_the_device_cannot_unpack_is_said_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "pack_layer", lambda *_: 1 / 0)
    with pytest.raises(Problem, match=r"precision.base_storage: fp8 does not work on cpu here \(division by zero\)"):
        check_device(torch.device("cpu"), torch.float32, "auto", "fp8")
