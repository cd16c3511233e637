"""Where latents and text states of a plan come from, and which networks that takes.

>>> latents = latent_source(plan, behaviour, parts, device, notice, progress, peers)
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tehon.adapters.chance import Moment
from tehon.data.feed.cache import ArrayCache
from tehon.data.feed.latents import FreshLatents, KeptLatents, LatentSource, Memory
from tehon.data.feed.loader import Loader
from tehon.data.feed.npz import read_npz
from tehon.data.feed.texts import (
    EncodeText,
    FreshTexts,
    KeptTexts,
    LearningTexts,
    Text,
    TextsInTurn,
    TextSource,
    block_for,
)
from tehon.data.feed.views import View
from tehon.data.plan.index import user_cache_folder
from tehon.families.family import Behaviour
from tehon.machine.pages import large_blocks_kept
from tehon.messages.catalogue import Notice, say
from tehon.planning.lengths import longest_captions
from tehon.planning.plan import Plan
from tehon.training.interrupts import StoppedEarly
from tehon.training.process_group import ProcessGroup
from tehon.training.readings import captions_of, held_out, kept_views

Progress = Callable[[int, int], bool]
"""Told how many pictures of how many are encoded; says whether somebody asks to stop."""


def latent_source(
    plan: Plan,
    behaviour: Behaviour,
    parts: Any,
    device: torch.device,
    notice: Notice,
    progress: Progress,
    peers: ProcessGroup,
) -> LatentSource:
    """As the settings say: encoded now and kept in memory or on disk, or encoded at each reading. StoppedEarly, in all
    processes after the same batches, when `progress` of one asks for it."""
    feed = plan.settings.feed
    loader = Loader(feed.max_data_loader_n_workers)
    encode = partial(behaviour.encode_image, parts)
    if not feed.cache_latents:
        return FreshLatents(encode, device, notice, loader, feed.persistent_data_loader_workers)
    arrays = ArrayCache(_cache_folder(feed.cache_folder)) if feed.cache_latents_to_disk else Memory()
    latents = KeptLatents(arrays, encode, behaviour.image_encoder_digest(parts), device, notice)
    learned, held = kept_views(plan), [view for view, _ in held_out(plan)]
    if feed.read_npz:
        views = latents.missing([*learned, *held])
        taken = latents.take(views, partial(_given, behaviour.latent_scale(parts), plan.family.stride))
        notice(say("notice.npz_used", count=taken, total=len(views)))
    done, total = 0, len(latents.missing([*learned, *held]))
    with large_blocks_kept():
        for views in (learned, held):  # apart, so that validation changes no learned latent, not even by rounding
            for count in latents.fill(latents.missing(views), feed.vae_batch_size, loader, peers):
                done += count
                if peers.agree(progress(done, total)):
                    raise StoppedEarly
    parts.release_but(())
    return latents


def _given(scale: float, stride: int, view: View) -> Any:
    return read_npz(view, scale, stride)


def _cache_folder(given: str) -> Path:
    return (Path(given) if given else user_cache_folder()) / "latents"


def text_encoder(plan: Plan, behaviour: Behaviour, parts: Any) -> EncodeText:
    """From captions to states, as the settings say."""
    text = plan.settings.text
    return partial(
        behaviour.encode_text,
        parts,
        chunks=text.max_token_length // 75,
        padded=not text.no_token_padding,
        clip_skip=text.clip_skip,
        weighted=text.weighted_captions,
    )


def _halves(plan: Plan, behaviour: Behaviour, parts: Any) -> tuple[EncodeText, Callable[[Text], Text]]:
    """The same in two: from captions to tokens, and from tokens to states."""
    text = plan.settings.text
    chunks = text.max_token_length // 75
    options = {"padded": not text.no_token_padding, "weighted": text.weighted_captions}
    tokens = partial(behaviour.tokens, parts, chunks=chunks, **options)
    return tokens, partial(behaviour.encode_tokens, parts, chunks=chunks, clip_skip=text.clip_skip)


def text_source(
    plan: Plan, behaviour: Behaviour, parts: Any, encode: EncodeText, moment: Moment, notice: Notice
) -> TextSource:
    """Captions are encoded at each reading while that is trained or where it is asked for, else once."""
    text = plan.settings.text
    chunks = text.max_token_length // 75
    if text.weighted_captions:  # the plan has no parser for emphasis, and leaves these captions to us
        limit = text.max_token_length
        for caption, name in longest_captions(plan).items():
            count, rest = behaviour.overlong(parts, caption, chunks=chunks, weighted=True)
            if count:
                notice(say("notice.caption_too_long", name=name, count=count, limit=limit, rest=rest))
    first = plan.text_steps if plan.text_trained else 0
    learning = LearningTexts(*_halves(plan, behaviour, parts))
    if first == plan.steps:
        return learning
    captions, still = partial(captions_of, plan), partial(_encode_still, encode, moment)
    if not plan.settings.feed.cache_text:
        return TextsInTurn(learning, first, FreshTexts(still)) if first else FreshTexts(still)
    block = block_for(captions, plan.steps, len(plan.pictures) + 1, first)
    kept = KeptTexts(still, captions, plan.steps, block, first)
    if first:
        return TextsInTurn(learning, first, kept)
    if not kept.encodes_later:
        kept.prepare(0)
    return kept


@torch.no_grad()
def _encode_still(encode: EncodeText, moment: Moment, captions: Sequence[str]) -> Text:
    """What captions say when the text encoder learns no more: its adapters draw nothing."""
    with moment.paused():
        return encode(captions)


def needed_by(plan: Plan, texts: TextSource) -> frozenset[str]:
    """The networks that the updates use: those that predict, and whichever encodes at each reading."""
    unused = set() if texts.encodes_later else set(plan.family.text_encoders)
    if plan.settings.feed.cache_latents:
        unused.add("vae")
    return frozenset(plan.model.configs.keys() - unused)
