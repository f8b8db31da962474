"""Comparing two runs: which is better, and whether the difference is more than chance.

A run is a detector, or a COCO results file: detections of `rtmdet evaluate --out` or of any other detector.
Dimension legend: D detections of one image.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from rtmdet import __version__
from rtmdet.config.schema import EvaluationConfig, SplitConfig
from rtmdet.core.arguments import TorchDevice, checked
from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json
from rtmdet.core.paths import FilePath, path_or_none, user_path
from rtmdet.core.processes import check_main_guard
from rtmdet.core.wording import shortened, shown, size_text
from rtmdet.data.coco.dataset import index_coco
from rtmdet.data.coco.file import is_number, read_and_repair, read_boxes, whole_number
from rtmdet.detector import Detector
from rtmdet.evaluation.coco import CocoEvaluator, CocoMetrics, metric_text
from rtmdet.evaluation.intervals import LEAST_IMAGES, Interval, paired_interval
from rtmdet.images.depth import depth_remarks
from rtmdet.measuring.ground_truth import open_coco, overlap_remark, stored_split
from rtmdet.measuring.measure import Loading, describe_settings, identify_file, run_detector, settings_of
from rtmdet.weights.download import resolve

POOLED_ANNOTATIONS, POOLED_DETECTIONS = "pooled_annotations.json", "pooled_detections.json"  # of train --folds


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """One side of the comparison: a detector or, if that is None, a file with its detections."""

    path: Path
    detector: Detector | None


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """What both sides are measured on; `folder` None: both sides are files of detections."""

    annotations: Path
    folder: Path | None
    coco: COCO
    category_ids: tuple[int, ...]  # of the classes that are measured


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs on the same images; `print` shows AP of both, the difference and the verdict."""

    paths: tuple[Path, Path]
    input_sizes: tuple[tuple[int, int] | None, tuple[int, int] | None]  # (H, W); None: detections from a file
    metrics: tuple[CocoMetrics, CocoMetrics]
    interval: Interval | None  # 95 % interval of B - A, by bootstrap over the images; None with too few images
    images: int
    annotations: Path

    @property
    def difference(self) -> float:
        """AP of B minus AP of A."""
        first, second = self.metrics
        return second.ap - first.ap

    @property
    def verdict(self) -> str:
        """The conclusion that the interval supports."""
        spread = self.interval
        sign = 0 if spread is None else spread.sign
        if spread is not None and spread.low == spread.high == 0:
            return "no difference"
        if not sign:
            return f"inconclusive with {self.images} {'image' if self.images == 1 else 'images'}"
        return f"B is {'better' if sign > 0 else 'worse'}"

    def to_dict(self) -> dict[str, object]:
        """All numbers as for JSON."""
        sides = [
            {**identify_file(path), "input_size": size, "metrics": metrics.to_dict(),
             "classes": [row.to_dict() for row in metrics.classes]}
            for path, size, metrics in zip(self.paths, self.input_sizes, self.metrics, strict=True)
        ]  # fmt: skip
        return {
            "version": __version__,
            "annotations": str(self.annotations),
            "images": self.images,
            "a": sides[0],
            "b": sides[1],
            "difference": self.difference if min(metrics.ap for metrics in self.metrics) >= 0 else None,
            "interval": None if self.interval is None else asdict(self.interval),
            "verdict": self.verdict,
        }

    def __str__(self) -> str:
        names = shortened([row.name for row in self.metrics[0].classes])
        lines = [f"{self.images} images of {self.annotations}, classes: {names}"]
        for letter, path, size, metrics in zip("AB", self.paths, self.input_sizes, self.metrics, strict=True):
            side = "" if size is None else f" at {size_text(size)}"
            lines.append(
                f"{letter}      AP {metric_text(metrics.ap)}   AP50 {metric_text(metrics.numbers[1])}   {path}{side}"
            )
        return "\n".join([*lines, self._difference_line(), f"verdict: {self.verdict}"])

    __repr__ = __str__  # in a notebook

    def _difference_line(self) -> str:
        undefined = min(metrics.ap for metrics in self.metrics) < 0
        spread, text = self.interval, f"B - A  AP {'-' if undefined else f'{self.difference:+.3f}'}"
        if spread is None:
            return f"{text}   no interval: it needs at least {LEAST_IMAGES} images with objects"
        return f"{text}   95 % confidence interval {spread} (paired bootstrap, {spread.resamples} resamples)"


@checked
def compare(
    a: Detector | FilePath,
    b: Detector | FilePath,
    *,
    annotations: FilePath | None = None,
    images: FilePath | None = None,
    input_size: int | tuple[int, int] | None = None,
    device: str | TorchDevice = "auto",
    batch_size: int = 8,
    workers: int = 2,
    backend: str | None = None,
) -> Comparison:
    """Measure two runs on the same images; `print` the result for the difference of AP with its 95 % interval.

    Each is a Detector, the folder of a run, a checkpoint, a published name, or COCO results in a file. Without
    `annotations`, a COCO file, and `images`, its folder, they are measured on their common validation images. Raises
    InputError.
    """
    check_main_guard()
    loading = Loading(batch_size, workers, backend)
    runs = [open_run(source, str(device), input_size) for source in (a, b)]
    check_classes(runs)
    unused = [name for name, value in (("--input", input_size), ("--images", images)) if value is not None]
    if unused and all(run.detector is None for run in runs):
        raise InputError(f"{unused[0]}: both are files of detections, for which it does nothing: leave it out")
    truth, remarks = open_images(runs, path_or_none(annotations), path_or_none(images))
    found = [measure(run, truth, remarks, loading).evaluate_with_matches() for run in runs]
    (first, first_matches), (second, second_matches) = found
    first_size, second_size = (None if run.detector is None else run.detector.input_size for run in runs)
    say(*remarks)
    return Comparison(
        paths=(runs[0].path, runs[1].path),
        input_sizes=(first_size, second_size),
        metrics=(first, second),
        interval=paired_interval(first_matches, second_matches),
        images=len(truth.coco.imgs),
        annotations=truth.annotations,
    )


def open_run(source: Detector | FilePath, device: str, input_size: int | tuple[int, int] | None) -> ComparedRun:
    """A run's folder, that of `train --folds`, a checkpoint, a published name, a COCO results file, or a detector.

    `input_size` replaces that of a checkpoint. Raises InputError.
    """
    if isinstance(source, Detector):
        if input_size is not None:
            raise InputError(f"--input {input_size}: a Detector has its own input size: open it with this one")
        return ComparedRun(source.path or Path("the detector"), source)
    path = user_path(source)
    if path.suffix.lower() == ".json":
        return ComparedRun(path, None)
    if path.is_dir():
        if (path / POOLED_DETECTIONS).is_file() and not (path / "last.pth").is_file():
            return ComparedRun(path / POOLED_DETECTIONS, None)
        path = resolve(path)
    return ComparedRun(path, Detector(str(path), device=device, input_size=input_size))


def check_classes(runs: Sequence[ComparedRun]) -> None:
    """Raise InputError for detectors of different classes: their AP would be means over different things."""
    found = [run for run in runs if run.detector is not None]
    names = [", ".join(sorted(run.detector.classes)) for run in found if run.detector is not None]
    if len(set(names)) > 1:
        raise InputError(
            f"{found[0].path} finds {names[0]}, but {found[1].path} finds {names[1]}: compare the same classes"
        )


def open_images(
    runs: Sequence[ComparedRun], annotations: Path | None, folder: Path | None
) -> tuple[Images, list[str]]:
    """The given images, else the validation images of the runs, with remarks. Raises InputError."""
    detectors = [run.detector for run in runs if run.detector is not None]
    if annotations is None or (folder is None and detectors):
        split = validation_of(runs)
        annotations, folder = annotations or Path(split.annotations), folder or Path(split.images)
    if detectors:
        assert folder is not None, "given, or from the validation data"
        dataset = open_coco(detectors[0], annotations, folder)
        depth = depth_remarks(dataset.few_paths, detectors[0].value_range)
        remarks = [*dataset.remarks, *depth]
        for run in runs:
            if run.detector is not None:
                remarks += overlap_remark(run.detector, run.path, dataset)
        return Images(annotations, folder, dataset.coco, dataset.category_ids), remarks
    file, remarks = read_and_repair(annotations, document=read_boxes(annotations), images=folder)
    coco = index_coco(file)
    return Images(annotations, None, coco, tuple(sorted(coco.cats))), remarks


def validation_of(runs: Sequence[ComparedRun]) -> SplitConfig:
    """The validation data of the runs that store it. Raises InputError unless they agree."""
    named = [(run.path, split) for run in runs if (split := stored_validation(run)) is not None]
    options = "--annotations" + (" and --images" if any(run.detector is not None for run in runs) else "")
    if not named:
        raise InputError(f"the runs do not store which images they were validated on: give {options}")
    first, *others = (split for _, split in named)
    if not all(same_images(first, other) for other in others):
        names = " and ".join(str(path) for path, _ in named)
        raise InputError(f"{names} were validated on different images: give {options}")
    return first


def stored_validation(one: ComparedRun) -> SplitConfig | None:
    """The validation data of a run; None if not stored. Pooled folds have theirs next to the detections."""
    if one.detector is None:
        beside = one.path.with_name(POOLED_ANNOTATIONS)
        pooled = one.path.name == POOLED_DETECTIONS and beside.is_file()
        return SplitConfig(str(beside), str(one.path.parent)) if pooled else None
    return stored_split(one.detector.config, one.path, "val")


def same_images(first: SplitConfig, second: SplitConfig) -> bool:
    """Whether two annotation files have equal content: each run may have its own copy."""
    paths = [Path(run.annotations) for run in (first, second)]
    if os.path.realpath(paths[0]) == os.path.realpath(paths[1]):
        return True
    try:
        return read_json(paths[0]) == read_json(paths[1])
    except InputError as error:
        raise InputError(f"{error}: give --annotations and --images") from error


def measure(one: ComparedRun, images: Images, remarks: list[str], loading: Loading) -> CocoEvaluator:
    """An evaluator with the detections of one side on all images; appends its settings to `remarks`."""
    backend = loading.backend or EvaluationConfig().backend
    if one.detector is None:
        evaluator = CocoEvaluator(images.coco, images.category_ids, backend)
        found = read_results(one.path, images.coco, images.category_ids)
        for image, rows in found.items():
            evaluator.add_rows(image, rows)
        seen = {int(label) for rows in found.values() for label in rows[:, 5]}
        present = {annotation["category_id"] for annotation in images.coco.anns.values() if not annotation["iscrowd"]}
        ids = [one for label, one in enumerate(images.category_ids) if one in present and label not in seen]
        if ids:
            names = shortened([images.coco.cats[category]["name"] for category in ids])
            remarks.append(f"{one.path}: no detections of {names}: counted as AP 0")
        return evaluator
    assert images.folder is not None, "a detector needs images"
    dataset = open_coco(one.detector, images.annotations, images.folder)
    tiling = one.detector.facts.tiling
    settings, _ = settings_of(one.detector, str(one.path), tiling)
    settings = replace(settings, backend=backend)
    remarks.append(f"{one.path}: {describe_settings(settings)}")
    if tiling is not None:
        remarks.append(f"{one.path}: {tiling}")
    return run_detector(one.detector, dataset, settings, loading, tiling)


def read_results(path: Path, coco: COCO, category_ids: Sequence[int]) -> dict[int, np.ndarray]:
    """Image id -> (D, 6) float64 rows of x, y, width, height, score, label, by falling score.

    Detections of categories that are not in `category_ids` are left out. Raises InputError at the first fault.
    """
    entries = read_json(path)
    if isinstance(entries, dict) and entries.keys() >= {"labels", "scores", "bboxes"}:
        raise InputError(
            f"{path}: detections in one image, as mmdet's DetInferencer writes them: expected those in all images as "
            "COCO results, the *.bbox.json that mmdet's CocoMetric writes with outfile_prefix"
        )
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of detections as evaluate --out writes, found {shown(entries)}")
    labels = {category: label for label, category in enumerate(category_ids)}
    rows: dict[int, list[tuple[float, ...]]] = {}
    for index, entry in enumerate(entries):
        _check_detection(f"{path}: detection {index}", entry, coco)
        if entry["category_id"] in labels:
            row = (*entry["bbox"], entry["score"], labels[entry["category_id"]])
            rows.setdefault(entry["image_id"], []).append(row)
    return {image: np.array(sorted(found, key=lambda row: -row[4]), np.float64) for image, found in rows.items()}


def _check_detection(where: str, entry: object, coco: COCO) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object {{...}}, found {shown(entry)}: write the file again")
    _check_id(where, entry, "image_id", coco.imgs)
    _check_id(where, entry, "category_id", coco.cats)
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)) or min(box[2:]) < 0:
        raise InputError(f"{where}: expected x, y, width and height for 'bbox', found {shown(box)}: correct the box")
    if not is_number(entry.get("score")):
        raise InputError(f"{where}: expected a number for 'score', found {shown(entry.get('score'))}: correct it")


def _check_id(where: str, entry: dict[str, Any], key: str, known: Mapping[int, object]) -> None:
    value = whole_number(entry.get(key))
    if value is None or value not in known:
        joined = ", or an entry that was joined with another of the same image" if key == "image_id" else ""
        raise InputError(
            f"{where}: {key} {shown(entry.get(key))} is not in the annotation file{joined}: give the file that it "
            "was made for"
        )
    entry[key] = value
