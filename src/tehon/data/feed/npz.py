"""sd-scripts' latent caches: one `.npz` beside each picture, with one sample of the posterior in it.

>>> read_npz(view, scale=0.18215)

Its own check of these files does not compare sizes, so that a changed resolution goes unnoticed there. Here a file is
taken only when its latents have the size of the bucket and its crop is that of the picture in this bucket. Which VAE
and which version of the picture made it, the file does not say.
"""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tehon.data.feed.pixels import picture_size
from tehon.data.feed.views import View
from tehon.data.plan.buckets import Size


def npz_file(picture: Path, size: Size) -> Path | None:
    """The cache of a picture whose file has this (width, height): `<stem>.npz`, else `<stem>_WWWWxHHHH_sd.npz`."""
    named = picture.with_name(f"{picture.stem}_{size[0]:04d}x{size[1]:04d}_sd.npz")
    return next((file for file in (picture.with_suffix(".npz"), named) if file.is_file()), None)


def read_npz(view: View, scale: float, stride: int = 8) -> NDArray[np.float32] | None:
    """Moments (2, c, h, w) of a view: the sample times `scale` as mean, and 0 as deviation. None when there is no
    file, or it does not fit."""
    source, look = view
    size = picture_size(source.path)
    file = size and npz_file(source.path, size)
    if not size or file is None or look.shift is not None or look.crop != source.placement.crop:
        return None
    try:
        with np.load(file, allow_pickle=False) as content:
            latents = content["latents_flipped" if look.flip else "latents"]
            original, crop = content["original_size"], content["crop_ltrb"]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile):
        return None
    width, height = source.placement.bucket
    fits = latents.ndim == 3 and latents.shape[1:] == (height // stride, width // stride)
    if not fits or tuple(original) != size or not np.allclose(crop, crop_in_bucket(size, (width, height)), atol=1):
        return None
    mean = latents.astype(np.float32) * np.float32(scale)
    return np.stack([mean, np.zeros_like(mean)])


def crop_in_bucket(size: Size, bucket: Size) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of `crop_ltrb`: the picture shrunk to fit inside the bucket, and put in its middle."""
    scale = min(bucket[0] / size[0], bucket[1] / size[1])
    wide, high = size[0] * scale, size[1] * scale
    left, top = (bucket[0] - wide) // 2, (bucket[1] - high) // 2
    return left, top, left + wide, top + high
