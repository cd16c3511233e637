"""Captions that have more tokens than are read, counted with the model's vocabulary and without torch.

>>> list(overlong_captions(plan))
[('01.png', 4, 'and a very long tail')]
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tehon.data.plan.wording import longest
from tehon.planning.plan import Plan


def overlong_captions(plan: Plan) -> Iterator[tuple[str, int, str]]:
    """(picture, how many tokens too many, the text that is cut off). With emphasis the brackets are no tokens, so then
    only the trainer can count."""
    limit = plan.settings.text.max_token_length
    # A token is a byte at least, so a caption of few bytes needs no vocabulary.
    texts = longest_captions(plan, over=limit)
    if not texts or plan.settings.text.weighted_captions:
        return
    words = _vocabulary(plan.model.vocabulary())
    if words is None:
        return
    counted = words.encode_batch(list(texts), add_special_tokens=False)
    for (text, name), tokens in zip(texts.items(), counted, strict=True):
        if len(tokens.ids) > limit:
            yield name, len(tokens.ids) - limit, text[tokens.offsets[limit][0] :].strip()


def longest_captions(plan: Plan, over: int = -1) -> dict[str, str]:
    """{the longest that a caption can become: the first picture with it}, for those of more than `over` bytes."""
    texts: dict[str, str] = {}
    for pictures in (plan.pictures, plan.validation):
        for caption, one, name in zip(pictures.texts, pictures.sets, pictures.names, strict=True):
            if len(caption) <= over and caption.isascii() and not one.wording.changes:
                continue  # it becomes no longer
            text = longest(caption, one.wording)
            if len(text) > over or (not text.isascii() and len(text.encode()) > over):
                texts.setdefault(text, name)
    return texts


def _vocabulary(folder: Path) -> Any | None:
    """CLIP's byte-pair encoding from its two files, as transformers builds it."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    try:
        merges = (folder / "merges.txt").read_text("utf8").splitlines()
        split = [line.split() for line in merges if line and not line.startswith("#version")]
        pairs = [(left, right) for left, right in split]
        vocabulary = json.loads((folder / "vocab.json").read_text("utf8"))
        model = models.BPE(vocabulary, pairs, end_of_word_suffix="</w>", fuse_unk=False)
    except (OSError, ValueError):
        return None  # the trainer, which needs these files, says what is wrong with them
    words = Tokenizer(model)
    words.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True), pre_tokenizers.ByteLevel(False)]
    )
    return words
