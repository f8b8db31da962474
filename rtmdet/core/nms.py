"""Non-maximum suppression by torchvision's compiled operator.

Dimension legend: N boxes.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor


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
        import_module("torchvision.ops")
        return torch.ops.torchvision.nms.default
