"""What a detector gets wrong at its score thresholds: objects missed, false boxes, objects taken for another class.

An object is found by a box of its class at IoU 0.5, the surest box first, as in COCO; of what is left, a box on an
object of another class is a confusion, all others are false.
Dimension legend: D detections and G objects of one image.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO

IOU = 0.5
MOST_CONFUSIONS = 5  # that are printed
MOSTLY, HARDLY = 0.5, 0.05  # shares of the objects of a class


class Kind(StrEnum):
    """What a box shows."""

    FOUND = "found"
    CONFUSED = "as another class"
    MISSED = "missed"
    FALSE = "false boxes"


class Pair(NamedTuple):
    """The class of an object, and the class that it was detected as; empty for no object, or no detection."""

    truth: str
    detected: str

    @property
    def kind(self) -> Kind:
        """Which mistake it is, or none."""
        if not self.truth:
            return Kind.FALSE
        if not self.detected:
            return Kind.MISSED
        return Kind.FOUND if self.truth == self.detected else Kind.CONFUSED


@dataclass(frozen=True, slots=True)
class MarkedBox:
    """A detection, or an object that was missed."""

    pair: Pair
    box: tuple[float, float, float, float]  # xyxy, pixels
    score: float | None = None  # of a detection

    @property
    def kind(self) -> Kind:
        """What it shows."""
        return self.pair.kind


@dataclass(frozen=True, slots=True)
class MarkedImage:
    """The boxes of one image, mistakes first."""

    image_id: int
    boxes: tuple[MarkedBox, ...]

    @property
    def counts(self) -> Counter[Kind]:
        """How many boxes there are of each kind."""
        return Counter(box.kind for box in self.boxes)

    @property
    def mistakes(self) -> int:
        """How many boxes are wrong or missing."""
        return len(self.boxes) - self.counts[Kind.FOUND]


@dataclass(frozen=True, slots=True)
class Mistakes:
    """The images with mistakes, those with most first; `print` shows the numbers of all images."""

    images: tuple[MarkedImage, ...]
    pairs: Counter[Pair]  # of all images, also those without mistakes
    classes: tuple[str, ...]  # in label order

    @property
    def counts(self) -> Counter[Kind]:
        """How many boxes there are of each kind."""
        counts = Counter[Kind]()
        for pair, count in self.pairs.items():
            counts[pair.kind] += count
        return counts

    def __str__(self) -> str:
        counts = self.counts
        objects = counts.total() - counts[Kind.FALSE]
        lines = [f"of {objects} objects at the score thresholds, IoU {IOU}: {counts_text(counts)}"]
        confused = Counter({pair: count for pair, count in self.pairs.items() if pair.kind is Kind.CONFUSED})
        lines += [f"  {truth} taken for {name}: {n}" for (truth, name), n in confused.most_common(MOST_CONFUSIONS)]
        return "\n".join(lines)

    __repr__ = __str__  # in a notebook

    @property
    def objects(self) -> Counter[str]:
        """How many objects there are of each class; of the class "" the false boxes."""
        objects = Counter[str]()
        for pair, count in self.pairs.items():
            objects[pair.truth] += count
        return objects

    @property
    def exchanged(self) -> list[Pair]:
        """Classes that are mostly detected as one other class and hardly ever as themselves."""
        objects = self.objects
        return [
            pair
            for pair, count in self.pairs.items()
            if pair.kind is Kind.CONFUSED
            and count > MOSTLY * objects[pair.truth]
            and self.pairs[Pair(pair.truth, pair.truth)] < HARDLY * objects[pair.truth]
        ]


def counts_text(counts: Mapping[Kind, int]) -> str:
    """How many boxes of each kind there are, in words."""
    return ", ".join(f"{counts[kind]} {kind}" for kind in Kind)


def find_mistakes(
    coco: COCO, category_ids: Sequence[int], found: Mapping[int, np.ndarray], thresholds: Sequence[float]
) -> Mistakes:
    """Compare the detections above the threshold of their class with the objects of each image.

    `category_ids` has the category of each label, `thresholds` its score threshold; `found` maps image ids to rows
    (D, 6) of x, y, width, height, score, label, by falling score. Detections on crowd regions count for nothing.
    """
    names = {number: str(coco.cats[number]["name"]) for number in category_ids}
    images, pairs = [], Counter[Pair]()
    for image_id in sorted(coco.imgs):
        rows = found.get(image_id, np.zeros((0, 6)))
        rows = rows[rows[:, 4] >= np.asarray(thresholds)[rows[:, 5].astype(int)]]
        objects = [annotation for annotation in coco.imgToAnns[image_id] if annotation["category_id"] in names]
        image = MarkedImage(image_id, tuple(_mark(rows, objects, category_ids, names)))
        pairs.update(box.pair for box in image.boxes)
        if image.mistakes:
            images.append(image)
    return Mistakes(tuple(sorted(images, key=lambda image: -image.mistakes)), pairs, tuple(names.values()))


def _mark(
    rows: np.ndarray, objects: Sequence[Mapping[str, object]], category_ids: Sequence[int], names: Mapping[int, str]
) -> list[MarkedBox]:
    """The boxes of one image: mistakes first, detections by falling score, then missed objects, then found ones."""
    truths = np.array([annotation["category_id"] for annotation in objects], int)  # (G,)
    crowd = np.array([annotation["iscrowd"] for annotation in objects], bool)
    boxes = np.array([annotation["bbox"] for annotation in objects], np.float64).reshape(-1, 4)
    labels = np.array([category_ids[int(label)] for label in rows[:, 5]], int)  # (D,)
    overlaps = np.zeros((len(rows), len(objects)))
    if overlaps.size:
        overlaps = mask.iou(np.ascontiguousarray(rows[:, :4]), boxes, crowd.astype(int).tolist())
    same = labels[:, None] == truths[None]
    right = _pair(overlaps * (same & ~crowd))
    free = ~crowd & ~np.isin(np.arange(len(objects)), right)
    wrong = _pair(overlaps * free * (right < 0)[:, None])
    ignored = (overlaps * (same & crowd) >= IOU).any(1)
    marked = []
    for index, row in enumerate(rows):
        partner = max(right[index], wrong[index])  # -1: no object
        if partner >= 0 or not ignored[index]:
            truth = names[truths[partner]] if partner >= 0 else ""
            marked.append(MarkedBox(Pair(truth, names[labels[index]]), _xyxy(row), float(row[4])))
    missed = np.flatnonzero(free & ~np.isin(np.arange(len(objects)), wrong))
    marked += [MarkedBox(Pair(names[truths[index]], ""), _xyxy(boxes[index])) for index in missed]
    return sorted(marked, key=lambda box: box.kind is Kind.FOUND)


def _pair(overlaps: np.ndarray) -> np.ndarray:
    """The object (D,) of each detection by overlaps (D, G), -1 for none: each once, the first detection first."""
    pairs, left = np.full(len(overlaps), -1), overlaps.copy()
    for index in range(len(left)):
        if left[index].max(initial=0.0) >= IOU:
            pairs[index] = left[index].argmax()
            left[:, pairs[index]] = 0.0
    return pairs


def _xyxy(row: np.ndarray) -> tuple[float, float, float, float]:
    x, y, width, height = row[:4].tolist()
    return x, y, x + width, y + height
