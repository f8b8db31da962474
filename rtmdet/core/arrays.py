"""Arrays of NumPy or torch, whichever the network ran with: torch is only used where it is imported already."""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Array: TypeAlias = Any  # a torch tensor or a NumPy array; a union would make every use of either an error
AnyArray = TypeVar("AnyArray", np.ndarray, "Tensor")


def is_tensor(value: object) -> "TypeGuard[Tensor]":
    """Whether this is a torch tensor; does not import torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def constants_like(array: AnyArray, values: Sequence[float]) -> AnyArray:
    """The values in the library, type and device of an array."""
    if isinstance(array, np.ndarray):
        return np.asarray(values, array.dtype)
    return array.new_tensor(values)


def concatenate(parts: Sequence[AnyArray]) -> AnyArray:
    """One array of several, along their first dimension."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    import torch  # not at the top: the parts are tensors, so it is imported already

    return torch.cat(list(parts))


def clip_boxes(boxes: AnyArray, size: tuple[int, int]) -> AnyArray:
    """Boxes (..., 4) xyxy clipped to an image of (H, W)."""
    height, width = size
    return boxes.clip(constants_like(boxes, (0, 0, 0, 0)), constants_like(boxes, (width, height, width, height)))


def box_sizes(sides: np.ndarray) -> np.ndarray:
    """The size (N,) of boxes of these widths and heights (N, 2): their harmonic mean.

    Boxes of one size lose as much overlap by an error of a pixel: a long line as a square of nearly twice its height.
    """
    return 2 * sides.prod(1) / np.maximum(sides.sum(1), 1e-9)


def iou_matrix(a: AnyArray, b: AnyArray) -> AnyArray:
    """IoU of every box of `a` (N, 4) with every box of `b` (M, 4), xyxy: (N, M).

    The training has core.boxes.pairwise_iou, which is the reference's to the last bit, and for torch alone.
    """
    low, high = a[:, None, :2].clip(b[:, :2]), a[:, None, 2:].clip(None, b[:, 2:])
    sides = (high - low).clip(0)  # (N, M, 2)
    overlap = sides[..., 0] * sides[..., 1]
    areas = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (a, b)]
    return overlap / (areas[0][:, None] + areas[1] - overlap).clip(1e-30)


def keep_best(order: AnyArray, most: int, suppress: Callable[[AnyArray], AnyArray]) -> AnyArray:
    """The first `most` of the boxes that NMS keeps, without NMS of all the boxes after them.

    `order` lists N boxes by falling score, and `suppress` returns the ones of such a list that NMS keeps, in its
    order. As only boxes with a higher score can drop a box, the result is that of `suppress(order)[:most]`.
    """
    count = 4 * most
    while True:
        kept = suppress(order[:count])
        if len(kept) >= most or count >= len(order):
            return kept[:most]
        count *= 4
