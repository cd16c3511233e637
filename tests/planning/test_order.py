"""What a run reads, over sets, epochs and resume points: complete, one bucket a batch, and a function of its place."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tehon.data.plan.epochs import Read
from tehon.planning.plan import Plan, make_plan
from tehon.settings.files import validate

SIZES = [(64, 64), (96, 64), (64, 96), (130, 70), (200, 200)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders with five pictures each, of all sizes."""
    base = tmp_path_factory.mktemp("sets")
    for index, name in enumerate(("a", "b", "c")):
        (base / name).mkdir()
        for number, size in enumerate(SIZES):
            Image.new("RGB", size, (index * 50, number * 40, 9)).save(base / name / f"{number}.png")
            (base / name / f"{number}.txt").write_text(f"{name}, {number}, {{x|y}}, z")
    return base


chance = {
    "random_crop": st.booleans(),
    "flip_aug": st.booleans(),
    "color_aug": st.booleans(),
    "shuffle_caption": st.booleans(),
    "enable_wildcard": st.booleans(),
    "caption_dropout_rate": st.sampled_from([0.0, 0.5]),
}
tables = st.fixed_dictionaries(
    {"folder": st.sampled_from(["a", "b", "c"]), "repeats": st.integers(1, 4)},
    optional=chance
    | {
        "batch_size": st.integers(1, 5),
        "resolution": st.sampled_from([64, 96, 128]),
        "is_reg": st.booleans(),
        "enable_bucket": st.booleans(),
        "validation_split": st.sampled_from([0.0, 0.3]),
    },
).map(lambda table: table | ({"validation_split": 0.0} if table.get("is_reg") else {}))
runs = st.fixed_dictionaries(
    {
        "sets": st.lists(tables, min_size=1, max_size=3).filter(lambda sets: not all(s.get("is_reg") for s in sets)),
        "accumulation": st.integers(1, 3),
        "seed": st.integers(0, 2**32 - 1),
    }
)


def planned(folders: Path, run: dict[str, Any]) -> Plan:
    sets = [table | {"folder": str(folders / table["folder"])} for table in run["sets"]]
    training = {"seed": run["seed"], "epochs": 3, "gradient_accumulation_steps": run["accumulation"]}
    return make_plan(
        validate(
            {
                "model": {"path": "demo"},
                "data": {"sets": sets, "bucket_reso_steps": 32},
                "feed": {"cache_latents": False},
                "training": training,
                "output": {"folder": "out"},
            }
        )
    )


several = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@several
@given(run=runs)
def test_each_epoch_reads_every_picture_once_per_repeat_in_batches_of_one_bucket(
    folders: Path, run: dict[str, Any]
) -> None:
    plan = planned(folders, run)
    wanted = Counter(Read(n, r) for n, picture in enumerate(plan.pictures) for r in range(picture.repeats))
    for epoch in range(3):
        steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
        groups = [plan.group(step) for step in steps]
        assert {found for found, _ in groups} == {epoch}
        batches = [batch for _, group in groups for batch in group]
        assert Counter(read for batch in batches for read in batch.reads) == wanted
        for batch in batches:
            pictures = [plan.pictures[read.picture] for read in batch.reads]
            assert {picture.placement.bucket for picture in pictures} == {batch.bucket}
            assert len({picture.set.sizing for picture in pictures}) == 1
            assert len(pictures) <= pictures[0].set.batch_size


@several
@given(run=runs, data=st.data())
def test_what_a_step_reads_does_not_depend_on_what_was_asked_before(
    folders: Path, run: dict[str, Any], data: st.DataObject
) -> None:
    """So any number of workers, and a resume at any step, give the same batches."""
    straight, resumed = planned(folders, run), planned(folders, run)

    def seen(plan: Plan, step: int) -> list[Any]:
        epoch, batches = plan.group(step)
        reads = [read for batch in batches for read in batch.reads]
        return [(read, plan.look(epoch, read), plan.caption(epoch, read)) for read in reads]

    whole = [seen(straight, step) for step in range(straight.steps)]
    order = data.draw(st.lists(st.integers(0, straight.steps - 1), max_size=6))
    assert [seen(resumed, step) for step in order] == [whole[step] for step in order]


@several
@given(run=runs)
def test_every_crop_lies_inside_its_scaled_picture(folders: Path, run: dict[str, Any]) -> None:
    plan = planned(folders, run)
    for number, picture in enumerate(plan.pictures):
        place = picture.placement
        for repeat in range(picture.repeats):
            crop = plan.look(1, Read(number, repeat)).crop
            assert all(0 <= crop[side] <= place.resized[side] - place.bucket[side] for side in (0, 1))


def test_dropout_by_epochs_holds_from_the_first_batch_of_an_epoch_on(folders: Path) -> None:
    run = {"sets": [{"folder": "a", "repeats": 2, "caption_dropout_every_n_epochs": 2}], "accumulation": 1, "seed": 1}
    plan = planned(folders, run)
    for epoch in range(3):
        captions = {plan.caption(epoch, read) for batch in plan.epoch(epoch) for read in batch.reads}
        assert (captions == {""}) == (epoch == 1)
        assert ("" in captions) == (epoch == 1)


def test_switching_one_augmentation_on_changes_no_other_draw(folders: Path) -> None:
    every = {"random_crop": True, "flip_aug": True, "color_aug": True, "shuffle_caption": True}
    base = {"folder": "a", "repeats": 9, "resolution": 64}
    whole = planned(folders, {"sets": [base | every], "accumulation": 1, "seed": 3})
    for name, part in (("flip_aug", "flip"), ("random_crop", "crop"), ("color_aug", "shift")):
        alone = planned(folders, {"sets": [base | {name: True}], "accumulation": 1, "seed": 3})
        for batch in alone.epoch(0):
            for read in batch.reads:
                assert getattr(alone.look(0, read), part) == getattr(whole.look(0, read), part)
