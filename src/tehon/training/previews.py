"""Sample pictures while the training runs, drawn as a user would see them: with the LoRA as it would be saved now.

For the time of a picture the adapters hold the file's numbers, and afterwards their own again, bit for bit. Noise comes
from a generator of the picture's own. So the training goes on as if nobody had looked.

>>> with seen_as_saved(trainer.adapters, as_saved(file_tensors(trainer.adapters), "fp16")):
...     picture = draw_with(behaviour, parts, clip_skip, prompt)
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from tehon.adapters.adapter import attach, detach, fill
from tehon.disk import clear_leftovers, fill_whole, remove
from tehon.families.family import Behaviour
from tehon.families.samplers import SampleRequest, sample
from tehon.messages.catalogue import say
from tehon.messages.problem import Problem, reason_of
from tehon.planning.prompts import SamplePrompt
from tehon.runs.layout import RunDirectory
from tehon.runs.read import rows
from tehon.runs.record import append_rows, keep_rows
from tehon.training.attach import Adapters
from tehon.training.chores import Tell
from tehon.training.device import is_out_of_memory
from tehon.training.loop import Report

BASE = "base"
"""The mark of the pictures without the LoRA."""
Draw = Callable[[SamplePrompt], Tensor]
Context = Callable[[], AbstractContextManager[None]]


@contextmanager
def seen_as_saved(adapters: Adapters, saved: Mapping[str, Tensor]) -> Generator[None, None, None]:
    """Inside the block the adapters hold these tensors of a LoRA file; after it their own, to the last bit."""
    every = [(name, adapter) for layers in adapters.values() for name, adapter in layers.items()]
    own = [{key: tensor.detach().clone() for key, tensor in adapter.tensors.items()} for _, adapter in every]
    try:
        for name, adapter in every:
            fill(adapter, {key: saved[f"{name}.{key}"] for key in adapter.tensors if f"{name}.{key}" in saved})
        yield
    finally:
        with torch.no_grad():
            for (_, adapter), tensors in zip(every, own, strict=True):
                for key, tensor in tensors.items():
                    adapter.tensors[key].copy_(tensor)


@contextmanager
def unseen(adapters: Adapters) -> Generator[None, None, None]:
    """Inside the block the network is the base model."""
    every = [adapter for layers in adapters.values() for adapter in layers.values()]
    for adapter in every:
        detach(adapter)
    try:
        yield
    finally:
        for adapter in every:
            attach(adapter)


def draw_with(behaviour: Behaviour, parts: Any, clip_skip: int, prompt: SamplePrompt) -> Tensor:
    """uint8 (height, width, 3): the picture of a prompt, with the network as it is."""
    request = SampleRequest(
        [prompt.prompt],
        [prompt.seed],
        (prompt.width, prompt.height),
        negative=prompt.negative_prompt,
        steps=prompt.sample_steps,
        guidance=prompt.scale,
        sampler=prompt.sample_sampler,
        clip_skip=clip_skip,
    )
    return sample(behaviour, parts, request)[0]


class Previews:
    """Draws the prompts after the updates whose `tag` is not None, and when somebody puts a file `preview` into the
    inbox. What the base model draws is kept beside them, once for each prompt.

    `prompts` are asked for anew each time, as they may be changed on the way; `seen` and `bare` are what the network
    is inside: changed by the LoRA as it would be saved, or the base model. Who wants to stop need not wait for more
    than the picture at hand: what `stopping` leaves out is drawn when the run goes on.
    """

    def __init__(
        self,
        directory: RunDirectory,
        *,
        name: str,
        tag: Callable[[int], str | None],
        prompts: Callable[[], Sequence[SamplePrompt]],
        draw: Draw,
        seen: Context,
        bare: Context,
        tell: Tell,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.directory = directory
        self.name = name
        self.tag = tag
        self.prompts = prompts
        self.draw = draw
        self.seen = seen
        self.bare = bare
        self.tell = tell
        self.stopping = stopping

    def begin(self, step: int, planned: bool) -> None:
        """Before the first update: forgets the pictures of steps that a resumed run takes again, and draws what is
        missing: of this step, over whose pictures a process may have died, and of the base model."""
        keep_rows(self.directory.samples, lambda row: row.get("step", 0) <= step)
        self._clear()
        tag = self.tag(step)
        if tag is not None:
            self._draw_all(step, tag)
        elif planned:
            self._try(self._draw_base, self.prompts(), step)

    def due(self, report: Report) -> bool:
        return self.tag(report.step) is not None or self._asked.is_file()

    def run(self, report: Report) -> None:
        remove(self._asked)
        self._draw_all(report.step, self.tag(report.step) or f"{report.step:06d}")

    @property
    def _asked(self) -> Path:
        return self.directory.inbox / "preview"

    def _draw_all(self, step: int, tag: str) -> None:
        prompts = self.prompts()
        if not prompts:
            self.tell("notice", text=say("notice.nothing_to_draw", step=step))
            return
        self._try(self._draw_base, prompts, step)
        self._try(self._draw_these, prompts, step, tag)

    def _try(self, draw: Callable[..., None], prompts: Sequence[SamplePrompt], step: int, *rest: str) -> None:
        """Pictures are not worth a run: without memory or space for them they are left out, with a notice."""
        try:
            draw(prompts, step, *rest)
        except Exception as error:
            if not (isinstance(error, OSError | Problem) or is_out_of_memory(error)):
                raise
            self.tell("notice", text=say("notice.samples_left_out", step=step, reason=reason_of(error)))

    def _draw_base(self, prompts: Sequence[SamplePrompt], step: int) -> None:
        missing = self._missing(prompts, 0, BASE)
        if missing:
            with self.bare():
                self._draw(missing, 0, BASE)

    def _draw_these(self, prompts: Sequence[SamplePrompt], step: int, tag: str) -> None:
        missing = self._missing(prompts, step, tag)
        with self.seen():
            files = self._draw(missing, step, tag)
        if files:
            self.tell("sampled", step=step, tag=tag, files=files)

    def _missing(self, prompts: Sequence[SamplePrompt], step: int, tag: str) -> list[SamplePrompt]:
        known = [row for row in rows(self.directory.samples) if (row.get("step"), row.get("tag")) == (step, tag)]
        return [prompt for prompt in prompts if not any(asdict(prompt).items() <= row.items() for row in known)]

    def _clear(self) -> None:
        """Removes pictures without a row, as a process leaves them that dies between the two."""
        clear_leftovers(self.directory.previews)
        known = {row.get("file") for row in rows(self.directory.samples)}
        for file in self.directory.previews.glob("*.png"):
            if file.name not in known and file.name.startswith(f"{self.name}_"):
                remove(file)

    def _draw(self, prompts: Sequence[SamplePrompt], step: int, tag: str) -> list[str]:
        self.directory.previews.mkdir(exist_ok=True)
        files: list[str] = []
        for prompt in prompts:
            if self.stopping():
                break
            picture = Image.fromarray(self.draw(prompt).numpy())
            file = f"{self.name}_{tag}_{prompt.line:02d}_{datetime.now():%Y%m%d%H%M%S}_{prompt.seed}.png"
            fill_whole(
                self.directory.previews / file,
                lambda aside: picture.save(aside, "png", pnginfo=parameters(prompt)),  # noqa: B023  called at once
            )
            append_rows(self.directory.samples, [{"step": step, "tag": tag, "file": file, **asdict(prompt)}])
            files.append(str(self.directory.previews / file))
        return files


def parameters(prompt: SamplePrompt) -> PngInfo:
    """What A1111 and its readers find in a picture's text: how it was drawn."""
    facts = {
        "Steps": prompt.sample_steps,
        "Sampler": prompt.sample_sampler,
        "CFG scale": prompt.scale,
        "Seed": prompt.seed,
        "Size": f"{prompt.width}x{prompt.height}",
    }
    negative = f"Negative prompt: {prompt.negative_prompt}\n" if prompt.negative_prompt else ""
    info = PngInfo()
    last = ", ".join(f"{name}: {value}" for name, value in facts.items())
    info.add_itxt("parameters", f"{prompt.prompt}\n{negative}{last}")
    return info
