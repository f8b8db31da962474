"""Detection in large pictures: overlapping windows and the whole picture, merged in the picture's own pixels.

Dimension legend: D detections, W windows, H, W of the picture where sizes are meant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.detector import Detector, Score

OVERLAP = 0.2  # of neighboring windows, a share of their side
SEAM = 2.0  # pixels: boxes that end so near to a seam may be cut by it
COVERED = 0.5  # share of a cut box inside of another one that makes it a part of that
SAME_OBJECT = 0.5  # IoU of boxes from two windows

Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the picture


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a picture is cut: square windows of a side in pixels, that overlap by a share of it."""

    side: int
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        if self.side < 32:
            raise InputError(f"tiles of {self.side} pixels: expected at least 32")
        if not 0 <= self.overlap < 1:
            raise InputError(f"tiles that overlap by {self.overlap}: expected 0 or more, less than 1")

    def windows(self, size: tuple[int, int]) -> list[Window]:
        """The windows over a picture of (H, W), row by row, the last ones at its border; empty if one is enough."""
        height, width = size
        if max(size) <= self.side:
            return []
        rows, columns = self._starts(height), self._starts(width)
        return [(x, y, min(x + self.side, width), min(y + self.side, height)) for y in rows for x in columns]

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.side, 0)
        step = max(int(self.side * (1 - self.overlap)), 1)
        return [*range(0, last, step), last]


def detect_tiled(
    detector: Detector,
    image: np.ndarray,
    tiling: Tiling,
    *,
    score: Score = "auto",
    max_detections: int = 1000,
    batch_size: int = 8,
) -> Detections:
    """The objects in a picture (H, W, 3) uint8 RGB: of all windows and of the whole picture, without doubles.

    A box that a seam cuts is dropped if it lies in the box of the whole object. Raises InputError.
    """
    size = image.shape[0], image.shape[1]
    whole = detector(image, score=score, max_detections=max_detections).numpy()
    windows = tiling.windows(size)
    if not windows:
        return whole
    crops = (image[y1:y2, x1:x2] for x1, y1, x2, y2 in windows)
    parts = detector(crops, score=score, max_detections=max_detections, batch_size=batch_size)
    shifted = [_shift(part.numpy(), window) for part, window in zip(parts, windows, strict=True)]
    cut = [
        np.zeros(len(whole), bool),
        *(_is_cut(part.boxes, window, size) for part, window in zip(shifted, windows, strict=True)),
    ]
    everything = Detections.join([whole, *shifted])
    kept = merge(everything, np.concatenate(cut))[:max_detections]
    return replace(kept, image_size=size, path=None, picture=partial(np.asarray, image))


def merge(found: Detections, cut: np.ndarray) -> Detections:
    """One box per object, by falling score; `cut` (D,) bool: those that a seam may have cut.

    Whole boxes come first: of two boxes of a class that show the same object, the whole one and then the one with the
    higher score stays.
    """
    order = np.lexsort((-found.scores, cut))
    kept = np.zeros(len(found), bool)
    for label in np.unique(found.labels):
        own = order[found.labels[order] == label]
        kept[own[_first_of_each_object(found.boxes[own], cut[own])]] = True
    chosen = np.flatnonzero(kept)
    return found[chosen[np.argsort(-found.scores[chosen], kind="stable")]]


def _first_of_each_object(boxes: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """The places of boxes (D, 4) that show no object of one before them."""
    free = np.ones(len(boxes), bool)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    for place in range(len(boxes)):
        if not free[place]:
            continue
        rest = np.flatnonzero(free[place + 1 :]) + place + 1
        sides = np.minimum(boxes[place, 2:], boxes[rest, 2:]) - np.maximum(boxes[place, :2], boxes[rest, :2])
        overlap = sides.clip(0).prod(1)
        same = overlap > SAME_OBJECT * (areas[place] + areas[rest] - overlap)
        part = cut[rest] & (overlap > COVERED * areas[rest])
        free[rest[same | part]] = False
    return np.flatnonzero(free)


def _is_cut(boxes: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """Which boxes (D, 4) of a window end at one of its sides that is not the picture's border: (D,) bool."""
    x1, y1, x2, y2 = window
    height, width = size
    return (
        ((boxes[:, 0] < x1 + SEAM) & (x1 > 0))
        | ((boxes[:, 1] < y1 + SEAM) & (y1 > 0))
        | ((boxes[:, 2] > x2 - SEAM) & (x2 < width))
        | ((boxes[:, 3] > y2 - SEAM) & (y2 < height))
    )


def _shift(found: Detections, window: Window) -> Detections:
    """The detections of a window in the picture's pixels."""
    return replace(found, boxes=found.boxes + np.array([*window[:2], *window[:2]], found.boxes.dtype))
