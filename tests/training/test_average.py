"""The average of the adapter's weights: by the textbook's formula, used wherever the LoRA is, resumed to the bit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tehon.messages.problem import Problem
from tehon.planning.plan import make_plan
from tehon.runs.read import rows, state_step, states
from tehon.settings.files import validate
from tehon.training.assemble import Trainer, assemble
from tehon.training.average import Average
from tehon.training.run import resume_run, start_run
from tehon.training.state import read_state
from trainings import quiet

Tree = dict[str, Any]


def test_it_is_diffusers_average() -> None:
    """Its EMAModel counts its steps from 1 and begins at the second; the rule of the start is the same."""
    from diffusers.training_utils import EMAModel

    weight = torch.nn.Parameter(torch.randn(5, generator=torch.Generator().manual_seed(1)))
    theirs, ours = EMAModel([weight], decay=0.4), Average(weight.detach(), 0.4)
    for step in range(1, 9):
        weight.data += step
        theirs.step([weight])
        if step > 1:
            ours.follow(weight.detach(), step - 1)
        else:
            ours.weights.copy_(theirs.shadow_params[0])
        assert torch.allclose(ours.weights, theirs.shadow_params[0], rtol=1e-6)


def averaged_by_hand(trainer: Trainer, decay: float) -> torch.Tensor:
    mean = trainer.state.flat.weights.double()
    for report in trainer.updates():
        share = min(decay, (1 + report.step) / (10 + report.step))
        mean = share * mean + (1 - share) * trainer.state.flat.weights.double()
    return mean


def test_what_is_saved_is_the_average(tree: Tree) -> None:
    tree["training"] |= {"ema_decay": 0.5, "epochs": 3}
    tree["network"]["scale_weight_norms"] = 0.01  # what is averaged are the weights as they are after the limit
    tree["optimizer"] = {"learning_rate": 1e-2, "text_encoder_lr": 1e-2}
    tree["output"]["save_precision"] = "float"
    plan = make_plan(validate(tree))
    wanted = averaged_by_hand(trainer := assemble(plan), 0.5)
    outcome = start_run(plan, quiet)
    assert outcome.lora is not None
    tensors = load_file(outcome.lora)
    saved = torch.cat([tensor.flatten() for name, tensor in tensors.items() if "alpha" not in name]).sort().values
    assert torch.allclose(saved, wanted.float().sort().values, rtol=1e-5, atol=1e-8)
    assert not torch.allclose(saved, trainer.state.flat.weights.sort().values, rtol=1e-2)


def test_it_is_drawn_and_measured_too_and_leaves_the_training_alone(tree: Tree) -> None:
    trainer = assemble(make_plan(validate(tree | {"training": tree["training"] | {"ema_decay": 0.9}})))
    for _ in trainer.updates():
        pass
    training = trainer.state.flat.weights.clone()
    assert trainer.state.average is not None
    with trainer.in_use():
        assert torch.equal(trainer.state.flat.weights, trainer.state.average.weights)
    assert torch.equal(trainer.state.flat.weights, training)
    assert not torch.equal(training, trainer.state.average.weights)


@pytest.mark.parametrize("precision", [{}, {"mixed_precision": "fp16", "full_fp16": True}])
def test_a_resumed_run_has_the_average_and_the_scale_of_the_straight_one(tree: Tree, precision: Tree) -> None:
    tree |= {"precision": precision}
    tree["training"] |= {"ema_decay": 0.9, "epochs": 2}
    tree["output"] |= {"save_state_every_n_steps": 1, "save_last_n_states": 0, "save_precision": "float"}
    straight = start_run(make_plan(validate(tree)), quiet)
    before, last = load_file(straight.lora or Path()), read_state(states(straight.run)[0])
    for file in states(straight.run):
        if state_step(file) != 3:
            file.unlink()
    (straight.lora or Path()).unlink()
    resumed = resume_run(straight.run, quiet)
    after, again = load_file(resumed.lora or Path()), read_state(states(resumed.run)[0])
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert torch.equal(last["average"], again["average"])
    assert last.get("scale") == again.get("scale")
    assert ("scale" in last) == bool(precision)
    assert [row["step"] for row in rows(resumed.run.metrics)] == list(range(1, straight.steps + 1))


def test_an_average_that_is_new_at_a_resume_begins_with_the_weights(tree: Tree) -> None:
    plain = assemble(make_plan(validate(tree)))
    for _ in plain.updates():
        break
    other = assemble(make_plan(validate(tree | {"training": tree["training"] | {"ema_decay": 0.9}})))
    other.state.load_state_dict(plain.state.state_dict())
    assert other.state.average is not None
    assert torch.equal(other.state.average.weights, plain.state.flat.weights)


def test_an_average_of_an_average_is_refused(tree: Tree) -> None:
    tree |= {"optimizer": {"name": "AdamWScheduleFree"}}
    tree["training"]["ema_decay"] = 0.9
    with pytest.raises(Problem, match=r"training.ema_decay: AdamWScheduleFree saves an average of its weights already"):
        make_plan(validate(tree))
