"""Targets of Box AM: one number, computed from the model's outputs, that measures how well given boxes are detected.

Each function returns a target for the boxes of one image, xyxy in input pixels, and their labels.
Reference: the Box AM demo of mmyolo. Dimension legend: N boxes, K classes, P priors of all levels.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rtmdet.core.arrays import clip_boxes
from rtmdet.core.backend import Selection
from rtmdet.core.boxes import decode_distances, grid_priors, pairwise_iou
from rtmdet.core.postprocess import postprocess
from rtmdet.core.structures import DenseOutputs, Target
from rtmdet.training.criterion import Criterion, flatten_levels

BoxTarget = Callable[[DenseOutputs], Tensor]

GRADIENT_METHODS = ("gradcam", "gradcam++")  # follow a target back to the layer, so that it can be chosen
LEAST_OVERLAP = 0.5  # IoU above which a prediction counts as the same object


def box_loss_target(boxes: Tensor, labels: Tensor, num_classes: int) -> BoxTarget:
    """The training loss of boxes (N, 4) with the detections themselves as ground truth: mmyolo's target.

    Its gradient is unstable: at the prior that predicts a box, prediction and ground truth are equal, where GIoU has
    a kink. `class_score_target` has none.
    """
    criterion = Criterion(num_classes)

    def target(outputs: DenseOutputs) -> Tensor:
        return criterion(outputs, [Target(boxes, labels)]).box

    return target


def class_score_target(boxes: Tensor, labels: Tensor, input_size: tuple[int, int]) -> BoxTarget:
    """The sum over all levels of the class logits of boxes (N, 4), weighted by their scores.

    In each level, the logit is that of the prior whose prediction, clipped to `input_size` (H, W), overlaps the box
    most; in the box's own level this is the prior that predicted it. The weights make the boxes that a level itself
    predicts dominate.
    """

    def target(outputs: DenseOutputs) -> Tensor:
        total = boxes.new_zeros(())
        for logits, decoded in _levels(outputs):
            own = pairwise_iou(boxes.to(decoded.dtype), clip_boxes(decoded, input_size)).argmax(1)  # (N,)
            seen = logits[own, labels]
            total = total + (seen * seen.detach().sigmoid()).sum()
        return total

    return target


def detection_target(boxes: Tensor, labels: Tensor, input_size: tuple[int, int]) -> BoxTarget:
    """How well the current detections still cover boxes (N, 4): the sum over boxes of IoU + score.

    A box counts if, of the detections with its label, the one that overlaps it most has an IoU above 0.5. NMS has no
    gradient, so this is for methods that need none. Differs from mmdet: there a detection with another label that
    overlaps the box more, however low its score, makes the box count nothing.
    """

    def target(outputs: DenseOutputs) -> Tensor:
        found = postprocess(outputs, Selection(), input_size=input_size)[0]
        if not len(found):
            return boxes.new_zeros(())
        alike = labels[:, None] == found.labels  # (N, D)
        iou, nearest = (pairwise_iou(boxes.to(found.boxes.dtype), found.boxes) * alike).max(1)  # (N,)
        return torch.where(iou > LEAST_OVERLAP, iou + found.scores[nearest], 0).sum()

    return target


def choose_target(
    method: str, target: str, boxes: Tensor, labels: Tensor, *, input_size: tuple[int, int], classes: int
) -> BoxTarget:
    """What a method explains, for boxes (N, 4) of K `classes`: with a gradient `target`, "score" or "loss"."""
    if method not in GRADIENT_METHODS:
        return detection_target(boxes, labels, input_size)
    if target == "loss":
        return box_loss_target(boxes, labels, classes)
    return class_score_target(boxes, labels, input_size)


@torch.no_grad()
def source_levels(outputs: DenseOutputs, boxes: Tensor, input_size: tuple[int, int]) -> Tensor:
    """The level (N,) int64, 0 the finest, that predicted each of boxes (N, 4): the one with the closest prediction.

    The boxes were clipped to `input_size` (H, W).
    """
    best_overlap = [
        pairwise_iou(boxes.to(decoded.dtype), clip_boxes(decoded, input_size)).amax(1)
        for _, decoded in _levels(outputs)
    ]
    return torch.stack(best_overlap).argmax(0)


def _levels(outputs: DenseOutputs) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (P, K) and boxes (P, 4), without gradient, of the first image, level by level."""
    sizes = [(level.shape[2], level.shape[3]) for level in outputs.logits]
    logits, distances = flatten_levels(outputs.logits)[0], flatten_levels(outputs.distances)[0]
    points, _ = grid_priors(sizes, device=distances.device, dtype=distances.dtype)
    boxes = decode_distances(points, distances.detach())
    counts = [height * width for height, width in sizes]
    yield from zip(logits.split(counts), boxes.split(counts), strict=True)
