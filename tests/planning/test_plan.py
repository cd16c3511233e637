"""What `tehon plan` says: the arithmetic of a run, its rates, its notices."""

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from PIL import Image

from tehon.catalog.detect import demo_folder
from tehon.cli.main import main
from tehon.messages.problem import Problem
from tehon.planning.plan import Plan, make_plan
from tehon.planning.report import arithmetic, as_data, as_text
from tehon.settings import optimizer_rules
from tehon.settings.files import to_toml, validate

Tree = dict[str, Any]


def merged(tree: Tree, changes: dict[str, Any]) -> Tree:
    """A copy of the settings with {section.field: value} changed."""
    new = deepcopy(tree)
    for name, value in changes.items():
        section, _, field = name.partition(".")
        new.setdefault(section, {})[field] = value
    return new


def planned(tree: Tree, **changes: Any) -> Plan:
    return make_plan(validate(merged(tree, {name.replace("__", "."): value for name, value in changes.items()})))


def data_of(tree: Tree, **changes: Any) -> dict[str, Any]:
    return as_data(planned(tree, **changes))


def picture_folder(tree: Tree, name: str) -> Path:
    return Path(tree["data"]["folder"]) / name


def test_pictures_come_in_order_with_all_that_is_decided_about_them(tree: Tree) -> None:
    data = data_of(tree)
    red, blue = picture_folder(tree, "2_red thing"), picture_folder(tree, "3_blue")
    rows = [(red / "00.png", [64, 64], 2, "caption 0"), (red / "01.png", [96, 64], 2, "caption 1")]
    rows += [(blue / "02.png", [64, 64], 3, "caption 2")]
    assert [(row["path"], row["bucket"], row["repeats"], row["caption"]) for row in data["images"]] == [
        (str(path), bucket, repeats, caption) for path, bucket, repeats, caption in rows
    ]
    assert [(row["size"], row["resized"], row["crop"]) for row in data["images"]] == [
        (bucket, bucket, [0, 0]) for _, bucket, _, _ in rows
    ]
    assert {row["caption_source"] for row in data["images"]} == {".txt"}


def test_a_large_picture_is_scaled_and_cropped(tree: Tree) -> None:
    Image.new("RGB", (300, 200)).save(picture_folder(tree, "3_blue") / "09.png")
    row = data_of(tree)["images"][-1]
    assert (row["size"], row["resized"], row["bucket"], row["crop"]) == ([300, 200], [144, 96], [128, 96], [8, 0])


def test_buckets_count_pictures_and_their_readings(tree: Tree) -> None:
    assert [(row["width"], row["height"], row["images"], row["count"]) for row in data_of(tree)["buckets"]] == [
        (64, 64, 2, 5),
        (96, 64, 1, 2),
    ]


STEPS = ("reads_per_epoch", "batches_per_epoch", "steps_per_epoch", "epochs", "warmup", "total")


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({}, (7, 4, 4, 1, 0, 4)),
        ({"data__batch_size": 1}, (7, 7, 7, 1, 1, 7)),
        ({"data__batch_size": 3}, (7, 3, 3, 1, 0, 3)),
        ({"data__batch_size": 100}, (7, 2, 2, 1, 0, 2)),
        ({"data__enable_bucket": False, "data__batch_size": 4}, (7, 2, 2, 1, 0, 2)),
        ({"training__epochs": 5}, (7, 4, 4, 5, 2, 20)),
        ({"training__epochs": 5, "optimizer__lr_warmup": 50}, (7, 4, 4, 5, 10, 20)),
        ({"training__epochs": 5, "optimizer__lr_scheduler": "constant"}, (7, 4, 4, 5, 0, 20)),
        ({"training__gradient_accumulation_steps": 3, "training__epochs": 2}, (7, 4, 2, 2, 0, 4)),
        ({"training__gradient_accumulation_steps": 9}, (7, 4, 1, 1, 0, 1)),
        ({"training__epochs": 5, "training__max_train_epochs": 2}, (7, 4, 4, 2, 1, 8)),
        ({"training__epochs": 2, "training__max_train_epochs": 5}, (7, 4, 4, 2, 1, 8)),
        ({"training__epochs": 5, "training__max_train_steps": 6}, (7, 4, 4, 2, 1, 6)),
        ({"training__epochs": 1, "training__max_train_steps": 6}, (7, 4, 4, 1, 0, 4)),
        ({"training__epochs": 5, "training__max_train_steps": 6, "training__max_train_epochs": 1}, (7, 4, 4, 1, 0, 4)),
    ],
)
def test_the_arithmetic_of_steps(tree: Tree, changes: dict[str, Any], figures: tuple[int, ...]) -> None:
    steps = data_of(tree, **changes)["steps"]
    assert tuple(steps[name] for name in STEPS) == figures


def test_updates_take_whole_groups_and_each_epoch_is_complete(tree: Tree) -> None:
    plan = planned(tree, training__gradient_accumulation_steps=3, training__epochs=2)
    groups = [plan.group(step) for step in range(plan.steps)]
    assert [(epoch, len(batches)) for epoch, batches in groups] == [(0, 3), (0, 1), (1, 3), (1, 1)]
    for wanted in (0, 1):
        reads = [read for epoch, batches in groups if epoch == wanted for batch in batches for read in batch.reads]
        assert sorted((read.picture, read.repeat) for read in reads) == [
            (p, n) for p in range(3) for n in range(2 + p // 2)
        ]


def test_updates_are_the_same_in_any_order_of_asking(tree: Tree) -> None:
    one, two = (planned(tree, training__epochs=4) for _ in range(2))
    forwards = [one.group(step) for step in range(one.steps)]
    backwards = [two.group(step) for step in reversed(range(two.steps))]
    assert forwards == backwards[::-1]
    other = planned(tree, training__epochs=4, training__seed=6)
    assert forwards != [other.group(step) for step in range(other.steps)]


def test_every_part_has_its_rate_at_every_step(tree: Tree) -> None:
    data = data_of(
        tree,
        training__epochs=2,
        optimizer__unet_lr=1e-3,
        optimizer__text_encoder_lr=4e-4,
        optimizer__lr_scheduler="linear",
        optimizer__lr_warmup=25,
    )
    factors = [0, 1 / 2, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert list(data["rates"]) == ["lora_te", "lora_unet"]
    assert data["rates"]["lora_unet"] == pytest.approx([1e-3 * factor for factor in factors])
    assert data["rates"]["lora_te"] == pytest.approx([4e-4 * factor for factor in factors])


def test_a_part_without_a_rate_of_its_own_has_the_common_one(tree: Tree) -> None:
    rates = data_of(tree, optimizer__learning_rate=3e-4, optimizer__lr_scheduler="constant")["rates"]
    assert rates == {"lora_te": [5e-5] * 4, "lora_unet": [3e-4] * 4}


@pytest.mark.parametrize(
    ("field", "left"), [("optimizer__unet_lr", ["lora_te"]), ("optimizer__text_encoder_lr", ["lora_unet"])]
)
def test_a_part_with_the_rate_zero_is_left_out(tree: Tree, field: str, left: list[str]) -> None:
    assert list(data_of(tree, **{field: 0})["rates"]) == left
    assert list(data_of(tree, optimizer__learning_rate=0)["rates"]) == ["lora_te"]


def test_adafactors_own_rates_are_in_the_plan(tree: Tree) -> None:
    changes: dict[str, Any] = {"optimizer__name": "adafactor", "training__epochs": 5, "optimizer__unet_lr": 7.0}
    own = [min(1e-2, (step + 1) ** -0.5) for step in range(20)]
    assert data_of(tree, **changes)["rates"] == {"lora_te": own, "lora_unet": own}
    slow = data_of(tree, **changes, optimizer__arguments="warmup_init=True")["rates"]["lora_unet"]
    assert slow == pytest.approx([1e-6 * (step + 1) for step in range(20)])


def test_factors_by_block_do_not_go_with_one_rate_for_all(tree: Tree) -> None:
    rates = {"optimizer__name": "Prodigy", "optimizer__learning_rate": 1.0, "optimizer__text_encoder_lr": 1.0}
    assert set(data_of(tree, **rates, network__mid_lr_weight=0.0)["rates"]) == {"lora_te", "lora_unet"}
    with pytest.raises(Problem, match=r"network.mid_lr_weight: Prodigy finds one rate for all weights"):
        planned(tree, **rates, network__mid_lr_weight=0.5)


def test_the_notice_about_the_default_optimizer_comes_only_where_it_is_not_the_articles(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "AdamW is used; AdamW8bit, which needs a quarter of the memory for its state,"
    monkeypatch.setattr(optimizer_rules, "find_spec", lambda name: None)
    assert [warning for warning in data_of(tree)["warnings"] if warning.startswith(said)]
    assert not [warning for warning in data_of(tree, optimizer__name="AdamW")["warnings"] if said in warning]


def test_polynomial_falls_also_where_only_the_parts_have_rates(tree: Tree) -> None:
    rates = data_of(tree, optimizer__learning_rate=0, optimizer__unet_lr=1e-3, optimizer__lr_scheduler="polynomial")
    assert rates["rates"]["lora_unet"] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4], rel=1e-3)


def test_a_long_run_is_told_by_some_of_its_steps(tree: Tree) -> None:
    """At first there was a row for each, however many there were."""
    tree["data"]["validation_split"] = 0.4
    tree["samples"] = {"prompts": "a", "every_n_steps": 1, "at_first": True}
    tree["output"] |= {"save_every_n_steps": 1, "save_every_n_epochs": 0}
    tree["training"]["epochs"] = 1_000_000
    whole = data_of(tree, training__max_train_steps=1000, optimizer__lr_scheduler="cosine")
    assert whole["rates_at"] == list(range(1, 1001))
    plan = planned(tree, training__max_train_steps=1001, optimizer__lr_scheduler="cosine")
    assert as_data(plan)["rates_at"] == [*range(1, 1000), 1001]
    plan = planned(tree, training__max_train_steps=2_000_000, optimizer__lr_scheduler="cosine")
    data = as_data(plan)
    steps = data["rates_at"]
    assert (len(steps), steps[0], steps[-1]) == (1000, 1, 2_000_000)
    assert {later - step for step, later in pairwise(steps)} <= {2002, 2003}
    assert data["rates"]["lora_unet"] == [plan.rate("lora_unet", step - 1) for step in steps]
    assert (data["samples"]["steps"], data["samples"]["count"]) == (list(range(1000)), 2_000_001)
    assert [row["step"] for row in data["saves"]["loras"]] == list(range(1, 1001))
    assert data["saves"]["count"] == 1_999_999
    assert len(data["measured_at"]) == 1000
    assert data["measured"] > 500_000


def without_caption(tree: Tree) -> None:
    (picture_folder(tree, "3_blue") / "02.txt").unlink()


def without_any_caption_of_many(tree: Tree) -> None:
    for number in range(10, 14):
        Image.new("RGB", (64, 64)).save(picture_folder(tree, "3_blue") / f"{number}.png")
    for file in Path(tree["data"]["folder"]).rglob("*.txt"):
        file.unlink()


def with_two_kinds_of_captions(tree: Tree) -> None:
    (picture_folder(tree, "3_blue") / "02.caption").write_text("a caption")
    (picture_folder(tree, "2_red thing") / "01.txt").rename(picture_folder(tree, "2_red thing") / "01.TXT")


def with_an_empty_caption(tree: Tree) -> None:
    (picture_folder(tree, "3_blue") / "02.txt").write_text("")


def with_an_unnamed_folder(tree: Tree) -> None:
    picture_folder(tree, "green").mkdir()
    Image.new("RGB", (64, 64)).save(picture_folder(tree, "green") / "1.png")


def with_a_folder_without_pictures(tree: Tree) -> None:
    picture_folder(tree, "4_green").mkdir()


def as_it_is(tree: Tree) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "changes", "notices"),
    [
        (as_it_is, {}, []),
        (as_it_is, {"data__batch_size": 1}, []),
        (without_caption, {}, ["1 of 3 pictures have no caption and are captioned with their folder's words: 02.png"]),
        (
            without_any_caption_of_many,
            {},
            [
                "4 pictures are the same as another one, byte for byte: "
                "10.png = 00.png, 11.png = 00.png, 12.png = 00.png, 13.png = 00.png",
                "7 of 7 pictures have no caption and are captioned with their folder's words: "
                "00.png, 01.png, 02.png, 10.png, 11.png…",
            ],
        ),
        (with_two_kinds_of_captions, {}, ["Captions come from files of several kinds: 2 × .txt, 1 × .caption."]),
        (with_an_empty_caption, {}, ["1 picture has an empty caption: 02.png"]),
        (
            with_an_unnamed_folder,
            {},
            ["{folder}/green is not used: its name has no repeats; rename it like 10_words."],
        ),
        (with_a_folder_without_pictures, {}, ["{folder}/4_green holds no pictures."]),
        (as_it_is, {"network__alpha": 2.0}, []),
        (
            as_it_is,
            {"network__alpha": 2.5},
            [
                "network.alpha 2.5 is above network.rank 2: the LoRA works stronger than its weights; "
                "most people mean alpha at or below the rank."
            ],
        ),
        (as_it_is, {"optimizer__lr_scheduler": "constant", "optimizer__lr_warmup": 0}, []),
        (as_it_is, {"optimizer__lr_scheduler": "constant"}, []),
        (
            as_it_is,
            {"optimizer__lr_scheduler": "constant", "optimizer__lr_warmup": 20.0},
            [
                "optimizer.lr_warmup 20.0 has no effect with the schedule constant; "
                "use constant_with_warmup for a warm-up."
            ],
        ),
        (
            as_it_is,
            {"optimizer__lr_scheduler_power": 2.0, "optimizer__lr_scheduler_num_cycles": 3},
            [
                "optimizer.lr_scheduler_num_cycles has no effect: the schedule cosine does not use it.",
                "optimizer.lr_scheduler_power has no effect: the schedule cosine does not use it.",
            ],
        ),
        (
            as_it_is,
            {"optimizer__lr_warmup": 20.0, "optimizer__lr_warmup_steps": 2},
            ["optimizer.lr_warmup has no effect: optimizer.lr_warmup_steps says how long the rate climbs."],
        ),
        (
            as_it_is,
            {"optimizer__name": "Adafactor", "optimizer__lr_scheduler": "linear", "optimizer__unet_lr": 1e-3},
            [
                "optimizer.lr_scheduler has no effect: "
                "Adafactor finds its own rates (relative_step=False among its arguments takes yours).",
                "optimizer.unet_lr has no effect: "
                "Adafactor finds its own rates (relative_step=False among its arguments takes yours).",
            ],
        ),
        (as_it_is, {"optimizer__name": "Adafactor"}, []),
        (
            as_it_is,
            {"optimizer__name": "SGDScheduleFree", "optimizer__lr_scheduler": "linear"},
            [
                "optimizer.lr_scheduler has no effect: "
                "SGDScheduleFree needs no schedule; its rate climbs once and stays."
            ],
        ),
        (
            as_it_is,
            {"optimizer__name": "Prodigy", "optimizer__text_encoder_lr": 0.0},
            [
                "Prodigy finds its own rate, and the learning rate 0.0001 is only a factor on it; "
                "set the rates to 1 unless you mean that."
            ],
        ),
        (
            as_it_is,
            {"optimizer__lr_warmup_steps": 9},
            ["The rate still climbs when the training ends: the warm-up takes 9 of 7 steps; shorten it."],
        ),
        (
            as_it_is,
            {"feed__persistent_data_loader_workers": True, "feed__max_data_loader_n_workers": 1},
            [
                "feed.persistent_data_loader_workers has no effect: "
                "the latents are cached before the training, so no process reads ahead."
            ],
        ),
        (
            as_it_is,
            {"feed__vae_batch_size": 3, "feed__cache_latents": False},
            ["feed.vae_batch_size has no effect: latents are encoded with their batch and not cached before."],
        ),
        (as_it_is, {"feed__vae_batch_size": 3}, []),
        (
            as_it_is,
            {"optimizer__name": "Adafactor", "optimizer__lr_scheduler": "adafactor", "optimizer__lr_warmup": 20.0},
            ["optimizer.lr_warmup has no effect: the schedule adafactor does not use it."],
        ),
        (
            as_it_is,
            {"data__batch_size": 2},
            [
                "The last batch of a bucket can be short, as pictures of other sizes do not fit into it: "
                "batches of up to 2 lack 1 picture in all each epoch."
            ],
        ),
    ],
)
def test_a_notice_appears_exactly_when_it_should(
    tree: Tree, make: Callable[[Tree], None], changes: dict[str, Any], notices: list[str]
) -> None:
    make(tree)
    warnings = data_of(tree, **({"data__batch_size": 1} | changes))["warnings"]
    assert warnings.pop().startswith("data.bucket_reso_steps is 32"), "as all these small pictures have it"
    folder = str(Path(tree["data"]["folder"]))
    assert [warning.replace(folder, "{folder}").replace("\\", "/") for warning in warnings] == notices


def test_a_folder_that_no_set_takes_is_said_to_have_no_effect(tree: Tree) -> None:
    one = {"folder": str(picture_folder(tree, "3_blue")), "repeats": 1}
    words = "data.folder has no effect: each of data.sets names a folder of its own."
    assert words in data_of(tree, data__sets=[one])["warnings"]
    assert words not in data_of(tree, data__sets=[one, {"resolution": 64}])["warnings"]


def test_pictures_are_not_taken_for_captions(tree: Tree) -> None:
    with pytest.raises(Problem, match=r"^data\.caption_extension: \.png is no ending of a caption file"):
        planned(tree, data__caption_extension=".png")


def test_a_broken_picture_and_a_tiny_one_are_named(tree: Tree) -> None:
    tiny = picture_folder(tree, "3_blue") / "tiny.png"
    Image.new("RGB", (40, 7)).save(tiny)
    with pytest.raises(Problem) as caught:
        planned(tree)
    assert str(caught.value).startswith(
        f"{tiny}: the picture has 40x7 pixels, and a side that is trained with fewer than 8;"
    )
    assert data_of(tree, data__bucket_no_upscale=False, data__min_bucket_reso=64)["steps"]["images"] == 4


def test_captions_and_sizes_that_do_not_fit_are_told_at_once(tree: Tree) -> None:
    tiny = picture_folder(tree, "3_blue") / "tiny.png"
    Image.new("RGB", (40, 7)).save(tiny)
    caption = picture_folder(tree, "2_red thing") / "00.txt"
    caption.write_bytes(b"\xff\xfe")
    with pytest.raises(Problem) as caught:
        planned(tree)
    assert [line.partition(": ")[0] for line in str(caught.value).splitlines()] == [str(caption), str(tiny)]


def test_picture_folders_that_are_all_empty_are_a_problem(tree: Tree) -> None:
    for file in Path(tree["data"]["folder"]).rglob("*.png"):
        file.unlink()
    with pytest.raises(Problem, match=r"^data\.folder: no pictures were found"):
        planned(tree)


def test_a_plan_is_repeatable_from_its_own_settings(tree: Tree) -> None:
    del tree["training"]["seed"]
    first = planned(tree)
    again = make_plan(validate(first.settings.model_dump()))
    assert as_data(again) == as_data(first)
    assert to_toml(again.settings) == to_toml(first.settings)
    assert [again.group(step) for step in range(4)] == [first.group(step) for step in range(4)]


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def test_the_command_prints_the_plan_as_json(tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(tomli_w.dumps(tree), "utf8")
    assert main(["plan", str(config), "--json", "--training.epochs", "2", "--network.rank=4"]) == 0
    printed, errors = capsys.readouterr()
    assert errors == ""
    data = json.loads(printed, parse_constant=refuse_constant)
    assert data == data_of(tree, training__epochs=2, network__rank=4)
    assert set(data) == {
        *("problems", "family", "model", "images", "validation", "buckets", "steps", "first_epoch", "rates", "scale"),
        *("rates_at", "measured"),
        "prediction",
        *("modules", "optimizer"),
        *("samples", "measured_at", "stop_after", "logs"),
        *("seed", "saves", "memory", "skipped", "troubles", "warnings"),
    }
    assert len(data["rates"]["lora_unet"]) == data["steps"]["total"] == 8
    assert (data["family"], data["scale"], data["seed"]) == ("sd1", 0.25, 5)


def test_the_command_prints_the_plan_for_people(
    tree: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "mine.toml"
    config.write_text(tomli_w.dumps(tree), "utf8")
    assert main(["plan", str(config)]) == 0
    english = capsys.readouterr().out
    for words in (
        "3, 3 of them with a caption; 7 readings",
        "1 picture, 2 readings",
        "96 x 64 ",
        "4 in all",
        "Note: ",
    ):
        assert words in english
    monkeypatch.setenv("TEHON_LANG", "ja")
    assert main(["plan", str(config)]) == 0
    japanese = capsys.readouterr().out
    assert "1 枚、2 回" in japanese
    assert "注意: " in japanese
    assert len(japanese.splitlines()) == len(english.splitlines())


def test_the_text_lists_settings_that_are_not_the_default(tree: Tree) -> None:
    text = as_text(planned(tree, optimizer__lr_scheduler="linear"))
    changed = next(line for line in text.splitlines() if line.startswith("Changed"))
    assert "optimizer.lr_scheduler = linear" in changed
    assert "network.rank = 2" in changed
    assert "weight_decay" not in changed


def test_warmup_in_steps_must_end_before_the_decay(tree: Tree) -> None:
    """Seven steps at batch size 1: five of warm-up, and 30 % that are two of decay."""
    tree["data"]["batch_size"] = 1
    rates = {"lr_scheduler": "warmup_stable_decay", "lr_warmup_steps": 5, "lr_decay": 30.0}
    plan = make_plan(validate(tree | {"optimizer": rates}))
    assert (plan.steps, plan.schedule.warmup, plan.schedule.decay) == (7, 5, 2)
    with pytest.raises(
        Problem, match=r"^optimizer.lr_warmup_steps: 6 steps of warm-up and 2 of decay are more than the 7"
    ):
        make_plan(validate(tree | {"optimizer": rates | {"lr_warmup_steps": 6}}))


def test_another_model_or_picture_folder_changes_the_plan(tree: Tree, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(demo_folder(), model, ignore=shutil.ignore_patterns("*.safetensors"))
    assert data_of(tree, model__path=str(model))["model"] == str(model)
    assert data_of(tree)["model"] == str(demo_folder())
    other = tmp_path / "other"
    shutil.copytree(tree["data"]["folder"], other)
    assert data_of(tree, data__folder=str(other))["images"][0]["path"] == str(other / "2_red thing" / "00.png")


def test_whoever_asks_to_enlarge_no_picture_hears_that_this_takes_buckets(tree: Tree) -> None:
    def said(**changes: Any) -> list[str]:
        return [text.partition(" has")[0] for text in data_of(tree, **changes)["warnings"] if "smaller ones up" in text]

    off: dict[str, Any] = {"data__enable_bucket": False}
    assert said(**off, data__bucket_no_upscale=True) == ["data.bucket_no_upscale"]
    assert said(**off) == said(**off, data__bucket_no_upscale=False) == said(data__bucket_no_upscale=True) == []
    folder = tree["data"].pop("folder")
    tree["data"]["sets"] = [{"folder": folder, "bucket_no_upscale": True, "enable_bucket": False}, {"folder": folder}]
    assert said() == ["data.sets[0].bucket_no_upscale"]
    assert said(data__bucket_no_upscale=True) == ["data.sets[0].bucket_no_upscale"], "the other set has buckets"


def test_a_comment_that_is_not_written_is_said(tree: Tree) -> None:
    tree["output"] |= {"training_comment": "hello", "no_metadata": True}
    said = "output.training_comment has no effect: output.no_metadata leaves it out."
    assert said in data_of(tree)["warnings"]
    assert said not in data_of(tree, output__no_metadata=False)["warnings"]


def test_bucket_steps_that_the_network_cannot_halve_are_named(tree: Tree) -> None:
    tree["data"]["bucket_reso_steps"] = 32
    assert any("data.bucket_reso_steps is 32: this model halves" in text for text in data_of(tree)["warnings"])
    tree["data"]["bucket_reso_steps"] = 64
    assert not any("this model halves" in text for text in data_of(tree)["warnings"])


def test_epochs_are_those_that_begin_and_the_words_say_what_cuts_them_short(tree: Tree) -> None:
    tree["training"] |= {"epochs": 5, "max_train_steps": 7}
    plan = make_plan(validate(tree))
    assert (plan.steps_per_epoch, plan.steps, plan.epochs) == (4, 7, 2)
    assert arithmetic(plan).endswith(
        "= 4 per epoch; 7 in all, as training.max_train_steps says: it ends within epoch 2"
    )
    tree["training"] |= {"max_train_steps": 8}
    assert arithmetic(make_plan(validate(tree))).endswith("= 4 per epoch; x 2 epochs: 8 in all")
