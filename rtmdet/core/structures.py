"""The types that the subpackages exchange: ground truth with its geometry, images, batches, outputs, losses.

Boxes are always absolute xyxy float32 pixels, sizes always (H, W), images always RGB uint8.
torch is for the types alone: commands that only read labels start without it.

Dimension legend: B batch, K classes, L levels, P priors, N objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rtmdet.core.arrays import clip_boxes
from rtmdet.core.letterbox import Letterbox

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The ground truth of one image: boxes, in its pixels, with their labels.

    Every method returns new ones; nothing is changed in place.
    """

    boxes: np.ndarray  # (N, 4) float32 xyxy
    labels: np.ndarray  # (N,) int64, 0 .. K-1

    def __len__(self) -> int:
        return len(self.labels)

    def affine(self, scale: tuple[float, float], shift: tuple[float, float] = (0.0, 0.0)) -> Instances:
        """Scaled by (x, y), then shifted by (x, y) pixels."""
        factor, offset = (np.array([*pair, *pair], dtype=np.float32) for pair in (scale, shift))
        return replace(self, boxes=self.boxes * factor + offset)

    def flip(self, width: int) -> Instances:
        """Mirrored left and right in an image of this width."""
        x1, y1, x2, y2 = self.boxes.T
        return replace(self, boxes=np.stack([width - x2, y1, width - x1, y2], axis=1))

    def clip(self, size: tuple[int, int]) -> Instances:
        """Corners clipped to an image of (H, W); boxes outside of it remain, with zero area."""
        return replace(self, boxes=clip_boxes(self.boxes, size))

    def select(self, keep: np.ndarray) -> Instances:
        """Those selected by a mask (N,) bool or by indices."""
        return Instances(self.boxes[keep], self.labels[keep])

    def with_area(self) -> Instances:
        """Those whose boxes have a positive area."""
        x1, y1, x2, y2 = self.boxes.T
        return self.select((x2 > x1) & (y2 > y1))

    @staticmethod
    def join(parts: Sequence[Instances]) -> Instances:
        """The concatenation of one or more parts, all in the same pixels."""
        return Instances(
            np.concatenate([part.boxes for part in parts]), np.concatenate([part.labels for part in parts])
        )


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """The origin of an image and, once it is in the network's input, its place there."""

    image_id: int
    path: str
    original_size: tuple[int, int]
    letterbox: Letterbox | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One image with its ground truth, boxes in the pixels of `image`."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    instances: Instances
    meta: ImageMeta


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The ground truth of one image as tensors, boxes in the pixels of the network's input."""

    boxes: Tensor  # (N, 4) float32 xyxy
    labels: Tensor  # (N,) int64

    def to(self, device: torch.device) -> Target:
        """The same ground truth on another device."""
        return Target(self.boxes.to(device, non_blocking=True), self.labels.to(device, non_blocking=True))

    def pin_memory(self) -> Target:
        """The same ground truth in page-locked memory."""
        return Target(self.boxes.pin_memory(), self.labels.pin_memory())


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images of one size with their ground truths; pixels stay uint8 until the model normalizes them."""

    images: Tensor  # (B, 3, H, W) uint8 RGB
    targets: Sequence[Target]
    metas: Sequence[ImageMeta]

    def to(self, device: torch.device) -> Batch:
        """The same batch with images and targets on another device."""
        images = self.images.to(device, non_blocking=True)
        return Batch(images, [target.to(device) for target in self.targets], self.metas)

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, which allows asynchronous copies to a GPU."""
        return Batch(self.images.pin_memory(), [target.pin_memory() for target in self.targets], self.metas)


class DenseOutputs(NamedTuple):
    """The model's predictions at every prior, one tensor per level (strides 8, 16, 32).

    A NamedTuple, because tracing, export and compile support it, unlike dataclasses.
    """

    logits: tuple[Tensor, ...]  # L x (B, K, H, W), before the sigmoid
    distances: tuple[Tensor, ...]  # L x (B, 4, H, W): from the prior to left, top, right, bottom, input pixels


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """Which ground truth each prior of one image learns from."""

    gt_index: Tensor  # (P,) int64, -1 = background
    soft_target: Tensor  # (P,) IoU of the prior's predicted box with its ground truth, 0 = background


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """The two losses of a batch, weighted and normalized; training minimizes their sum."""

    classification: Tensor  # ()
    box: Tensor  # ()
    classification_per_level: Tensor  # (L,) detached, to compare with the reference
    box_per_level: Tensor  # (L,) detached, to compare with the reference
    normalizer: Tensor  # () divisor of both sums
    quality: Tensor  # () sum of the soft targets of this process
    positives: Tensor  # () int64: priors matched to a ground truth
    ground_truths: int
    unassigned: Tensor  # () int64: ground truths without a matched prior

    @property
    def total(self) -> Tensor:
        """Scalar to back-propagate."""
        return self.classification + self.box
