"""`rtmdet train --data --folds K`: every image is measured once, by a run that did not learn it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev

from rtmdet.config.recipe import Choice
from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.core.distributed import started_processes
from rtmdet.core.errors import InputError
from rtmdet.data.coco.dataset import index_coco
from rtmdet.data.coco.file import CocoFile
from rtmdet.data.coco.splitting import fold_coco
from rtmdet.data.formats.open import Split
from rtmdet.data.json_file import read_json, write_json
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.samples import EvaluationSamples
from rtmdet.detector import Detector
from rtmdet.evaluation.coco import CocoEvaluator, CocoMetrics, format_metrics, shown
from rtmdet.runs.folder import load_run
from rtmdet.runs.measure import describe_interval, detect_all
from rtmdet.runs.minutes import Configure, TimedRun, TimeLimit, settings_of_first_fold
from rtmdet.runs.open_data import open_split
from rtmdet.runs.options import RunOptions
from rtmdet.runs.own_data import (
    check_may_go_on,
    choose_classes,
    holds_run,
    split_configurations,
)
from rtmdet.runs.own_splits import SPLIT_SEED, open_data_set, prepare_to_split
from rtmdet.viz.score_curves import draw_score_curves

ANNOTATIONS, DETECTIONS = "pooled_annotations.json", "pooled_detections.json"


def cross_validate(
    options: RunOptions, train: Callable[[Config, TimedRun | None], Path], limit: TimeLimit | None
) -> None:
    """Train on all folds but one, K times, and print and keep the numbers of the pooled detections.

    Each run is measured with its last weights: the best ones would be chosen on the images that measure them.
    With a `limit` the first run is fitted to its part of the time, and the others get the same length.
    The pooled detections and the ground truth stand in the folder of the runs, for rtmdet compare.
    Raises InputError where the folds cannot be made, or the folder holds others.
    """
    if options.data is None:
        raise InputError("--folds goes with --data: a configuration names its splits itself")
    if started_processes() > 1:
        raise InputError("--folds: expected one process, found several; start it without torchrun")
    source = open_data_set(options.data_set, options.images)
    whole = source.splits["train"]
    if "val" in source.splits:
        say(f"the {len(source.splits['val'].coco['images'])} images for validation are left out: folds are of train")
    classes = choose_classes(options, whole)  # of all, so that labels mean the same in every fold
    assert options.folds is not None, "asked for"
    parts = fold_coco(whole.coco, options.folds, SPLIT_SEED, prepare_to_split(whole))
    pooled: CocoEvaluator | None = None
    precisions = []
    measured: dict[str, Choice] = {}  # by the first fold, for all of them
    for number, part in enumerate(parts, start=1):
        say(f"fold {number} of {len(parts)}: measured on {len(part['images'])} images")
        folder = options.folder / f"fold_{number}"
        learned = Split(without(whole.coco, part), whole.images)
        if holds_run(folder):
            check_may_go_on(options, folder)
            check_same_images(folder, learned, part)
        configure = split_configurations(options, learned, Split(part, whole.images), folder, classes, measured)
        if holds_run(folder):  # it goes on with its own settings
            config, timed = load_run(folder, options.overrides), None
            config = replace(config, train=replace(config.train, output=str(folder)))
        else:
            config, timed = first_configuration(configure, options, limit, number=number, runs=len(parts))
        found, category_ids = detect_fold(config, train(config, timed))
        precisions.append(found.evaluate(curves=False).ap)
        pooled = pooled or CocoEvaluator(index_coco(whole.coco), category_ids, config.evaluation.backend)
        for image, rows in found.rows.items():
            pooled.add_rows(image, rows)
    assert pooled is not None, "there are two folds or more"
    write_json(options.folder / ANNOTATIONS, whole.coco)  # before the evaluation leaves its marks there
    metrics, matches = pooled.evaluate_with_matches()
    say(f"all {len(whole.coco['images'])} images, each measured by the run that did not learn it:")
    say(format_metrics(metrics))
    say(describe_interval(metrics, matches))
    defined = [ap for ap in precisions if ap >= 0]  # a fold may have no object
    text = f"AP of the folds, each with its last.pth: {', '.join(map(shown, precisions))}"
    if len(defined) > 1:
        text += f"; mean {mean(defined):.3f}, standard deviation {stdev(defined):.3f}"
    say(text)
    keep(pooled, metrics, options.folder)


def first_configuration(
    configure: Configure, options: RunOptions, limit: TimeLimit | None, *, number: int, runs: int
) -> tuple[Config, TimedRun | None]:
    """What run `number` begins with, and how its length is found where it is the one that is fitted to the time."""
    if limit is None:
        return configure([]), None
    first = options.folder / "fold_1"
    if number > 1 or holds_run(first):
        return configure(settings_of_first_fold(first)), None
    return configure([]), TimedRun(limit, configure, frozenset(options.given), runs)


def check_same_images(folder: Path, learned: Split, part: CocoFile) -> None:
    """Refuse to go on with a run of other images: it may have learned those that it would be measured on now."""
    for name, file in (("train", learned.coco), ("val", part)):
        path = folder / "data" / f"{name}.json"
        if not path.exists() or read_json(path) != json.loads(json.dumps(file)):
            raise InputError(f"{folder} holds a run on other images: give --set train.output=...")


def keep(pooled: CocoEvaluator, metrics: CocoMetrics, folder: Path) -> None:
    """Write the pooled detections and F1 over the score, beside what they are measured against."""
    pooled.write_results(folder / DETECTIONS)
    draw_score_curves(metrics.classes, folder / "f1.png")
    say(f"pooled: {folder / DETECTIONS}, of {folder / ANNOTATIONS} (see rtmdet compare); {folder / 'f1.png'}")


def without(coco: CocoFile, part: CocoFile) -> CocoFile:
    """The file without the images of one part."""
    images = {image["id"] for image in part["images"]}
    return {
        **coco,
        "images": [image for image in coco["images"] if image["id"] not in images],
        "annotations": [entry for entry in coco["annotations"] if entry["image_id"] not in images],
    }


def detect_fold(config: Config, folder: Path) -> tuple[CocoEvaluator, tuple[int, ...]]:
    """The detections of a finished run on its validation images, and the category ids of its labels."""
    detector = Detector(folder / "last.pth", device=config.train.device)
    dataset = open_split(config.data.val, config, detector.classes, training=False)
    samples = EvaluationSamples(dataset, input_size=detector.input_size)
    loader = EvaluationLoader(samples, batch_size=config.data.batch_size, workers=config.data.workers)
    found = detect_all(detector.backend, dataset, loader, config.evaluation)
    return found, dataset.category_ids
