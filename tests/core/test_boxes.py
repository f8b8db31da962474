"""Geometry of boxes: the reference's numbers, cases worked out by hand, and the edges.

Dimension legend: N, M numbers of boxes, P priors.
"""

import numpy as np
import pytest
import torch
from golden import reference
from torch import Tensor

from rtmdet.core.arrays import box_sizes, clip_boxes, iou_matrix
from rtmdet.core.boxes import box_area, decode_distances, encode_distances, generalized_iou, pairwise_iou

GOLDEN = {key: torch.from_numpy(array) for key, array in reference.load("elements").items()}
UNIT = torch.tensor([[0.0, 0.0, 2.0, 2.0]])


def random_boxes(number: int, seed: int, size: float = 100.0) -> Tensor:
    """Proper boxes (N, 4) in a square of `size` pixels."""
    corners = torch.rand(number, 2, 2, generator=torch.Generator().manual_seed(seed)) * size
    return torch.cat([corners.amin(1), corners.amax(1)], dim=1)


def test_pairwise_iou_is_the_reference() -> None:
    found = pairwise_iou(GOLDEN["giou_pred"][:40], GOLDEN["giou_target"][:30])
    torch.testing.assert_close(found, GOLDEN["iou_pairwise"], rtol=1e-6, atol=1e-7)


def test_generalized_iou_is_the_reference() -> None:
    """Rows 0-9 are inverted boxes, 10-19 identical ones, 20-29 far apart."""
    found = generalized_iou(GOLDEN["giou_pred"], GOLDEN["giou_target"])
    torch.testing.assert_close(1 - found, GOLDEN["giou_none"], rtol=1e-6, atol=1e-6)


def test_decoding_is_the_reference() -> None:
    boxes = decode_distances(GOLDEN["coder_points"], GOLDEN["coder_dist"])
    assert torch.equal(boxes, GOLDEN["coder_decode"])
    assert torch.equal(clip_boxes(boxes, (200, 300)), GOLDEN["coder_decode_max_200x300"])


def test_encoding_is_the_inverse_of_decoding() -> None:
    points, boxes = torch.rand(7, 2) * 50, random_boxes(14, seed=1).view(2, 7, 4)
    distances = encode_distances(points, boxes)
    assert distances.shape == (2, 7, 4)
    torch.testing.assert_close(decode_distances(points, distances), boxes)
    left_top_right_bottom = encode_distances(torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 1.0, 10.0, 20.0]]))
    assert left_top_right_bottom.tolist() == [[2, 3, 7, 16]]


@pytest.mark.parametrize(
    ("box", "iou", "giou"),
    [
        ([0, 0, 2, 2], 1, 1),  # the same
        ([1, 1, 3, 3], 1 / 7, 1 / 7 - 2 / 9),  # a corner: union 7, hull 9
        ([0, 0, 1, 2], 1 / 2, 1 / 2),  # inside: the hull is the union
        ([2, 0, 4, 2], 0, 0),  # touching: the hull is the union
        ([3, 0, 5, 2], 0, -2 / 10),  # a gap of 1: union 8, hull 10
        ([1, 0, 1, 2], 0, 0),  # without area, inside
    ],
)
def test_overlap_by_hand(box: list[float], iou: float, giou: float) -> None:
    other = torch.tensor([box], dtype=torch.float32)
    assert pairwise_iou(UNIT, other).item() == pytest.approx(iou)
    assert generalized_iou(UNIT, other).item() == pytest.approx(giou)


def test_overlap_of_two_boxes_without_area_is_zero() -> None:
    point = torch.tensor([[5.0, 5.0, 5.0, 5.0]])
    assert pairwise_iou(point, point).item() == 0
    assert torch.isfinite(generalized_iou(point, point)).all()


def test_overlap_does_not_depend_on_the_order() -> None:
    a, b = random_boxes(5, seed=2), random_boxes(4, seed=3)
    iou = pairwise_iou(a, b)
    assert iou.shape == (5, 4)
    assert ((iou >= 0) & (iou <= 1)).all()
    torch.testing.assert_close(pairwise_iou(b, a), iou.T)
    torch.testing.assert_close(generalized_iou(a[:4], b), generalized_iou(b, a[:4]))
    assert (generalized_iou(a[:4], b) <= iou.diagonal()[:4] + 1e-6).all()


def test_no_boxes() -> None:
    none = torch.zeros(0, 4)
    assert pairwise_iou(none, UNIT).shape == (0, 1)
    assert pairwise_iou(UNIT, none).shape == (1, 0)
    assert generalized_iou(none, none).shape == (0,)
    assert decode_distances(torch.zeros(0, 2), none).shape == (0, 4)
    assert clip_boxes(none, (10, 10)).shape == (0, 4)


def test_area_is_the_product_of_the_sides() -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.0, 7.0], [4.0, 2.0, 1.0, 7.0], [1.0, 2.0, 1.0, 7.0]])
    assert box_area(boxes).tolist() == [15, -15, 0]


def test_clipping_takes_height_and_width_in_this_order() -> None:
    boxes = torch.tensor([[-5.0, -6.0, 50.0, 60.0], [25.0, 15.0, 40.0, 41.0]])
    assert clip_boxes(boxes, (10, 20)).tolist() == [[0, 0, 20, 10], [20, 10, 20, 10]]
    assert boxes[0, 0] == -5, "the boxes given stay as they are"


def test_gradients_of_far_boxes_do_not_vanish() -> None:
    far = torch.tensor([[10.0, 0.0, 12.0, 2.0]], requires_grad=True)
    generalized_iou(far, UNIT).sum().backward()
    assert far.grad is not None
    assert far.grad[0, 0] < 0, "moving the box closer must raise the overlap"


@pytest.mark.parametrize("sides", [(20.0, 20.0), (300.0, 12.0), (9.0, 90.0)])
def test_boxes_of_one_size_lose_as_much_overlap_by_a_shift(sides: tuple[float, float]) -> None:
    """A tenth of a pixel to the right and down, beside a square whose side is their size."""
    size = float(box_sizes(np.array([sides]))[0])
    overlaps = []
    for width, height in (sides, (size, size)):
        box = np.array([[0, 0, width, height]])
        overlaps.append(float(iou_matrix(box, box + 0.1)[0, 0]))
    assert overlaps[0] == pytest.approx(overlaps[1], abs=1e-4)


def test_the_size_of_boxes_is_the_side_of_a_square_and_nearly_twice_a_line() -> None:
    sizes = box_sizes(np.array([[7.0, 7.0], [400.0, 10.0], [0.0, 5.0], [0.0, 0.0]]))
    assert sizes.tolist() == pytest.approx([7, 19.512, 0, 0], abs=1e-3)
