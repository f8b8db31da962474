"""COCO evaluation: this file gathers detections and maps ids; pycocotools or hotcoco computes.

Dimension legend: D detections of one image, K classes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from rtmdet.core.detections import CocoResult, Detections
from rtmdet.core.distributed import gather, is_main_process
from rtmdet.core.errors import InputError
from rtmdet.core.structures import ImageMeta
from rtmdet.evaluation.hotcoco import evaluate_with_hotcoco
from rtmdet.evaluation.matches import COCO_IOUS, ClassMatches, Measured
from rtmdet.evaluation.pycocotools import evaluate_with_pycocotools
from rtmdet.evaluation.score_curve import DEFAULT_SCORE, ScoreCurve, score_curve

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


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Average precision of one class; -1 where the data set has no object of it.

    `curve` is None where it was not asked for, and where F1 is 0 at every threshold or undefined.
    """

    name: str
    objects: int
    ap: float
    ap50: float
    curve: ScoreCurve | None = None

    @property
    def score_threshold(self) -> float:
        """Where to cut the detections of the class."""
        return DEFAULT_SCORE if self.curve is None else self.curve.threshold


@dataclass(frozen=True, slots=True)
class CocoMetrics:
    """COCO's 12 numbers in the order of NAMES, 0 .. 1, -1 where undefined; and a row a class."""

    numbers: tuple[float, ...]
    classes: tuple[ClassMetrics, ...]

    @property
    def ap(self) -> float:
        """AP over IoU 0.50:0.95."""
        return self.numbers[0]

    @property
    def score_thresholds(self) -> tuple[float, ...]:
        """The threshold of each label; empty where nothing is known of any."""
        known = any(row.curve is not None for row in self.classes)
        return tuple(row.score_threshold for row in self.classes) if known else ()


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
            self.add_rows(meta.image_id, _as_rows(found.to("cpu")))

    def add_rows(self, image: int, rows: np.ndarray) -> None:
        """Take the detections of one image: (D, 6) float64 x, y, width, height, score, label, by falling score."""
        assert image in self._coco.imgs, f"image {image} is not in the index"
        assert image not in self._found, f"image {image} is added twice"
        self._found[image] = rows

    @property
    def rows(self) -> Mapping[int, np.ndarray]:
        """Of each image that this process was given its detections, as `add_rows` takes them."""
        return self._found

    @property
    def detection_count(self) -> int:
        """Number of all detections that this process was given."""
        return sum(map(len, self._found.values()))

    @property
    def results(self) -> list[CocoResult]:
        """All detections that this process was given, in COCO's results format.

        But for those of classes that the annotation file lacks: it has no id for them.
        """
        absent = {key for key, category in self._coco.cats.items() if category.get("absent")}
        ids = [None if number in absent else number for number in self._category_ids]
        return [
            CocoResult(image_id=image, category_id=number, bbox=box, score=score)
            for image, rows in self._found.items()
            for *box, score, label in rows.tolist()
            if (number := ids[int(label)]) is not None
        ]

    def evaluate(self, *, curves: bool = True) -> CocoMetrics:
        """The 12 numbers and the class table of all images of the index, also of those never added.

        `curves` False leaves out F1 over the score, which takes hotcoco some seconds on thousands of images.
        Of several processes, each calls this with its own images added. The main process computes, all get the
        same answer. Raises InputError where the backend cannot use the detections.
        """
        found = self._gather()
        metrics = self._metrics(self._measure(found), curves) if is_main_process() else None
        metrics = gather(metrics)[0]
        assert metrics is not None, "the main process has the metrics"
        return metrics

    def evaluate_with_matches(self) -> tuple[CocoMetrics, tuple[ClassMatches, ...]]:
        """In one process: what `evaluate` gives, and the matches at COCO_IOUS of the classes by rising id."""
        measured = self._measure(self._found)
        return self._metrics(measured, curves=True), measured.matches(COCO_IOUS)

    def _gather(self) -> dict[int, np.ndarray]:
        """The detections of all processes, in the order of the index."""
        found: dict[int, np.ndarray] = {}
        for share in gather(self._found):
            twice = found.keys() & share.keys()
            assert not twice, f"image {min(twice)} is added by two processes"
            found |= share
        return {image: found[image] for image in self._coco.imgs if image in found}

    def _measure(self, found: Mapping[int, np.ndarray]) -> Measured:
        return self._compute(self._coco, self._category_ids, found)

    def _metrics(self, measured: Measured, curves: bool) -> CocoMetrics:
        objects = Counter(entry["category_id"] for entry in self._coco.anns.values() if not entry["iscrowd"])
        matches = measured.matches(COCO_IOUS[:1]) if curves else None
        rising = sorted(self._category_ids)  # COCO's tables are in this order
        rows = []
        for category in self._category_ids:
            place = rising.index(category)
            values = measured.precision[:, :, place, 0, -1]  # (IoU, recall), all areas, 100 boxes
            name = str(self._coco.cats[category]["name"])
            curve = None if matches is None else score_curve(matches[place])
            rows.append(ClassMetrics(name, objects[category], _mean(values), _mean(values[0]), curve))
        return CocoMetrics(measured.numbers, tuple(rows))

    def write_results(self, path: Path) -> None:
        """All detections that this process was given, as COCO results JSON."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.results))
        except OSError as error:
            raise InputError(f"results {path} cannot be written: {error}") from error


def format_metrics(metrics: CocoMetrics) -> str:
    """The 12 numbers as lines, then a table with a row a class: the best F1 at IoU 0.5, and the score to cut at."""
    lines = [
        f"{name:<9} {shown(number):>6}   {text}"
        for name, number, text in zip(NAMES, metrics.numbers, DESCRIPTIONS, strict=True)
    ]
    width = max(len("class"), *(len(row.name) for row in metrics.classes))
    lines += ["", f"{'class':<{width}}  objects     AP   AP50     F1  score"]
    lines += [f"{row.name:<{width}}  {row.objects:7d} {_row(row)}" for row in metrics.classes]
    return "\n".join(lines)


def shown(number: float) -> str:
    """A number of CocoMetrics as people read it: an undefined one is "-"."""
    return "-" if number < 0 else f"{number:.3f}"


def _row(row: ClassMetrics) -> str:
    """The numbers of a class; the best F1 and its score are undefined where they are not known."""
    best, score = (-1.0, -1.0) if row.curve is None else (row.curve.best, row.curve.threshold)
    return " ".join(f"{shown(number):>6}" for number in (row.ap, row.ap50, best, score))


def _mean(precision: np.ndarray) -> float:
    """Mean of the defined values; -1 where there is none, as COCO writes it."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else -1.0


def _as_rows(found: Detections) -> np.ndarray:
    """Detections as x, y, width, height, score, label: (D, 6) float64."""
    corners = found.boxes.double().numpy()  # (D, 4)
    sizes = corners[:, 2:] - corners[:, :2]
    return np.column_stack([corners[:, :2], sizes, found.scores.double().numpy(), found.labels.numpy()])


BACKENDS = {"pycocotools": evaluate_with_pycocotools, "hotcoco": evaluate_with_hotcoco}
