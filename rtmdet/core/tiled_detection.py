"""Detection in large pictures: overlapping windows and the whole picture, merged in the picture's own pixels.

Dimension legend: D detections, H, W of the picture where sizes are meant.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from rtmdet.core.arrays import iou_matrix
from rtmdet.core.backend import Backend, Selection, detect
from rtmdet.core.detections import Detections
from rtmdet.core.letterbox import letterbox_batch
from rtmdet.core.tiling import Tiling, Window

SEAM = 2.0  # pixels: boxes that end so near to a seam may be cut by it
COVERED = 0.5  # share of a cut box inside of another one that makes it a part of that
SAME_OBJECT = 0.5  # IoU of boxes from two windows
DECIDES = 0.5  # least score of a whole box, as a share of that of a cut one whose place it takes
# An object is seen in at most four windows and the whole picture; all boxes of a hundred windows would take a minute.
ENTERING = 10  # times the boxes that are asked for enter the merging, the best ones


def detect_tiled(
    backend: Backend,
    input_size: tuple[int, int],
    image: np.ndarray,
    tiling: Tiling,
    selection: Selection,
    *,
    batch_size: int = 8,
) -> Detections:
    """The objects in a picture (H, W, 3) uint8 RGB: of all windows and of the whole picture, without doubles.

    Each of them is letterboxed to an input of `input_size` (H, W). What a window shows whole is left to it. A box
    that a seam cuts is dropped if it is about a part of an object that is found whole. `selection` is that of each
    window and of the picture. Boxes under its thresholds can take the place of others, so the windows are searched
    from lower ones on. Therefore what is found above a threshold does not depend on it. The result is in NumPy
    arrays.
    """
    size = image.shape[0], image.shape[1]
    views = tiling.views(size)
    searched = selection.searched_from(DECIDES)
    parts, cut, seen_in = [], [], []
    for first in range(0, len(views), batch_size):
        batch = views[first : first + batch_size]
        for window, found in zip(batch, _detect(backend, input_size, image, batch, searched), strict=True):
            # Not where windows are enlarged, which shows no more than the picture has.
            if window == views[0] and tiling.side >= max(input_size):
                found = found[~_left_to_windows(found.boxes, tiling, size)]
            parts.append(found)
            cut.append(_is_cut(found.boxes, window, size))
            seen_in.append(np.tile(np.array(window), (len(found), 1)))
    everything, seams, seen = Detections.join(parts), np.concatenate(cut), np.concatenate(seen_in)
    if len(everything) > (most := ENTERING * selection.max_detections):
        best = np.argsort(-everything.scores, kind="stable")[:most]
        everything, seams, seen = everything[best], seams[best], seen[best]
    return selection.kept(merge_windows(everything, seams, seen))


def _detect(
    backend: Backend, input_size: tuple[int, int], image: np.ndarray, windows: Sequence[Window], selection: Selection
) -> list[Detections]:
    """What is found in each window, clipped to it, in pixels of the picture."""
    batch, letterboxes = letterbox_batch([image[y1:y2, x1:x2] for x1, y1, x2, y2 in windows], input_size)
    found = detect(backend, batch, letterboxes, selection)
    return [
        _shift(part.numpy().clipped((y2 - y1, x2 - x1)), (x1, y1))
        for part, (x1, y1, x2, y2) in zip(found, windows, strict=True)
    ]


def merge_windows(found: Detections, cut: np.ndarray, windows: np.ndarray) -> Detections:
    """One box per object, by falling score; `cut` (D,) bool: those that a seam may have cut, `windows` (D, 4) theirs.

    Of two boxes of a class that show the same object, the whole one stays, or of two whole or two cut ones the one
    with the higher score, with the higher one of both scores. A whole one needs DECIDES of the score of a cut one for
    that; otherwise the cut one stays. What a window shows of a whole object may look like one of another class, and
    goes, too.
    """
    real = ~_is_rest(found, cut, windows)  # before the others, whose scores they would raise
    found, cut = found[real], cut[real]
    order = np.argsort(-np.where(cut, found.scores, found.scores / DECIDES), kind="stable")
    kept, scores = np.zeros(len(found), bool), found.scores.copy()
    for label in np.unique(found.labels):
        own = order[found.labels[order] == label]
        first, scores[own] = _first_of_each_object(found.boxes[own], found.scores[own], cut[own])
        kept[own[first]] = True
    chosen = np.flatnonzero(kept)
    chosen = chosen[np.argsort(-scores[chosen], kind="stable")]
    return replace(found, scores=scores)[chosen]


def _left_to_windows(boxes: np.ndarray, tiling: Tiling, size: tuple[int, int]) -> np.ndarray:
    """Which boxes (D, 4) of the whole picture a window decides about: (D,) bool.

    Those under half of its side that it shows whole: what it did not find there is no object, or several. Larger
    ones may be too large for it. Study: docs/infer.md.
    """
    shown = np.zeros(len(boxes), bool)
    for window in tiling.windows(size):
        within = (boxes[:, :2] >= window[:2]).all(1) & (boxes[:, 2:] <= window[2:]).all(1)
        shown |= within & ~_is_cut(boxes, window, size)
    return shown & ((boxes[:, 2:] - boxes[:, :2]).max(1) < tiling.side / 2)


def _is_rest(found: Detections, cut: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Which boxes (D,) that a seam cuts are about the part of a surer whole box, of any class, that is in the window.

    Not any box inside of a whole one: a person before a car is larger than the overlap of windows may be, and is then
    cut in each of them.
    """
    rest, whole = np.zeros(len(found), bool), found[~cut]
    for window in np.unique(windows[cut], axis=0):
        own = np.flatnonzero(cut & (windows == window).all(1))
        low, high = np.maximum(whole.boxes[:, :2], window[:2]), np.minimum(whole.boxes[:, 2:], window[2:])
        outside = (low > whole.boxes[:, :2] + SEAM) | (high < whole.boxes[:, 2:] - SEAM)
        crossing = outside.any(1) & (low < high).all(1)
        shown = np.concatenate([low, high], 1)[crossing]  # (C, 4) what the window shows of them
        surer = whole.scores[crossing] >= found.scores[own, None]
        rest[own] = ((iou_matrix(found.boxes[own], shown) > SAME_OBJECT) & surer).any(1)
    return rest


def _first_of_each_object(boxes: np.ndarray, scores: np.ndarray, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The indices of boxes (D, 4) that show no object of one before them; and the scores, theirs the best one."""
    free, scores = np.ones(len(boxes), bool), scores.copy()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    left, _, right, _ = np.ascontiguousarray(boxes.T)
    for index in range(len(boxes)):
        if not free[index]:
            continue
        # Few of thousands of boxes are above or below this one; the others are not compared.
        after = slice(index + 1, None)
        beside = free[after] & (left[after] < right[index]) & (right[after] > left[index])
        rest = np.flatnonzero(beside) + index + 1
        sides = np.minimum(boxes[index, 2:], boxes[rest, 2:]) - np.maximum(boxes[index, :2], boxes[rest, :2])
        overlap = sides.clip(0).prod(1)
        same = overlap > SAME_OBJECT * (areas[index] + areas[rest] - overlap)
        part = cut[rest] & (overlap > COVERED * areas[rest])
        free[rest[same | part]] = False
        scores[index] = max(scores[index], scores[rest[same]].max(initial=0))
    return np.flatnonzero(free), scores


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


def _shift(found: Detections, corner: tuple[int, int]) -> Detections:
    """Detections of the window at a corner (x, y), in the picture's pixels."""
    return replace(found, boxes=found.boxes + np.array([*corner, *corner], found.boxes.dtype))
