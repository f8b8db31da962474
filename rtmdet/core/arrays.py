"""Arrays of NumPy or torch, whichever the network ran with: torch is only used where it is imported already."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = Any  # a torch tensor or a NumPy array; a union would make every use of either an error
AnyArray = TypeVar("AnyArray", np.ndarray, "Tensor")


def is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether this is a torch tensor; does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def constants_like(array: AnyArray, values: Sequence[float]) -> AnyArray:
    """The values in the library, type and device of an array."""
    if isinstance(array, np.ndarray):
        return np.asarray(values, array.dtype)
    return array.new_tensor(values)


def clip_boxes(boxes: AnyArray, size: tuple[int, int]) -> AnyArray:
    """Boxes (..., 4) xyxy clipped to an image of (H, W)."""
    height, width = size
    return boxes.clip(constants_like(boxes, (0, 0, 0, 0)), constants_like(boxes, (width, height, width, height)))
