"""What SDXL is told of a picture's size and of the piece that is seen."""

from pathlib import Path

from tehon.data.feed.views import View, frame
from tehon.data.plan.buckets import Placement
from tehon.data.plan.variation import Look, Source


def test_the_frame_is_the_real_crop_also_in_a_mirrored_picture() -> None:
    source = Source(Path("a.png"), "", Placement((64, 96), (80, 100)), size=(160, 200))
    assert frame(View(source, Look((5, 3)))) == (200, 160, 3, 5, 96, 64)
    assert frame(View(source, Look((5, 3), flip=True))) == (200, 160, 3, 11, 96, 64)
    whole = Source(Path("a.png"), "", Placement((64, 96), (64, 96)))
    assert frame(View(whole, Look((0, 0), flip=True))) == (96, 64, 0, 0, 96, 64)
