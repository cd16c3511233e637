"""Where the pictures of a run come from: plain folders, several sets, sd-scripts' configuration, regularisation,
validation, captions and masks."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from PIL import Image

from tehon.data.plan.captions_beside import CaptionsBeside
from tehon.data.plan.epochs import Read
from tehon.messages.problem import Problem
from tehon.planning.notices import picture_notices
from tehon.planning.plan import Plan, draft_plan, make_plan
from tehon.planning.report import as_data, as_text
from tehon.settings.files import validate
from tehon.training.facts import run_facts

Tree = dict[str, Any]


def draw(folder: Path, count: int, size: tuple[int, int] = (64, 64), caption: str = "", first: int = 0) -> Path:
    """Different pictures 00.png, 01.png …, with captions if there is one to write."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        Image.new("RGB", size, (number * 7 % 256, len(folder.name) * 9 % 256, 0)).save(folder / f"{number:02d}.png")
        if caption:
            (folder / f"{number:02d}.txt").write_text(f"{caption} {number}", "utf8")
    return folder


def plan_of(tmp_path: Path, data: Tree, **sections: Tree) -> Plan:
    return make_plan(validate(tree_of(tmp_path, data, **sections)))


def tree_of(tmp_path: Path, data: Tree, **sections: Tree) -> Tree:
    data = {"resolution": 128, "bucket_reso_steps": 32} | data
    output = {"folder": str(tmp_path / "out")}
    return {"model": {"path": "demo"}, "data": data, "training": {"seed": 5}, "output": output} | sections


def shown(plan: Plan) -> list[tuple[str, int, str]]:
    return [(f"{p.folder.path.name}/{p.name}", p.repeats, p.caption.text) for p in plan.pictures]


def test_with_repeats_the_folder_itself_holds_the_pictures(tmp_path: Path) -> None:
    folder = draw(tmp_path / "10_cats", 2, caption="a cat")
    draw(folder / "3_more", 1)
    plan = plan_of(tmp_path, {"folder": str(folder), "repeats": 4})
    assert shown(plan) == [("10_cats/00.png", 4, "a cat 0"), ("10_cats/01.png", 4, "a cat 1")]
    assert plan.troubles.odd["folders_inside"] == [str(folder / "3_more")]


def test_class_words_caption_a_plain_folder(tmp_path: Path) -> None:
    folder = draw(tmp_path / "cats", 1)
    assert shown(plan_of(tmp_path, {"folder": str(folder), "repeats": 1, "class_words": "a cat"}))[0][2] == "a cat"
    assert shown(plan_of(tmp_path, {"folder": str(folder), "repeats": 1}))[0][2] == ""


@pytest.mark.parametrize(("name", "data"), [("cats", {"repeats": 1}), ("10_cats", {"repeats": 1}), ("10_", {})])
def test_pictures_that_no_word_calls_are_told_once_with_the_remedy(tmp_path: Path, name: str, data: Tree) -> None:
    folder = draw(tmp_path / name, 2)
    (folder / "01.txt").write_text("", "utf8")
    plan = plan_of(tmp_path, {"folder": str(folder if data else tmp_path), **data})
    assert plan.troubles.odd["captions_wordless"] == [str(folder / "00.png")]
    assert plan.troubles.odd["captions_missing"] == []
    assert plan.troubles.odd["captions_empty"] == [str(folder / "01.png")]
    (said,) = [notice for notice in picture_notices(plan) if "class words" in notice]
    assert said.startswith("1 of 2 pictures have neither a caption nor class words")
    assert "data.class_words" in said


def test_a_plain_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"^data\.folder: the folder .*none does not exist"):
        plan_of(tmp_path, {"folder": str(tmp_path / "none"), "repeats": 1})


def test_sets_take_from_the_section_what_they_leave_out(tmp_path: Path) -> None:
    cats, dogs = draw(tmp_path / "cats", 2), draw(tmp_path / "dogs", 1)
    sets = [
        {"folder": str(cats), "class_words": "cat", "flip_aug": True},
        {"folder": str(dogs), "class_words": "dog", "repeats": 3, "caption_prefix": "my"},
    ]
    plan = plan_of(tmp_path, {"repeats": 2, "caption_suffix": "here", "sets": sets})
    assert shown(plan) == [("cats/00.png", 2, "cat"), ("cats/01.png", 2, "cat"), ("dogs/00.png", 3, "dog")]
    assert [plan.caption(0, Read(number, 0)) for number in (0, 2)] == ["cat here", "my dog here"]
    assert {plan.look(0, Read(0, n)).flip for n in range(20)} == {True, False}
    assert {plan.look(0, Read(2, n)).flip for n in range(20)} == {False}
    assert "Sets       data.sets[0] 2, data.sets[1] 1" in as_text(plan)
    assert [row["set"] for row in as_data(plan)["images"]] == ["data.sets[0]", "data.sets[0]", "data.sets[1]"]


def test_one_folder_may_be_learned_at_several_resolutions(tmp_path: Path) -> None:
    folder = draw(tmp_path / "cats", 3, size=(128, 128))
    sets = [{"resolution": 128, "batch_size": 3}, {"resolution": 64, "batch_size": 2}]
    plan = plan_of(tmp_path, {"folder": str(folder), "repeats": 1, "sets": sets})
    assert [(g.bucket, g.batch_size, g.pictures) for g in plan.groups] == [
        ((128, 128), 3, (0, 1, 2)),
        ((64, 64), 2, (3, 4, 5)),
    ]
    assert plan.batches_per_epoch == 3
    assert plan.troubles.odd["duplicates"] == []


@pytest.mark.parametrize(
    ("other", "groups"), [({}, 1), ({"batch_size": 2}, 2), ({"resolution": 64}, 2), ({"flip_aug": True}, 1)]
)
def test_sets_of_equal_rules_for_sizes_share_batches(tmp_path: Path, other: Tree, groups: int) -> None:
    sets = [{"folder": str(draw(tmp_path / "a", 1))}, {"folder": str(draw(tmp_path / "b", 1))} | other]
    assert len(plan_of(tmp_path, {"repeats": 1, "sets": sets}).groups) == groups


def test_what_is_wrong_in_a_set_is_named_there(tmp_path: Path) -> None:
    sets = [{"folder": "a", "batch_size": 0}, {"folder": "b", "resolution_": 64, "reg_folder": "c"}]
    with pytest.raises(Problem) as caught:
        plan_of(tmp_path, {"sets": sets})
    assert str(caught.value).splitlines() == [
        "data.sets[0].batch_size: 0 does not fit; give a whole number, at least 1.",
        "data.sets[1].reg_folder: reg_folder belongs to the whole run and not to one set; move it into [data].",
        "data.sets[1].resolution_: there is no such setting; did you mean data.resolution?",
    ]


def test_a_missing_folder_of_a_set_is_named_and_the_others_are_planned(tmp_path: Path) -> None:
    sets = [{"folder": str(tmp_path / "none")}, {"folder": str(draw(tmp_path / "b", 1))}]
    draft = draft_plan(validate(tree_of(tmp_path, {"repeats": 1, "sets": sets})))
    assert [str(p).partition(";")[0] for p in draft.troubles.problems] == [
        f"data.sets[0].folder: the folder {tmp_path / 'none'} does not exist"
    ]
    assert len(draft.pictures) == 1


def config_of(tmp_path: Path) -> Tree:
    cats, dogs, keep = (draw(tmp_path / name, 2, (96, 64)) for name in ("cats", "dogs", "keep"))
    return {
        "general": {"shuffle_caption": True, "keep_tokens": 1, "resolution": 64},
        "datasets": [
            {
                "resolution": [96, 64],
                "batch_size": 3,
                "keep_tokens": 2,
                "subsets": [
                    {"image_dir": str(cats), "num_repeats": 5, "class_tokens": "cat", "keep_tokens": 0},
                    {"image_dir": str(keep), "class_tokens": "animal", "is_reg": True},
                ],
            },
            {"subsets": [{"image_dir": str(dogs), "caption_prefix": "my", "class_tokens": "dog"}]},
        ],
    }


@pytest.mark.parametrize("name", ["sets.toml", "sets.json"])
def test_sd_scripts_configuration_is_read(tmp_path: Path, name: str) -> None:
    config = config_of(tmp_path)
    (tmp_path / name).write_text(json.dumps(config) if name.endswith("json") else tomli_w.dumps(config), "utf8")
    plan = plan_of(tmp_path, {"dataset_config": str(tmp_path / name), "batch_size": 7, "flip_aug": True})
    assert Counter(picture.repeats for picture in plan.pictures if not picture.is_reg) == {5: 2, 1: 2}
    assert sum(picture.repeats for picture in plan.pictures if picture.is_reg) == 12
    cat, keep, dog = (plan.pictures[number].set for number in (0, 2, 4))
    assert [one.wording.keep for one in (cat, keep, dog)] == [0, 2, 1]  # subset, data set, general
    assert [one.batch_size for one in (cat, dog)] == [3, 7]  # data set, section
    assert [one.rule.resolution for one in (cat, dog)] == [(96, 64), (64, 64)]
    assert [one.is_reg for one in (cat, keep, dog)] == [False, True, False]
    assert plan.caption(0, Read(4, 0)) == "my dog"
    assert cat.look.flip, "what the file leaves out comes from the section"
    again = make_plan(validate(plan.settings.model_dump()))
    assert as_data(again)["images"] == as_data(plan)["images"], "the run repeats without that file"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"zzz": 1}, "datasets[0].subsets[0].zzz is not an option at this place"),
        ({"batch_size": 2}, "datasets[0].subsets[0].batch_size is not an option at this place"),
        ({"token_warmup_step": 100}, "datasets[0].subsets[0].token_warmup_step is an option of sd-scripts that tehon"),
        ({"custom_attributes": {"a": 1}}, "datasets[0].subsets[0].custom_attributes is an option of sd-scripts that"),
        ({"keep_tokens": 1.0}, "datasets[0].subsets[0].keep_tokens is 1.0; give a value of the type int."),
        ({"keep_tokens": True}, "datasets[0].subsets[0].keep_tokens is True; give a value of the type int."),
        ({"image_dir": None}, "datasets[0].subsets[0].image_dir is missing"),
    ],
)
def test_what_cannot_be_taken_over_from_a_configuration_is_named(tmp_path: Path, change: Tree, sentence: str) -> None:
    config = config_of(tmp_path)
    config["datasets"][0]["subsets"][0] |= change
    file = tmp_path / "sets.json"
    file.write_text(json.dumps(config))
    with pytest.raises(Problem) as caught:
        plan_of(tmp_path, {"dataset_config": str(file)})
    assert str(caught.value).startswith(f"{file}: {sentence}")


def test_what_asks_for_nothing_in_a_configuration_is_let_pass(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    config["general"] |= {"token_warmup_step": 0, "cache_info": False, "resize_interpolation": "cubic"}
    (tmp_path / "sets.json").write_text(json.dumps(config))
    plan = plan_of(tmp_path, {"dataset_config": str(tmp_path / "sets.json")})
    assert {picture.set.interpolation for picture in plan.pictures} == {"bicubic"}


def regular(tmp_path: Path, own: int, count: int) -> Plan:
    draw(tmp_path / "train" / "10_cat", 2)
    draw(tmp_path / "reg" / f"{own}_animal", count)
    return plan_of(tmp_path, {"folder": str(tmp_path / "train"), "reg_folder": str(tmp_path / "reg")})


@pytest.mark.parametrize(
    ("own", "count", "repeats"), [(1, 3, [7, 7, 6]), (10, 3, [10, 10]), (8, 3, [8, 8, 8]), (15, 1, [20]), (30, 2, [30])]
)
def test_regularisation_pictures_are_read_as_often_as_those_to_learn(
    tmp_path: Path, own: int, count: int, repeats: list[int]
) -> None:
    plan = regular(tmp_path, own, count)
    reg = [picture for picture in plan.pictures if picture.is_reg]
    assert [picture.repeats for picture in reg] == repeats
    assert {picture.caption.text for picture in reg} == {"animal"}
    assert plan.reg_reads == own * count
    assert len(plan.troubles.odd["reg_unused"]) == count - len(repeats)
    facts = run_facts(plan, 1, 0.0)
    assert (facts["num_train_images"], facts["num_reg_images"]) == (20, own * count)
    assert facts["reg_dataset_dirs"] == {f"{own}_animal": {"n_repeats": own, "img_count": len(repeats)}}
    assert facts["dataset_dirs"] == {"10_cat": {"n_repeats": 10, "img_count": 2}}


def test_a_set_may_be_for_regularisation(tmp_path: Path) -> None:
    sets = [{"folder": str(draw(tmp_path / "a", 2))}, {"folder": str(draw(tmp_path / "b", 1)), "is_reg": True}]
    plan = plan_of(tmp_path, {"repeats": 3, "sets": sets})
    assert [(picture.is_reg, picture.repeats) for picture in plan.pictures] == [(False, 3), (False, 3), (True, 6)]


def test_a_weight_for_regularisation_pictures_without_any_is_noticed(tmp_path: Path) -> None:
    folder = str(draw(tmp_path / "train" / "1_cat", 1, caption="a cat").parent)
    notice = "objective.prior_loss_weight has no effect: there are no regularisation pictures."
    assert notice in as_data(plan_of(tmp_path, {"folder": folder}, objective={"prior_loss_weight": 0.5}))["warnings"]
    plain = as_data(plan_of(tmp_path, {"folder": folder, "bucket_reso_steps": 64}))
    assert plain["warnings"] == []


def test_a_share_is_held_out_and_is_not_learned(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "4_cat", 8, caption="{a|b} cat")
    draw(tmp_path / "reg" / "1_animal", 4)
    data = {"folder": str(tmp_path / "train"), "reg_folder": str(tmp_path / "reg"), "validation_split": 0.25}
    plan = plan_of(tmp_path, data | {"enable_wildcard": True, "caption_dropout_rate": 1.0})
    assert len(plan.validation) == 2
    assert not any(picture.is_reg for picture in plan.validation)
    assert {p.path for p in plan.validation} & {p.path for p in plan.pictures} == set()
    assert len(plan.pictures) == 6 + 4
    assert [p.repeats for p in plan.validation] == [1, 1]
    assert {p.plain_caption[:5] for p in plan.validation} == {"a cat"}
    other = make_plan(validate(tree_of(tmp_path, data, training={"seed": 6})))
    assert {p.name for p in other.validation} != {p.name for p in plan.validation}
    assert [row["path"] for row in as_data(plan)["validation"]] == [str(p.path) for p in plan.validation]


def test_a_single_picture_cannot_be_split(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "4_cat", 1)
    with pytest.raises(Problem, match=r"^data\.validation_split: with fewer than two different pictures"):
        plan_of(tmp_path, {"folder": str(tmp_path / "train"), "validation_split": 0.25})


def test_a_folder_of_its_own_is_for_validation_alone(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "4_cat", 2)
    draw(tmp_path / "check" / "9_kitten", 3, caption="another cat")
    data = {"folder": str(tmp_path / "train"), "validation_folder": str(tmp_path / "check")}
    plan = plan_of(tmp_path, data | {"caption_prefix": "photo of"})
    assert [p.plain_caption for p in plan.validation] == [f"photo of another cat {n}" for n in range(3)]
    assert len(plan.pictures) == 2
    assert plan.validation[0].source.path == tmp_path / "check" / "9_kitten" / "00.png"


def test_a_metadata_file_comes_before_caption_files(tmp_path: Path) -> None:
    folder = draw(tmp_path / "train" / "1_cat", 3, caption="from file")
    (folder / "02.txt").unlink()
    rows = {"00": {"caption": "from list", "tags": "red"}, "09": {"caption": "nobody"}}
    (tmp_path / "meta.json").write_text(json.dumps(rows))
    data = {"folder": str(folder.parent), "metadata_file": str(tmp_path / "meta.json")}
    plan = plan_of(tmp_path, data)
    assert [(p.caption.text, p.caption.source) for p in plan.pictures] == [
        ("from list, red", "metadata"),
        ("from file 1", ".txt"),
        ("cat", "class words"),
    ]
    assert plan.troubles.odd["metadata_unused"] == ["09"]
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(Problem, match="this is not a metadata file"):
        plan_of(tmp_path, data)


def masked(tmp_path: Path, policy: str = "stop", **data: Any) -> Tree:
    return tree_of(
        tmp_path,
        {"folder": str(tmp_path / "train"), "mask_folder": str(tmp_path / "masks"), "broken_pictures": policy} | data,
        objective={"masked_loss": True},
    )


def test_masks_are_found_by_name_in_a_folder_of_the_same_name_or_beside(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "1_cat", 2)
    draw(tmp_path / "train" / "1_dog", 1)
    draw(tmp_path / "masks" / "1_cat", 2)
    draw(tmp_path / "masks", 2)
    plan = make_plan(validate(masked(tmp_path)))
    masks = tmp_path / "masks"
    assert [picture.mask for picture in plan.pictures] == [
        masks / "1_cat" / "00.png",
        masks / "1_cat" / "01.png",
        masks / "00.png",
    ]
    assert plan.source(1).mask == masks / "1_cat" / "01.png"
    assert plan.troubles.odd["masks_unused"] == [str(masks / "01.png")]


def test_masks_that_are_missing_broken_or_of_another_size_are_named(tmp_path: Path) -> None:
    cat = draw(tmp_path / "train" / "1_cat", 4)
    masks = draw(tmp_path / "masks", 1)
    draw(masks, 1, (64, 32), first=1)
    (masks / "02.png").write_text("no mask")
    draft = draft_plan(validate(masked(tmp_path)))
    assert [str(problem) for problem in draft.troubles.problems] == [
        f"{masks / '01.png'}: the mask is 64x32, but its picture {cat / '01.png'} is 64x64; make them the same size.",
        f"{masks / '02.png'}: the mask cannot be read (not a picture); repair it.",
        f"{cat / '03.png'}: there is no mask for this picture in {masks}; add one of the same name.",
    ]
    skipping = make_plan(validate(masked(tmp_path, "skip")))
    assert [picture.name for picture in skipping.pictures] == ["00.png"]
    assert len(skipping.troubles.skipped) == 3
    with pytest.raises(Problem, match=r"^data\.mask_folder: the folder .* does not exist"):
        make_plan(validate(masked(tmp_path, mask_folder=str(tmp_path / "none"))))


def test_transparency_may_be_the_mask(tmp_path: Path) -> None:
    cat = draw(tmp_path / "train" / "1_cat", 1)
    Image.new("RGBA", (64, 64), (1, 2, 3, 4)).save(cat / "clear.png")
    plan = make_plan(validate(masked(tmp_path, mask_folder="", alpha_mask=True, background="#102030")))
    assert [plan.source(n).alpha_mask for n in range(2)] == [True, True]
    assert plan.source(0).background == "#102030"
    assert plan.troubles.odd["without_alpha"] == [str(cat / "00.png")]


@pytest.mark.parametrize("many", [True, False])
def test_a_second_plan_opens_no_picture_and_no_caption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    """What the index knows is taken from it; a change of one file is seen, also where another process looks for it."""
    started: list[Sequence[Path]] = []

    def beside(folders: Sequence[Path], texts: Collection[str]) -> CaptionsBeside:
        started.append(folders)
        return CaptionsBeside(folders, texts)

    monkeypatch.setattr("tehon.data.plan.captions_beside.CaptionsBeside", beside)
    monkeypatch.setattr("tehon.planning.files._PAYS", many)
    monkeypatch.setattr("tehon.planning.files.MANY", 3 * len("00.txt") + 3 * 25)
    folder = draw(tmp_path / "train" / "1_cat", 3, caption="a cat")
    monkeypatch.setattr("tehon.data.plan.index.SETTLED", -(10**12))
    data = {"folder": str(folder.parent), "bucket_reso_steps": 64}
    tree = tree_of(tmp_path, data, feed={"cache_folder": str(tmp_path / "cache")})
    first = as_data(make_plan(validate(tree)))
    assert (tmp_path / "cache" / "pictures.sqlite").is_file()
    opened: list[str] = []

    def refuse(path: Any, *rest: Any, **more: Any) -> Any:
        opened.append(str(path))
        return real(path, *rest, **more)

    real = open
    monkeypatch.setattr("builtins.open", refuse)
    assert as_data(make_plan(validate(tree))) == first
    assert [path for path in opened if str(folder) in path] == []
    Image.new("RGB", (96, 64)).save(folder / "01.png")
    (folder / "02.txt").write_text("a tomcat")
    opened.clear()
    rows = as_data(make_plan(validate(tree)))["images"]
    assert sorted(path for path in opened if str(folder) in path) == [str(folder / "01.png"), str(folder / "02.txt")]
    assert [(row["size"], row["caption"]) for row in rows] == [
        ([64, 64], "a cat 0"),
        ([96, 64], "a cat 1"),
        ([64, 64], "a tomcat"),
    ]
    assert started == ([[folder]] * 2 if many else []), "the first plan does not know that there are many"


def test_a_cache_that_cannot_be_written_is_a_notice(tmp_path: Path) -> None:
    folder = draw(tmp_path / "train" / "1_cat", 1, caption="a cat")
    (tmp_path / "file").write_text("")
    data = {"folder": str(folder.parent), "bucket_reso_steps": 64}
    tree = tree_of(tmp_path, data, feed={"cache_folder": str(tmp_path / "file" / "cache")})
    notices = as_data(make_plan(validate(tree)))["warnings"]
    assert [notice.partition("(")[0] for notice in notices] == [
        "What was found out about the pictures could not be kept for the next time "
    ]


def test_the_metadata_say_how_the_pictures_were_varied(tmp_path: Path) -> None:
    folder = draw(tmp_path / "train" / "1_cat", 2)
    data = {"folder": str(folder.parent), "flip_aug": True, "shuffle_caption": True, "keep_tokens": 2}
    data |= {"caption_dropout_rate": 0.25, "caption_dropout_every_n_epochs": 3, "caption_tag_dropout_rate": 0.5}
    facts = run_facts(plan_of(tmp_path, data), 1, 0.0)
    expected = {"flip_aug": True, "color_aug": False, "random_crop": False, "shuffle_caption": True, "keep_tokens": 2}
    expected |= {"caption_dropout_rate": 0.25, "caption_dropout_every_n_epochs": 3, "caption_tag_dropout_rate": 0.5}
    assert {name: facts[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("data", "notice"),
    [
        ({"keep_tokens": 2}, "data.keep_tokens has no effect: tags are neither shuffled nor dropped."),
        ({"max_bucket_reso": 512}, "data.max_bucket_reso has no effect: buckets come from the pictures' own sizes or"),
        ({"keep_tokens": 2, "shuffle_caption": True}, ""),
        ({"keep_tokens": 2, "caption_tag_dropout_rate": 0.1}, ""),
    ],
)
def test_settings_without_effect_are_noticed(tmp_path: Path, data: Tree, notice: str) -> None:
    folder = draw(tmp_path / "train" / "1_cat", 1, caption="a cat")
    data = {"folder": str(folder.parent), "bucket_reso_steps": 64} | data
    found = as_data(plan_of(tmp_path, data))["warnings"]
    assert [line[: len(notice)] for line in found] == ([notice] if notice else [])


def test_a_setting_that_regularisation_pictures_share_is_noticed_once_and_where_it_stands(tmp_path: Path) -> None:
    for folder in ("train", "reg"):
        draw(tmp_path / folder / "1_cat", 1, caption="a cat")
    data = {"folder": str(tmp_path / "train"), "reg_folder": str(tmp_path / "reg")}
    data |= {"bucket_reso_steps": 32, "keep_tokens": 2}
    found = as_data(plan_of(tmp_path, data))["warnings"]
    assert [line.partition(" ")[0] for line in found if "_steps" in line or "tokens" in line] == [
        "data.keep_tokens",
        "data.bucket_reso_steps",
    ]


@pytest.mark.parametrize(
    ("data", "cropped", "enlarged"),
    [
        ({}, ["01.png"], []),
        ({"random_crop": True}, [], []),
        ({"bucket_reso_steps": 8}, [], []),
        ({"bucket_no_upscale": False, "min_bucket_reso": 64}, ["01.png"], ["00.png", "01.png", "02.png"]),
        ({"enable_bucket": False, "resolution": 72}, ["01.png"], []),
    ],
)
def test_pictures_that_are_cut_or_enlarged_much_are_named(
    tmp_path: Path, data: Tree, cropped: list[str], enlarged: list[str]
) -> None:
    """The first is as large as a step, the second half as wide again, the third loses a seventeenth: 4 of 68."""
    folder = draw(tmp_path / "train" / "1_cat", 1)
    draw(folder, 1, (96, 64), first=1)
    draw(folder, 1, (68, 64), first=2)
    data = {"folder": str(folder.parent), "bucket_reso_steps": 64} | data
    plan = plan_of(tmp_path, data, feed={"cache_latents": False})
    found = plan.troubles.odd
    assert [Path(name).name for name in found["cropped"]] == cropped
    assert [Path(name).name for name in found["enlarged"]] == enlarged


@pytest.mark.parametrize("twins", [True, False])
def test_a_caption_of_no_picture_is_noticed_whatever_else_is_there(tmp_path: Path, twins: bool) -> None:
    """As many captions as pictures do not mean that each has its own."""
    folder = draw(tmp_path / "train" / "1_cat", 2, caption="a cat")
    (folder / "00.jpg").write_bytes((folder / "00.png").read_bytes())
    (folder / "01.txt").rename(folder / "misspelt.txt")
    if not twins:
        (folder / "00.jpg").unlink()
    plan = plan_of(tmp_path, {"folder": str(folder.parent)})
    assert plan.troubles.odd["captions_unused"] == [str(folder / "misspelt.txt")]


def test_links_are_followed_and_long_and_foreign_names_are_read(tmp_path: Path) -> None:
    real = draw(tmp_path / "real" / "1_cat", 2, caption="a cat")
    folder = tmp_path / "絵 と 'quotes'" / ("3_" + "é" * 60)
    folder.mkdir(parents=True)
    (folder / ("猫" * 60 + ".PNG")).write_bytes((real / "00.png").read_bytes())
    try:
        (folder.parent / "2_linked").symlink_to(real, target_is_directory=True)
        (folder / "one.png").symlink_to(real / "01.png")
        (folder / "loop").symlink_to(folder, target_is_directory=True)
    except OSError:
        pytest.skip("links need rights here")
    plan = plan_of(tmp_path, {"folder": str(folder.parent)})
    assert [(p.folder.path.name[:8], p.name[-7:], p.repeats) for p in plan.pictures] == [
        ("2_linked", "00.png", 2),
        ("2_linked", "01.png", 2),
        ("3_éééééé", "one.png", 3),
        ("3_éééééé", "猫猫猫.PNG", 3),
    ]


def test_a_picture_held_out_in_one_set_is_trained_through_no_other(tmp_path: Path) -> None:
    cats = draw(tmp_path / "cats", 4, caption="a cat")
    sets = [{"folder": str(cats)}, {"folder": str(cats), "validation_split": 0.25, "resolution": 64}]
    plan = plan_of(tmp_path, {"repeats": 1, "sets": sets})
    (held,) = plan.validation
    assert Counter(p.digest for p in plan.pictures)[held.digest] == 0
    assert len(plan.pictures) == 6
    warnings = as_data(plan)["warnings"]
    assert any(line.startswith("1 picture is not trained because") for line in warnings)
    data = {"folder": str(cats), "repeats": 1}
    draw(tmp_path / "other", 1)
    (tmp_path / "other" / "00.png").write_bytes((cats / "02.png").read_bytes())
    plan = plan_of(tmp_path, data | {"validation_folder": str(tmp_path / "other")})
    assert [picture.name for picture in plan.pictures] == ["00.png", "01.png", "03.png"]
    with pytest.raises(Problem, match=r"^data\.validation_folder: every picture to learn is also held out"):
        plan_of(tmp_path, data | {"validation_folder": str(cats)})


def test_sets_may_share_masks_and_a_metadata_file(tmp_path: Path) -> None:
    folders = [draw(tmp_path / name, 1, first=n) for n, name in enumerate("ab")]
    masks = draw(tmp_path / "masks", 3)
    (tmp_path / "meta.json").write_text(json.dumps({f"{n:02d}": {"caption": "x"} for n in range(3)}))
    data = {"mask_folder": str(masks), "metadata_file": str(tmp_path / "meta.json"), "repeats": 1}
    tree = tree_of(tmp_path, data | {"sets": [{"folder": str(f)} for f in folders]}, objective={"masked_loss": True})
    odd = make_plan(validate(tree)).troubles.odd
    assert odd["masks_unused"] == [str(masks / "02.png")]
    assert odd["metadata_unused"] == ["02"]


def test_a_plain_folder_may_have_its_masks_in_a_folder_of_its_name(tmp_path: Path) -> None:
    cats = draw(tmp_path / "cats", 1)
    mask = draw(tmp_path / "masks" / "cats", 1) / "00.png"
    (picture,) = make_plan(validate(masked(tmp_path, folder=str(cats), repeats=1))).pictures
    assert picture.mask == mask


def test_when_all_is_skipped_the_reasons_are_told(tmp_path: Path) -> None:
    cats = draw(tmp_path / "cats", 1)
    (cats / "00.png").write_text("no picture")
    with pytest.raises(Problem, match=r"00\.png.*not a picture"):
        plan_of(tmp_path, {"folder": str(cats), "repeats": 1, "broken_pictures": "skip"})


def test_lines_of_a_metadata_caption_are_those_of_a_file(tmp_path: Path) -> None:
    cats = draw(tmp_path / "cats", 1)
    (tmp_path / "meta.json").write_text(json.dumps({"00": {"caption": "one\ntwo", "tags": "red"}}))
    data = {"folder": str(cats), "repeats": 1, "metadata_file": str(tmp_path / "meta.json")}
    assert plan_of(tmp_path, data).pictures[0].caption.text == "one, red"
    assert plan_of(tmp_path, data | {"enable_wildcard": True}).pictures[0].caption.text == "one, red\ntwo, red"


def test_repeats_that_a_configuration_leaves_out_come_from_the_section(tmp_path: Path) -> None:
    cats = draw(tmp_path / "cats", 1)
    (tmp_path / "sets.json").write_text(json.dumps({"datasets": [{"subsets": [{"image_dir": str(cats)}]}]}))
    plan = plan_of(tmp_path, {"dataset_config": str(tmp_path / "sets.json"), "repeats": 6})
    assert plan.pictures[0].repeats == 6


def test_a_limit_of_one_set_without_effect_is_noticed(tmp_path: Path) -> None:
    folder = str(draw(tmp_path / "cats", 1, caption="a cat"))
    sets: list[Tree] = [{"folder": folder, "max_bucket_reso": 512}, {"folder": folder, "resolution": 256}]
    sets[1]["bucket_no_upscale"] = False
    sets.append(sets[1] | {"max_bucket_reso": 512})
    warnings = as_data(plan_of(tmp_path, {"repeats": 1, "sets": sets}))["warnings"]
    assert [line.partition(" ")[0] for line in warnings if "no effect" in line] == ["data.sets[0].max_bucket_reso"]


def test_a_picture_may_be_captioned_by_its_own_name(tmp_path: Path) -> None:
    folder = draw(tmp_path / "train" / "3_cat", 1, caption="written")
    draw(folder, 2, first=1)
    for old, new in (("01.png", "a_red  star, night.png"), ("02.png", "02_.2.PNG")):
        (folder / old).rename(folder / new)
    plan = plan_of(tmp_path, {"folder": str(folder.parent), "missing_captions": "file_name"})
    said = {(picture.name, picture.text, picture.text_source) for picture in plan.pictures}
    assert said == {
        ("00.png", "written 0", ".txt"),
        ("a_red  star, night.png", "a red star, night", "file name"),
        ("02_.2.PNG", "02 .2", "file name"),
    }
    assert "Captions come from files of several kinds: 1 × .txt, 2 × file name." in as_data(plan)["warnings"]
    assert "[file name] a red star, night" in as_text(plan)


def test_missing_captions_are_counted_with_those_of_validation(tmp_path: Path) -> None:
    data = {"folder": str(draw(tmp_path / "cats", 4)), "repeats": 1, "class_words": "cat", "validation_split": 0.25}
    assert as_data(plan_of(tmp_path, data))["warnings"][0].startswith("4 of 4 pictures have no caption")
