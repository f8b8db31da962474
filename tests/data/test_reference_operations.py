"""The training operations one by one, with given random numbers, compared with golden/train_ops.npz."""

import numpy as np
import pytest
from golden import reference

from rtmdet.core.letterbox import letterbox
from rtmdet.core.structures import ImageMeta, Instances, Sample
from rtmdet.data.augment import transforms
from rtmdet.data.augment.transforms import compose, crop, make_tile, mosaic, render, resize

GOLDEN = reference.load("train_ops")
NOISY = reference.compare_module().noisy_img
SIZE = (640, 640)


def source(number: int) -> Sample:
    height, width, seed, _ = (int(v) for v in GOLDEN["src_spec_h_w_seed_n"][number])
    image = NOISY(height, width, seed)[:, :, ::-1]  # the reference stores BGR
    boxes = GOLDEN[f"src{number}_boxes"].reshape(-1, 4).astype(np.float32)
    labels = GOLDEN[f"src{number}_labels"].astype(np.int64)
    return Sample(np.ascontiguousarray(image), Instances(boxes, labels), ImageMeta(number, "", (height, width)))


def letterboxed(number: int) -> Sample:
    return transforms.pad(render(resize(compose(source(number)), SIZE)), SIZE)


def check(sample: Sample, key: str, boxes: bool = True) -> None:
    image = sample.image[:, :, ::-1]
    assert list(image.shape) == list(GOLDEN[f"{key}_shape"])
    step = 16 if key.startswith(("mix", "mosaic")) else 8
    assert np.abs(image[::step, ::step].astype(int) - GOLDEN[f"{key}_sub8"].astype(int)).max() <= 1
    np.testing.assert_allclose(image.reshape(-1, 3).mean(0), GOLDEN[f"{key}_mean"], atol=0.02)
    if boxes:
        np.testing.assert_allclose(sample.instances.boxes, GOLDEN[f"{key}_boxes"].reshape(-1, 4), atol=1e-3)
        np.testing.assert_array_equal(sample.instances.labels, GOLDEN[f"{key}_labels"])
    assert sample.instances.boxes.dtype == np.float32


@pytest.mark.parametrize("number", range(4))
def test_mosaic(number):
    *ratios, a, b, c = GOLDEN[f"mosaic{number}_param_rx_ry_idx"]
    center = int(ratios[0] * SIZE[1]), int(ratios[1] * SIZE[0])
    tiles = [make_tile(source(int(i)), SIZE) for i in (5, a, b, c)]
    check(render(mosaic(tiles, center, SIZE)), f"mosaic{number}")


@pytest.mark.parametrize("number", range(3))
def test_mixup(number):
    index, draw = GOLDEN[f"mixup{number}_param_idx_flipdraw"]
    mixed = transforms.mixup(letterboxed(1), letterboxed(int(index)), mirrored=bool(draw > 0.5))
    check(mixed, f"mixup{number}")


@pytest.mark.parametrize("number", range(4))
def test_resize(number):
    index, width, height = (int(v) for v in GOLDEN[f"resize{number}_param_i_scale"])
    check(render(resize(compose(source(index)), (height, width))), f"resize{number}")


@pytest.mark.parametrize("number", range(3))
def test_crop(number):
    index, top, left = (int(v) for v in GOLDEN[f"crop{number}_param_i_oh_ow"])
    check(render(crop(compose(source(index)), top, left, SIZE)), f"crop{number}")


@pytest.mark.parametrize("number", range(4))
def test_hsv(number):
    index, *shift = (int(v) for v in GOLDEN[f"hsv{number}_param_i_h_s_v"])
    check(transforms.shift_hsv(source(index), tuple(shift)), f"hsv{number}", boxes=False)


def test_flip():
    check(transforms.flip(source(1)), "flip_src1")


@pytest.mark.parametrize("number", range(6))
def test_letterbox_is_equal_byte_by_byte(number):
    golden = reference.load("test_pipeline")
    image = NOISY(*(int(v) for v in golden[f"arr{number}_gen"]))
    canvas, place = letterbox(image, SIZE)
    assert reference.crc32(canvas) == int(golden[f"arr{number}_crc32"])
    np.testing.assert_allclose(place.scale, golden[f"arr{number}_scale_factor"], rtol=1e-12)
