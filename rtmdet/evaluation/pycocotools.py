"""The 12 COCO metrics by pycocotools, the reference for every other evaluator.

Dimension legend: D detections of one image, T IoU thresholds, K categories.
"""

import contextlib
import io
import itertools
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtmdet.evaluation.matches import COCO_IOUS, COCO_MOST, ClassMatches, Measured, collect_matches


def evaluate_with_pycocotools(coco: COCO, category_ids: Sequence[int], found: Mapping[int, np.ndarray]) -> Measured:
    """The 12 metrics with the tables and matches behind them.

    `found` maps image ids to (D, 6) float64 rows of x, y, width, height, score, label; `category_ids` gives
    the category of each label.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # COCOeval prints its progress
        evaluation = COCOeval(coco, _index_detections(category_ids, found), "bbox")
        evaluation.params.catIds = list(category_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Measured(tuple(evaluation.stats.tolist()), evaluation.eval["precision"], partial(_matches, evaluation))


def _matches(evaluation: COCOeval, ious: Sequence[float], *, most: int = COCO_MOST) -> tuple[ClassMatches, ...]:
    """Matches from the results for all areas, which come before the other areas in each category."""
    if most != COCO_MOST:
        evaluation = _for_all_areas(evaluation, most)
    images, categories = evaluation.params.imgIds, sorted(evaluation.params.catIds)
    blocks = range(0, len(evaluation.evalImgs), len(images) * len(evaluation.params.areaRng))
    rows = [COCO_IOUS.index(iou) for iou in ious]
    entries = [
        None if entry is None else {**entry, **{key: entry[key][rows] for key in ("dtMatches", "dtIgnore")}}
        for start in blocks
        for entry in evaluation.evalImgs[start : start + len(images)]
    ]
    return collect_matches(entries, images=images, categories=categories, ious=len(ious))


def _for_all_areas(evaluation: COCOeval, most: int) -> COCOeval:
    """The same evaluated with `most` detections of a class in an image, for all areas alone."""
    other = COCOeval(evaluation.cocoGt, evaluation.cocoDt, "bbox")
    other.params.catIds, other.params.maxDets = evaluation.params.catIds, [most]
    other.params.areaRng, other.params.areaRngLbl = [[0, 1e10]], ["all"]
    with contextlib.redirect_stdout(io.StringIO()):
        other.evaluate()
    return other


def _index_detections(category_ids: Sequence[int], found: Mapping[int, np.ndarray]) -> COCO:
    """The part of a detection index that COCOeval uses. pycocotools' own is slower and refuses an empty list."""
    numbers = itertools.count(1)  # from 1: COCOeval treats a match with detection id 0 as none
    index = COCO()
    for image, rows in found.items():
        for *box, score, label in rows.tolist():
            entry = {"id": next(numbers), "image_id": image, "category_id": category_ids[int(label)]}
            detection = {**entry, "bbox": box, "area": box[2] * box[3], "score": score}
            index.anns[entry["id"]] = detection
            index.imgToAnns[image].append(detection)
    return index
