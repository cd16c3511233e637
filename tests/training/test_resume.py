"""Going on with a run: to the last bit where nothing has changed, and with a list of changes where something has."""

import os
import signal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import tomllib
import torch
from safetensors.torch import load_file

from tehon.catalog.header import read_header
from tehon.cli.main import main
from tehon.messages.problem import Problem
from tehon.runs.layout import RunDirectory
from tehon.runs.read import rows, state_step, states
from tehon.runs.record import keep_rows
from tehon.settings.files import load_settings
from tehon.training.run import Outcome, resume_run, start_run
from tehon.training.state import read_state
from tehon.training.step import Step
from trainings import merged, planned, quiet

Tree = dict[str, Any]


def body(lora: Path | None) -> str:
    """The sha256 of a LoRA's tensors, as the file itself states it."""
    assert lora is not None
    return read_header(lora).metadata["sshs_model_hash"]


def back_to(outcome: Outcome, step: int) -> RunDirectory:
    """The run as if its process had been killed after saving the state of this step."""
    for file in states(outcome.run):
        if state_step(file) != step:
            file.unlink()
    assert outcome.lora is not None
    outcome.lora.unlink()
    return outcome.run


def with_optimizer(name: str, **settings: Any) -> Tree:
    return {"optimizer": {"name": name, "lr_scheduler": "constant", **settings}}


CASES: dict[str, Tree] = {
    "the average of the weights": {"training": {"ema_decay": 0.9}},
    "Adafactor": with_optimizer("Adafactor"),
    "AdamW8bit, samples": with_optimizer("AdamW8bit")
    | {"network": {"rank": 8}, "samples": {"prompts": "a --w 64 --h 64 --s 1", "every_n_steps": 1}},
    "Prodigy": with_optimizer("Prodigy", learning_rate=1.0, unet_lr=1.0, text_encoder_lr=1.0),
    "captions by chance, two processes reading": {
        "data": {"shuffle_caption": True, "caption_dropout_rate": 0.3, "caption_tag_dropout_rate": 0.3},
        "feed": {"cache_latents": False, "max_data_loader_n_workers": 2},
    },
    "dylora, accumulation, dropout": {
        "network": {"kind": "dylora", "unit": 1, "dropout": 0.2},
        "training": {"gradient_accumulation_steps": 3, "epochs": 18, "max_train_steps": 12},
    },
}


def test_going_on_between_the_order_of_ranks_and_the_update_that_draws_is_the_straight_run(tree: Tree) -> None:
    """Of fifty, it is the one after step 40."""
    changes: dict[str, dict[str, Any]] = {
        "network": {"kind": "dylora", "unit": 1},
        "training": {"epochs": 99, "max_train_steps": 50},
        "output": {"save_state_every_n_steps": 8, "save_last_n_states": 0, "save_precision": "float"},
    }
    straight = start_run(planned(tree, **changes), quiet)
    before = body(straight.lora)
    assert body(resume_run(back_to(straight, 40), quiet).lora) == before


def test_an_update_that_failed_leaves_nothing_in_what_flowed(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    changes: dict[str, dict[str, Any]] = {
        "network": {"kind": "dylora", "unit": 1},
        "training": {"gradient_accumulation_steps": 2, "epochs": 9, "max_train_steps": 4},
        "output": {"save_precision": "float"},
    }
    before = body(start_run(planned(tree, **changes), quiet).lora)
    own, batches = Step.given, count(1)

    def failing(step: Step, *words: Any, **more: Any) -> Any:
        if next(batches) == 6:  # the second of the third update
            raise OSError("the disk is gone")
        return own(step, *words, **more)

    monkeypatch.setattr(Step, "given", failing)
    changes["output"] |= {"name": "failed"}
    with pytest.raises(OSError, match="the disk is gone"):
        start_run(planned(tree, **changes), quiet)
    monkeypatch.undo()
    (run,) = [run for run in (Path(tree["output"]["folder"]) / "runs").iterdir() if "failed" in run.name]
    resumed = resume_run(RunDirectory(run), quiet)
    assert [row["step"] for row in rows(resumed.run.metrics)] == [1, 2, 3, 4]
    assert body(resumed.lora) == before


@pytest.mark.parametrize("name", CASES)
def test_going_on_in_the_middle_of_an_epoch_is_the_straight_run(tree: Tree, name: str) -> None:
    every = {"output": {"save_state_every_n_steps": 1, "save_last_n_states": 0, "save_precision": "float"}}
    case = merged(CASES[name], every)
    plan = planned(tree, **case)
    straight = start_run(plan, quiet)
    before = body(straight.lora)
    at = next(step for step in range(plan.steps // 2, plan.steps) if step % plan.steps_per_epoch)
    for step in (at, plan.steps - 1):
        resumed = resume_run(back_to(straight, step), quiet)
        assert body(resumed.lora) == before
        assert [row["step"] for row in rows(resumed.run.metrics)] == list(range(1, plan.steps + 1))
    if "8bit" in name:
        memory = read_state(states(straight.run)[0])["optimizer"]["state"]
        assert "torch.uint8" in repr(memory), "of weights as few as these other programs keep 32 bits"


def test_a_damaged_state_is_passed_over_and_said(tree: Tree) -> None:
    straight = start_run(planned(tree, output={"save_state_every_n_steps": 1, "save_last_n_states": 3}), quiet)
    before = body(straight.lora)
    assert straight.lora is not None
    straight.lora.unlink()
    newest, middle, _ = states(straight.run)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    newest.write_bytes(content)
    middle.write_bytes(middle.read_bytes()[:500])
    told: list[str] = []
    resumed = resume_run(straight.run, lambda name, facts: told.append(facts.get("text", "")))
    assert any(f"{middle} is damaged; the run goes on from the one before it, of step 2" in text for text in told)
    assert body(resumed.lora) == before
    for file in states(straight.run):
        file.write_bytes(b"")
    with pytest.raises(Problem, match="no whole one before it"):
        resume_run(straight.run, quiet)


def test_changes_are_listed_and_refused_unless_allowed_by_name(tree: Tree) -> None:
    def stop(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    run = start_run(planned(tree), stop).run
    caption = next(Path(tree["data"]["folder"]).rglob("01.txt"))
    caption.write_text("something else")
    settings = run.settings.read_text()
    run.settings.write_text(settings.replace("max_grad_norm = 1.0", "max_grad_norm = 2.0"))
    with pytest.raises(Problem) as refused:
        resume_run(run, quiet)
    assert "changed: optimizer.max_grad_norm (1.0 → 2.0); data (01.png);" in str(refused.value)
    assert "--allow-changes optimizer.max_grad_norm data" in str(refused.value)
    with pytest.raises(Problem, match=r"changed: data \(01.png\)"):
        resume_run(run, quiet, allowed=["optimizer.max_grad_norm"])
    with pytest.raises(Problem, match="max_grad_nrm is nothing that is compared"):
        resume_run(run, quiet, allowed=["max_grad_nrm"])
    with pytest.raises(Problem, match="does not fit the network"):
        resume_run(run, quiet, {"network.rank": 3}, ["optimizer.max_grad_norm", "data"])
    assert "rank = 2\n" in run.settings.read_text(), "what can't be is not what the run is from now on"
    run.settings.write_text(settings)
    new = {"optimizer.learning_rate": 1e-3}
    resumed = resume_run(run, stop, new, ["data"])
    assert resumed.lora, "the state of step 2 was of the last but two steps"
    rates = {row["step"]: row["rates"]["lora_unet"] for row in rows(run.metrics)}
    plain, raised = planned(tree), planned(tree, optimizer={"learning_rate": 1e-3})
    assert rates == {s + 1: (plain if s < 2 else raised).rate("lora_unet", s) for s in range(4)}
    assert "learning_rate = 0.001" in run.settings.read_text(), "what is allowed is what the run now is"


@pytest.mark.parametrize(
    ("training", "options"),
    [
        ({"epochs": 3, "max_train_steps": 2}, {"training.max_train_steps": 4}),
        ({"epochs": 3, "max_train_epochs": 1}, {"training.max_train_epochs": 2}),
        ({"epochs": 1, "max_train_steps": 4}, {"training.epochs": 2, "training.max_train_steps": 8}),
    ],
)
def test_a_finished_run_tells_what_ended_it_and_that_makes_it_longer(
    tree: Tree, training: Tree, options: dict[str, int]
) -> None:
    done = start_run(planned(tree, training=training), quiet)
    words = " ".join(f"--{name} {value}" for name, value in options.items())
    with pytest.raises(Problem, match=rf"raise what ends it, like {words}\.$"):
        resume_run(done.run, quiet)
    assert resume_run(done.run, quiet, options).steps > done.steps


def test_a_finished_run_can_be_made_longer_and_is_then_the_long_run(tree: Tree) -> None:
    steady = {"optimizer": {"lr_scheduler": "constant"}}
    long = start_run(planned(tree, **steady, training={"epochs": 2}, output={"name": "long"}), quiet)
    short = start_run(planned(tree, **steady), quiet)
    with pytest.raises(
        Problem, match=r"finished its 4 steps; to make it longer, raise what ends it, like --training.epochs 2\.$"
    ):
        resume_run(short.run, quiet)
    extended = resume_run(short.run, quiet, {"training.epochs": 2})
    assert body(extended.lora) == body(long.lora)
    folder = Path(tree["output"]["folder"])
    assert body(folder / "mine-000001.safetensors") == body(folder / "long-000001.safetensors")
    with pytest.raises(Problem, match="step 8, but the run is to have 4 steps"):
        resume_run(short.run, quiet, {"training.epochs": 1})


def test_what_one_resume_says_holds_for_the_next(tree: Tree) -> None:
    short = start_run(planned(tree, optimizer={"name": "SGDNesterov", "arguments": "weight_decay=0.1"}), quiet)
    said = {"training.epochs": 2, "optimizer.unet_lr": 5e-5, "optimizer.arguments": "weight_decay=0.5"}
    resume_run(short.run, quiet, said)
    resume_run(short.run, quiet, {"training.epochs": 3})
    held = load_settings(short.run.settings, {})
    assert (held.optimizer.unet_lr, held.training.epochs) == (5e-5, 3)
    saved = read_state(states(short.run)[-1])["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in saved} == {0.5}


def test_a_state_of_other_groups_of_weights_is_refused_and_the_run_stays_what_it_was(tree: Tree) -> None:
    first = {"optimizer": {"name": "Adafactor"}, "network": {"loraplus_lr_ratio": 4.0}}
    short = start_run(planned(tree, **first), quiet)
    files = short.run.origin, short.run.data, short.run.settings
    before = [file.read_bytes() for file in files]
    with pytest.raises(Problem, match="other groups of weights"):
        resume_run(short.run, quiet, {"training.epochs": 2, "network.loraplus_lr_ratio": 8.0})
    assert [file.read_bytes() for file in files] == before
    assert resume_run(short.run, quiet, {"training.epochs": 2}).lora


@pytest.mark.parametrize("name", ["Lion", "SGDNesterov", "AdEMAMix8bit"])
def test_the_memory_of_another_optimizer_is_refused_and_the_run_stays_what_it_was(tree: Tree, name: str) -> None:
    """Each of these takes AdamW8bit's memory, and would fail at its first step or go by numbers of another meaning."""
    short = start_run(planned(tree, **with_optimizer("AdamW8bit")), quiet)
    files = short.run.origin, short.run.data, short.run.settings
    before = [file.read_bytes() for file in files]
    with pytest.raises(Problem, match=f"does not fit .*AdamW8bit → {name}"):
        resume_run(short.run, quiet, {"training.epochs": 2, "optimizer.name": name})
    with pytest.raises(Problem, match=f"does not fit .*AdamW8bit → {name}"):
        start_run(planned(tree, training={"resume": str(short.run.path)}, **with_optimizer(name)), quiet)
    assert [file.read_bytes() for file in files] == before
    assert resume_run(short.run, quiet, {"training.epochs": 2, "optimizer.name": "adamw8BIT"}).lora


def test_arguments_that_need_more_memory_than_was_saved_are_refused_and_the_run_stays_what_it_was(tree: Tree) -> None:
    short = start_run(planned(tree, **with_optimizer("Adafactor")), quiet)
    newest = states(short.run)[0]
    files = short.run.origin, short.run.data, short.run.settings, newest
    before = [file.read_bytes() for file in files]
    with pytest.raises(Problem, match=r"does not fit .*exp_avg"):
        resume_run(short.run, quiet, {"training.epochs": 2, "optimizer.arguments": "beta1=0.9"})
    assert [file.read_bytes() for file in files] == before
    tried = resume_run(short.run, quiet, {"training.epochs": 2, "optimizer.arguments": "clip_threshold=1.0"})
    plain = start_run(
        planned(tree, training={"epochs": 2}, output={"name": "plain"}, **with_optimizer("Adafactor")), quiet
    )
    assert body(tried.lora) == body(plain.lora), "the trial left nothing, and 1 is the threshold without that argument"


def test_a_new_run_goes_on_where_another_stood(tree: Tree) -> None:
    first = start_run(planned(tree, output={"save_state_every_n_steps": 2}), quiet)
    at = {"resume": str(first.run.state_file(2))}
    with pytest.raises(Problem, match=r"changed: optimizer.max_grad_norm \(1.0 → 1e-09\);"):
        start_run(planned(tree, training=at, optimizer={"max_grad_norm": 1e-9}, output={"name": "two"}), quiet)
    same = start_run(planned(tree, training=at, output={"name": "two"}), quiet)
    assert body(same.lora) == body(first.lora)
    allowed = at | {"allow_changes": ["optimizer.max_grad_norm"]}
    other = start_run(
        planned(tree, training=allowed, optimizer={"max_grad_norm": 1e-9}, output={"name": "three"}), quiet
    )
    assert body(other.lora) != body(first.lora)
    assert [row["step"] for row in rows(other.run.metrics)] == [3, 4]


@pytest.mark.parametrize("place", ["state", "run"])
def test_an_empty_seed_is_the_one_of_the_run_that_is_resumed(tree: Tree, place: str) -> None:
    first = start_run(planned(tree, training={"seed": 11}, output={"save_state_every_n_steps": 2}), quiet)
    at = {"resume": str(first.run.state_file(2) if place == "state" else first.run.path), "seed": None}
    if place == "run":
        first.run.state_file(4).unlink()
    plan = planned(tree, training=at, output={"name": "two"})
    assert plan.settings.training.seed == 11
    second = start_run(plan, quiet)
    assert body(second.lora) == body(first.lora)
    assert tomllib.loads(second.run.settings.read_text())["training"]["seed"] == 11
    with pytest.raises(Problem, match=r"changed: training.seed \(11 → 12\);"):
        start_run(planned(tree, training=at | {"seed": 12}, output={"name": "three"}), quiet)


def test_another_seed_keeps_what_is_drawn_and_not_trained(tree: Tree) -> None:
    """LoRA-FA's down matrices: the trained ones fit these and no others."""
    fa = {"network": {"kind": "lora_fa"}, "output": {"save_state_every_n_steps": 2, "save_precision": "float"}}
    first = start_run(planned(tree, **fa), quiet)
    at = {"resume": str(first.run.state_file(2)), "allow_changes": ["training.seed"], "seed": 99}
    other = start_run(planned(merged(tree, fa), training=at, output={"name": "two"}), quiet)
    then, now = (load_file(run.lora) for run in (first, other) if run.lora is not None)
    down = [name for name in then if "lora_down" in name]
    assert down
    assert all(torch.equal(then[name], now[name]) for name in down)
    assert body(other.lora) != body(first.lora), "steps 3 and 4 are drawn from the new seed"
    with pytest.raises(Problem, match="does not fit the network"):
        start_run(
            planned(tree, training=at | {"allow_changes": ["training.seed", "network.kind"]}, output={"name": "four"}),
            quiet,
        )


def test_a_run_that_died_starts_afresh_and_clears_what_it_left(tree: Tree) -> None:
    """Before its first state, with half written lines and files, and with a wish to stop that came too late."""
    straight = start_run(planned(tree, output={"name": "straight"}), quiet)
    died = start_run(planned(tree, training={"max_train_steps": 2}), quiet)
    for file in states(died.run):
        file.unlink()
    with pytest.raises(Problem, match="no saved state to resume from; start it again with tehon train"):
        resume_run(died.run, quiet, {"training.max_train_steps": 0})
    keep_rows(died.run.events, lambda row: row["event"] not in ("state_saved", "finished"))
    assert died.lora is not None
    died.lora.unlink()
    ending = ".tehon-01234567"
    left = [died.run.state / f".step-00000002.pt{ending}", died.run.weights / f".mine.safetensors{ending}"]
    left += [died.lora.with_name(f".mine-000001.safetensors{ending}"), died.run.inbox / "stop"]
    other = died.lora.with_name(f".mine2.safetensors{ending}")
    users = [died.lora.with_name("mine.safetensors.new"), died.lora.with_name(".mine.safetensors.tehon-mine")]
    for file in (*left, other, *users):
        file.write_bytes(b"half")
    for file in (died.run.metrics, died.run.events):
        with file.open("a") as stream:
            stream.write('{"step": 3, "lo')
    told: list[str] = []
    resumed = resume_run(
        died.run, lambda name, facts: told.append(facts.get("text", "")), {"training.max_train_steps": 0}
    )
    assert told[0] == "This run had saved no state yet, so it starts from its beginning."
    assert body(resumed.lora) == body(straight.lora)
    assert [row["step"] for row in rows(died.run.metrics)] == [1, 2, 3, 4]
    assert not any(file.exists() for file in left)
    assert other.exists(), "another run may be writing it"
    assert all(file.exists() for file in users), "a name that only resembles ours is somebody's own"


def test_what_goes_wrong_on_the_way_costs_no_step(tree: Tree) -> None:
    """A picture vanishes in the middle of a run; put back, the run goes on as if nothing had been."""
    changes: Tree = {"feed": {"cache_latents": False}, "training": {"epochs": 2}}
    straight = start_run(planned(tree, **changes, output={"name": "straight"}), quiet)
    picture = next(Path(tree["data"]["folder"]).rglob("02.png"))
    content = picture.read_bytes()

    def vanish(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == 2:
            picture.unlink()

    with pytest.raises(Problem, match=r"02\.png"):
        start_run(planned(tree, **changes), vanish)
    run = RunDirectory(next(Path(tree["output"]["folder"]).glob("runs/mine-2*")))
    last = rows(run.events)[-1]
    assert last["event"] == "failed"
    assert "02.png" in last["reason"]
    assert state_step(states(run)[0]) == rows(run.metrics)[-1]["step"] >= 2
    picture.write_bytes(content)
    assert body(resume_run(run, quiet).lora) == body(straight.lora)


def test_the_generators_of_the_process_are_seeded_kept_and_given_back(tree: Tree) -> None:
    """An optimizer of another library may draw from them."""
    drawn: dict[int, float] = {}

    def draw(name: str, facts: dict[str, Any]) -> None:
        if name == "step":
            drawn[facts["step"]] = float(torch.rand(()))

    outside = torch.random.get_rng_state()
    straight = start_run(planned(tree, output={"save_state_every_n_steps": 2, "save_last_n_states": 0}), draw)
    assert torch.equal(torch.random.get_rng_state(), outside)
    first = dict(drawn)
    drawn.clear()
    resume_run(back_to(straight, 2), draw)
    assert drawn == {3: first[2], 4: first[3]}, "a step is told after its state is saved"


def test_an_option_may_contradict_what_was_only_filled_in(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    """How many states are kept was left open and so became 2, which would keep more than the limit by steps."""
    short = start_run(planned(tree, output={"save_state_every_n_steps": 1}), quiet)
    words = ["resume", str(short.run.path), "--quiet", "--training.epochs", "2"]
    assert main([*words, "--output.save_last_n_steps_state", "3"]) == 0, capsys.readouterr().err
    assert [state_step(file) for file in states(short.run)] == [8, 7, 6, 5]
    more = ["--training.epochs", "3", "--output.save_last_n_states", "3", "--output.save_last_n_steps_state", "1"]
    assert main([*words, *more]) == 0, capsys.readouterr().err
    assert [state_step(file) for file in states(short.run)] == [12, 11, 10], "of both, what keeps more counts"
