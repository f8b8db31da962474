"""`rtmdet train --data --folds K`: K-fold cross-validation; every image is in one validation split."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json, write_json
from rtmdet.data.coco.dataset import index_coco
from rtmdet.data.coco.edit import fold_coco, part_of
from rtmdet.data.coco.file import CocoFile
from rtmdet.data.formats.splits import Split
from rtmdet.detector import Detector
from rtmdet.evaluation.coco import CocoEvaluator, CocoMetrics, format_metrics, metric_text
from rtmdet.measuring.compare import POOLED_ANNOTATIONS, POOLED_DETECTIONS
from rtmdet.measuring.measure import Loading, describe_interval, run_detector
from rtmdet.runs.build import open_split
from rtmdet.runs.folder import check_unclaimed, holds_run
from rtmdet.runs.options import RunOptions
from rtmdet.runs.settings.own_data import OwnData, choose_classes, resumed_configuration
from rtmdet.runs.settings.own_splits import SPLIT_SEED, labeled_images, open_own_data, prepare_to_split
from rtmdet.runs.time.limit import TimedRun, TimeLimit, settings_of_first_fold
from rtmdet.viz.score_curves import draw_score_curves


def cross_validate(options: RunOptions, train: Callable[..., Path], limit: TimeLimit | None) -> None:
    """Train K times on all folds except one; print and save the metrics of the pooled detections.

    `train` is `train_run`, with callbacks and without an estimate of the time.
    With a `limit` the first run is fitted to its part of the time, and the others get the same length. The pooled
    detections and the ground truth are written into the folder of the runs, for rtmdet compare. Raises InputError if
    the folds cannot be made, or the folder holds other runs.
    """
    if options.data is None:
        raise InputError("--folds works with --data only: a configuration names its own splits")
    if holds_run(options.folder):
        raise InputError(
            f"{options.folder} holds a run, whose files those of --folds would replace: choose another --output"
        )
    source = open_own_data(options.data_set, options.images)
    whole = source.splits["train"]
    if "val" in source.splits:
        say(
            f"the {len(source.splits['val'].coco['images'])} validation images are not used: folds are parts of train"
        )
    classes = choose_classes(options, whole)  # from all images, so that labels are the same in every fold
    assert options.folds is not None, "checked by the caller"
    parts = fold_coco(whole.coco, options.folds, SPLIT_SEED, prepare_to_split(whole))
    labeled = labeled_images(whole)
    if not all(labeled_images(Split(part, whole.images)) for part in parts):
        raise InputError(
            f"--folds {options.folds}: expected images with objects in each fold, found {labeled} in all, where "
            "copies stay together: use fewer folds, or label others"
        )
    pooled: CocoEvaluator | None = None
    precisions = []
    for number, part in enumerate(parts, start=1):
        say(f"fold {number} of {len(parts)}: validated on {len(part['images'])} images")
        folder = options.folder / f"fold_{number}"
        others = {image["id"] for image in whole.coco["images"]} - {image["id"] for image in part["images"]}
        learned = Split(part_of(whole.coco, others), whole.images)
        if holds_run(folder):
            config, timed = resumed_configuration(options, folder), None  # with its own settings
            check_same_images(folder, learned, part)
            config = replace(config, train=replace(config.train, output=str(folder)))
        else:
            check_unclaimed(folder)
            data = OwnData(options, learned, Split(part, whole.images), folder, classes)
            config, timed = first_configuration(data, limit, number=number, runs=len(parts))
        found, category_ids = detect_fold(config, train(config, timed, resume=holds_run(folder)))
        precisions.append(found.evaluate().ap)
        pooled = pooled or CocoEvaluator(index_coco(whole.coco), category_ids, config.evaluation.backend)
        for image, rows in found.rows.items():
            pooled.add_rows(image, rows)
    assert pooled is not None, "there are two folds or more"
    # pycocotools adds keys to these dicts, so write first.
    write_json(options.folder / POOLED_ANNOTATIONS, whole.coco)
    metrics, matches = pooled.evaluate_with_matches()
    say(f"all {len(whole.coco['images'])} images, each measured by the run that was not trained on it:")
    say(format_metrics(metrics))
    say(describe_interval(metrics, matches))
    text = f"AP of the folds, each with its last.pth: {', '.join(map(metric_text, precisions))}"
    say(f"{text}; mean {mean(precisions):.3f}, standard deviation {stdev(precisions):.3f}")
    save_pooled(pooled, metrics, options.folder)


def first_configuration(
    data: OwnData, limit: TimeLimit | None, *, number: int, runs: int
) -> tuple[Config, TimedRun | None]:
    """The configuration that run `number` starts with; the first one is also fitted to the time limit."""
    first = data.options.folder / "fold_1"
    if number > 1 or holds_run(first):  # which may have been begun with a limit
        return data.configure(settings_of_first_fold(first)), None
    return data.configure(), None if limit is None else TimedRun(limit, data.options, data, runs)


def check_same_images(folder: Path, learned: Split, part: CocoFile) -> None:
    """Raise InputError for a run on other images: it may be trained on those that it would be measured on now."""
    for name, file in (("train", learned.coco), ("val", part)):
        path = folder / "data" / f"{name}.json"
        if not path.exists() or read_json(path) != json.loads(json.dumps(file)):
            raise InputError(f"{folder} holds a run on other images: choose another --output")


def save_pooled(pooled: CocoEvaluator, metrics: CocoMetrics, folder: Path) -> None:
    """Write the pooled detections and the F1 curves, next to the ground truth."""
    pooled.write_results(folder / POOLED_DETECTIONS)
    draw_score_curves(metrics.classes, folder / "f1.png")
    say(f"pooled detections: {folder / POOLED_DETECTIONS} (for rtmdet compare); F1 curves: {folder / 'f1.png'}")


def detect_fold(config: Config, folder: Path) -> tuple[CocoEvaluator, tuple[int, ...]]:
    """The detections of a finished run on its validation images, and the category ids of its labels."""
    # Of last.pth, not of best.pth: it was chosen on the images that it would be measured on.
    detector = Detector(folder, device=config.train.device)
    dataset = open_split(config, detector.classes, training=False)
    data = config.data
    found = run_detector(detector, dataset, config.evaluation, Loading(data.batch_size, data.workers), data.tiling)
    return found, dataset.category_ids
