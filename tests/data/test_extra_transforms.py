"""The albumentations adapter: boxes follow, results are reproducible, wrong names and arguments are errors."""

import pickle
import warnings
from collections.abc import Mapping

import numpy as np
import pytest

from rtmdet.core.errors import InputError
from rtmdet.core.structures import ImageMeta, Instances, Sample
from rtmdet.data.augment.albumentations import ExtraTransforms

SHIFT: tuple[str, Mapping[str, object]] = ("Affine", {"translate_px": {"x": [20, 20], "y": [0, 0]}, "p": 1})


@pytest.fixture
def sample() -> Sample:
    """A black image of 64 x 96 pixels with two white objects, one of them extending beyond the border."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[20:40, 30:50] = 255
    image[50:64, 80:96] = 255
    boxes = np.array([[30, 20, 50, 40], [80, 50, 120, 70]], np.float32)
    return Sample(image, Instances(boxes, np.array([3, 1])), ImageMeta(1, "a.png", (64, 96)))


def apply(sample: Sample, *transforms: tuple[str, Mapping[str, object]], seed: int = 0) -> Sample:
    return ExtraTransforms(transforms)(sample, np.random.default_rng(seed))


def test_blur_changes_pixels_and_no_box(sample: Sample) -> None:
    before = sample.image.copy()
    blurred = apply(sample, ("GaussianBlur", {"blur_limit": [5, 5], "p": 1}))
    assert set(np.unique(blurred.image)) > {0, 255}
    np.testing.assert_allclose(
        blurred.instances.boxes, [[30, 20, 50, 40], [80, 50, 96, 64]], atol=1e-3
    )  # clipped at the border
    np.testing.assert_array_equal(blurred.instances.labels, [3, 1])
    np.testing.assert_array_equal(sample.image, before)
    np.testing.assert_array_equal(sample.instances.boxes[1], [80, 50, 120, 70])


def test_turn_takes_the_boxes_along(sample: Sample) -> None:
    turned = apply(sample, ("Rotate", {"limit": [90, 90], "p": 1}))
    for box, label in zip(turned.instances.boxes, turned.instances.labels, strict=True):
        x1, y1, x2, y2 = box.round().astype(int)
        assert turned.image[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1].mean() > 200
        assert label in (3, 1)
    assert 3 in turned.instances.labels
    assert (turned.instances.boxes.dtype, turned.instances.labels.dtype, turned.image.dtype) == (
        np.float32,
        np.int64,
        np.uint8,
    )


def test_order_is_as_given(sample: Sample) -> None:
    """A shift by 20 pixels to the right."""
    flip: tuple[str, Mapping[str, object]] = ("HorizontalFlip", {"p": 1})
    np.testing.assert_allclose(apply(sample, SHIFT, flip).instances.boxes, [[26, 20, 46, 40]], atol=0.1)
    np.testing.assert_allclose(
        apply(sample, flip, SHIFT).instances.boxes, [[66, 20, 86, 40], [20, 50, 36, 64]], atol=0.1
    )


def test_box_that_vanishes_is_dropped_with_its_label(sample: Sample) -> None:
    cut = apply(sample, SHIFT)
    np.testing.assert_allclose(cut.instances.boxes, [[50, 20, 70, 40]], atol=0.1)
    np.testing.assert_array_equal(cut.instances.labels, [3])
    none = apply(sample, SHIFT, SHIFT, SHIFT, SHIFT).instances
    assert (none.boxes.shape, none.boxes.dtype, none.labels.dtype) == (
        (0, 4),
        np.float32,
        np.int64,
    )


def test_same_generator_state_same_result(sample: Sample) -> None:
    turn, noise, flip = {"limit": 45, "p": 1}, {"p": 0.5}, {"p": 0.5}
    extra = ExtraTransforms([("Rotate", turn), ("GaussNoise", noise), ("HorizontalFlip", flip)])
    results = [extra(sample, np.random.default_rng(seed)) for seed in (1, 2, 1)]
    copy = pickle.loads(pickle.dumps(extra))  # as it reaches a loader process
    for other in (results[2], copy(sample, np.random.default_rng(1))):
        np.testing.assert_array_equal(results[0].image, other.image)
        np.testing.assert_array_equal(results[0].instances.boxes, other.instances.boxes)
    assert (results[0].image != results[1].image).any()


def test_sound_transforms_give_no_warning(sample: Sample) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply(sample, ("GaussianBlur", {"p": 1}))


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("GausianBlur", {}, "no transform named 'GausianBlur'"),
        ("OneOf", {"transforms": []}, "OneOf is a composition, which is not supported: list its transforms"),
        ("Compose", {}, "Compose is a composition"),
        ("OneOff", {}, "no transform named 'OneOff'"),
        ("__doc__", {}, "no transform named '__doc__'"),
        ("GaussianBlur", {"p": 3}, "GaussianBlur does not accept {'p': 3}"),
        ("GaussianBlur", {"blur_limit": "wide"}, "GaussianBlur does not accept {'blur_limit': 'wide'}"),
        ("GaussianBlur", {"blurlimit": 3}, "GaussianBlur does not accept {'blurlimit': 3}"),
        ("Crop", {"x_min": 9, "x_max": 3}, "Crop does not accept"),
    ],
)
def test_names_an_unknown_transform_or_argument(name: str, arguments: dict[str, object], expected: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # albumentations only warns about an unknown argument
        with pytest.raises(InputError) as caught:
            ExtraTransforms([(name, arguments)])
    assert expected in str(caught.value)
    assert "augmentation.extra" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("RandomCrop", {"height": 500, "width": 500}),  # larger than the test image
        ("MaskDropout", {"p": 1}),  # needs masks
        ("Normalize", {"p": 1}),  # no longer uint8
        ("ToTensorV2", {"p": 1}),  # no longer an image
        ("ToGray", {"p": 1, "num_output_channels": 1}),
    ],
)
def test_names_a_transform_that_cannot_be_used_on_samples(name: str, arguments: dict[str, object]) -> None:
    """Before the first sample: a rare one would end a run late."""
    with pytest.raises(InputError, match=rf"^augmentation\.extra \({name}\) failed on a test image: ") as caught:
        ExtraTransforms([(name, {**arguments, "p": 0.01})])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Resize", {"height": 100, "width": 900}),
        ("CenterCrop", {"height": 64, "width": 64}),
        ("RandomScale", {"scale_limit": [0.2, 0.4]}),
        ("LongestMaxSize", {"max_size": 640}),
        ("PadIfNeeded", {"min_height": 400, "min_width": 400}),
        ("BBoxSafeRandomCrop", {}),
    ],
)
def test_a_transform_that_changes_the_size_is_refused(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(InputError, match=rf"^augmentation\.extra \(Blur, {name}\) changes the size of images"):
        ExtraTransforms([("Blur", {}), (name, {**arguments, "p": 0.01})])


@pytest.mark.parametrize(
    "names", [["RandomRotate90"], ["Transpose", "D4"], ["ToFloat", "FromFloat"], ["Perspective"]]
)
def test_transforms_that_keep_the_size_in_the_end_are_fine(sample: Sample, names: list[str]) -> None:
    found = apply(sample, *((name, {"p": 1}) for name in names))
    assert sorted(found.image.shape[:2]) == [64, 96]
    assert 3 in found.instances.labels


def test_a_sample_on_which_a_transform_fails_is_named(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = ExtraTransforms([("Blur", {"p": 1})])
    monkeypatch.setattr("albumentations.Blur.get_params", lambda _: 1 / 0)
    with pytest.raises(InputError, match=r"^augmentation\.extra \(Blur\) failed on a\.png: division by zero$"):
        extra(sample, np.random.default_rng(0))
