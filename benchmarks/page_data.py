"""What the page is measured with (`page.py`): pictures with captions, and a long run that grows."""

import math
import os
import threading
import time
from pathlib import Path
from typing import Any

import tomli_w
from PIL import Image

from tehon.runs.heartbeat import Heartbeat
from tehon.runs.layout import RunDirectory
from tehon.runs.record import append_rows, event, write_json

DIFFERENT = 500


def draw_pictures(folder: Path, count: int) -> Path:
    """`count` JPEGs of 768 x 512 with captions in two picture folders."""
    first = folder / "first"
    first.mkdir()
    for number in range(min(DIFFERENT, count)):
        colours = Image.effect_noise((24, 16), 90).resize((768, 512), Image.Resampling.BICUBIC)
        other = Image.linear_gradient("L").resize((768, 512)).rotate(number % 4 * 90)
        hue = Image.new("L", (768, 512), number % 256)
        Image.merge("HSV", (hue, other, colours)).convert("RGB").save(first / f"{number}.jpg", quality=85)
    for number in range(count):
        place = folder / "pictures" / f"{number % 2 + 1}_thing"
        place.mkdir(parents=True, exist_ok=True)
        os.link(first / f"{number % DIFFERENT}.jpg", place / f"{number:05d}.jpg")
        words = f"a thing, number {number}, tag {number % 7}, colour {number % 12}"
        (place / f"{number:05d}.txt").write_text(words, "utf8")
    return folder / "pictures"


def write_run(output: Path, settings: dict[str, Any], steps: int, samples: int, picture: Path) -> RunDirectory:
    """A run as the trainer leaves it, without weights."""
    run = RunDirectory(output / "runs" / "long-20260101-120000")
    run.make()
    run.previews.mkdir()
    run.settings.write_text(tomli_w.dumps(settings), "utf8")
    write_json(run.origin, {"started": time.time() - steps})
    append_rows(run.events, [event("opened", step=0), event("started", steps=2 * steps)])
    append_rows(run.metrics, [metrics_row(step) for step in range(1, steps + 1)])
    prompts = [f"a thing on the left, number {number}" for number in range(10)]
    rows: list[dict[str, Any]] = []
    for number in range(samples):
        file = f"long_{number:06d}.jpg"
        os.link(picture, run.previews / file)
        at = number // len(prompts)
        row = {"step": at * 100, "tag": "step" if at else "base", "prompt": prompts[number % len(prompts)], "seed": 1}
        rows.append({**row, "file": file})
    append_rows(run.samples, rows)
    return run


def metrics_row(step: int) -> dict[str, Any]:
    rate = 1e-4 * (1 + math.cos(step / 7000))
    loss = 0.08 + 0.1 * math.exp(-step / 900) + 0.02 * math.sin(step * 12.9898)
    row = {"step": step, "epoch": 1 + step // 500, "loss": loss, "gradient_norm": 0.4}
    return {**row, "rates": {"lora_te": rate / 2, "lora_unet": rate}, "time": 1.8e9 + step}


class Growth(threading.Thread):
    """Adds a step to a run every half second until `enough` is set."""

    def __init__(self, run: RunDirectory, step: int) -> None:
        super().__init__(daemon=True)
        self.run_directory, self.step = run, step
        self.enough = threading.Event()

    def run(self) -> None:
        heartbeat = Heartbeat(self.run_directory.progress)
        while not self.enough.wait(0.5):
            self.step += 1
            append_rows(self.run_directory.metrics, [metrics_row(self.step)])
            heartbeat.tell("training", step=self.step, steps=100_000, loss=0.1, seconds_per_step=0.5, epoch=1, epochs=9)
