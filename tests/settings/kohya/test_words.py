"""Additional parameters: sd-scripts' words inside our own settings, where they win over all others."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tehon.messages.problem import Problem, Problems
from tehon.planning.notices import notices_for
from tehon.planning.plan import make_plan
from tehon.settings.files import on_top, to_toml, validate
from tehon.settings.kohya.read import merge_words

Tree = dict[str, Any]


def test_words_win_over_the_settings_and_nothing_else_changes(tree: Tree) -> None:
    plain = validate(tree)
    tree["training"]["additional_parameters"] = (
        "--learning_rate 1e-3 --network_args conv_dim=4 --min_snr_gamma=5 --lr_warmup_steps=0.2 --flip_aug"
    )
    with_words = validate(tree)
    before, after = plain.model_dump(), with_words.model_dump()
    changed = {f"{s}.{n}": after[s][n] for s in after for n in after[s] if after[s][n] != before[s][n]}
    assert changed.pop("training.additional_parameters")
    assert changed == {
        "optimizer.learning_rate": 1e-3,
        "network.conv_rank": 4,
        "network.conv_alpha": 1.0,
        "objective.min_snr_gamma": 5.0,
        "optimizer.lr_warmup": 20.0,
        "data.flip_aug": True,
    }


UNDER_THEM = [
    ({"objective.loss_type": "huber"}, "--huber_c=0.2", {"objective.huber_c": 0.2}),
    (
        {"objective.multires_noise_iterations": 6},
        "--multires_noise_discount=0.8",
        {"objective.multires_noise_discount": 0.8},
    ),
    ({"objective.noise_offset": 0.1}, "--adaptive_noise_scale=0.1", {"objective.adaptive_noise_scale": 0.1}),
    (
        {"network.kind": "locon", "network.conv_rank": 4},
        "--network_args conv_alpha=2",
        {"network.conv_alpha": 2.0},
    ),
    (
        {"output.save_every_n_epochs": 1, "output.save_state_every_n_epochs": 2},
        "--save_state",
        {"output.save_state_every_n_epochs": 1},
    ),
    ({"network.rank": 32}, "--network_alpha=0", {"network.alpha": 32.0}),
    (
        {"network.rank": 32},
        "--network_module=lycoris.kohya --network_args algo=loha",
        {"network.kind": "loha", "network.conv_rank": 32},
    ),
    (
        {"feed.max_data_loader_n_workers": 2, "feed.cache_latents": False},
        "--persistent_data_loader_workers",
        {"feed.persistent_data_loader_workers": True},
    ),
    ({"objective.masked_loss": True, "data.alpha_mask": True}, "--masked_loss", {}),
    ({"network.kind": "loha", "network.conv_rank": 8}, "--network_args algo=lokr", {"network.kind": "lokr"}),
    # and they win, whatever stood for the settings in an export
    ({"optimizer.text_encoder_lr": 0.0}, "--text_encoder_lr=1e-5", {"optimizer.text_encoder_lr": 1e-5}),
    ({"optimizer.unet_lr": 0.0}, "--unet_lr=1e-5", {"optimizer.unet_lr": 1e-5}),
    ({"network.kind": "loha", "network.conv_rank": 0}, "--network_args conv_dim=4", {"network.conv_rank": 4}),
    (
        {"network.kind": "loha", "network.conv_rank": 4, "network.tucker": True},
        "--network_args use_cp=False",
        {"network.tucker": False},
    ),
]


@pytest.mark.parametrize(("under", "words", "changes"), UNDER_THEM, ids=[words for _, words, _ in UNDER_THEM])
def test_words_are_read_with_the_settings_under_them(tree: Tree, under: Tree, words: str, changes: Tree) -> None:
    on_top(tree, under)
    before = validate(tree).model_dump()
    told = merge_words(words, before).lines
    assert [line.reason for line in told if line.fate == "dropped" or line.reason.startswith("there are no")] == []
    after = validate(on_top(tree, {"training.additional_parameters": words})).model_dump()
    changed = {f"{s}.{n}": after[s][n] for s in after for n in after[s] if after[s][n] != before[s][n]}
    changed.pop("training.additional_parameters")
    assert changed == changes


def test_masks_of_sets_are_masks(tree: Tree) -> None:
    sets = [{"folder": tree["data"].pop("folder"), "alpha_mask": True}]
    on_top(tree, {"data.sets": sets, "training.additional_parameters": "--masked_loss"})
    assert validate(tree).objective.masked_loss


def test_a_plan_stores_what_they_came_to_and_tells_of_them(tree: Tree) -> None:
    tree["training"]["additional_parameters"] = "--min_snr_gamma 5 --lowram"
    plan = make_plan(validate(tree))
    assert plan.settings.training.additional_parameters == ""
    assert plan.settings.objective.min_snr_gamma == 5
    assert "min_snr_gamma = 5.0" in to_toml(plan.settings)
    (notice,) = [text for text in notices_for(plan) if text.startswith("training.additional_parameters")]
    assert notice == (
        "training.additional_parameters, --lowram: changes speed or memory alone, and tehon chooses that itself"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "--min_snr_gama 5",
            "training.additional_parameters: --min_snr_gama: sd-scripts has no such option; --min_snr_",
        ),
        ("--dataset_class a.B", "training.additional_parameters: --dataset_class: runs somebody's own code"),
        ("--seed -1", "training.additional_parameters: --seed: training.seed: -1 does not fit; give a whole"),
        ('--output_name "a', 'The quote " is never closed in: --output_name "a'),
        ("--config_file a.toml", "training.additional_parameters: a.toml is a whole file of settings;"),
    ],
)
def test_words_that_can_not_be_followed_are_refused(tree: Tree, words: str, sentence: str) -> None:
    tree["training"]["additional_parameters"] = words
    with pytest.raises(Problem) as caught:
        validate(tree)
    assert not isinstance(caught.value, Problems)
    assert str(caught.value).startswith(sentence)


def test_settings_that_stay_wrong_are_still_refused(tree: Tree) -> None:
    tree["training"]["additional_parameters"] = "--flip_aug"
    tree["optimizer"] = {"learning_rate": "fast"}
    with pytest.raises(Problem, match=r"optimizer\.learning_rate"):
        validate(tree)


@pytest.mark.parametrize(
    ("stray", "sentence"),
    [
        ({"x": 3}, "x: there is no such setting;"),
        ({"network": "x"}, "network: this is a section with settings of its own;"),
    ],
)
def test_a_section_that_is_no_table_is_told_beside_words(tree: Tree, stray: Tree, sentence: str) -> None:
    tree["training"]["additional_parameters"] = "--seed 1"
    with pytest.raises(Problem) as caught:
        validate(tree | stray)
    assert str(caught.value).startswith(sentence)


def test_a_data_set_configuration_among_words_says_alone_where_pictures_are(tree: Tree, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (64, 64)).save(other / "owl.png")
    config = tmp_path / "dataset.toml"
    config.write_text(
        f"[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = '{other}'\nclass_tokens = 'owl'\n", "utf8"
    )
    tree["training"]["additional_parameters"] = f"--dataset_config={config.as_posix()}"
    plan = make_plan(validate(tree))
    assert [picture.path.name for picture in plan.pictures] == ["owl.png"]
    assert "folders, sets and a metadata file of these settings are left out" in " ".join(notices_for(plan))
