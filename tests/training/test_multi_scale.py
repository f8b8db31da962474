"""Batches of changing size: boxes stay on their objects, and every process sees the same size."""

import numpy as np
import torch

from rtmdet.core.structures import Batch, ImageMeta, Target
from rtmdet.training.multi_scale import MultiScale

SCALE = MultiScale((320, 640), (0.5, 1.5), seed=3)


def make_batch() -> Batch:
    """A black image with a white rectangle, which is the box."""
    images = torch.zeros(1, 3, 320, 640, dtype=torch.uint8)
    images[..., 64:192, 128:384] = 255
    targets = [Target(torch.tensor([[128.0, 64.0, 384.0, 192.0]]), torch.tensor([2]))]
    return Batch(images, targets, [ImageMeta(1, "", (320, 640))])


def test_sizes_are_multiples_of_32_in_the_range_and_change() -> None:
    sizes = [SCALE.size(iteration) for iteration in range(200)]
    assert all(height % 32 == 0 and width % 32 == 0 for height, width in sizes)
    assert {height for height, _ in sizes} == set(range(160, 481, 32))
    assert all(abs(width - 2 * height) <= 32 for height, width in sizes), "the shape is kept but for rounding"
    assert sizes == [MultiScale((320, 640), (0.5, 1.5), seed=3).size(iteration) for iteration in range(200)]
    assert sizes != [MultiScale((320, 640), (0.5, 1.5), seed=4).size(iteration) for iteration in range(200)]


def test_boxes_follow_the_image() -> None:
    batch, seen = make_batch(), set()
    for iteration in range(20):
        resized = SCALE(batch, iteration)
        size = SCALE.size(iteration)
        seen.add(size)
        assert (resized.images.dtype, tuple(resized.images.shape)) == (torch.uint8, (1, 3, *size))
        rows, columns = np.nonzero(resized.images[0, 0].numpy() > 127)
        x1, y1, x2, y2 = resized.targets[0].boxes[0].tolist()
        assert abs(columns.min() - x1) <= 1
        assert abs(rows.min() - y1) <= 1
        assert abs(columns.max() + 1 - x2) <= 1
        assert abs(rows.max() + 1 - y2) <= 1
        assert resized.targets[0].labels.tolist() == [2]
    assert len(seen) > 5
    torch.testing.assert_close(batch.targets[0].boxes, make_batch().targets[0].boxes)


def test_the_own_size_leaves_the_batch_as_it_is() -> None:
    batch = make_batch()
    assert MultiScale((320, 640), (1.0, 1.0), seed=0)(batch, 5) is batch
