"""COCO evaluation: this file gathers detections and maps ids; pycocotools' COCOeval or hotcoco computes.

Dimension legend: D detections of one image, K classes.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtmdet.distributed import gather, is_main_process
from rtmdet.hotcoco_evaluation import evaluate_with_hotcoco
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
    `backend` is pycocotools, the reference, or hotcoco: the same numbers, much faster.
    """

    def __init__(self, coco: COCO, category_ids: Sequence[int], backend: str = "pycocotools") -> None:
        self._coco = coco
        self._category_ids = list(category_ids)
        self._compute = BACKENDS[backend]
        self._found: dict[int, np.ndarray] = {}  # image id: (D, 6) float64 x, y, width, height, score, label

    def add(self, metas: Sequence[ImageMeta], detections: Sequence[Detections]) -> None:
        """Take the detections of some images, boxes in original pixels; each image once."""
        for meta, found in zip(metas, detections, strict=True):
            assert meta.image_id in self._coco.imgs, f"image {meta.image_id} is not in the index"
            assert meta.image_id not in self._found, f"image {meta.image_id} is added twice"
            self._found[meta.image_id] = _as_rows(found.cpu())

    @property
    def detection_count(self) -> int:
        """Number of all detections that this process was given."""
        return sum(map(len, self._found.values()))

    @property
    def results(self) -> list[CocoResult]:
        """All detections that this process was given, in COCO's results format."""
        return [
            CocoResult(image_id=image, category_id=self._category_ids[int(label)], bbox=box, score=score)
            for image, rows in self._found.items()
            for *box, score, label in rows.tolist()
        ]

    def evaluate(self) -> CocoMetrics:
        """The 12 numbers and the class table of all images of the index, also of those never added.

        Of several processes, each calls this with its own images added. The main process computes, all get the
        same answer. Raises InputError where the backend cannot use the detections.
        """
        found = self._gather()
        metrics = self._measure(found) if is_main_process() else None
        metrics = gather(metrics)[0]
        assert metrics is not None, "the main process has the metrics"
        return metrics

    def _gather(self) -> dict[int, np.ndarray]:
        """The detections of all processes, in the order of the index."""
        found: dict[int, np.ndarray] = {}
        for share in gather(self._found):
            twice = found.keys() & share.keys()
            assert not twice, f"image {min(twice)} is added by two processes"
            found |= share
        return {image: found[image] for image in self._coco.imgs if image in found}

    def _measure(self, found: Mapping[int, np.ndarray]) -> CocoMetrics:
        numbers, precision = self._compute(self._coco, self._category_ids, found)
        objects = Counter(entry["category_id"] for entry in self._coco.anns.values() if not entry["iscrowd"])
        rising = sorted(self._category_ids)  # COCO's tables are in this order
        rows = []
        for category in self._category_ids:
            values = precision[:, :, rising.index(category), 0, -1]  # (IoU, recall), all areas, 100 boxes
            name = str(self._coco.cats[category]["name"])
            rows.append(ClassMetrics(name, objects[category], _mean(values), _mean(values[0])))
        return CocoMetrics(numbers, tuple(rows))

    def write_results(self, path: Path) -> None:
        """All detections that this process was given, as COCO results JSON."""
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


def _as_rows(found: Detections) -> np.ndarray:
    """Detections as x, y, width, height, score, label: (D, 6) float64."""
    corners = found.boxes.double().numpy()  # (D, 4)
    sizes = corners[:, 2:] - corners[:, :2]
    return np.column_stack([corners[:, :2], sizes, found.scores.double().numpy(), found.labels.numpy()])


def _evaluate_with_pycocotools(
    coco: COCO, category_ids: Sequence[int], found: Mapping[int, np.ndarray]
) -> tuple[tuple[float, ...], np.ndarray]:
    """The 12 numbers, and precisions (IoU, recall, category, area, boxes an image), categories by rising id."""
    with contextlib.redirect_stdout(io.StringIO()):  # COCOeval prints its progress
        evaluation = COCOeval(coco, _index_detections(category_ids, found), "bbox")
        evaluation.params.catIds = list(category_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return tuple(evaluation.stats.tolist()), evaluation.eval["precision"]


def _index_detections(category_ids: Sequence[int], found: Mapping[int, np.ndarray]) -> COCO:
    """What COCOeval reads of pycocotools' own index of detections, which takes longer and refuses an empty list."""
    numbers = itertools.count(1)  # COCOeval takes a match with detection 0 for no match
    index = COCO()
    for image, rows in found.items():
        for *box, score, label in rows.tolist():
            entry = {"id": next(numbers), "image_id": image, "category_id": category_ids[int(label)]}
            detection = {**entry, "bbox": box, "area": box[2] * box[3], "score": score}
            index.anns[entry["id"]] = detection
            index.imgToAnns[image].append(detection)
    return index


BACKENDS = {"pycocotools": _evaluate_with_pycocotools, "hotcoco": evaluate_with_hotcoco}
