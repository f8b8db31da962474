"""The ground truth of one image, and all its transforms: scale, shift, mirror, clip, select.

Dimension legend: N objects. Boxes are xyxy in the pixels of the image that they belong to.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """Boxes with their labels. Every method returns new ones; nothing is changed in place."""

    boxes: np.ndarray  # (N, 4) float32 xyxy
    labels: np.ndarray  # (N,) int64, 0 .. K-1

    def __len__(self) -> int:
        return len(self.labels)

    def affine(self, scale: tuple[float, float], shift: tuple[float, float] = (0.0, 0.0)) -> "Instances":
        """Scaled by (x, y), then shifted by (x, y) pixels."""
        factor, offset = (np.array([*pair, *pair], dtype=np.float32) for pair in (scale, shift))
        return replace(self, boxes=self.boxes * factor + offset)

    def flip(self, width: int) -> "Instances":
        """Mirrored left and right in an image of this width."""
        x1, y1, x2, y2 = self.boxes.T
        return replace(self, boxes=np.stack([width - x2, y1, width - x1, y2], axis=1))

    def clip(self, size: tuple[int, int]) -> "Instances":
        """Corners clipped to an image of (H, W); boxes outside of it remain, with zero area."""
        height, width = size
        return replace(self, boxes=np.clip(self.boxes, 0, np.array([width, height, width, height], np.float32)))

    def select(self, keep: np.ndarray) -> "Instances":
        """Those selected by a mask (N,) bool or by indices."""
        return Instances(self.boxes[keep], self.labels[keep])

    def with_area(self) -> "Instances":
        """Those whose boxes have a positive area."""
        x1, y1, x2, y2 = self.boxes.T
        return self.select((x2 > x1) & (y2 > y1))

    @staticmethod
    def join(parts: "Sequence[Instances]") -> "Instances":
        """The concatenation of one or more parts, all in the same pixels."""
        return Instances(
            np.concatenate([part.boxes for part in parts]), np.concatenate([part.labels for part in parts])
        )
