"""COCO evaluation: this file gathers detections and maps ids; pycocotools' COCOeval computes.

Dimension legend: D detections of one image, K classes.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtmdet.structures import Detections, ImageMeta, InputError

NAMES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
DESCRIPTIONS = (
    "IoU 0.50:0.95, all areas, 100 boxes", "IoU 0.50", "IoU 0.75",
    "area under 32 x 32 pixels", "area 32 x 32 to 96 x 96", "area over 96 x 96",
    "recall with 1 box an image", "recall with 10 boxes", "recall with 100 boxes",
    "recall, small", "recall, medium", "recall, large",
)  # fmt: skip


class CocoResult(TypedDict):
    """One detection in COCO's results format: bbox is x, y, width, height in original pixels."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Average precision of one class; -1 where the data set has no object of it."""

    name: str
    objects: int
    ap: float
    ap50: float


@dataclass(frozen=True, slots=True)
class CocoMetrics:
    """COCO's 12 numbers in the order of NAMES, 0 .. 1, -1 where undefined; and a row a class."""

    numbers: tuple[float, ...]
    classes: tuple[ClassMetrics, ...]

    @property
    def ap(self) -> float:
        """AP over IoU 0.50:0.95."""
        return self.numbers[0]


class CocoEvaluator:
    """Gathers detections image by image, then evaluates them against a COCO index.

    `category_ids` gives the file's category id of each label 0 .. K-1; only these categories are evaluated.
    """

    def __init__(self, coco: COCO, category_ids: Sequence[int]) -> None:
        self._coco = coco
        self._category_ids = list(category_ids)
        self.results: list[CocoResult] = []

    def add(self, metas: Sequence[ImageMeta], detections: Sequence[Detections]) -> None:
        """Take the detections of some images, boxes in original pixels."""
        for meta, found in zip(metas, detections, strict=True):
            corners = found.boxes.double().cpu().numpy()
            sizes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)  # xywh
            rows = zip(sizes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
            self.results.extend(
                CocoResult(image_id=meta.image_id, category_id=self._category_ids[label], bbox=box, score=score)
                for box, score, label in rows
            )

    def evaluate(self) -> CocoMetrics:
        """The 12 numbers and the class table of all images of the index, also of those never added."""
        with contextlib.redirect_stdout(io.StringIO()):  # COCOeval prints its progress
            evaluation = COCOeval(self._coco, _index_results(self._coco, self.results), "bbox")
            evaluation.params.catIds = self._category_ids
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        precision = evaluation.eval["precision"]  # (IoU, recall, class, area, boxes an image)
        classes = tuple(self._class_metrics(precision, k) for k in range(len(self._category_ids)))
        return CocoMetrics(tuple(float(number) for number in evaluation.stats), classes)

    def _class_metrics(self, precision: np.ndarray, k: int) -> ClassMetrics:
        category = self._category_ids[k]
        values = precision[:, :, k, 0, -1]
        objects = len(self._coco.getAnnIds(catIds=[category], iscrowd=False))
        name = str(self._coco.loadCats([category])[0]["name"])
        return ClassMetrics(name, objects, _mean(values), _mean(values[0]))

    def write_results(self, path: Path) -> None:
        """All detections as COCO results JSON."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.results))
        except OSError as error:
            raise InputError(f"results {path} cannot be written: {error}") from error


def format_metrics(metrics: CocoMetrics) -> str:
    """The 12 numbers as lines, then a table with a row a class."""
    lines = [
        f"{name:<9} {number:6.3f}   {text}"
        for name, number, text in zip(NAMES, metrics.numbers, DESCRIPTIONS, strict=True)
    ]
    width = max(len("class"), *(len(row.name) for row in metrics.classes))
    lines += ["", f"{'class':<{width}}  objects     AP   AP50"]
    lines += [f"{row.name:<{width}}  {row.objects:7d} {row.ap:6.3f} {row.ap50:6.3f}" for row in metrics.classes]
    return "\n".join(lines)


def _mean(precision: np.ndarray) -> float:
    """Mean of the defined values; -1 where there is none, as COCO writes it."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else -1.0


def _index_results(coco: COCO, results: Sequence[CocoResult]) -> COCO:
    """pycocotools' index of detections; its own loadRes refuses an empty list."""
    if results:
        return coco.loadRes(copy.deepcopy(list(results)))
    empty = COCO()
    empty.dataset = {**coco.dataset, "annotations": []}
    empty.createIndex()
    return empty
