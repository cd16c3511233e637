"""Sample pictures on the way: when, under which names, as whose pictures, and that the training does not notice."""

import hashlib
import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tehon.cli.main import main
from tehon.planning.plan import Plan
from tehon.runs.layout import RunDirectory
from tehon.runs.read import rows
from tehon.settings.files import validate
from tehon.training.assemble import assemble
from tehon.training.previews import draw_with, seen_as_saved, unseen
from tehon.training.run import Outcome, resume_run, start_run
from tehon.weights.lora_file import as_saved
from trainings import planned

Tree = dict[str, Any]
SMALL = "--w 64 --h 64 --s 2"


def run(plan: Plan, watch: Any = lambda name, facts: None) -> Outcome:
    return start_run(plan, watch)


def digest(outcome: Outcome) -> str:
    """Of the LoRA's tensors as they lie in the file."""
    assert outcome.lora is not None
    data = outcome.lora.read_bytes()
    return hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


@pytest.fixture
def strong(tree: Tree) -> Tree:
    tree["optimizer"] = {"learning_rate": 1e-2, "text_encoder_lr": 1e-2, "lr_scheduler": "constant"}
    return tree


@pytest.mark.slow
def test_samples_change_nothing_and_are_what_the_saved_file_draws(strong: Tree, tmp_path: Path) -> None:
    """With dropout, whose numbers would show any change to random state; on the demo model, whose pictures show
    something. One thread, as the matrix products of several don't always round alike."""
    strong["model"] = {"path": "demo"}
    strong["data"] |= {"resolution": 64}
    strong["training"] |= {"num_cpu_threads_per_process": 1}
    prompts = f"caption 1 {SMALL} --d 11 --n blue\n(caption:1.3) 2 {SMALL} --ss heun --l 4"
    network = {"dropout": 0.2, "kind": "dylora", "rank": 4, "unit": 2}
    samples = {"prompts": prompts, "every_n_steps": 2, "every_n_epochs": 1, "at_first": True}
    torch.manual_seed(0)
    plain = run(planned(strong, network=network, output={"name": "plain"}))
    state = torch.get_rng_state()
    drawn = run(planned(strong, network=network, samples=samples, output={"name": "drawn"}))
    assert digest(plain) == digest(drawn)
    assert torch.equal(torch.get_rng_state(), state)

    names = sorted(file.name for file in drawn.run.previews.iterdir())
    assert len(names) == 8
    pattern = r"drawn_(base|e000000|000002|e000001)_0[01]_\d{14}_\d+\.png"
    assert all(re.fullmatch(pattern, name) for name in names)
    table = rows(drawn.run.samples)
    assert [(row["step"], row["tag"], row["line"]) for row in table] == [
        *((0, "base", 0), (0, "base", 1), (0, "e000000", 0), (0, "e000000", 1)),
        *((2, "000002", 0), (2, "000002", 1), (4, "e000001", 0), (4, "e000001", 1)),
    ]
    assert table[0]["seed"] == 11
    pixels = [np.asarray(Image.open(drawn.run.previews / row["file"])).astype(int) for row in table]
    assert (pixels[0] == pixels[2]).all(), "a new LoRA changes nothing"
    assert np.abs(pixels[6] - pixels[0]).mean() > 1, "a trained one does"

    model = strong["model"]["path"]
    words = ["sample", model, "caption 1", "--negative", "blue", "--seed", "11", "--width", "64", "--height", "64"]
    assert main([*words, "--steps", "2", "--lora", str(drawn.lora), "--out", str(tmp_path / "user")]) == 0
    theirs = np.asarray(Image.open(tmp_path / "user" / "00_11.png")).astype(int)
    assert np.abs(pixels[6] - theirs).max() <= 2, "the file, loaded by a user, draws the last sample"


@pytest.mark.parametrize(("network", "size"), [({}, 0.3), ({"kind": "loha", "use_scalar": True}, 0.5)], ids=str)
def test_the_network_is_seen_as_saved_or_not_at_all_and_then_is_itself_again(
    strong: Tree, network: Tree, size: float
) -> None:
    trainer = assemble(planned(strong, samples={"prompts": f"a {SMALL}"}, network=network))
    weights, generator = trainer.state.flat.weights, torch.Generator().manual_seed(1)
    with torch.no_grad():
        weights.add_(torch.randn(weights.shape, generator=generator) * size)
    before = trainer.state.flat.weights.clone()
    file = as_saved(_tensors(trainer), "bf16")
    prompt = trainer.plan.samples.prompts[0]

    def drawn() -> torch.Tensor:
        return draw_with(trainer.behaviour, trainer.parts, 1, prompt).int()

    own = drawn()
    with seen_as_saved(trainer.adapters, file):
        assert torch.equal(weights, weights.bfloat16().float())
        rounded = drawn()
    assert torch.equal(trainer.state.flat.weights, before)
    with unseen(trainer.adapters):
        base = drawn()
    assert torch.equal(drawn(), own)
    assert (own - rounded).abs().max() > 0
    assert (own - base).float().abs().mean() > 1
    with pytest.raises(RuntimeError, match="broken"), seen_as_saved(trainer.adapters, file):
        raise RuntimeError("broken")
    assert torch.equal(trainer.state.flat.weights, before)


def _tensors(trainer: Any) -> dict[str, torch.Tensor]:
    from tehon.training.attach import file_tensors

    return file_tensors(trainer.adapters)


def test_the_file_of_prompts_may_change_on_the_way_and_a_request_draws_now(strong: Tree, tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text(f"one {SMALL}", "utf8")
    notices: list[str] = []

    def watch(name: str, facts: dict[str, Any]) -> None:
        inbox = next((tmp_path / "out" / "runs").glob("*/inbox"))
        if name == "notice":
            notices.append(facts["text"])
        if name == "started":
            assert main(["preview", str(inbox.parent)]) == 0
        if (name, facts.get("step")) == ("step", 1):
            file.write_text(f"one {SMALL} --l x", "utf8")
        if (name, facts.get("step")) == ("step", 2):
            file.write_text(f"two {SMALL}", "utf8")

    samples = {"prompts_file": str(file), "every_n_steps": 2}
    outcome = run(planned(strong, samples=samples), watch)
    assert [(row["step"], row["tag"], row["prompt"]) for row in rows(outcome.run.samples)] == [
        *((0, "base", "one"), (1, "000001", "one"), (2, "000002", "one")),
        *((0, "base", "two"), (4, "000004", "two")),
    ]
    assert len(notices) == 1
    assert "prompt 1 cannot be drawn (scale x)" in notices[0]
    assert notices[0].endswith("Until then the samples keep the prompts that they had.")
    assert not list(outcome.run.inbox.iterdir())
    text = Image.open(outcome.run.previews / rows(outcome.run.samples)[-1]["file"]).text["parameters"]  # type: ignore
    assert main(["preview", str(outcome.run.path)]) == 2, "it has finished"
    assert text.startswith("two\nSteps: 2, Sampler: euler_a, CFG scale: 7.5, Seed: ")


LINUX = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory"
WINDOWS = "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory"


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("out of memory\nmore"), RuntimeError(LINUX), RuntimeError(WINDOWS), MemoryError()],
    ids=["cuda", "linux", "windows", "python"],
)
def test_without_prompts_a_request_is_answered_and_without_memory_the_run_goes_on(
    tree: Tree, error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ask(name: str, facts: dict[str, Any]) -> None:
        if name == "started":
            next((tmp_path / "out" / "runs").glob("*/inbox")).joinpath("preview").touch()

    def notices(outcome: Outcome) -> list[str]:
        return [row["text"] for row in rows(outcome.run.events) if row["event"] == "notice"]

    short = {"max_train_steps": 1}
    assert notices(run(planned(tree, training=short), ask)) == [
        "Step 1: there are no sample prompts, so nothing was drawn."
    ]

    def full(*anything: Any) -> Any:
        raise error

    monkeypatch.setattr("tehon.training.previews.sample", full)
    samples = {"prompts": "a", "every_n_steps": 1}
    outcome = run(planned(tree, training=short, samples=samples, output={"name": "full"}))
    assert outcome.lora is not None
    assert len(notices(outcome)) == 3
    reason = str(error).partition("\n")[0] or "MemoryError"
    assert notices(outcome)[-1] == f"Step 1: samples were left out ({reason}); the training goes on."


def test_people_are_told_where_the_samples_are(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.json.toml"
    from tehon.settings.files import to_toml

    tree["samples"] = {"prompts": f"a {SMALL}", "every_n_steps": 1}
    config.write_text(to_toml(validate(tree)), "utf8")
    assert main(["train", str(config), "--training.max_train_steps", "1"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"Samples of step 1: .*previews", shown)
    assert json.loads((next(tmp_path.glob("out/runs/*")) / "samples.jsonl").read_text("utf8").splitlines()[0])


@pytest.mark.parametrize("end", ["death", "stop"])
def test_pictures_that_were_left_out_are_drawn_when_the_run_goes_on(
    tree: Tree, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies over the second picture of step 2, or is asked to stop during the first."""
    samples = {"prompts": f"one {SMALL}\ntwo {SMALL}", "every_n_steps": 2}
    plan = planned(tree, samples=samples, output={"save_state_every_n_steps": 1})
    drawn: list[str] = []

    def draw(behaviour: Any, parts: Any, clip_skip: int, prompt: Any) -> torch.Tensor:
        drawn.append(prompt.prompt)
        if len(drawn) == 3 and end == "stop":
            os.kill(os.getpid(), signal.SIGTERM)
        if len(drawn) == 4 and end == "death":
            raise KeyboardInterrupt
        return torch.zeros(64, 64, 3, dtype=torch.uint8)

    monkeypatch.setattr("tehon.training.observers.draw_with", draw)
    if end == "stop":
        assert start_run(plan, lambda name, facts: None).steps == 2
    else:
        with pytest.raises(KeyboardInterrupt):
            start_run(plan, lambda name, facts: None)
    (path,) = Path(tree["output"]["folder"]).glob("runs/mine-2*")
    run = RunDirectory(path)
    assert [row["prompt"] for row in rows(run.samples)] == ["one", "two", "one"]
    drawn += ["", ""]  # nothing more goes wrong
    for junk in ("mine_000002_01_20260101000000_5.png", ".mine_000002_01_20260101000000_5.png.tehon-01234567"):
        (run.previews / junk).write_bytes(b"half")
    resume_run(run, lambda name, facts: None)
    table = rows(run.samples)
    assert [(row["step"], row["prompt"]) for row in table[2:]] == [(2, "one"), (2, "two"), (4, "one"), (4, "two")]
    assert sorted(row["file"] for row in table) == sorted(file.name for file in run.previews.iterdir())
