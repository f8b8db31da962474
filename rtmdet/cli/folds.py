"""`rtmdet train --data --folds K`: every image is measured once, by a run that did not learn it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from rtmdet.cli.measure import describe_interval, detect_all
from rtmdet.cli.own_data import configure_splits, given_settings, int_of, open_data_set, run_folder
from rtmdet.cli.progress import say
from rtmdet.config import Config
from rtmdet.data.coco import CocoDataset, index_coco
from rtmdet.data.coco_file import CocoFile
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.pipelines import EvaluationSamples
from rtmdet.data.sources import Split
from rtmdet.data.splitting import fold_coco
from rtmdet.detector import Detector
from rtmdet.distributed import started_processes
from rtmdet.evaluation import CocoEvaluator, format_metrics
from rtmdet.structures import InputError


def cross_validate(arguments: argparse.Namespace, train: Callable[[Config], Path]) -> None:
    """Train on all folds but one, K times, and print the numbers of the pooled detections.

    Each run is measured with its last weights: the best ones would be chosen on the images that measure them.
    Raises InputError where the folds cannot be made.
    """
    if arguments.data is None:
        raise InputError("--folds goes with --data: a configuration names its splits itself")
    if started_processes() > 1:
        raise InputError("--folds: expected one process, found several; start it without torchrun")
    whole = open_data_set(arguments.data).splits["train"]
    seed = int_of(given_settings(arguments), "train.seed") or 0
    parts = fold_coco(whole.coco, arguments.folds, seed)
    pooled: CocoEvaluator | None = None
    precisions = []
    for number, part in enumerate(parts, start=1):
        say(f"fold {number} of {len(parts)}: measured on {len(part['images'])} images")
        folder = run_folder(arguments) / f"fold_{number}"
        learned = Split(without(whole.coco, part), whole.images)
        config = configure_splits(arguments, learned, Split(part, whole.images), folder)
        found, category_ids = detect_fold(config, train(config))
        precisions.append(found.evaluate(curves=False).ap)
        pooled = pooled or CocoEvaluator(index_coco(whole.coco), category_ids, config.evaluation.backend)
        for image, rows in found.rows.items():
            pooled.add_rows(image, rows)
    assert pooled is not None, "there are two folds or more"
    metrics, matches = pooled.evaluate_with_matches()
    say(f"all {len(whole.coco['images'])} images, each measured by the run that did not learn it:")
    say(format_metrics(metrics))
    say(describe_interval(metrics, matches))
    each = ", ".join(f"{ap:.3f}" for ap in precisions)
    say(f"AP of the folds: {each}; mean {mean(precisions):.3f}, standard deviation {stdev(precisions):.3f}")


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
    detector = Detector.from_weights(folder / "last.pth", device=config.train.device)
    val = config.data.val
    dataset = CocoDataset(Path(val.annotations), Path(val.images), classes=detector.classes, training=False)
    samples = EvaluationSamples(dataset, input_size=detector.input_size)
    loader = EvaluationLoader(samples, batch_size=config.data.batch_size, workers=config.data.workers)
    found = detect_all(detector.model, dataset, loader, settings=config.evaluation, device=detector.device)
    return found, dataset.category_ids
