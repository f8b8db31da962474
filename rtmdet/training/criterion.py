"""From dense outputs and ground truth to the two losses of a batch. Paper: section 3.3.

Follows RTMDetHead, QualityFocalLoss and GIoULoss of mmdet 3.3.0; quality focal loss: arXiv 2006.04388.

Everything here runs in float32 or wider, whatever the precision of the network: the area of a box of
640 x 640 pixels overflows fp16. Dimension legend: B batch, K classes, L levels, P priors of all levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rtmdet.core.boxes import decode_distances, generalized_iou, grid_priors, valid_priors
from rtmdet.core.distributed import sum_over_processes, world_size
from rtmdet.core.errors import InputError
from rtmdet.core.structures import DenseOutputs, Losses, Target
from rtmdet.training.assigner import TOPK, assign

BOX_WEIGHT = 2.0


def quality_focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """(..., K) logits and soft targets 0 .. 1 -> (...) loss summed over classes, beta 2.

    The modulating factor is part of the gradient, as in the reference.
    """
    factor = (targets - logits.sigmoid()).square()
    return (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * factor).sum(-1)


def giou_loss(boxes: Tensor, targets: Tensor) -> Tensor:
    """(P, 4) and (P, 4) boxes -> (P,) loss 0 .. 2."""
    return 1 - generalized_iou(boxes, targets)


@dataclass(frozen=True, slots=True, eq=False)
class DenseTargets:
    """What every prior of a batch should predict."""

    classes: Tensor  # (B, P) int64, K = background
    quality: Tensor  # (B, P) IoU of the prior's box with its ground truth, 0 = background
    boxes: Tensor  # (B, P, 4) ground truth box of positives, 0 elsewhere
    valid: Tensor  # (B, P) bool: False for cells that show only padding
    unassigned: Tensor  # () int64: ground truths without a matched prior


class Criterion:
    """RTMDet's training loss: quality focal loss on classes plus 2 x GIoU loss on boxes.

    Called with the model's outputs and B targets in input pixels. `valid_sizes` gives the (H, W) of each input
    without padding, if cells beyond must not count; None counts every cell, as in training.
    """

    def __init__(self, num_classes: int, *, topk: int = TOPK) -> None:
        self.num_classes = num_classes
        self.topk = topk
        self._checks_values = True  # once on a GPU, which each look at a value keeps waiting

    def __call__(
        self, outputs: DenseOutputs, targets: Sequence[Target], valid_sizes: Sequence[tuple[int, int]] | None = None
    ) -> Losses:
        """The losses. Raises InputError for outputs of other classes, and for targets that cannot be."""
        if (found := outputs.logits[0].shape[1]) != self.num_classes:
            raise InputError(f"outputs: expected those of {self.num_classes} classes, found {found}")
        check_targets(targets, len(outputs.logits[0]))
        if self._checks_values:
            check_target_values(targets, self.num_classes)
            self._checks_values = not outputs.logits[0].is_cuda
        logits, distances = flatten_levels(outputs.logits), flatten_levels(outputs.distances)
        sizes = [(level.shape[2], level.shape[3]) for level in outputs.logits]
        points, strides = grid_priors(sizes, device=logits.device, dtype=logits.dtype)
        boxes = decode_distances(points, distances)  # (B, P, 4)
        dense = self.build_targets(logits, boxes, points, strides, sizes, targets, valid_sizes)

        quality = dense.quality.sum()
        normalizer = loss_normalizer(quality)
        positive = dense.classes < self.num_classes  # (B, P)
        where = positive.nonzero(as_tuple=True)  # once: each indexing by `positive` itself would wait for the GPU
        soft = torch.zeros_like(logits)
        soft[(*where, dense.classes[where])] = dense.quality[where]
        per_prior_class = quality_focal_loss(logits, soft) * dense.valid / normalizer  # (B, P)
        per_positive_box = giou_loss(boxes[where], dense.boxes[where]) * dense.quality[where]
        per_positive_box = BOX_WEIGHT * per_positive_box / normalizer
        return Losses(
            classification=per_prior_class.sum(),
            box=per_positive_box.sum(),  # has a gradient even without positives
            classification_per_level=_sum_levels(per_prior_class.detach(), sizes),
            box_per_level=_sum_levels(_spread(per_positive_box.detach(), positive), sizes),
            normalizer=normalizer,
            quality=quality,
            positives=positive.sum(),
            ground_truths=sum(len(target.labels) for target in targets),
            unassigned=dense.unassigned,
        )

    @torch.no_grad()
    def build_targets(
        self,
        logits: Tensor,
        boxes: Tensor,
        points: Tensor,
        strides: Tensor,
        sizes: Sequence[tuple[int, int]],
        targets: Sequence[Target],
        valid_sizes: Sequence[tuple[int, int]] | None,
    ) -> DenseTargets:
        """Assign each image of the batch: logits (B, P, K), boxes (B, P, 4), points (P, 2), strides (P,)."""
        classes = torch.full(logits.shape[:2], self.num_classes, dtype=torch.int64, device=logits.device)
        quality, gt_boxes = logits.new_zeros(logits.shape[:2]), torch.zeros_like(boxes)
        valid = torch.ones_like(classes, dtype=torch.bool)
        unassigned = torch.zeros((), dtype=torch.int64, device=logits.device)
        for b, target in enumerate(targets):
            used: slice | Tensor = slice(None)
            if valid_sizes is not None:
                valid[b] = valid_priors(sizes, valid_sizes[b], device=logits.device)
                used = valid[b].nonzero().squeeze(1)
            if not len(target.labels):
                continue
            gt = Target(target.boxes.to(boxes.dtype), target.labels)
            found = assign(logits[b, used], boxes[b, used], points[used], strides[used], gt, topk=self.topk)
            positive, own = found.gt_index >= 0, found.gt_index.clamp(min=0)
            classes[b, used] = torch.where(positive, gt.labels[own], self.num_classes)
            quality[b, used] = found.soft_target
            gt_boxes[b, used] = torch.where(positive[:, None], gt.boxes[own], 0)
            unassigned += _count_unmatched(found.gt_index, len(gt.labels))
        return DenseTargets(classes, quality, gt_boxes, valid, unassigned)


def check_targets(targets: Sequence[Target], images: int) -> None:
    """Raise InputError unless there is a Target for each image, with boxes (N, 4) and labels (N,)."""
    if len(targets) != images:
        raise InputError(f"targets: expected one for each of {images} images, found {len(targets)}")
    for index, target in enumerate(targets):
        if not isinstance(target, Target):
            raise InputError(
                f"targets[{index}]: expected rtmdet.core.structures.Target(boxes, labels), found "
                f"{type(target).__name__}"
            )
        shapes = tuple(target.boxes.shape), tuple(target.labels.shape)
        if shapes != ((len(target.labels), 4), (len(target.labels),)):
            raise InputError(
                f"targets[{index}]: expected boxes (N, 4) and labels (N,), found {shapes[0]} and {shapes[1]}"
            )


def check_target_values(targets: Sequence[Target], classes: int) -> None:
    """Raise InputError unless labels are 0 .. `classes` - 1, and boxes finite, of some area, in pixels."""
    labels = torch.cat([target.labels for target in targets]) if targets else torch.empty(0)
    if not labels.numel():
        return
    boxes = torch.cat([target.boxes for target in targets])
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"targets: expected labels from 0 to {classes - 1}, found {int(labels.min())} to {int(labels.max())}: "
            "count classes from 0, and leave out objects that are to be ignored"
        )
    usable = boxes.isfinite().all(1) & (boxes[:, 2:] > boxes[:, :2]).all(1)
    if not usable.all():
        box = [round(value, 1) for value in boxes[~usable][0].tolist()]
        raise InputError(
            f"targets: expected boxes x1, y1, x2, y2 with x1 < x2 and y1 < y2, found {box}: leave such boxes out"
        )
    if boxes.max() <= 1 and (boxes % 1).any():
        raise InputError("targets: expected boxes in pixels of the input, found none beyond 1: multiply by its sides")


def loss_normalizer(quality: Tensor) -> Tensor:
    """The normalizer of both losses, from this process's sum of soft targets.

    The sum over all processes, at least 1, divided by their number. As DDP averages gradients, several processes
    equal one with all images. Differs from mmdet: the minimum of 1 applies to the sum over all processes; there it
    applies to their mean.
    """
    return sum_over_processes(quality).clamp(min=1) / world_size()


def flatten_levels(levels: Sequence[Tensor]) -> Tensor:
    """L x (B, C, H, W) -> (B, P, C) in the order of the priors, at least float32."""
    flat = torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in levels], dim=1)
    return flat.to(torch.promote_types(flat.dtype, torch.float32))


def _count_unmatched(gt_index: Tensor, number: int) -> Tensor:
    """How many of `number` ground truths do not occur in gt_index (P,), where -1 is background: () int64."""
    taken = torch.zeros(number + 1, dtype=torch.bool, device=gt_index.device).index_fill_(0, gt_index + 1, True)
    return number - taken[1:].sum()


def _spread(values: Tensor, mask: Tensor) -> Tensor:
    """`values` at the True places of `mask`, zero elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=mask.device).masked_scatter(mask, values)


def _sum_levels(per_prior: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
    """(B, P) -> (L,) sums over the batch and each level's priors."""
    return torch.stack([level.sum() for level in per_prior.split([height * width for height, width in sizes], dim=1)])
