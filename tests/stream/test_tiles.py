"""Windows over large pictures: they cover everything, and an object at a seam is found once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.stream.tiles import Tiling, detect_tiled, merge


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


class Finder:
    """Finds every bright rectangle that a picture shows, whole or in part, as a detector does; reduced ones not."""

    classes = ("spot",)

    def _of(self, image: np.ndarray) -> Detections:
        boxes = []
        for level in sorted(set(np.unique(image).tolist()) - {0}):
            rows, columns = np.nonzero(image[..., 0] == level)
            boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        count = len(boxes)
        array = np.array(boxes, np.float32).reshape(-1, 4)
        scores = np.linspace(0.9, 0.5, count, dtype=np.float32)
        return Detections(array, scores, np.zeros(count, np.int64), self.classes)

    def __call__(self, images: Iterable[np.ndarray] | np.ndarray, **options: object) -> object:
        if isinstance(images, np.ndarray):
            empty = np.zeros((0, 4), np.float32)
            return Detections(empty, np.zeros(0, np.float32), np.zeros(0, np.int64), self.classes)
        return [self._of(image) for image in images]


def test_each_object_is_found_once() -> None:
    """Whole, in the overlap of two or four windows, across a seam, at the picture's border."""
    picture = np.zeros((250, 400, 3), np.uint8)
    objects = [(5, 5, 20, 30), (70, 10, 95, 35), (150, 75, 162, 90), (78, 78, 98, 98), (380, 230, 400, 250)]
    for level, (x1, y1, x2, y2) in enumerate(objects, 10):
        picture[y1:y2, x1:x2] = level
    found = detect_tiled(Finder(), picture, Tiling(100, 0.3))
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(objects)
    assert found.image_size == (250, 400)
    assert (np.diff(found.scores) <= 0).all()


def test_a_small_picture_is_not_cut() -> None:
    assert len(detect_tiled(Finder(), np.full((50, 60, 3), 9, np.uint8), Tiling(100))) == 0  # the whole alone


def test_merging() -> None:
    rows = ([0, 0, 100, 100], [2, 0, 100, 100], [0, 0, 50, 100], [0, 0, 50, 100], [300, 0, 400, 100])
    boxes = np.array(rows, np.float32)
    found = Detections(boxes, np.array([0.5, 0.6, 0.9, 0.8, 0.7], np.float32), np.array([0, 0, 0, 1, 0]))
    kept = merge(found, np.array([False, False, True, True, False]))
    assert kept.boxes.tolist() == boxes[[3, 4, 1]].tolist()  # the part of another class stays
    kept = merge(found, np.zeros(5, bool))
    assert kept.boxes.tolist() == boxes[[2, 3, 4, 1]].tolist()  # half of a box is an object of its own
