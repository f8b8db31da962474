"""`rtmdet evaluate`: the 12 COCO numbers of a detector on annotated images."""

from __future__ import annotations

import argparse

from rtmdet.cli.measure import detect_all
from rtmdet.cli.model_options import load_detector
from rtmdet.config import EvaluationConfig
from rtmdet.data.coco import CocoDataset
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.pipelines import EvaluationSamples
from rtmdet.evaluation import format_metrics
from rtmdet.structures import InputError


def run(arguments: argparse.Namespace) -> int:
    """Print the 12 numbers and the table of classes; returns 0."""
    if arguments.batch < 1 or arguments.workers < 0:
        raise InputError(f"--batch {arguments.batch} --workers {arguments.workers}: expected at least 1 and 0")
    detector = load_detector(arguments)
    dataset = CocoDataset(arguments.annotations, arguments.images, classes=detector.classes, training=False)
    samples = EvaluationSamples(dataset, input_size=detector.input_size)
    loader = EvaluationLoader(samples, batch_size=arguments.batch, workers=arguments.workers)
    settings = EvaluationConfig()
    evaluator = detect_all(detector.model, dataset, loader, settings=settings, device=detector.device)
    print(
        f"{len(dataset)} images, {len(evaluator.results)} detections: score above {settings.score_threshold:g}, "
        f"NMS IoU {settings.iou_threshold:g}, at most {settings.max_detections} an image"
    )
    print(format_metrics(evaluator.evaluate()))
    if arguments.out is not None:
        evaluator.write_results(arguments.out)
        print(f"detections: {arguments.out}")
    return 0
