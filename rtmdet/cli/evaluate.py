"""`rtmdet evaluate`: the 12 COCO numbers of a detector on annotated images."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from rtmdet.cli.measure import detect_all
from rtmdet.cli.model_options import load_detector
from rtmdet.config import EvaluationConfig
from rtmdet.config_file import parse_config
from rtmdet.data.coco import CocoDataset
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.pipelines import EvaluationSamples
from rtmdet.detector import Detector
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
    stored = stored_settings(detector, arguments.weights)
    settings = stored or EvaluationConfig()
    settings = replace(settings, backend=arguments.backend or settings.backend)
    evaluator = detect_all(detector.model, dataset, loader, settings=settings, device=detector.device)
    origin = "as in the training run" if stored else "defaults"
    print(f"{len(dataset)} images, {evaluator.detection_count} detections: {describe(settings)} ({origin})")
    print(format_metrics(evaluator.evaluate()))
    if arguments.out is not None:
        evaluator.write_results(arguments.out)
        print(f"detections: {arguments.out}")
    return 0


def describe(settings: EvaluationConfig) -> str:
    """What counts as a detection, and who computes."""
    return (
        f"score above {settings.score_threshold:g}, NMS IoU {settings.iou_threshold:g}, {settings.nms_pre} "
        f"candidates a level, at most {settings.max_detections} an image, numbers by {settings.backend}"
    )


def stored_settings(detector: Detector, weights: str) -> EvaluationConfig | None:
    """The evaluation settings of the run that trained the detector; None where they are not known or not readable."""
    if not detector.config:
        return None
    try:
        return parse_config(detector.config, f"settings stored in {weights}").evaluation
    except InputError as error:
        print(f"the default settings are used: {error}", file=sys.stderr)
        return None
