"""From dense outputs to detections: select, decode, clip, rescale, NMS. Reference: RTMDetHead of mmdet 3.3.0.

Dimension legend: B batch, K classes, L levels, H, W of a level, S selected (prior, class) pairs, D detections.
"""

import math
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from rtmdet.core.arrays import clip_boxes, keep_best
from rtmdet.core.backend import Selection
from rtmdet.core.boxes import decode_distances
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import DenseOutputs
from rtmdet.core.wording import one_line


@torch.no_grad()
def postprocess(
    outputs: DenseOutputs,
    selection: Selection,
    *,
    input_size: tuple[int, int],
    letterboxes: Sequence[Letterbox] | None = None,
) -> list[Detections]:
    """The detections of each of B images, sorted by falling score.

    Boxes are clipped to `input_size` (H, W) and then mapped to the image's own pixels by its letterbox; without
    letterboxes they stay in input pixels. They are not clipped to the original image, so they can reach a little
    beyond it. A prior gives several detections if several classes score above the threshold.
    """
    images = []
    for b in range(len(outputs.logits[0])):
        levels = [
            _select(logits[b], distances[b], stride, selection.least_scores, selection.nms_pre)
            for logits, distances, stride in zip(*outputs, STRIDES, strict=True)
        ]
        boxes, scores, labels = (torch.cat(parts) for parts in zip(*levels, strict=True))
        boxes = clip_boxes(boxes, input_size)
        if letterboxes is not None:
            boxes = letterboxes[b].to_image(boxes)
        images.append(_suppress(Detections(boxes, scores, labels), selection))
    return images


def _select(
    logits: Tensor, distances: Tensor, stride: int, least_scores: Sequence[float], most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (S, 4), scores (S,) and labels (S,) of one level, (K, H, W) logits and (4, H, W) distances.

    `least_scores`: one for each class, or for all. Logits are compared with theirs, so that only selected pairs are
    decoded.
    """
    classes, _, width = logits.shape
    ordered = logits.permute(1, 2, 0)  # (H, W, K)
    least = [_logit(score) for score in least_scores]
    above = ordered > (least[0] if len(least) == 1 else ordered.new_tensor(least))
    flat, chosen = ordered.flatten(), above.flatten().nonzero().squeeze(1)
    scores = flat[chosen].to(torch.promote_types(flat.dtype, torch.float32)).sigmoid()
    # Sorted by score as in the reference, not by logit: if many scores saturate at 1, the order of ties decides which
    # of them NMS keeps.
    scores, order = scores.sort(descending=True)
    scores, chosen = scores[:most], chosen[order[:most]]
    prior, labels = chosen // classes, chosen % classes
    points = torch.stack([prior % width, prior // width], dim=1) * stride  # (S, 2)
    selected = distances.flatten(1)[:, prior].T  # (S, 4)
    selected = selected.to(torch.promote_types(selected.dtype, torch.float32))
    boxes = decode_distances(points.to(selected.dtype), selected)
    return boxes, scores.to(selected.dtype), labels


def _logit(probability: float) -> float:
    if probability <= 0:
        return -math.inf
    return math.log(probability / (1 - probability)) if probability < 1 else math.inf


def _suppress(found: Detections, selection: Selection) -> Detections:
    """Drop boxes without area, apply NMS per class, keep the best above the threshold; the others vote."""
    nms = selection.nms
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    found = found[(sides > 0).all(1)]
    # Equal scores stay in the order of their levels and priors.
    found = found[found.scores.sort(descending=True, stable=True).indices]
    boxes, scores, labels = found.boxes, found.scores, found.labels

    def suppress(best: Tensor) -> Tensor:
        return best[batched_nms(boxes[best], scores[best], labels[best], nms.iou_threshold).sort().values]

    sure = (scores > selection.score_threshold).nonzero().squeeze(1)
    return nms.vote(found[keep_best(sure, selection.max_detections, suppress)], found)


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """The indices, in no order, of the boxes that NMS within each class keeps.

    boxes (N, 4) are x1, y1, x2, y2, scores (N,), labels (N,) integers from 0. A box that overlaps a kept one with a
    higher score by an IoU above `iou_threshold` is dropped; of equal scores the first box counts as the higher.
    """
    if not len(boxes):
        return labels.long()
    nms = _load_operator()
    if boxes.is_cuda:  # one call for all classes, each in a place of its own, as every call waits for the GPU
        wide = boxes.double()  # in 32 bits, boxes far from the origin would lose their last digits
        return nms(wide + (labels * (wide.max() + 1))[:, None], scores.double(), iou_threshold)
    classes = labels.argsort(stable=True).split(labels.bincount().tolist())
    return torch.cat([own[nms(boxes[own], scores[own], iou_threshold)] for own in classes])


@cache
def _load_operator() -> Callable[[Tensor, Tensor, float], Tensor]:
    """torchvision's operator from its library alone: importing the package takes longer than importing torch."""
    package = find_spec("torchvision")
    try:
        if package is not None and package.origin is not None:
            for library in sorted(Path(package.origin).parent.glob("_C*.[sp]*")):  # .so, on Windows .pyd
                torch.ops.load_library(str(library))
        return torch.ops.torchvision.nms.default
    except (OSError, AttributeError):  # a build that needs the package's own start
        try:
            import_module("torchvision.ops")
            return torch.ops.torchvision.nms.default
        except (RuntimeError, AttributeError, OSError) as error:
            raise InputError(
                f"torchvision does not fit torch {torch.__version__} ({one_line(error)[:200]}): install torch and "
                "torchvision again, in one command and from the same index"
            ) from error
