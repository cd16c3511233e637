"""A picture file to the pixels that the VAE sees."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tehon.data.plan.buckets import Placement
from tehon.data.plan.images import open_upright


def read_pixels(path: Path, placement: Placement) -> Tensor:
    """float32 (3, height, width) in [-1, 1]: upright, scaled (Lanczos), its middle cut out at the bucket's size."""
    picture = open_upright(path)
    if picture.size != placement.resized:
        picture = picture.resize(placement.resized, Image.Resampling.LANCZOS)
    left, top = placement.crop
    picture = picture.crop((left, top, left + placement.bucket[0], top + placement.bucket[1]))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1
