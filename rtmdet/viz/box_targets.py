"""What a Box AM explains: for detected boxes, one number of the model's outputs that says how well they are found.

Each maker closes over the boxes of one image, xyxy in the pixels of the network's input, and their labels.
Reference: the Box AM demo of mmyolo. Dimension legend: N boxes, K classes, P priors of all levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rtmdet.core.boxes import clip_boxes, decode_distances, pairwise_iou
from rtmdet.core.postprocess import postprocess
from rtmdet.core.priors import grid_priors
from rtmdet.core.structures import DenseOutputs, Target
from rtmdet.training.criterion import Criterion, flatten_levels

BoxTarget = Callable[[DenseOutputs], Tensor]

LEAST_OVERLAP = 0.5  # IoU above which a prediction counts as the same object


def box_loss_target(boxes: Tensor, labels: Tensor, num_classes: int) -> BoxTarget:
    """The training loss of boxes (N, 4) with the detections themselves as ground truth: mmyolo's target.

    It stands on a kink: at the prior that made a box, prediction and ground truth are equal, and the
    gradient of GIoU there depends on rounding. `class_score_target` has no kink.
    """
    criterion = Criterion(num_classes)

    def target(outputs: DenseOutputs) -> Tensor:
        return criterion(outputs, [Target(boxes, labels)]).box

    return target


def class_score_target(boxes: Tensor, labels: Tensor, input_size: tuple[int, int]) -> BoxTarget:
    """The sum of the class logits with which every level sees boxes (N, 4), weighted by their scores.

    A level sees a box at the prior whose prediction, cut at `input_size` (H, W), overlaps it most: in the level that
    made the box, the very prior it came from. Each logit weighs as much as its score, so that the boxes a level finds
    itself outshine those that it only confirms.
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
    """How well the current detections still show boxes (N, 4): the sum over boxes of IoU + score.

    A box counts where the detection that overlaps it most has its label and an IoU above 0.5. There is no
    gradient through the non-maximum suppression: for the methods that need none.
    """

    def target(outputs: DenseOutputs) -> Tensor:
        found = postprocess(outputs, input_size=input_size)[0]
        if not len(found):
            return boxes.new_zeros(())
        iou, nearest = pairwise_iou(boxes.to(found.boxes.dtype), found.boxes).max(1)  # (N,)
        same = (iou > LEAST_OVERLAP) & (found.labels[nearest] == labels)
        return torch.where(same, iou + found.scores[nearest], 0).sum()

    return target


@torch.no_grad()
def source_levels(outputs: DenseOutputs, boxes: Tensor, input_size: tuple[int, int]) -> Tensor:
    """The level (N,) int64, 0 the finest, whose prior made each of boxes (N, 4): its prediction is the most alike.

    `input_size` (H, W) is what the boxes were cut at.
    """
    likest = [
        pairwise_iou(boxes.to(decoded.dtype), clip_boxes(decoded, input_size)).amax(1)
        for _, decoded in _levels(outputs)
    ]
    return torch.stack(likest).argmax(0)


def _levels(outputs: DenseOutputs) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (P, K) and boxes (P, 4), without gradient, of the first image's levels, one after the other."""
    sizes = [(level.shape[2], level.shape[3]) for level in outputs.logits]
    logits, distances = flatten_levels(outputs.logits)[0], flatten_levels(outputs.distances)[0]
    points, _ = grid_priors(sizes, device=distances.device, dtype=distances.dtype)
    boxes = decode_distances(points, distances.detach())
    counts = [height * width for height, width in sizes]
    yield from zip(logits.split(counts), boxes.split(counts), strict=True)
