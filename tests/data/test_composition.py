"""Lazy image operations: the same boxes and pixels as carrying out one operation after the other.

Dimension legend: N boxes, H, W of a canvas.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from rtmdet.core.structures import ImageMeta, Instances, Sample
from rtmdet.data.augment.transforms import Composition, Layer, compose, crop, make_tile, mosaic, render, resize

SIZE = (96, 128)
PHOTOS = [(150, 110), (60, 200), (128, 128), (31, 47)]  # (H, W)


def photo(number: int, size: tuple[int, int]) -> Sample:
    """A smooth picture with three boxes."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8)
    image = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    corners = np.sort(rng.uniform(0, 1, (3, 2, 2)), axis=1) * size[::-1]
    labels = rng.integers(0, 9, 3)
    return Sample(image, Instances(corners.reshape(3, 4).astype(np.float32), labels), ImageMeta(number, "", size))


def clip(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.clip(boxes, np.float32(0), np.array([width, height] * 2, np.float32))


@dataclass(frozen=True)
class Cut:
    """The random numbers of one mosaic, scaled and cropped."""

    center: tuple[int, int]
    largest: tuple[int, int]
    top: int
    left: int


def draw_cut(seed: int) -> Cut:
    rng = np.random.default_rng(seed)
    center = int(rng.uniform(0.5, 1.5) * SIZE[1]), int(rng.uniform(0.5, 1.5) * SIZE[0])
    factor = rng.uniform(0.5, 2)
    largest = int(2 * SIZE[0] * factor), int(2 * SIZE[1] * factor)
    # Both sides are scaled by the same factor, so the canvas fits to within one pixel.
    top, left = (int(rng.integers(max(a - b - 1, 0) + 1)) for a, b in zip(largest, SIZE, strict=True))
    return Cut(center, largest, top, left)


def planned(tiles: list[Sample], cut: Cut) -> Composition:
    return crop(resize(mosaic(tiles, cut.center, SIZE), cut.largest), cut.top, cut.left, SIZE)


def carried_out(tiles: list[Sample], cut: Cut) -> tuple[Sample, np.ndarray]:
    """The same with all intermediate pixels, and a mask (H, W) of where two images touch or end."""
    height, width = 2 * SIZE[0], 2 * SIZE[1]
    roomy = np.full((4 * height, 4 * width, 3), 114, np.uint8)
    owner = np.zeros(roomy.shape[:2], np.uint8)
    boxes = []
    for number, tile in enumerate(tiles):
        h, w = tile.image.shape[:2]
        x = cut.center[0] - (w if number % 2 == 0 else 0)
        y = cut.center[1] - (h if number < 2 else 0)
        rows, columns = slice(height + y, height + y + h), slice(width + x, width + x + w)
        roomy[rows, columns], owner[rows, columns] = tile.image, number + 1
        boxes.append(tile.instances.boxes + np.array([x, y, x, y], np.float32))
    canvas, owner = (a[height : 2 * height, width : 2 * width] for a in (roomy, owner))
    all_boxes, labels = np.concatenate(boxes), np.concatenate([tile.instances.labels for tile in tiles])
    inside = (all_boxes[:, 0] < width) & (all_boxes[:, 1] < height) & (all_boxes[:, 2:] > 0).all(1)
    all_boxes, labels = clip(all_boxes[inside], height, width), labels[inside]
    factor = min(cut.largest[0] / height, cut.largest[1] / width)
    new_height, new_width = int(height * factor + 0.5), int(width * factor + 0.5)
    scaled = cv2.resize(canvas, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    owner = cv2.resize(owner, (new_width, new_height), interpolation=cv2.INTER_NEAREST)
    scale = np.array([new_width / width, new_height / height] * 2, np.float32)
    all_boxes = clip(all_boxes * scale, new_height, new_width)
    window = slice(cut.top, cut.top + SIZE[0]), slice(cut.left, cut.left + SIZE[1])
    image = scaled[window]
    all_boxes = clip(all_boxes - np.array([cut.left, cut.top] * 2, np.float32), *image.shape[:2])
    keep = (all_boxes[:, 2:] > all_boxes[:, :2]).all(1)
    seam = cv2.morphologyEx(owner[window], cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)) > 0
    return Sample(image, Instances(all_boxes[keep], labels[keep]), tiles[0].meta), seam


@pytest.mark.parametrize("seed", range(20))
def test_lazy_mosaic_equals_the_operations_one_by_one(seed: int) -> None:
    tiles = [make_tile(photo(seed + number, size), SIZE) for number, size in enumerate(PHOTOS)]
    cut = draw_cut(seed)
    expected, seam = carried_out(tiles, cut)
    sample = render(planned(tiles, cut))
    np.testing.assert_array_equal(sample.instances.boxes, expected.instances.boxes)
    np.testing.assert_array_equal(sample.instances.labels, expected.instances.labels)
    assert (sample.instances.boxes.dtype, sample.meta) == (np.float32, tiles[0].meta)
    difference = np.abs(sample.image.astype(int) - expected.image).max(axis=2)
    assert difference[~seam].max() <= 2  # rounding
    assert difference[~seam].mean() < 0.5
    assert seam.mean() < 0.5


@pytest.mark.parametrize("seed", range(20))
def test_tiles_meet_without_a_gap(seed: int) -> None:
    cut = draw_cut(seed)
    white = [Sample(np.full((*SIZE, 3), 255, np.uint8), *nothing()) for _ in range(4)]
    middle = Cut((SIZE[1], SIZE[0]), cut.largest, cut.top, cut.left)  # where four whole tiles fill the canvas
    assert (render(planned(white, middle)).image == 255).all()


def nothing() -> tuple[Instances, ImageMeta]:
    return Instances(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), ImageMeta(0, "", SIZE)


@pytest.mark.parametrize("largest", [(75, 90), (200, 333), (301, 117), (110, 150), (640, 640)])
def test_single_image_is_scaled_and_cropped_exactly(largest: tuple[int, int]) -> None:
    sample = photo(0, (110, 150))
    scaled = resize(compose(sample), largest)
    expected = cv2.resize(sample.image, scaled.size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(render(scaled).image, expected)
    np.testing.assert_array_equal(render(crop(scaled, 7, 11, SIZE)).image, expected[7 : 7 + 96, 11 : 11 + 128])


def test_edges_of_a_scaled_canvas_stay_whole_numbers() -> None:
    """In floating point, 49 * (93 / 49) is not 93."""
    sizes = np.random.default_rng(0).integers(1, 5000, (300, 4))
    for height, width, *largest in sizes.tolist():
        image = np.broadcast_to(np.uint8(0), (height, width, 3))
        scaled = resize(compose(Sample(image, *nothing())), (largest[0], largest[1]))
        assert scaled.layers[0].is_whole
        assert tuple(scaled.layers[0].rectangle[:1:-1]) == scaled.size


@pytest.mark.parametrize("size", [(1, 50), (50, 1), (1, 1)])
def test_slivers(size: tuple[int, int]) -> None:
    """A layer with one visible column of pixels, which lies between two of its own."""
    image = np.full((40, 40, 3), 200, np.uint8)
    layer = Layer(image, np.array([size[1] - 60.6, size[0] - 60.6, size[1] - 0.4, size[0] - 0.4]))
    assert (render(Composition((layer,), size, *nothing())).image == 200).all()


def test_a_pixel_shows_a_layer_if_its_center_lies_there() -> None:
    image = np.full((4, 4, 3), 200, np.uint8)
    layer = Layer(image, np.array([2.4, 1.6, 7.6, 6.4]))
    shown = render(Composition((layer,), (9, 9), *nothing())).image == 200
    expected = np.zeros((9, 9, 3), bool)
    expected[2:6, 2:8] = True
    np.testing.assert_array_equal(shown, expected)


def test_inputs_are_not_changed() -> None:
    sample = photo(0, (110, 150))
    image, boxes = sample.image.copy(), sample.instances.boxes.copy()
    for composition in (compose(sample), planned([sample] * 4, draw_cut(0))):
        result = render(crop(composition, 0, 0, (50, 50)))
        result.image[:] = 0
        result.instances.boxes[:] = 0
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.instances.boxes, boxes)
