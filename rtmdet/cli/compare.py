"""`rtmdet compare`: which of two runs is better, and whether so few images can tell."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pycocotools.coco import COCO

from rtmdet.config.file import parse_config
from rtmdet.config.schema import EvaluationConfig, SplitConfig
from rtmdet.core.errors import InputError
from rtmdet.data.coco.dataset import CocoDataset, index_coco
from rtmdet.data.coco.file import read_coco
from rtmdet.data.coco.layout import file_names, is_coco
from rtmdet.data.image_names import ImageNames
from rtmdet.data.json_file import read_json
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.samples import EvaluationSamples
from rtmdet.detector import Detector
from rtmdet.evaluation.coco import CocoEvaluator, CocoMetrics
from rtmdet.evaluation.intervals import LEAST_IMAGES, Interval, paired_interval
from rtmdet.runs.folder import moved
from rtmdet.runs.folds import ANNOTATIONS, DETECTIONS
from rtmdet.runs.measure import describe, detect_all, stored_settings
from rtmdet.runs.open_data import count_learned, shortened
from rtmdet.runs.results_file import read_results


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
    size = None if arguments.input is None else (arguments.input, arguments.input)
    runs = [open_run(name, arguments.device, size) for name in (arguments.run_a, arguments.run_b)]
    check_classes(runs)
    images = open_images(runs, arguments)
    measured = [measure(one, images, arguments).evaluate_with_matches() for one in runs]
    (first, _), (second, _) = measured
    names = shortened([row.name for row in first.classes])
    print(f"{len(images.coco.imgs)} images of {images.annotations}, classes: {names}")
    for letter, one, metrics in zip("AB", runs, (first, second), strict=True):
        side = "" if one.detector is None else " at {1} x {0} pixels".format(*one.detector.input_size)
        print(f"{letter}      AP {metrics.ap:.3f}   AP50 {metrics.numbers[1]:.3f}   {one.path}{side}")
    spread = paired_interval(*(matches for _, matches in measured))
    print(difference(first, second, spread))
    print(verdict(spread, len(images.coco.imgs)))
    return 0


def open_run(name: str, device: str, input_size: tuple[int, int] | None = None) -> Run:
    """A run's folder, that of `train --folds`, a checkpoint, a published name, or a COCO results file.

    A detector takes the `input_size` that is given, else its own. Raises InputError.
    """
    path = Path(name).expanduser()
    if path.suffix.lower() == ".json":
        return Run(path, None)
    if path.is_dir():
        if (path / DETECTIONS).is_file() and not (path / "best.pth").is_file():
            return Run(path / DETECTIONS, None)
        path = path / "best.pth"
        if not path.is_file():
            raise InputError(
                f"{name}: expected a run's folder with best.pth, found none: train first, or give a file"
            )
    return Run(path, Detector.from_weights(str(path), device=device, input_size=input_size))


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
        for one in runs:
            tell_learned(one, dataset)
        return Images(annotations, folder, dataset.coco, dataset.category_ids)
    coco = index_coco(read_coco(annotations))
    return Images(annotations, None, coco, tuple(sorted(coco.cats)))


def validation_of(runs: Sequence[Run]) -> SplitConfig:
    """The validation data that all runs which say it agree on. Raises InputError."""
    named = {one.path: split for one in runs if (split := stored_data(one, "val")) is not None}
    if not named:
        raise InputError("the runs do not say which images they were validated on: give --annotations and --images")
    first, *others = named.values()
    if not all(same_images(first, other) for other in others):
        names = " and ".join(map(str, named))
        raise InputError(f"{names} were validated on different images: give --annotations and --images")
    return first


def stored_data(one: Run, split: str) -> SplitConfig | None:
    """The train or val data of a run; None where it does not say. Pooled folds keep theirs beside the detections."""
    if one.detector is None:
        beside = one.path.with_name(ANNOTATIONS)
        pooled = split == "val" and one.path.name == DETECTIONS and beside.is_file()
        return SplitConfig(str(beside), str(one.path.parent)) if pooled else None
    if not one.detector.config:
        return None
    config = parse_config(one.detector.config, f"settings stored in {one.path}")
    data = moved(config, config.train.output, one.path.parent).data
    return data.val if split == "val" else data.train


def same_images(first: SplitConfig, second: SplitConfig) -> bool:
    """Whether two files say the same, as each run's own file of a split that was made for it."""
    paths = [Path(one.annotations) for one in (first, second)]
    if os.path.realpath(paths[0]) == os.path.realpath(paths[1]):
        return True
    try:
        return read_json(paths[0]) == read_json(paths[1])
    except InputError as error:
        raise InputError(f"{error}: give --annotations and --images") from error


def tell_learned(one: Run, dataset: CocoDataset) -> None:
    """Say where a run was trained on images that it is measured on, if it tells which they were."""
    try:
        split = stored_data(one, "train")
        document = None if split is None else read_json(Path(split.annotations))
    except InputError:  # settings of another version, data that are gone: the comparison goes on without
        return
    if split is None or not is_coco(document):
        return
    index = ImageNames(Path(split.images))
    files = (Path(split.images) / file for name in file_names(document) for file in index.find(name))
    common = count_learned(files, dataset)
    if common:
        print(f"{one.path}: trained on {common} of the {len(dataset)} images: its AP says little of other images")


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
    dataset = CocoDataset(
        images.annotations, images.folder, classes=detector.classes, training=False, value_range=detector.value_range
    )
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
        return f"{text}   no interval: it takes {LEAST_IMAGES} images with objects"
    return f"{text}   95 % interval {spread} from {spread.resamples} resamples of the images, the same for both"


def verdict(spread: Interval | None, images: int) -> str:
    """What the interval allows to say."""
    sign = 0 if spread is None else spread.sign
    if spread is not None and spread.low == spread.high == 0:
        return "verdict: no difference"
    if not sign:
        return f"verdict: cannot be told with {images} {'image' if images == 1 else 'images'}"
    return f"verdict: B is {'better' if sign > 0 else 'worse'}"
