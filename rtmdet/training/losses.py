"""The two losses, per prior and not reduced. Paper: section 3.3; quality focal loss: arXiv 2006.04388.

Follows QualityFocalLoss and GIoULoss of mmdet 3.3.0.

Dimension legend: P priors (of one or many images), K classes.
"""

import torch.nn.functional as F
from torch import Tensor

from rtmdet.core.boxes import generalized_iou


def quality_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """(..., K) logits and soft targets 0 .. 1 -> (...) loss summed over classes, beta 2.

    The modulating factor is part of the gradient, as in the reference.
    """
    factor = (targets - logits.sigmoid()).square()
    return (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * factor).sum(-1)


def giou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """(P, 4) and (P, 4) boxes -> (P,) loss 0 .. 2."""
    return 1 - generalized_iou(boxes, targets)
