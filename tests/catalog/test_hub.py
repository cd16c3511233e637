"""Models by their name: from the cache without the network, else fetched once, from a small hub on this machine."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

import tehon
from tehon.catalog.detect import find_model
from tehon.catalog.hub import PRESETS, asked, hub_folder, is_hub_id, wanted_weights
from tehon.messages.problem import Problem

Models = Callable[[str, str], Path]
COMMIT = "0123456789012345678901234567890123456789"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(cache: Path, name: str, folder: Path, revision: str = "main") -> Path:
    """A repository in the cache, as the hub's library lays it out."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True, exist_ok=True)
    (place / "refs" / revision).write_text(COMMIT)
    shutil.copytree(folder, place / "snapshots" / COMMIT)
    return place / "snapshots" / COMMIT


def test_a_model_in_the_cache_needs_no_network(cache: Path, models: Models) -> None:
    place = put(cache, "someone/model", models("sd1", "folder"), "v2")
    assert find_model("someone/model", revision="v2").path == place
    with pytest.raises(Problem, match="someone/model is neither on this machine nor can it be fetched"):
        find_model("someone/model")


def test_half_a_model_in_the_cache_is_no_model(cache: Path, models: Models) -> None:
    place = put(cache, "someone/model", models("sd1", "folder"))
    (place / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(Problem, match="nor can it be fetched from the hub"):
        find_model("someone/model")


def test_a_damaged_index_in_the_cache_is_no_model(cache: Path, models: Models) -> None:
    place = put(cache, "someone/model", models("sd1", "folder"))
    (place / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": ')
    with pytest.raises(Problem, match="nor can it be fetched from the hub"):
        find_model("someone/model")


def test_models_that_moved_are_found_under_both_names(cache: Path, models: Models) -> None:
    for name, today in PRESETS.items():
        assert is_hub_id(name)
        assert is_hub_id(today)
    old, today = "runwayml/stable-diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"
    with pytest.raises(Problem, match=today):
        hub_folder(old)
    place = put(cache, today, models("sd1", "folder"))
    assert hub_folder(old) == place
    other = put(cache, old, models("sd1", "folder"))
    assert hub_folder(old) == other


def test_the_vocabulary_of_checkpoints_comes_from_the_cache(cache: Path, models: Models, vocabulary: str) -> None:
    file = str(models("sd1", "model.safetensors"))
    with pytest.raises(
        Problem, match=r"model\.tokenizer: a checkpoint file has no vocabulary, and that of openai/clip"
    ):
        find_model(file)
    place = put(cache, "openai/clip-vit-large-patch14", Path(vocabulary))
    assert find_model(file).tokenizer == place


@pytest.mark.parametrize(("path", "name"), [("a/b", True), ("a/b.1-x", True), ("a/b/c", False), ("a", False)])
def test_what_may_be_a_name_on_the_hub(path: str, name: bool) -> None:
    assert is_hub_id(path) == name
    for ending in (".safetensors", ".pt", ".bin", ".CKPT"):
        assert not is_hub_id(f"models/mine{ending}"), "a file with a mistyped path is missed at once"


def test_a_network_that_fails_in_its_own_way_is_one_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class LostError(Exception):
        """As the library underneath the hub's raises them: of no kind that is known here."""

    said: list[str] = []

    def lost(*_: object, **__: object) -> list[str]:
        said.append(asked("somebody/something"))
        raise LostError("no route to host\nmore")

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", lost)
    with pytest.raises(Problem, match="no route to host") as caught:
        find_model("somebody/something")
    assert caught.value.key == "hub_failed"
    assert [*said, asked("somebody/something")] == ["somebody/something", ""], (
        "who waits is told what for, as long as it is asked for"
    )


def test_each_network_is_fetched_once() -> None:
    sharded = [f"unet/model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    files = [
        *(
            "vae/model.bin",
            "vae/model.safetensors",
            "vae/model.fp16.safetensors",
            "text_encoder/model.fp16.safetensors",
        ),
        *(*sharded, "unet/model.non_ema.safetensors", "v1-5-pruned.ckpt", "safety_checker/model.safetensors"),
    ]
    wanted = [*sharded, "vae/model.safetensors", "text_encoder/model.fp16.safetensors"]
    assert wanted_weights(files) == wanted


@pytest.fixture
def hub(models: Models) -> Iterator[tuple[str, list[str]]]:
    """(address, paths asked for) of a hub with one model, someone/model."""
    folder = models("sd1", "folder")
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, whole: bool) -> None:
            path = self.path.partition("?")[0]
            asked.append(path)
            name = path.partition(f"/someone/model/resolve/{COMMIT}/")[2]
            if path.startswith("/api/models/someone/model"):
                files = [str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()] + ["model.ckpt"]
                rows: list[dict[str, Any]] = [{"rfilename": file} for file in files]
                if "/tree/" in path:
                    tree = [{"type": "file", "path": file, "size": 1, "oid": COMMIT} for file in files]
                    self.send(json.dumps(tree).encode(), whole)
                    return
                self.send(json.dumps({"id": "someone/model", "sha": COMMIT, "siblings": rows}).encode(), whole)
            elif name and (folder / name).is_file():
                self.send((folder / name).read_bytes(), whole)
            else:
                self.send_error(404)

        def send(self, content: bytes, whole: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if whole:
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


def test_a_model_is_fetched_once(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = hub
    code = "from tehon.catalog.detect import find_model; m = find_model('someone/model'); print(m.path, m.family.name)"
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"PYTHONPATH": str(Path(tehon.__file__).parents[1]), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}

    def run(**more: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], env=environment | more, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-600:]
        return done.stdout

    first = run()
    assert first.split()[1] == "sd1"
    assert COMMIT in first
    fetched = [path.rpartition("/")[2] for path in asked]
    assert "diffusion_pytorch_model.safetensors" in fetched
    assert "model.ckpt" not in fetched
    asked.clear()
    assert run(HF_HUB_OFFLINE="1") == first
    assert run() == first
    assert asked == [], "what is in the cache is not asked for again"
