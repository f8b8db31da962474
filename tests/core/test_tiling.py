"""Windows over large pictures: they cover everything and overlap."""

import numpy as np
import pytest

from rtmdet.core.errors import InputError
from rtmdet.core.tiling import Tiling


@pytest.mark.parametrize("size", [(100, 100), (101, 100), (250, 640), (1000, 333), (97, 2000)])
def test_windows_cover_the_picture(size: tuple[int, int]) -> None:
    tiling = Tiling(100)
    covered = np.zeros(size, int)
    for x1, y1, x2, y2 in tiling.windows(size):
        assert (y2 - y1, x2 - x1) == (min(size[0], 100), min(size[1], 100))
        covered[y1:y2, x1:x2] += 1
    assert covered.min() == (0 if max(size) == 100 else 1)
    for near, far in zip(tiling.windows(size), tiling.windows(size)[1:], strict=False):
        if near[1] == far[1]:
            assert near[2] - far[0] >= 20  # neighbors overlap


def test_what_is_no_tiling() -> None:
    for side, overlap in ((31, 0.2), (100, 1.0), (100, -0.1)):
        with pytest.raises(InputError, match="tiles"):
            Tiling(side, overlap)


def test_the_whole_picture_is_looked_at_first() -> None:
    assert Tiling(100, 0).views((100, 150)) == [(0, 0, 150, 100), (0, 0, 100, 100), (50, 0, 150, 100)]
    assert Tiling(100).views((100, 90)) == [(0, 0, 90, 100)]
    assert (
        str(Tiling(64)) == "windows of 64 x 64 pixels that overlap by 20% in larger pictures, and the whole picture"
    )
