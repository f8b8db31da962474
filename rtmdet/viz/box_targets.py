"""What a Box AM explains: for detected boxes, one number of the model's outputs that says how well they are found.

Each maker closes over the boxes of one image, xyxy in the pixels of the network's input, and their labels.
Reference: the Box AM demo of mmyolo. Dimension legend: N boxes, K classes, P priors of all levels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rtmdet.boxes import clip_boxes, decode_distances, pairwise_iou
from rtmdet.postprocess import postprocess
from rtmdet.priors import grid_priors
from rtmdet.structures import DenseOutputs, Target
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
    """The sum of the class logits at the priors that boxes (N, 4) came from.

    A box's own prior is the one whose prediction, cut at `input_size` (H, W), overlaps it most.
    """

    def target(outputs: DenseOutputs) -> Tensor:
        logits, distances = flatten_levels(outputs.logits)[0], flatten_levels(outputs.distances)[0]  # (P, K), (P, 4)
        sizes = [(level.shape[2], level.shape[3]) for level in outputs.logits]
        points, _ = grid_priors(sizes, device=distances.device, dtype=distances.dtype)
        decoded = clip_boxes(decode_distances(points, distances.detach()), input_size)
        own = pairwise_iou(boxes.to(decoded.dtype), decoded).argmax(1)  # (N,)
        return logits[own, labels].sum()

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
