"""Measures of how unsure a detector is of a photo, for label_study.py: the one of the package, and others.

Each is 0 for a photo that the detector is sure of. Legend: D detections, M of the mirror image, K classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from rtmdet.core.detections import Detections
from rtmdet.stream.ranking import LEAST_SCORE, closeness, uncertainty

SAME_OBJECT = 0.5  # IoU from which on boxes of both views show one object


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a detector finds in a photo and in its mirror image, above LEAST_SCORE, as NumPy arrays."""

    found: Detections
    mirrored: Detections  # in the pixels of the photo itself
    thresholds: np.ndarray  # (K,) score threshold of each class


Measure = Callable[[Seen], float]


def total(seen: Seen) -> float:
    """The sum of closeness over all detections: prefers photos with many objects."""
    return uncertainty(seen.found, seen.thresholds)


def weighted(seen: Seen) -> float:
    """The sum of closeness x score: many detections of a low score, as photos of foliage have, count little."""
    return float((seen.found.scores * closeness(seen.found, seen.thresholds)).sum())


def mean(seen: Seen) -> float:
    """The mean of closeness, each detection weighted by its score."""
    scores = np.asarray(seen.found.scores, np.float64)
    return float((scores * closeness(seen.found, seen.thresholds)).sum() / max(scores.sum(), LEAST_SCORE))


def nearly(seen: Seen) -> float:
    """The closeness of the best detection below its threshold: an object that is nearly shown."""
    below = seen.found.scores < seen.thresholds[seen.found.labels]
    return float(closeness(seen.found, seen.thresholds)[below].max(initial=0.0))


def middle(seen: Seen) -> float:
    """The number of detections that are closer to the threshold than to 0 and to 1."""
    return float((closeness(seen.found, seen.thresholds) > 0.5).sum())


def weakest(seen: Seen) -> float:
    """1 - the best score: photos with no clear object first."""
    return 1.0 - float(np.max(seen.found.scores, initial=0.0))


def mirror(seen: Seen) -> float:
    """The disagreement of photo and mirror image, 0 .. 1, as the mean over the objects shown in either."""
    parts = disagreement(seen)
    return float(parts.mean()) if len(parts) else 0.0


def mirror_total(seen: Seen) -> float:
    """The disagreement of photo and mirror image as the sum over the objects shown in either."""
    return float(disagreement(seen).sum())


def objects(seen: Seen) -> float:
    """The number of objects shown, whatever their scores: what a measure must do better than."""
    return float((seen.found.scores >= seen.thresholds[seen.found.labels]).sum())


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "total": total,
        "weighted": weighted,
        "mean": mean,
        "nearly": nearly,
        "middle": middle,
        "weakest": weakest,
        "mirror": mirror,
        "mirror_total": mirror_total,
        "objects": objects,
    }
)


def disagreement(seen: Seen) -> np.ndarray:
    """Of each object shown in one of the views: 1 - IoU x lower score / higher score, or 1 if the other lacks it."""
    views = (seen.found, seen.mirrored)
    overlap = pairwise_iou(views[0].boxes, views[1].boxes)  # (D, M)
    overlap[np.asarray(views[0].labels)[:, None] != np.asarray(views[1].labels)[None]] = 0
    parts = []
    alone = [view.scores >= seen.thresholds[view.labels] for view in views]
    for places in _match(overlap):
        low, high = sorted(float(view.scores[place]) for view, place in zip(views, places, strict=True))
        if alone[0][places[0]] or alone[1][places[1]]:
            parts.append(1 - float(overlap[places]) * low / high)
        alone[0][places[0]] = alone[1][places[1]] = False
    return np.array([*parts, *[1.0] * int(alone[0].sum() + alone[1].sum())])


def _match(overlap: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows and columns, the largest overlap first, each once."""
    left, pairs = overlap.copy(), []
    while left.max(initial=0) >= SAME_OBJECT:
        row, column = divmod(int(left.argmax()), left.shape[1])
        pairs.append((row, column))
        left[row], left[:, column] = 0, 0
    return pairs


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes (D, 4) and (M, 4), xyxy -> (D, M)."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)
