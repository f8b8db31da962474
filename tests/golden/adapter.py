"""The adapter of golden/compare.py: lets the reference's numbers be compared with this package.

`python compare.py adapter.py DIRECTORY` prints one line a comparison.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rtmdet.core import letterbox as letterboxing
from rtmdet.core.backend import Selection
from rtmdet.core.boxes import pairwise_iou
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.nms import NmsSettings
from rtmdet.core.postprocess import postprocess
from rtmdet.core.structures import DenseOutputs, Target
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.training.assigner import assign as assign_priors
from rtmdet.training.criterion import Criterion
from rtmdet.training.optim import build_optimizer, learning_rates
from rtmdet.viz.box_am import box_am as raw_box_am
from rtmdet.viz.box_targets import GRADIENT_METHODS, _levels, box_loss_target, detection_target
from rtmdet.weights import load as openmmlab

Maps = Sequence[Tensor]

# The pseudo ground truth of Box AM is the prediction itself, where GIoU has a kink: which of both is larger, by
# rounding of 1e-5 pixels, turns gradients around, and every processor rounds in its own way. So here stands by which
# coordinates (8, 4) the reference's predictions were above (1), below (-1) or equal to it. Of all combinations, it is
# the one that gives its maps of gradcam, to 6e-5 of their largest value; those of gradcam++ agree as well.
SIDES = torch.zeros(8, 4)
SIDES[2] = torch.tensor([-1.0, 0, -1, 0])
SIDES[4] = torch.tensor([0.0, 0, 0, 1])
SIDES[7] = torch.tensor([0.0, 0, 0, -1])
SIDE_STEP = 1e-3  # pixels: more than rounding, and too little to change anything else


def build(size: str, num_classes: int) -> RTMDet:
    return build_rtmdet(size, num_classes)


def features(model: RTMDet, x: Tensor) -> tuple[Maps, Maps, Maps, Maps]:
    backbone = model.backbone(x)
    neck = model.neck(backbone)
    outputs = model.bbox_head(neck)
    return backbone, neck, outputs.logits, outputs.distances


def predict(
    logits: Maps,
    distances: Maps,
    num_classes: int,
    input_size: tuple[int, int],
    scale: tuple[float, float] | None,
    settings: dict,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    overlap = NmsSettings(settings["iou_threshold"])
    selection = Selection(settings["score_thr"], overlap, settings["nms_pre"], settings["max_per_img"])
    found = postprocess(
        DenseOutputs(tuple(logits), tuple(distances)),
        selection,
        input_size=input_size,
        letterboxes=None if scale is None else [Letterbox(input_size, scale)] * len(logits[0]),
    )
    return [(image.boxes, image.scores, image.labels) for image in found]


def assign(
    logits: Tensor, boxes: Tensor, priors: Tensor, gt_boxes: Tensor, gt_labels: Tensor, topk: int
) -> tuple[Tensor, Tensor, Tensor]:
    target = Target(gt_boxes.reshape(-1, 4), gt_labels.reshape(-1).long())
    found = assign_priors(logits, boxes, priors[:, :2], priors[:, 2], target, topk=topk)
    labels = torch.full_like(found.gt_index, -1)
    positive = found.gt_index >= 0
    labels[positive] = target.labels[found.gt_index[positive]]
    return found.gt_index + 1, labels, found.soft_target


def head_loss(
    logits: Maps,
    distances: Maps,
    gt_boxes: Maps,
    gt_labels: Maps,
    num_classes: int,
    valid_sizes: Sequence[tuple[int, int]] | None,
) -> tuple[Tensor, Tensor]:
    targets = [Target(b.reshape(-1, 4), k.reshape(-1).long()) for b, k in zip(gt_boxes, gt_labels, strict=True)]
    outputs = DenseOutputs(tuple(logits), tuple(distances))
    losses = Criterion(num_classes)(outputs, targets, valid_sizes)
    return losses.classification, losses.box


def train_optimizer(model: RTMDet, lr: float) -> torch.optim.Optimizer:
    return build_optimizer(model, learning_rate=lr, weight_decay=0.05)


def train_loss(model: RTMDet, x: Tensor, gt_boxes: Maps, gt_labels: Maps) -> tuple[Tensor, Tensor]:
    _, _, logits, distances = features(model, x)
    logits, distances = [t.float() for t in logits], [t.float() for t in distances]
    return head_loss(logits, distances, gt_boxes, gt_labels, model.bbox_head.num_classes, None)


def letterbox(image: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    canvas, place = letterboxing.letterbox(image, (640, 640))
    return canvas, place.scale


def lr_curve(epochs: int, iterations: int, base: float, warmup: int) -> np.ndarray:
    return learning_rates(epochs=epochs, iterations=iterations, base=base, warmup=warmup)


def load(path: str, size: str, num_classes: int) -> RTMDet:
    model = build_rtmdet(size, num_classes)
    openmmlab.load_weights(model, openmmlab.read_checkpoint(Path(path)))
    return model.eval()


def box_am(model: RTMDet, image: np.ndarray, level: int, method: str, boxes: Tensor) -> np.ndarray:
    canvas, _ = letterbox(np.ascontiguousarray(image[..., ::-1]))  # BGR -> RGB
    images = torch.from_numpy(canvas).permute(2, 0, 1)[None]  # (1, 3, H, W) uint8
    boxes = boxes.float()
    labels = torch.zeros(len(boxes), dtype=torch.int64)
    if method in GRADIENT_METHODS:
        target = box_loss_target(beside_kink(model, images, boxes), labels, model.bbox_head.num_classes)
    else:
        target = detection_target(boxes, labels, (640, 640))
    return raw_box_am(model, f"neck.out_convs[{level}]", images, target, method)


@torch.no_grad()
def beside_kink(model: RTMDet, images: Tensor, boxes: Tensor) -> Tensor:
    """The pseudo ground truth (8, 4) of the golden maps, on the same side of the predictions as the reference's."""
    predicted = torch.cat([decoded for _, decoded in _levels(model(images))])
    predicted = predicted[pairwise_iou(boxes, predicted).argmax(1)]
    assert (predicted - boxes).abs().max() < SIDE_STEP, "rounding only"
    return predicted - SIDE_STEP * SIDES
