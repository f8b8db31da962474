"""Which detections match which objects: the basis of average precision and F1.

COCO's rules, all areas, the 100 best detections of a class in an image unless said otherwise. COCOeval finds the same
matches, but makes a dict of each class in each image: gigabytes for 1,000 classes.
Dimension legend: D detections of one class in all images, N those of all classes, G objects, I images, K classes,
P pairs of a detection and an object that overlap, T IoU thresholds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # what runs exported files, and reads the thresholds of score curves, needs no pycocotools
    from pycocotools.coco import COCO

COCO_MOST = 100  # detections of a class in an image that COCO's metrics count
COCO_IOUS = tuple(np.linspace(0.5, 0.95, 10).tolist())  # with COCO's last digits
LARGEST = 1e10  # area that COCO's "all" includes


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatches:
    """The detections of one class, by falling score, and the number of objects."""

    images: np.ndarray  # (D,) int64 position of the image among the sorted image ids
    scores: np.ndarray  # (D,) float64
    found: np.ndarray  # (T, D) bool: true positive
    ignored: np.ndarray  # (T, D) bool: matched to a crowd region, neither TP nor FP
    objects: np.ndarray  # (I,) int64 objects of each image, without crowds


class _Objects(NamedTuple):
    """The objects of all classes by group, a class in an image; those that do not count are last in it."""

    groups: np.ndarray  # (G,) int64
    boxes: np.ndarray  # (G, 4) float64 x, y, width, height
    crowd: np.ndarray  # (G,) bool
    skipped: np.ndarray  # (G,) bool: neither to be found nor wrong to find


def match_detections(
    coco: "COCO", category_ids: Sequence[int], found: Mapping[int, np.ndarray], ious: Sequence[float], *, most: int
) -> tuple[ClassMatches, ...]:
    """The matches of each class, by rising category id; `most` detections of a class in an image count.

    `found` maps image ids to (D, 6) float64 rows of x, y, width, height, score, label; `category_ids` gives the
    category of each label.
    """
    images = {image: index for index, image in enumerate(sorted(coco.imgs))}
    categories = {category: index for index, category in enumerate(sorted(category_ids))}
    objects = _objects(coco, images, categories)
    counts = np.bincount(objects.groups[~objects.skipped], minlength=len(categories) * len(images))
    table = detection_table(images, [categories[category] for category in category_ids], found)
    table = table[np.lexsort((-table[:, 5], table[:, 0], table[:, 6]))]
    groups = (table[:, 6] * len(images) + table[:, 0]).astype(np.int64)  # (N,)
    rank = np.arange(len(groups)) - np.searchsorted(groups, groups)
    table, groups, rank = table[rank < most], groups[rank < most], rank[rank < most]
    partners = _partners(_overlaps(table[:, 1:5], groups, objects, min(ious)), rank, objects, ious)  # (T, N)
    outside = _outside(table[:, 3] * table[:, 4])
    ignored = np.where(partners < 0, outside, np.append(objects.skipped, False)[partners])
    matches = []
    for index, (start, end) in enumerate(pairwise(np.searchsorted(table[:, 6], range(len(categories) + 1)))):
        order = start + np.argsort(-table[start:end, 5], kind="stable")  # the order of COCOeval for equal scores
        matches.append(
            ClassMatches(
                images=table[order, 0].astype(np.int64),
                scores=table[order, 5],
                found=(partners[:, order] >= 0) & ~ignored[:, order],
                ignored=ignored[:, order],
                objects=counts[index * len(images) : (index + 1) * len(images)],
            )
        )
    return tuple(matches)


def detection_table(
    images: Mapping[int, int], categories: Sequence[int], found: Mapping[int, np.ndarray]
) -> np.ndarray:
    """(N, 7) rows of image, x, y, width, height, score, category, from the indices of images and of labels."""
    indices = np.repeat([images[image] for image in found], [len(rows) for rows in found.values()])
    rows = np.concatenate([np.empty((0, 6)), *found.values()])
    return np.column_stack([indices, rows[:, :5], np.array(categories)[rows[:, 5].astype(np.int64)]])


def _objects(coco: "COCO", images: Mapping[int, int], categories: Mapping[int, int]) -> _Objects:
    entries = [annotation for annotation in coco.anns.values() if annotation["category_id"] in categories]
    groups = np.array(
        [
            categories[annotation["category_id"]] * len(images) + images[annotation["image_id"]]
            for annotation in entries
        ],
        np.int64,
    )
    crowd = np.array([annotation["iscrowd"] for annotation in entries], bool)
    skipped = crowd | _outside(np.array([annotation["area"] for annotation in entries], np.float64))
    order = np.lexsort((skipped, groups))
    boxes = np.array([annotation["bbox"] for annotation in entries], np.float64).reshape(-1, 4)
    return _Objects(groups[order], boxes[order], crowd[order], skipped[order])


def _outside(areas: np.ndarray) -> np.ndarray:
    return (areas < 0) | (areas > LARGEST)


def _overlaps(boxes: np.ndarray, groups: np.ndarray, objects: _Objects, least: float) -> list[np.ndarray]:
    """Detection, object and IoU of each pair in one group with an IoU of at least `least`: (P,) each."""
    from pycocotools import mask

    pairs = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    both = np.intersect1d(groups, objects.groups)
    bounds = [np.searchsorted(sorted_groups, [both, both + 1]).tolist() for sorted_groups in (groups, objects.groups)]
    for start, end, first, last in zip(*bounds[0], *bounds[1], strict=True):
        crowd = objects.crowd[first:last].tolist()
        ious = mask.iou(np.ascontiguousarray(boxes[start:end]), objects.boxes[first:last], crowd)
        near = np.nonzero(ious >= least)
        pairs.append((start + near[0], first + near[1], ious[near]))
    return [np.concatenate(column) for column in zip(*pairs, strict=True)]


def _partners(pairs: Sequence[np.ndarray], rank: np.ndarray, objects: _Objects, ious: Sequence[float]) -> np.ndarray:
    """The object that each detection finds at each IoU, -1 for none: (T, N) int32; `rank` (N,) is that in its group.

    In each group the surest detection chooses first: the free object with the largest IoU, of equal ones the last,
    and one that does not count only if there is no other. Crowd regions stay free.
    """
    found, truth, values = pairs
    order = np.lexsort((-truth, -values, objects.skipped[truth], found, rank[found]))
    found, truth, values = found[order], truth[order], values[order]
    turns = np.split(np.arange(len(order)), np.flatnonzero(np.diff(rank[found])) + 1)  # one detection of each group
    partners = np.full((len(ious), len(rank)), -1, np.int32)
    for row, iou in zip(partners, ious, strict=True):
        free = np.ones(len(objects.crowd), bool)
        for turn in turns:
            possible = turn[(values[turn] >= iou) & free[truth[turn]]]
            best = possible[np.diff(found[possible], prepend=-1) > 0]  # the first of each detection
            row[found[best]] = truth[best]
            free[truth[best]] = objects.crowd[truth[best]]
    return partners
