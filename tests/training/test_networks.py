"""Every kind of network in a whole run: it learns, resumes to the last bit, and other programs know its file."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tehon.adapters.adapter import detach, in_file
from tehon.adapters.dylora import DyLora
from tehon.catalog.header import read_header
from tehon.planning.plan import Plan, make_plan
from tehon.runs.read import rows
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble
from tehon.training.attach import lora_files, settle_ranks
from tehon.training.process_group import Alone
from tehon.training.run import Outcome, resume_run, start_run

Tree = dict[str, Any]
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "locon": {"kind": "locon", "rank": 2},
    "locon tucker": {"kind": "locon", "tucker": True},
    "loha": {"kind": "loha", "rank": 2, "conv_rank": 2},
    "lokr": {"kind": "lokr", "rank": 2, "conv_rank": 2},
    "dylora": {"kind": "dylora", "rank": 4},
    "lora_fa": {"kind": "lora_fa"},
    "dora": {"dora": True, "rank": 2},
    "lora with a scalar": {"use_scalar": True, "alpha": 16.0},
    "ia3": {"kind": "ia3"},
}


@pytest.fixture
def small(tree: Tree) -> Tree:
    return tree | {"network": {}, "optimizer": {"learning_rate": 1e-2, "lr_warmup": 0.0}}


def planned(tree: Tree, **network: Any) -> Plan:
    return make_plan(validate(tree | {"network": tree["network"] | network}))


def run(tree: Tree, name: str = "mine", **network: Any) -> Outcome:
    named = tree | {"output": tree["output"] | {"name": name, "save_precision": "float"}}
    return start_run(planned(named, **network), lambda event, facts: None)


def tensors(outcome: Outcome) -> dict[str, torch.Tensor]:
    assert outcome.lora is not None
    return safetensors.torch.load_file(outcome.lora)


_plain: dict[str, torch.Tensor] = {}


@pytest.fixture
def plain(small: Tree) -> dict[str, torch.Tensor]:
    """The LoRA of a run without options; the same in every test, so it is trained once."""
    if not _plain:
        _plain.update(tensors(run(small, "plain")))
    return _plain


def same(a: Outcome, b: Outcome) -> bool:
    one, two = tensors(a), tensors(b)
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_and_the_file_does_what_was_trained(small: Tree, kind: str) -> None:
    """Eight updates on the same readings: the loss with the file loaded is far below the base model's."""
    small["optimizer"]["learning_rate"] = 0.3 if kind == "ia3" else 0.1  # one number for each channel moves little
    small["data"] |= {"resolution": 64}
    small["training"] |= {"epochs": 2}
    small["output"]["save_precision"] = "float"
    plan = planned(small, **KINDS[kind])
    trainer = assemble(plan)
    batches = plan.group(0)[1]

    def loss(of: Trainer) -> float:
        with torch.no_grad():
            value = float(of.step.losses_of(0, batches[0]).mean())
        of.moment.end()
        return value

    trainer.moment.end()
    before = loss(trainer)
    outcome = start_run(plan, lambda event, facts: None)
    assert outcome.lora is not None
    for layers in trainer.adapters.values():  # the file, on the model alone
        for adapter in layers.values():
            detach(adapter)
    with lora_files(trainer.behaviour, trainer.parts, [(outcome.lora, 1.0)]) as changed:
        after = loss(trainer)
    assert changed == len(plan.modules)
    assert after < 0.97 * before


def test_weight_decay_spares_doras_lengths(small: Tree) -> None:
    """They are the model's own weights: pulled to zero, the model itself would fade."""
    small["optimizer"] |= {"name": "AdamW", "arguments": "weight_decay=0.5"}
    trainer = assemble(planned(small, dora=True, rank=2))
    decay = {group["name"]: group["weight_decay"] for group in trainer.state.optimizer.param_groups}
    assert decay == {"lora_te": 0.5, "lora_te lengths": 0.0, "lora_unet": 0.5, "lora_unet lengths": 0.0}
    assert trainer.plan.group_rates.keys() == decay.keys()
    adapter = next(iter(trainer.adapters["lora_unet"].values()))
    lengths, down = (adapter.tensors[name].detach() for name in ("dora_scale", "lora_down.weight"))
    before = lengths.clone(), down.clone()
    for group in trainer.state.optimizer.param_groups:
        group["lr"] = 0.1
    trainer.state.optimizer.step()  # every gradient is zero: whatever moves is moved by the decay
    assert torch.equal(lengths, before[0])
    assert torch.allclose(down, 0.95 * before[1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dylora", "lora", "loha", "lokr"])
def test_random_parts_survive_a_resume_to_the_last_bit(small: Tree, kind: str) -> None:
    shares = {"dropout": 0.3} if kind != "loha" else {"rank_dropout": 0.3}
    narrow = {"rank": 1, "conv_rank": 1} if kind == "lokr" else {}  # or its large factors stay whole
    network = KINDS[kind] | shares | {"module_dropout": 0.3} | narrow
    straight = run(small, "straight", **network)

    def stop(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    named = small | {"output": small["output"] | {"name": "again", "save_precision": "float"}}
    stopped = start_run(planned(named, **network), stop)
    assert stopped.steps == 2
    assert same(resume_run(stopped.run, lambda event, facts: None), straight)


@pytest.mark.parametrize(
    "network",
    [
        {"dropout": 0.5},
        {"rank_dropout": 0.5},
        {"module_dropout": 0.5},
        {"scale_weight_norms": 0.01},
        {"init": "gaussian"},
        {"loraplus_lr_ratio": 4.0},
        {"mid_lr_weight": 0.5},
        {"rs_lora": True},
        {"use_scalar": True},
    ],
    ids=str,
)
def test_each_setting_changes_what_is_learned(
    small: Tree, network: dict[str, Any], plain: dict[str, torch.Tensor]
) -> None:
    other = tensors(run(small, "other", **network))
    assert any(not torch.equal(other[key], plain[key]) for key in plain)


def test_dylora_draws_and_a_unit_changes_what_is_drawn(small: Tree) -> None:
    """Of ten updates the ninth draws; a unit of the whole rank draws nothing."""
    ten = small | {"training": small["training"] | {"epochs": 9, "max_train_steps": 10}}
    lora = run(ten, "lora", rank=8)
    one, two = (run(ten, f"unit{unit}", kind="dylora", rank=8, unit=unit) for unit in (1, 2))
    assert not same(lora, one)
    assert not same(one, two)
    assert same(lora, run(ten, "whole", kind="dylora", rank=8, unit=8))


def test_a_dylora_file_holds_its_ranks_in_their_order(small: Tree) -> None:
    """By what the matrices and what flowed say of each, half and half. Each is as long down as up, but for the
    weakest."""
    trainer = assemble(planned(small, kind="dylora", rank=4))
    for _ in trainer.updates():
        pass
    for layers in trainer.adapters.values():
        for name, adapter in layers.items():
            assert isinstance(adapter, DyLora)
            held = in_file(adapter)
            down, up = held["lora_down.weight"].flatten(1), held["lora_up.weight"].flatten(1)
            assert torch.allclose(up @ down * adapter.plain_scale, adapter.delta().flatten(1), atol=1e-5)
            strengths = up.norm(dim=0) * down.norm(dim=1)
            expected = strengths.clamp(min=float(strengths.max()) * 1e-3).sqrt()
            assert torch.allclose(down.norm(dim=1), expected, rtol=1e-3), name
            own_down, own_up = adapter.down.detach().flatten(1).double(), adapter.up.detach().flatten(1).double()
            turn = down.double() @ torch.linalg.pinv(own_down)
            of_each = torch.ones(4, dtype=torch.float64)
            squares = own_down @ own_down.T, own_up.T @ own_up
            for square, seen, way in zip(squares, adapter.flow.sums.double(), (turn, turn.inverse().T), strict=True):
                assert seen.trace() > 0.5, "it was seen lately"
                of_each *= (way @ (square / square.trace() + seen / seen.trace()) @ way.T).diagonal()
            assert (of_each.diff() <= 1e-6 * of_each[0]).all(), name


class Second(Alone):
    """The second of two processes, which is handed out what the first has."""

    def __init__(self, first: Any) -> None:
        self.first = first

    def hand_out(self, thing: Any) -> Any:
        assert len(thing) == len(self.first)
        return self.first


def test_all_processes_take_the_first_ones_order(small: Tree) -> None:
    trainers = [assemble(planned(small, kind="dylora", rank=4)) for _ in range(2)]
    orders: list[list[torch.Tensor]] = []
    for number, trainer in enumerate(trainers):
        torch.manual_seed(number)  # each sees other samples
        every = [adapter for layers in trainer.adapters.values() for adapter in layers.values()]
        for adapter in every:
            assert isinstance(adapter, DyLora)
            with torch.no_grad():
                adapter.up.copy_(torch.randn(adapter.up.shape, generator=torch.Generator().manual_seed(1)))
            adapter.flow.add(torch.randn(9, 4), torch.randn(9, 4))  # settled with the update
        own = [adapter.order for adapter in every if isinstance(adapter, DyLora)]
        settle_ranks(trainer.adapters, 8, 10, True, Second(orders[0]) if number else Alone())
        orders.append([order.clone() for order in own])
    assert all(torch.equal(one, other) for one, other in zip(*orders, strict=True))
    settle_ranks(trainers[1].adapters, 8, 10, True, Alone())
    alone = [adapter.order for layers in trainers[1].adapters.values() for adapter in layers.values()]  # type: ignore[attr-defined]
    assert not all(torch.equal(one, other) for one, other in zip(orders[0], alone, strict=True))


def test_lora_fa_keeps_its_down_matrices(small: Tree) -> None:
    fresh = assemble(planned(small))
    trained = tensors(run(small, kind="lora_fa"))
    for layers in fresh.adapters.values():
        for name, adapter in layers.items():
            assert torch.equal(trained[f"{name}.lora_down.weight"], adapter.tensors["lora_down.weight"])
    assert any(tensor.any() for key, tensor in trained.items() if key.endswith("lora_up.weight"))


def test_a_limit_on_norms_is_kept_and_reported(small: Tree) -> None:
    outcome = run(small, scale_weight_norms=0.005)
    held = tensors(outcome)
    for key, up in held.items():
        if key.endswith("lora_up.weight"):
            name = key.removesuffix(".lora_up.weight")
            change = up.flatten(1) @ held[f"{name}.lora_down.weight"].flatten(1) * held[f"{name}.alpha"] / 8
            assert change.norm() <= 0.005 * 1.001
    last = list(rows(outcome.run.metrics))[-1]
    assert last["norms_scaled"] > 0
    assert last["norm_largest"] == pytest.approx(0.005, rel=1e-3)
    assert 0 < last["norm_mean"] <= last["norm_largest"]


def test_nothing_is_drawn_between_updates(small: Tree) -> None:
    """Whoever draws or judges between two updates sees the whole network, every time the same."""
    trainer = assemble(planned(small, kind="dylora", rank=4, dropout=0.5, module_dropout=0.5))
    layer = next(iter(trainer.adapters["lora_unet"].values())).layer
    x = torch.randn(2, layer.weight.shape[1], 4, 4)
    for _ in trainer.updates():
        assert trainer.moment.samples is None
        assert torch.equal(layer(x), layer(x))


def test_a_sample_draws_the_same_in_any_company(small: Tree) -> None:
    trainer = assemble(planned(small, dropout=0.5, rank_dropout=0.5, module_dropout=0.5))
    with torch.no_grad():
        for layers in trainer.adapters.values():
            for adapter in layers.values():
                adapter.tensors["lora_up.weight"].normal_(generator=torch.Generator().manual_seed(1))
        batch = next(b for b in trainer.plan.group(0)[1] + trainer.plan.group(1)[1] if len(b.reads) == 2)
        together = trainer.step.losses_of(0, batch)
        alone = torch.cat([trainer.step.losses_of(0, type(batch)(batch.bucket, (read,))) for read in batch.reads])
    assert torch.allclose(together, alone, rtol=1e-4)


@pytest.mark.parametrize(
    ("network", "module", "arguments"),
    [
        ({}, "networks.lora", None),
        ({"kind": "locon", "rank": 4}, "networks.lora", {"conv_dim": "4", "conv_alpha": "1.0"}),
        ({"conv_rank": 2, "conv_alpha": 0.5}, "networks.lora", {"conv_dim": "2", "conv_alpha": "0.5"}),
        ({"kind": "dylora", "rank": 4, "unit": 2}, "networks.dylora", {"unit": "2"}),
        ({"kind": "lora_fa"}, "networks.lora_fa", None),
        ({"kind": "loha"}, "lycoris.kohya", {"algo": "loha", "preset": "attn-mlp"}),
        (
            {"kind": "lokr", "factor": 4, "decompose_both": True},
            "lycoris.kohya",
            {"algo": "lokr", "preset": "attn-mlp", "factor": "4", "decompose_both": "True"},
        ),
        ({"kind": "ia3"}, "lycoris.kohya", {"algo": "ia3", "preset": "ia3"}),
        (
            {"dora": True},
            "lycoris.kohya",
            {"algo": "lora", "preset": "attn-mlp", "dora_wd": "True", "wd_on_output": "False"},
        ),
        (
            {"down_lr_weight": "sine", "block_dims": [4] * 25, "loraplus_lr_ratio": 4.0, "rank_dropout": 0.1},
            "networks.lora",
            {
                "down_lr_weight": "sine",
                "block_dims": ",".join("4" * 25),
                "loraplus_lr_ratio": "4.0",
                "rank_dropout": "0.1",
            },
        ),
    ],
    ids=str,
)
def test_metadata_name_the_module_that_can_load_the_file(
    small: Tree, network: dict[str, Any], module: str, arguments: dict[str, str] | None
) -> None:
    from tehon.planning.network_facts import network_facts
    from tehon.weights.metadata import kohya_metadata

    metadata = kohya_metadata(network_facts(planned(small, **network)))
    assert metadata["ss_network_module"] == module
    assert json.loads(metadata.get("ss_network_args", "null")) == arguments


def test_every_save_is_checked_by_the_rules_of_other_programs(small: Tree) -> None:
    outcome = run(small, kind="loha", conv_rank=2)
    (checked,) = [row for row in rows(outcome.run.events) if row["event"] == "checked"]
    assert [(row["reader"], row["matched"], row["total"], row["known"]) for row in checked["readers"]] == [
        ("A1111", 97, 97, True),
        ("ComfyUI and Forge", 97, 97, True),
        ("diffusers", 0, 97, False),
    ]
    assert outcome.lora is not None
    assert len(read_header(outcome.lora).layers()) == 97
    assert Path(outcome.lora).exists()


def test_a_run_that_learns_too_little_for_fp16_says_so_once(small: Tree) -> None:
    small["optimizer"]["learning_rate"] = 1e-9
    small["output"]["save_every_n_steps"] = 1
    outcome = start_run(planned(small), lambda event, facts: None)
    found = rows(outcome.run.events)
    said = [row["text"] for row in found if row["event"] == "notice" and "so small that fp16 made" in row["text"]]
    assert len([row for row in found if row["event"] == "lora_saved"]) == 3
    assert [text.partition(" of the LoRA")[0] for text in said] == ["48 tensors"]
