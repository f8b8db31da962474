"""Which detections meet which objects: what average precision and F1 are counted from.

COCO's rules, all areas, the 100 best detections of a class in an image.
Dimension legend: D detections of one class in all images, I images, K classes, T IoU thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

COCO_IOUS = tuple((50 + 5 * step) / 100 for step in range(10))  # 0.50, 0.55 ... 0.95
Entry = Mapping[str, Any]  # of COCOeval's evalImgs


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatches:
    """The detections of one class, by falling score, with the objects that were there to find."""

    images: np.ndarray  # (D,) int64 place of the image among the rising image ids
    scores: np.ndarray  # (D,) float64
    found: np.ndarray  # (T, D) bool: meets an object
    ignored: np.ndarray  # (T, D) bool: meets a crowd, is neither right nor wrong
    objects: np.ndarray  # (I,) int64 objects of each image, without crowds


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a backend computes. Its classes, as COCO's, are in the order of rising category ids."""

    numbers: tuple[float, ...]  # COCO's 12
    precision: np.ndarray  # (T, recall, K, area, boxes an image)
    matches: Callable[[Sequence[float]], tuple[ClassMatches, ...]]  # of the K classes at some of COCO_IOUS


def collect_matches(
    entries: Iterable[Entry | None], *, images: Sequence[int], categories: Sequence[int], ious: int
) -> tuple[ClassMatches, ...]:
    """Matches by class from COCOeval's `evalImgs` of all areas, in any order; an image may lack an entry.

    `images` and `categories` are the rising ids; `ious` is T, the rows to expect of `dtMatches`.
    """
    places = {image: place for place, image in enumerate(images)}
    by_category: dict[int, list[tuple[int, Entry]]] = {category: [] for category in categories}
    for entry in entries:
        if entry is not None:
            by_category[entry["category_id"]].append((places[entry["image_id"]], entry))
    for present in by_category.values():
        present.sort(key=lambda pair: pair[0])
    return tuple(_of_class(present, len(images), ious) for present in by_category.values())


def _of_class(present: Sequence[tuple[int, Entry]], images: int, ious: int) -> ClassMatches:
    objects = np.zeros(images, np.int64)
    for place, entry in present:
        objects[place] = np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0)
    places = [np.full(len(entry["dtScores"]), place) for place, entry in present]
    scores = np.concatenate([np.empty(0), *(entry["dtScores"] for _, entry in present)])
    order = np.argsort(-scores, kind="stable")  # as COCOeval orders equal scores
    ignored = _rows(present, "dtIgnore", ious)[:, order]
    return ClassMatches(
        images=np.concatenate([np.empty(0, np.int64), *places])[order],
        scores=scores[order],
        found=_rows(present, "dtMatches", ious)[:, order] & ~ignored,
        ignored=ignored,
        objects=objects,
    )


def _rows(present: Sequence[tuple[int, Entry]], key: str, ious: int) -> np.ndarray:
    """(T, D) bool of one key of the entries."""
    parts = [np.asarray(entry[key], bool).reshape(ious, -1) for _, entry in present]
    return np.concatenate([np.empty((ious, 0), bool), *parts], axis=1)
