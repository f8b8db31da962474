"""Which detections match which objects: the basis of average precision and F1.

COCO's rules, all areas, the 100 best detections of a class in an image unless said otherwise.
Dimension legend: D detections of one class in all images, I images, K classes, T IoU thresholds.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

COCO_MOST = 100  # detections of a class in an image that COCO's metrics count
COCO_IOUS = tuple((50 + 5 * step) / 100 for step in range(10))  # 0.50, 0.55 ... 0.95
ImageResult = Mapping[str, Any]  # of COCOeval's evalImgs


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatches:
    """The detections of one class, by falling score, and the number of objects."""

    images: np.ndarray  # (D,) int64 position of the image among the sorted image ids
    scores: np.ndarray  # (D,) float64
    found: np.ndarray  # (T, D) bool: true positive
    ignored: np.ndarray  # (T, D) bool: matched to a crowd region, neither TP nor FP
    objects: np.ndarray  # (I,) int64 objects of each image, without crowds


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The result of a backend. Classes are in the order of rising category ids, as in COCO."""

    numbers: tuple[float, ...]  # COCO's 12
    precision: np.ndarray  # (T, recall, K, area, detections per image)
    matches: Callable[..., tuple[ClassMatches, ...]]  # of the K classes at some of COCO_IOUS; `most`: not COCO_MOST


def collect_matches(
    entries: Iterable[ImageResult | None], *, images: Sequence[int], categories: Sequence[int], ious: int
) -> tuple[ClassMatches, ...]:
    """Matches by class from COCOeval's `evalImgs` of all areas, in any order; images may be missing.

    `images` and `categories` are sorted ids; `ious` is T, the number of rows of `dtMatches`.
    """
    places = {image: place for place, image in enumerate(images)}
    by_category: dict[int, list[tuple[int, ImageResult]]] = {category: [] for category in categories}
    for entry in entries:
        if entry is not None:
            by_category[entry["category_id"]].append((places[entry["image_id"]], entry))
    for present in by_category.values():
        present.sort(key=lambda pair: pair[0])
    return tuple(_of_class(present, len(images), ious) for present in by_category.values())


def _of_class(present: Sequence[tuple[int, ImageResult]], images: int, ious: int) -> ClassMatches:
    objects = np.zeros(images, np.int64)
    for place, entry in present:
        objects[place] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
    places = [np.full(len(entry["dtScores"]), place) for place, entry in present]
    scores = np.concatenate([np.empty(0), *(entry["dtScores"] for _, entry in present)])
    order = np.argsort(-scores, kind="stable")  # the order of COCOeval for equal scores
    ignored = _rows(present, "dtIgnore", ious)[:, order]
    return ClassMatches(
        images=np.concatenate([np.empty(0, np.int64), *places])[order],
        scores=scores[order],
        found=_rows(present, "dtMatches", ious)[:, order] & ~ignored,
        ignored=ignored,
        objects=objects,
    )


def _rows(present: Sequence[tuple[int, ImageResult]], key: str, ious: int) -> np.ndarray:
    """(T, D) bool of one key of the results."""
    parts = [np.asarray(entry[key], bool).reshape(ious, -1) for _, entry in present]
    return np.concatenate([np.empty((ious, 0), bool), *parts], axis=1)
