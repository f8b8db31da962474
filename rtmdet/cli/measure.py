"""Measuring a model on validation images: the loop that train and evaluate share."""

from __future__ import annotations

import torch
from torch import nn

from rtmdet.cli.progress import track
from rtmdet.config import EvaluationConfig
from rtmdet.data.coco import CocoDataset
from rtmdet.data.loader import EvaluationLoader
from rtmdet.evaluation import CocoEvaluator
from rtmdet.postprocess import postprocess


@torch.inference_mode()
def detect_all(
    model: nn.Module,
    dataset: CocoDataset,
    loader: EvaluationLoader,
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
