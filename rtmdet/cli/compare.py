"""`rtmdet compare`: which of two runs is better, and whether so few images can tell."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pycocotools.coco import COCO

from rtmdet.bootstrap import Interval, paired_interval
from rtmdet.cli.measure import describe, detect_all, stored_settings
from rtmdet.cli.results_file import read_results
from rtmdet.config import EvaluationConfig, SplitConfig
from rtmdet.config_file import parse_config
from rtmdet.data.coco import CocoDataset, index_coco
from rtmdet.data.coco_file import read_coco
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.pipelines import EvaluationSamples
from rtmdet.detector import Detector
from rtmdet.evaluation import CocoEvaluator, CocoMetrics
from rtmdet.structures import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One side of the comparison: a detector, or where that is None, a file of its detections."""

    path: Path
    detector: Detector | None


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """What both sides are measured on; `folder` None: both have their detections already."""

    annotations: Path
    folder: Path | None
    coco: COCO
    category_ids: tuple[int, ...]  # of the classes that are measured


def run(arguments: argparse.Namespace) -> int:
    """Print AP of both, the difference with its interval, and the verdict; returns 0."""
    if arguments.batch < 1 or arguments.workers < 0:
        raise InputError(f"--batch {arguments.batch} --workers {arguments.workers}: expected at least 1 and 0")
    runs = [open_run(arguments.run_a, arguments.device), open_run(arguments.run_b, arguments.device)]
    check_classes(runs)
    images = open_images(runs, arguments)
    measured = [measure(one, images, arguments).evaluate_with_matches() for one in runs]
    (first, _), (second, _) = measured
    names = ", ".join(row.name for row in first.classes[:8]) + (" ..." if len(first.classes) > 8 else "")
    print(f"{len(images.coco.imgs)} images of {images.annotations}, classes: {names}")
    for letter, one, metrics in zip("AB", runs, (first, second), strict=True):
        print(f"{letter}      AP {metrics.ap:.3f}   AP50 {metrics.numbers[1]:.3f}   {one.path}")
    spread = paired_interval(*(matches for _, matches in measured))
    print(difference(first, second, spread))
    print(verdict(spread, len(images.coco.imgs)))
    return 0


def open_run(name: str, device: str) -> Run:
    """A run's folder, a checkpoint, a published name, or a COCO results file. Raises InputError."""
    path = Path(name)
    if path.suffix.lower() == ".json":
        return Run(path, None)
    if path.is_dir():
        path = path / "best.pth"
        if not path.is_file():
            raise InputError(
                f"{name}: expected a run's folder with best.pth, found none: train first, or give a file"
            )
    return Run(path, Detector.from_weights(str(path), device=device))


def check_classes(runs: Sequence[Run]) -> None:
    """Refuse detectors of different classes: their AP would be means over different things."""
    found = [one for one in runs if one.detector is not None]
    names = [", ".join(sorted(one.detector.classes)) for one in found if one.detector is not None]
    if len(set(names)) > 1:
        raise InputError(
            f"{found[0].path} finds {names[0]}, but {found[1].path} finds {names[1]}: compare the same classes"
        )


def open_images(runs: Sequence[Run], arguments: argparse.Namespace) -> Images:
    """The images that the options name, or else the validation images of the runs. Raises InputError."""
    detectors = [one.detector for one in runs if one.detector is not None]
    annotations, folder = arguments.annotations, arguments.images
    if annotations is None or (folder is None and detectors):
        split = validation_of(runs)
        annotations, folder = annotations or Path(split.annotations), folder or Path(split.images)
    if detectors:
        dataset = CocoDataset(annotations, folder, classes=detectors[0].classes, training=False)
        return Images(annotations, folder, dataset.coco, dataset.category_ids)
    coco = index_coco(read_coco(annotations))
    return Images(annotations, None, coco, tuple(sorted(coco.cats)))


def validation_of(runs: Sequence[Run]) -> SplitConfig:
    """The validation data that all runs which say it agree on. Raises InputError."""
    named: dict[SplitConfig, Path] = {}
    for one in runs:
        if one.detector is not None and one.detector.config:
            split = parse_config(one.detector.config, f"settings stored in {one.path}").data.val
            named.setdefault(split, one.path)
    if len(named) == 1:
        return next(iter(named))
    reason = "the runs do not say" if not named else f"{' and '.join(map(str, named.values()))} name different"
    raise InputError(f"{reason} validation images: give --annotations and --images")


def measure(one: Run, images: Images, arguments: argparse.Namespace) -> CocoEvaluator:
    """An evaluator with the detections of one side on all images."""
    backend = arguments.backend or EvaluationConfig().backend
    if one.detector is None:
        evaluator = CocoEvaluator(images.coco, images.category_ids, backend)
        for image, rows in read_results(one.path, images.coco, images.category_ids).items():
            evaluator.add_rows(image, rows)
        return evaluator
    assert images.folder is not None, "a detector needs images"
    detector = one.detector
    dataset = CocoDataset(images.annotations, images.folder, classes=detector.classes, training=False)
    samples = EvaluationSamples(dataset, input_size=detector.input_size)
    loader = EvaluationLoader(samples, batch_size=arguments.batch, workers=arguments.workers)
    settings = stored_settings(detector, str(one.path)) or EvaluationConfig()
    settings = replace(settings, backend=backend)
    print(f"{one.path}: {describe(settings)}")
    return detect_all(detector.model, dataset, loader, settings=settings, device=detector.device)


def difference(first: CocoMetrics, second: CocoMetrics, spread: Interval | None) -> str:
    """The line of B - A."""
    text = f"B - A  AP {second.ap - first.ap:+.3f}"
    if spread is None:
        return f"{text}   no interval: it takes two images and an object"
    return f"{text}   95 % interval {spread} from {spread.resamples} resamples of the images, the same for both"


def verdict(spread: Interval | None, images: int) -> str:
    """What the interval allows to say."""
    sign = 0 if spread is None else spread.sign
    if not sign:
        return f"verdict: cannot be told with {images} {'image' if images == 1 else 'images'}"
    return f"verdict: B is {'better' if sign > 0 else 'worse'}"
