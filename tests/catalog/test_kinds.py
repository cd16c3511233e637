import pytest

from tehon.catalog.kinds import KINDS, Form, fits, ia3_on_input, kind_of, rank_of, tensor_shapes

LINEAR, CONV = (320, 768), (640, 320, 3, 3)


@pytest.mark.parametrize(
    ("kind", "form", "shape", "expected"),
    [
        # the examples of the format's description, LyCORIS' and sd-scripts' files
        ("lora", Form(), LINEAR, {"lora_down.weight": (4, 768), "lora_up.weight": (320, 4)}),
        ("lora", Form(), CONV, {"lora_down.weight": (4, 320, 3, 3), "lora_up.weight": (640, 4, 1, 1)}),
        ("lokr", Form(factor=8), (320, 320), {"lokr_w1": (8, 8), "lokr_w2_a": (40, 4), "lokr_w2_b": (4, 40)}),
        ("lokr", Form(factor=8, full_matrix=True), (320, 320), {"lokr_w1": (8, 8), "lokr_w2": (40, 40)}),
        ("lokr", Form(), (320, 320), {"lokr_w1": (16, 16), "lokr_w2_a": (20, 4), "lokr_w2_b": (4, 20)}),
        ("lora", Form(dora="output"), LINEAR, {"dora_scale": (320, 1)}),
        ("lora", Form(dora="input"), CONV, {"dora_scale": (1, 320, 1, 1)}),
        ("loha", Form(), CONV, {"hada_w1_a": (640, 4), "hada_w1_b": (4, 2880)}),
        ("loha", Form(tucker=True), CONV, {"hada_t1": (4, 4, 3, 3), "hada_w2_a": (4, 640), "hada_w2_b": (4, 320)}),
        ("loha", Form(tucker=True), LINEAR, {"hada_w1_a": (320, 4), "hada_w1_b": (4, 768)}),
        ("ia3", Form(), LINEAR, {"weight": (320,), "on_input": ()}),
        ("ia3", Form(on_input=True), LINEAR, {"weight": (768,), "on_input": ()}),
    ],
)
def test_a_file_holds_these_tensors(
    kind: str, form: Form, shape: tuple[int, ...], expected: dict[str, tuple[int, ...]]
) -> None:
    tensors = tensor_shapes(kind, shape, 4, form)
    assert {name: tensors[name] for name in expected} == expected
    assert ("alpha" in tensors) == (kind != "ia3")
    assert kind_of(tensors) == kind
    assert fits(kind, tensors, shape)
    sides = [int(form.on_input)] if kind == "ia3" else [0, 1]  # the other side is no matter of (IA)³
    for side in sides:
        assert not fits(kind, tensors, tuple(size + 2 * (n == side) for n, size in enumerate(shape)))
    for name in tensors.keys() - {"alpha", "lokr_t2"}:
        assert (
            not fits(kind, {key: size for key, size in tensors.items() if key != name}, shape) or name == "dora_scale"
        )


def test_ranks_are_read_from_shapes() -> None:
    for kind in ("lora", "loha", "lokr"):
        assert rank_of(tensor_shapes(kind, LINEAR, 5)) == 5
        assert rank_of(tensor_shapes(kind, CONV, 5, Form(tucker=True))) == 5
    assert rank_of(tensor_shapes("lokr", LINEAR, 5, Form(full_matrix=True))) is None
    assert rank_of(tensor_shapes("ia3", LINEAR, 5)) is None


def test_unknown_tensors_have_no_kind() -> None:
    assert kind_of({"oft_blocks": (), "alpha": ()}) is None


def test_ia3_scales_keys_values_and_inner_features() -> None:
    paths = {"attn1.to_q": None, "attn2.to_k": False, "attn2.to_v": False, "ff.net.0.proj": None, "ff.net.2": True}
    paths |= {"self_attn.k_proj": False, "self_attn.out_proj": None, "mlp.fc1": None, "mlp.fc2": True}
    assert {path: ia3_on_input(path) for path in paths} == paths


def test_every_kind_says_what_it_heeds_among_the_settings() -> None:
    from tehon.settings.network import NetworkSettings

    assert KINDS.keys() == set(NetworkSettings.model_fields["kind"].annotation.__args__)  # type: ignore[union-attr]
    for kind in KINDS.values():
        assert kind.heeds <= NetworkSettings.model_fields.keys()
