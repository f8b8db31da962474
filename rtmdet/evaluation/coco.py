"""COCO evaluation: collects detections and maps ids; pycocotools or hotcoco computes the metrics.

Dimension legend: D detections of one image, K classes.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO

from rtmdet.core.arguments import check_choice
from rtmdet.core.detections import CocoResult, Detections
from rtmdet.core.distributed import gather, rank
from rtmdet.core.errors import InputError
from rtmdet.core.paths import FilePath, user_path
from rtmdet.core.structures import ImageMeta
from rtmdet.core.whole_file import write_whole
from rtmdet.evaluation.backends import BACKENDS
from rtmdet.evaluation.matches import COCO_IOUS, COCO_MOST, ClassMatches, match_detections
from rtmdet.evaluation.mistakes import Mistakes, find_mistakes
from rtmdet.evaluation.score_curve import DEFAULT_SCORE, ScoreCurve, score_curve

WIDTHS = (6, 6, 8, 10, 10, 7)  # of the table's columns from AP on
BOXES_PER_OBJECT = 3  # detections in images with more than COCO_MOST objects of a class
NAMES = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip
DESCRIPTIONS = (
    "IoU 0.50:0.95, all areas, 100 detections per image", "IoU 0.50", "IoU 0.75",
    "area under 32 x 32 pixels", "area 32 x 32 to 96 x 96", "area over 96 x 96",
    "recall with 1 detection per image", "recall with 10", "recall with 100",
    "recall, small", "recall, medium", "recall, large",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """Average precision of one class; -1 if the data set has no objects of it.

    `curve` is None if F1 is 0 at every threshold or undefined.
    """

    name: str
    objects: int
    ap: float
    ap50: float
    curve: ScoreCurve | None = None

    def to_dict(self) -> dict[str, str | float | None]:
        """The row of the table by name; from the threshold on None without a curve."""
        curve = self.curve
        chosen = (None,) * 4 if curve is None else (curve.threshold, *curve.chosen, curve.best)
        numbers = dict(zip(("threshold", "precision", "recall", "best_f1"), chosen, strict=True))
        return {"name": self.name, "objects": self.objects, "ap": self.ap, "ap50": self.ap50, **numbers}


@dataclass(frozen=True, slots=True)
class CocoMetrics:
    """COCO's 12 metrics in the order of NAMES, 0 .. 1, -1 if undefined; and a row per class."""

    numbers: tuple[float, ...]
    classes: tuple[ClassMetrics, ...]

    def __getitem__(self, name: str) -> float:
        """The metric of a name, such as AP50."""
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def keys(self) -> tuple[str, ...]:
        """The names of the metrics, as of a dict."""
        return NAMES

    def to_dict(self) -> dict[str, float]:
        """The 12 metrics by name."""
        return dict(zip(NAMES, self.numbers, strict=True))

    @property
    def ap(self) -> float:
        """AP over IoU 0.50:0.95."""
        return self.numbers[0]

    @property
    def score_thresholds(self) -> tuple[float, ...]:
        """The threshold of each label; empty if none was tuned."""
        curves = [row.curve for row in self.classes]
        return tuple(curve.threshold if curve else DEFAULT_SCORE for curve in curves) if any(curves) else ()


class CocoEvaluator:
    """Collects detections image by image, then evaluates them against a COCO index.

    `category_ids` gives the file's category id of each label 0 .. K-1; only these categories are evaluated.
    `backend` is pycocotools, the reference, or hotcoco: the same numbers, much faster. `rows` maps the ids of the
    images in this process to their detections, as for `add_rows`. Raises InputError for another backend.
    """

    def __init__(self, coco: COCO, category_ids: Sequence[int], backend: str = "pycocotools") -> None:
        check_choice("backend", backend, BACKENDS)
        self._coco = coco
        self._category_ids = list(category_ids)
        self._compute = BACKENDS[backend]
        self.rows: dict[int, np.ndarray] = {}

    def add(self, metas: Sequence[ImageMeta], detections: Sequence[Detections]) -> None:
        """Add the detections of some images, boxes in original pixels; each image once. Raises InputError."""
        for meta, found in zip(metas, detections, strict=True):
            self.add_rows(meta.image_id, _as_rows(found))

    def add_rows(self, image: int, rows: np.ndarray) -> None:
        """Add the detections of one image: (D, 6) float64 x, y, width, height, score, label, by falling score.

        Raises InputError for an image that is not in the index or was added before, other columns, and other labels.
        """
        if image not in self._coco.imgs:
            known = next(iter(self._coco.imgs), "none")
            raise InputError(f"image {image!r}: expected an image id of the annotation file, such as {known}")
        if image in self.rows:
            raise InputError(f"image {image} is added twice: join its detections, and add them once")
        rows, classes = np.asarray(rows, np.float64), len(self._category_ids)
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise InputError(f"image {image}: expected rows of 6 numbers (D, 6), found the shape {rows.shape}")
        if len(rows) and not (rows[:, 5].min() >= 0 and rows[:, 5].max() < classes):  # NaN is neither
            wrong = next(label for label in rows[:, 5].tolist() if not 0 <= label < classes)
            raise InputError(
                f"image {image}: expected labels from 0 to {classes - 1}, found {wrong:g}: labels count the "
                "evaluator's category ids from 0"
            )
        self.rows[image] = rows

    @property
    def detection_count(self) -> int:
        """Number of detections in this process."""
        return sum(map(len, self.rows.values()))

    @property
    def results(self) -> list[CocoResult]:
        """The detections in this process, in COCO's results format.

        Detections of classes absent from the file are omitted: they have no category id.
        """
        absent = {key for key, category in self._coco.cats.items() if category.get("absent")}
        ids = [None if number in absent else number for number in self._category_ids]
        return [
            CocoResult(image_id=image, category_id=number, bbox=box, score=score)
            for image, rows in self.rows.items()
            for *box, score, label in rows.tolist()
            if (number := ids[int(label)]) is not None
        ]

    def evaluate(self) -> CocoMetrics:
        """The 12 metrics and the class table over all images of the index, including those never added.

        With several processes, each calls this with its own images added; the main process computes, and all get the
        same result.
        Raises InputError if the backend cannot use the detections.
        """
        found = self._gather()
        metrics = self._metrics(found) if rank() == 0 else None
        metrics = gather(metrics)[0]
        assert metrics is not None, "the main process has the metrics"
        return metrics

    def evaluate_with_matches(self) -> tuple[CocoMetrics, tuple[ClassMatches, ...]]:
        """In a single process: the result of `evaluate`, and the matches at COCO_IOUS of all classes, by id."""
        matches = match_detections(self._coco, self._category_ids, self.rows, COCO_IOUS, most=COCO_MOST)
        return self._metrics(self.rows), matches

    def _gather(self) -> dict[int, np.ndarray]:
        """The detections of all processes, in the order of the index."""
        found: dict[int, np.ndarray] = {}
        for share in gather(self.rows):
            twice = found.keys() & share.keys()
            assert not twice, f"image {min(twice)} is added by two processes"
            found |= share
        return {image: found[image] for image in self._coco.imgs if image in found}

    def _metrics(self, found: Mapping[int, np.ndarray]) -> CocoMetrics:
        measured = self._compute(self._coco, self._category_ids, found)
        objects = Counter(entry["category_id"] for entry in self._coco.anns.values() if not entry["iscrowd"])
        crowds = crowded_images(self._coco, self._category_ids)
        most = BOXES_PER_OBJECT * max(crowds.values(), default=0) or COCO_MOST
        matches = match_detections(self._coco, self._category_ids, found, COCO_IOUS[:1], most=most)
        rising = sorted(self._category_ids)  # COCO's tables are in this order
        rows = []
        for category in self._category_ids:
            index = rising.index(category)
            values = measured.precision[:, :, index, 0, -1]  # (IoU, recall), all areas, 100 boxes
            name = str(self._coco.cats[category]["name"])
            curve = score_curve(matches[index])
            rows.append(ClassMetrics(name, objects[category], _mean(values), _mean(values[0]), curve))
        return CocoMetrics(measured.numbers, tuple(rows))

    def mistakes(self, thresholds: Sequence[float]) -> Mistakes:
        """What is missed, false or confused at the score threshold of each label, in this process.

        Of the classes in the file, as in the metrics.
        """
        known = np.array([not self._coco.cats[number].get("absent") for number in self._category_ids])
        rows = {image: found[known[found[:, 5].astype(int)]] for image, found in self.rows.items()}
        return find_mistakes(self._coco, self._category_ids, rows, thresholds)

    def write_results(self, path: FilePath) -> None:
        """Write the detections in this process as COCO results JSON. Raises InputError."""
        write_whole(user_path(path), json.dumps(self.results).encode())


def crowded_images(coco: COCO, category_ids: Collection[int]) -> dict[int, int]:
    """The number of objects, by id, of images with more objects of a class than COCO's metrics count detections."""
    kept = set(category_ids)
    counts = Counter(
        (annotation["image_id"], annotation["category_id"])
        for annotation in coco.anns.values()
        if not annotation["iscrowd"] and annotation["category_id"] in kept
    )
    objects = Counter[int]()
    for (image, _), count in counts.items():
        objects[image] += count
    return {image: objects[image] for (image, _), count in counts.items() if count > COCO_MOST}


def crowded_remark(coco: COCO, category_ids: Collection[int]) -> list[str]:
    """One line about such images, if there are any."""
    images = len(crowded_images(coco, category_ids))
    text = (
        f"images with more than {COCO_MOST} objects of a class: {images}; AP and AR count only the best {COCO_MOST} "
        f"boxes of each, so they are low there; best F1 counts up to {BOXES_PER_OBJECT} per object"
    )
    return [text] if images else []


def format_metrics(metrics: CocoMetrics) -> str:
    """The 12 metrics as lines, then a table of the classes.

    It has the best F1 at IoU 0.5, its score threshold, and precision and recall there.
    """
    lines = [
        f"{name:<9} {metric_text(number):>6}   {text}"
        for name, number, text in zip(NAMES, metrics.numbers, DESCRIPTIONS, strict=True)
    ]
    width = max(len("class"), *(len(row.name) for row in metrics.classes))
    lines += ["", f"{'class':<{width}}  objects     AP   AP50  best F1  threshold  precision  recall"]
    lines += [f"{row.name:<{width}}  {row.objects:7d} {_row(row)}" for row in metrics.classes]
    return "\n".join(lines)


def metric_text(number: float) -> str:
    """A metric as text; "-" if undefined."""
    return "-" if number < 0 else f"{number:.3f}"


def _row(row: ClassMetrics) -> str:
    """The metrics of a class as text; all from best F1 on are "-" if unknown."""
    curve = row.curve
    numbers = [row.ap, row.ap50, *((-1.0,) * 4 if curve is None else (curve.best, curve.threshold, *curve.chosen))]
    return " ".join(f"{metric_text(number):>{width}}" for number, width in zip(numbers, WIDTHS, strict=True))


def _mean(precision: np.ndarray) -> float:
    """Mean of the defined values; -1 if there are none, as in COCO."""
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else -1.0


def _as_rows(found: Detections) -> np.ndarray:
    """Detections as x, y, width, height, score, label: (D, 6) float64."""
    found = found.numpy()
    corners = found.boxes.astype(np.float64)  # (D, 4)
    sizes = corners[:, 2:] - corners[:, :2]
    return np.column_stack([corners[:, :2], sizes, found.scores.astype(np.float64), found.labels])
