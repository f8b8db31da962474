"""Measuring a model on validation images: the loop that train, evaluate and compare share."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import nn

from rtmdet.config.file import parse_config
from rtmdet.config.schema import EvaluationConfig
from rtmdet.core.console import SizedIterable, track
from rtmdet.core.errors import InputError
from rtmdet.core.postprocess import postprocess
from rtmdet.core.structures import Batch
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.detector import Detector
from rtmdet.evaluation.coco import CocoEvaluator, CocoMetrics
from rtmdet.evaluation.intervals import LEAST_IMAGES, interval
from rtmdet.evaluation.matches import ClassMatches


@torch.inference_mode()
def detect_all(
    model: nn.Module,
    dataset: CocoDataset,
    loader: SizedIterable[Batch],
    *,
    settings: EvaluationConfig,
    device: torch.device,
) -> CocoEvaluator:
    """Run the model over every image of the loader; the evaluator returned holds the detections of this process."""
    evaluator = CocoEvaluator(dataset.coco, dataset.category_ids, settings.backend)
    for batch in track(loader, "validating"):
        found = postprocess(
            model(batch.images.to(device)),
            input_size=(batch.images.shape[2], batch.images.shape[3]),
            scales=[meta.scale for meta in batch.metas],
            score_threshold=settings.score_threshold,
            iou_threshold=settings.iou_threshold,
            nms_pre=settings.nms_pre,
            max_detections=settings.max_detections,
        )
        evaluator.add(batch.metas, found)
    return evaluator


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


def describe_interval(metrics: CocoMetrics, matches: Sequence[ClassMatches]) -> str:
    """How far AP could have come out otherwise with other images of the same kind."""
    spread = interval(matches)
    if spread is None:
        return f"no interval of AP: it takes {LEAST_IMAGES} images with objects"
    if spread.low == spread.high:
        return f"no interval of AP {metrics.ap:.3f}: all resamples of the images have the same"
    images = len(matches[0].objects)
    return f"95 % interval of AP {metrics.ap:.3f}: {spread}, from {spread.resamples} resamples of the {images} images"
