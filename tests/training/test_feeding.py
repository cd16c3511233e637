"""Every setting of the feed in a training: what it changes, and that nothing else does."""

import copy
import os
import signal
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from tehon.catalog.detect import find_model
from tehon.data.feed.cache import ArrayCache
from tehon.data.feed.loader import Loader
from tehon.families.family import behaviour_of
from tehon.families.sd import StableDiffusion
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan
from tehon.runs.read import rows
from tehon.training.assemble import assemble
from tehon.training.run import Outcome, resume_run, start_run
from trainings import planned, quiet

Tree = dict[str, Any]
Changes = dict[str, Any]
MOVING = {"random_crop": True, "flip_aug": True, "color_aug": True}


@pytest.fixture(scope="module")
def pristine(nano: Path) -> Any:
    """The model as it is loaded."""
    model = find_model(str(nano))
    parts: Any = behaviour_of(model.family).load(model, torch.float32, torch.device("cpu"))
    assert [parts.vae, parts.tokenizers], "loaded once for all copies"
    return parts


@pytest.fixture(autouse=True)
def _load_by_copying(pristine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copying a loaded model takes a tenth of the time of loading it, and these tests need a hundred."""

    def load(*_: Any) -> Any:
        parts = copy.copy(pristine)
        parts.text_encoder, parts.unet = copy.deepcopy(pristine.text_encoder), copy.deepcopy(pristine.unet)
        return parts

    monkeypatch.setattr(StableDiffusion, "load", load)


@pytest.fixture
def grain(tree: Tree) -> Tree:
    """The quick run with pictures in which mirroring and cropping show, all with room to crop; four reads an epoch."""
    parent = Path(tree["data"]["folder"])
    (parent / "2_red thing").rename(parent / "1_red thing")
    (parent / "3_blue").rename(parent / "2_blue")
    for n, file in enumerate(sorted(parent.rglob("*.png"))):
        with Image.open(file) as old:
            size = old.width + 8, old.height + 8
        coarse = np.random.default_rng(n).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(coarse).resize(size).save(file)
    tree["data"]["resolution"] = 64
    return tree


def losses(plan: Plan, epochs: int = 1) -> list[float]:
    """The losses of the readings of the first epochs; the adapters do nothing yet, so they don't depend on order."""
    trainer = assemble(plan)
    trainer.latents.expect(lambda: iter(()))
    found: dict[tuple[int, int, int], float] = {}
    with torch.no_grad():
        for step in range(min(epochs * plan.steps_per_epoch, plan.steps)):
            trainer.texts.prepare(step)
            epoch, batches = plan.group(step)
            for batch in batches:
                for read, loss in zip(batch.reads, trainer.step.losses_of(epoch, batch).tolist(), strict=True):
                    found[epoch, read.picture, read.repeat] = loss
    trainer.latents.close()
    return [found[key] for key in sorted(found)]


def tensors(outcome: Outcome) -> dict[str, torch.Tensor]:
    assert outcome.lora is not None
    return safetensors.torch.load_file(outcome.lora)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each call of the VAE got."""
    sizes: list[int] = []
    encode = StableDiffusion.encode_image

    def watched(self: StableDiffusion, parts: Any, pictures: torch.Tensor) -> Any:
        sizes.append(len(pictures))
        return encode(self, parts, pictures)

    monkeypatch.setattr(StableDiffusion, "encode_image", watched)
    return sizes


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The captions that the text encoder read."""
    captions: list[str] = []
    tokens = StableDiffusion.tokens

    def watched(self: StableDiffusion, parts: Any, some: Any, **options: Any) -> Any:
        captions.extend(some)
        return tokens(self, parts, some, **options)

    monkeypatch.setattr(StableDiffusion, "tokens", watched)
    return captions


def disk(tmp_path: Path) -> Changes:
    return {"cache_latents_to_disk": True, "cache_folder": str(tmp_path / "cache")}


def test_latents_are_the_same_in_memory_on_disk_and_without_cache(grain: Tree, tmp_path: Path) -> None:
    """To the last bit where the same batches are encoded, and up to rounding where they are others."""
    flips = {"flip_aug": True}
    memory = losses(planned(grain, data=flips))
    assert losses(planned(grain, data=flips, feed=disk(tmp_path))) == memory
    assert losses(planned(grain, data=flips, feed=disk(tmp_path))) == memory, "from the disk"
    assert losses(planned(grain, data=flips, feed={"cache_latents": False})) == pytest.approx(memory, rel=1e-4)


def test_a_cache_is_encoded_once_and_no_cache_at_each_reading(grain: Tree, tmp_path: Path, encoded: list[int]) -> None:
    epochs = {"epochs": 2}
    for feed, count in (({}, 3), (disk(tmp_path), 3), (disk(tmp_path), 0), ({"cache_latents": False}, 8)):
        encoded.clear()
        losses(planned(grain, training=epochs, feed=feed), epochs=2)
        assert sum(encoded) == count


def test_after_a_change_exactly_what_must_be_is_encoded_again(grain: Tree, tmp_path: Path, encoded: list[int]) -> None:
    def count(**changes: Changes) -> int:
        encoded.clear()
        assemble(planned(grain, feed=disk(tmp_path), **changes))
        return sum(encoded)

    pictures = sorted(Path(grain["data"]["folder"]).rglob("*.png"))
    assert count() == 3
    pictures[0].with_suffix(".txt").write_text("another caption")
    assert count() == 0, "a caption"
    Image.effect_noise((80, 72), 50).convert("RGB").save(pictures[1])
    assert count() == 1, "a picture"
    assert count(data={"resolution": 96}) == 3, "the resolution"
    assert count(data={"flip_aug": True}) == 3, "the mirrored ones"
    assert count(data={"background": "red", "resize_interpolation": "nearest"}) == 3
    pictures[2].rename(pictures[2].with_name("renamed.png"))
    assert count() == 0, "a name"
    assert count(data={"resolution": 96}) == 0, "what was known before"


def test_two_runs_share_a_cache_at_the_same_time(grain: Tree, tmp_path: Path, encoded: list[int]) -> None:
    plan = planned(grain, feed=disk(tmp_path))
    first = ArrayCache(tmp_path / "cache" / "latents")  # is open while the second one writes
    expected = losses(plan)
    first.put(b"k" * 16, np.zeros(4, np.float32))
    first.close()
    encoded.clear()
    assert losses(plan) == expected
    assert encoded == []


def test_a_damaged_cache_is_repaired_with_a_notice(grain: Tree, tmp_path: Path) -> None:
    plan = planned(grain, feed=disk(tmp_path))
    whole = losses(plan)
    shard = next((tmp_path / "cache" / "latents").glob("*.shard"))
    data = bytearray(shard.read_bytes())
    data[0] ^= 255
    shard.write_bytes(data)
    outcome = start_run(plan, quiet)
    notices = [row["text"] for row in rows(outcome.run.events) if row["event"] == "notice"]
    assert len([text for text in notices if "cached latents were damaged" in text]) == 1
    assert losses(plan) == pytest.approx(whole, rel=1e-4)


def test_a_cache_folder_that_cannot_be_written_ends_in_one_sentence(grain: Tree, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "latents").write_text("a file is in the way")
    with pytest.raises(Problem, match=r"feed\.cache_folder"):
        assemble(planned(grain, feed=disk(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "persistent"), [(1, False), (3, True)])
def test_any_number_of_workers_gives_the_same_bits(workers: int, persistent: bool, grain: Tree) -> None:
    training = {"epochs": 2}
    feed = {"cache_latents": False}
    here = start_run(planned(grain, data=MOVING, feed=feed, training=training, output={"name": "here"}), quiet)
    many = feed | {"max_data_loader_n_workers": workers, "persistent_data_loader_workers": persistent}
    there = start_run(planned(grain, data=MOVING, feed=many, training=training, output={"name": "there"}), quiet)
    assert same(tensors(here), tensors(there))


@pytest.mark.slow
def test_a_run_resumed_in_the_middle_of_an_epoch_reads_on_as_before(grain: Tree) -> None:
    """Not cached, with two workers, captions that are shuffled and dropped, and kept text states."""
    changes: dict[str, Changes] = {
        "data": MOVING | {"shuffle_caption": True, "caption_dropout_rate": 0.3},
        "feed": {"cache_latents": False, "max_data_loader_n_workers": 2},
        "optimizer": {"text_encoder_lr": 0.0},
        "training": {"epochs": 2},
    }
    for file in Path(grain["data"]["folder"]).rglob("*.txt"):
        file.write_text("red, blue, green, white")
    straight = start_run(planned(grain, **changes), quiet)

    def stop_after_two(name: str, facts: dict[str, Any]) -> None:
        if name == "step" and facts["step"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    stopped = start_run(planned(grain, **changes, output={"name": "again"}), stop_after_two)
    assert stopped.steps == 2
    assert same(tensors(resume_run(stopped.run, quiet)), tensors(straight))


@pytest.mark.parametrize(("persistent", "pools"), [(False, 2), (True, 1)])
def test_persistent_workers_live_over_epochs(
    persistent: bool, pools: int, grain: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    make = Loader._pool  # pyright: ignore[reportPrivateUsage]

    def counted(self: Loader) -> Executor:
        started.append(self.workers)
        return make(self)

    monkeypatch.setattr(Loader, "_pool", counted)
    feed = {"cache_latents": False, "max_data_loader_n_workers": 1, "persistent_data_loader_workers": persistent}
    start_run(planned(grain, feed=feed, training={"epochs": 2}), quiet)
    assert started == [1] * pools


@pytest.mark.parametrize("name", ["random_crop", "flip_aug", "color_aug"])
def test_an_augmentation_changes_what_is_seen(name: str, grain: Tree) -> None:
    feed = {"cache_latents": False}
    training = {"epochs": 3}
    plain = losses(planned(grain, feed=feed, training=training), epochs=3)
    moved = losses(planned(grain, feed=feed, training=training, data={name: True}), epochs=3)
    assert any(abs(a - b) > 1e-4 for a, b in zip(plain, moved, strict=True))


def test_pictures_are_resized_as_the_setting_says(grain: Tree) -> None:
    plain, nearest = (losses(planned(grain, data=data)) for data in ({}, {"resize_interpolation": "nearest"}))
    assert any(abs(a - b) > 1e-4 for a, b in zip(plain, nearest, strict=True))


def test_flips_of_cached_pictures_are_those_of_fresh_ones(grain: Tree, encoded: list[int]) -> None:
    plain = losses(planned(grain))
    encoded.clear()
    flipped = losses(planned(grain, data={"flip_aug": True}))
    assert sum(encoded) == 6
    changed = [abs(a - b) > 1e-4 for a, b in zip(plain, flipped, strict=True)]
    assert 0 < sum(changed) < len(changed)


def test_prior_loss_weight_scales_regularisation_pictures_and_no_others(grain: Tree, tmp_path: Path) -> None:
    folder = tmp_path / "reg" / "2_thing"
    folder.mkdir(parents=True)
    Image.effect_noise((64, 64), 90).convert("RGB").save(folder / "r.png")
    data = {"reg_folder": str(tmp_path / "reg")}
    plan = planned(grain, data=data)
    is_reg = [picture.is_reg for picture in plan.pictures for _ in range(picture.repeats)]
    assert 0 < sum(is_reg) < len(is_reg)
    whole = losses(plan)
    for weight in (0.25, 0.0):
        weighed = losses(planned(grain, data=data, objective={"prior_loss_weight": weight}))
        expected = [loss * (weight if reg else 1) for loss, reg in zip(whole, is_reg, strict=True)]
        assert weighed == pytest.approx(expected)


def test_masked_loss_counts_what_masks_or_transparency_show(grain: Tree, tmp_path: Path) -> None:
    """Half of every picture masked away; by a folder and by transparency the loss is the same, and smaller."""
    masks = tmp_path / "masks"
    masks.mkdir()
    whole = losses(planned(grain))
    for file in Path(grain["data"]["folder"]).rglob("*.png"):
        with Image.open(file) as picture:
            mask = Image.new("L", picture.size, 0)
            mask.paste(255, (0, 0, picture.width // 2, picture.height))
            mask.save(masks / file.name)
    masked = {"masked_loss": True}
    halved = losses(planned(grain, data={"mask_folder": str(masks)}, objective=masked))
    assert all(0.2 < half / loss < 0.8 for half, loss in zip(halved, whole, strict=True))
    uncached = planned(grain, data={"mask_folder": str(masks)}, objective=masked, feed={"cache_latents": False})
    assert losses(uncached) == pytest.approx(halved, rel=1e-4)
    for file in Path(grain["data"]["folder"]).rglob("*.png"):
        with Image.open(file) as picture:
            picture.putalpha(Image.new("L", picture.size, 0))
            picture.save(file)
    gone = losses(planned(grain, data={"alpha_mask": True}, objective=masked))
    assert gone == [0.0] * len(gone)


TEXTS = {
    "clip_skip": ("a red star", {"clip_skip": 2}),
    "max_token_length": ("red star " * 50, {"max_token_length": 150}),
    "no_token_padding": ("a red star", {"no_token_padding": True}),
    "weighted_captions": ("a (red:1.6) star", {"weighted_captions": True}),
}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("name", list(TEXTS))
def test_a_setting_of_the_text_changes_what_is_told(name: str, cached: bool, grain: Tree) -> None:
    caption, text = TEXTS[name]
    for file in Path(grain["data"]["folder"]).rglob("*.txt"):
        file.write_text(caption)
    still = {"optimizer": {"text_encoder_lr": 0.0}, "feed": {"cache_text": cached}}
    plain = losses(planned(grain, **still))
    changed = losses(planned(grain, **still, text=text))
    assert all(abs(a - b) > 1e-6 for a, b in zip(plain, changed, strict=True))


def test_without_padding_a_loss_does_not_depend_on_the_batch(grain: Tree) -> None:
    for n, file in enumerate(sorted(Path(grain["data"]["folder"]).rglob("*.txt"))):
        file.write_text("red star " * (4 * n + 1))
    text = {"no_token_padding": True}
    together = losses(planned(grain, text=text))
    alone = losses(planned(grain, text=text, data={"batch_size": 1}))
    assert together == pytest.approx(alone, rel=1e-4)


def test_captions_of_a_still_text_encoder_are_encoded_once(grain: Tree, told: list[str]) -> None:
    still = {"text_encoder_lr": 0.0}
    for feed, count in (({"cache_text": True}, 3), ({"cache_text": False}, 8)):
        told.clear()
        losses(planned(grain, optimizer=still, feed=feed, training={"epochs": 2}), epochs=2)
        assert len(told) == count
    told.clear()
    losses(planned(grain, training={"epochs": 2}), epochs=2)
    assert len(told) == 8, "a trained text encoder reads its captions anew"


def test_kept_text_states_change_no_loss(grain: Tree) -> None:
    still = {"text_encoder_lr": 0.0}
    data = {"shuffle_caption": True, "caption_dropout_rate": 0.4}
    kept = losses(planned(grain, data=data, optimizer=still))
    fresh = losses(planned(grain, data=data, optimizer=still, feed={"cache_text": False}))
    assert kept == pytest.approx(fresh, rel=1e-4)


def test_latents_of_sd_scripts_are_used_when_asked_for(grain: Tree, encoded: list[int]) -> None:
    file = sorted(Path(grain["data"]["folder"]).rglob("*.png"))[0]
    plan = planned(grain)
    picture = next(picture for picture in plan.pictures if picture.path == file)
    (width, height), (wide, high) = picture.size, picture.placement.bucket
    scale = min(wide / width, high / height)
    left, top = (wide - width * scale) // 2, (high - height * scale) // 2
    np.savez(
        file.with_suffix(".npz"),
        latents=np.full((4, high // 8, wide // 8), 3, np.float32),
        original_size=np.array([width, height]),
        crop_ltrb=np.array([left, top, left + width * scale, top + height * scale]),
    )
    assemble(plan)
    assert sum(encoded) == 3
    encoded.clear()
    notices: list[str] = []
    trainer = assemble(planned(grain, feed={"read_npz": True}), notices.append)
    assert sum(encoded) == 2
    assert len(notices) == 1
    assert notices[0].startswith("1 of 3")
    moments = trainer.latents.read([trainer.step.view_of(0, plan.group(0)[1][0].reads[0])])
    assert moments.mean.shape[1] == 4


def test_a_broken_colour_profile_is_told_once(grain: Tree) -> None:
    file = next(Path(grain["data"]["folder"]).rglob("*.png"))
    with Image.open(file) as picture:
        picture.save(file, icc_profile=b"x" * 200)
    for feed in ({}, {"cache_latents": False}):
        outcome = start_run(
            planned(grain, feed=feed, training={"epochs": 2, "max_train_steps": 4}, output={"overwrite": True}), quiet
        )
        texts = [row["text"] for row in rows(outcome.run.events) if row["event"] == "notice"]
        assert len([text for text in texts if file.name in text and "colour profile is damaged" in text]) == 1


def test_overlong_captions_with_emphasis_are_named_with_what_is_cut(grain: Tree) -> None:
    file = next(Path(grain["data"]["folder"]).rglob("*.txt"))
    file.write_text("(red:1.2) " * 75 + "star on mint")
    notices: list[str] = []
    assemble(planned(grain, text={"weighted_captions": True}), notices.append)
    assert [text for text in notices if "cut" in text] == [
        f"{file.stem}.png: the caption is 3 tokens longer than the 75 that are read; cut off is: star on mint"
    ]


def test_overlong_captions_with_emphasis_are_named_once_a_text_and_with_their_longest_alternative(grain: Tree) -> None:
    for file in Path(grain["data"]["folder"]).rglob("*.txt"):
        file.write_text("(red:1.2) " * 74 + "{star|star on mint}")
    notices: list[str] = []
    tree = grain | {"data": grain["data"] | {"enable_wildcard": True}}
    assemble(planned(tree, text={"weighted_captions": True}), notices.append)
    assert [text.rpartition(": ")[2] for text in notices if "cut" in text] == ["on mint"]


def test_progress_is_told_picture_by_picture(grain: Tree) -> None:
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> bool:
        told.append((done, total))
        return False

    assemble(planned(grain, feed={"vae_batch_size": 1}), progress=progress)
    assert told == [(1, 3), (2, 3), (3, 3)]
