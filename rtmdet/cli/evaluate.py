"""`rtmdet evaluate`: the 12 COCO numbers of a detector on annotated images."""

from __future__ import annotations

import argparse
from dataclasses import replace

from rtmdet.cli.model_options import load_detector
from rtmdet.config.schema import EvaluationConfig
from rtmdet.core.errors import InputError
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.samples import EvaluationSamples
from rtmdet.evaluation.coco import format_metrics
from rtmdet.runs.measure import describe, describe_interval, detect_all, stored_settings
from rtmdet.viz.score_curves import draw_score_curves


def run(arguments: argparse.Namespace) -> int:
    """Print the 12 numbers and the table of classes; returns 0."""
    if arguments.batch < 1 or arguments.workers < 0:
        raise InputError(f"--batch {arguments.batch} --workers {arguments.workers}: expected at least 1 and 0")
    detector = load_detector(arguments)
    if not detector.named:
        raise InputError(
            f"{arguments.weights} does not name its {len(detector.classes)} classes, by which they are found in "
            f"{arguments.annotations}: give the names in order, --classes a,b,c"
        )
    dataset = CocoDataset(
        arguments.annotations,
        arguments.images,
        classes=detector.classes,
        training=False,
        value_range=detector.value_range,
    )
    for remark in dataset.remarks:
        print(remark)
    samples = EvaluationSamples(dataset, input_size=detector.input_size)
    loader = EvaluationLoader(samples, batch_size=arguments.batch, workers=arguments.workers)
    stored = stored_settings(detector, arguments.weights)
    settings = stored or EvaluationConfig()
    settings = replace(settings, backend=arguments.backend or settings.backend)
    evaluator = detect_all(detector.model, dataset, loader, settings=settings, device=detector.device)
    origin = "as in the training run" if stored else "defaults"
    print(f"{len(dataset)} images, {evaluator.detection_count} detections: {describe(settings)} ({origin})")
    metrics, matches = evaluator.evaluate_with_matches()
    print(format_metrics(metrics))
    if not arguments.no_interval:
        print(f"\n{describe_interval(metrics, matches)}")
    if arguments.f1 is not None:
        draw_score_curves(metrics.classes, arguments.f1)
        print(f"F1 over the score: {arguments.f1}")
    if arguments.out is not None:
        evaluator.write_results(arguments.out)
        print(f"detections: {arguments.out}")
    return 0
