"""The 12 COCO metrics by pycocotools, the reference for every other evaluator.

Dimension legend: D detections of one image, T IoU thresholds, K categories.
"""

import contextlib
import io
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtmdet.evaluation.matches import Measured


def evaluate_with_pycocotools(coco: COCO, category_ids: Sequence[int], found: Mapping[int, np.ndarray]) -> Measured:
    """The 12 metrics with the table behind them.

    `found` maps image ids to (D, 6) float64 rows of x, y, width, height, score, label; `category_ids` gives
    the category of each label.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # COCOeval prints its progress
        evaluation = COCOeval(coco, _index_detections(category_ids, found), "bbox")
        evaluation.params.catIds = list(category_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Measured(tuple(evaluation.stats.tolist()), evaluation.eval["precision"])


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
