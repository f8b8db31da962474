"""A thin adapter for the albumentations transforms that a user lists in the configuration.

albumentations needs boxes inside the image. It only warns about unknown arguments; here they are an error.
"""

import difflib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.structures import ImageMeta, Instances, Sample
from rtmdet.core.wording import one_line

TEST_SIZE = (257, 331)  # (H, W) that no setting of a transform is likely to name


class ExtraTransforms:
    """Albumentations transforms, given as (class name, constructor arguments), applied in order.

    Boxes with less than a tenth of their area left are dropped. Raises InputError for an unknown name or argument,
    and if the transforms fail on a test image or change its size: samples then would no longer fit the input.
    """

    def __init__(self, transforms: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for newer versions in the network
        import albumentations  # takes seconds, and only users who list a transform need it

        self._names = ", ".join(name for name, _ in transforms)
        self._compose = _composed(albumentations, transforms)
        certain = _composed(albumentations, [(name, {**arguments, "p": 1}) for name, arguments in transforms])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the test image
            height, width = self._apply(certain, _test_sample()).image.shape[:2]
        if sorted((height, width)) != sorted(TEST_SIZE):  # quarter turns swap the sides
            raise InputError(
                f"augmentation.extra ({self._names}) changes the size of images ({TEST_SIZE[0]} x {TEST_SIZE[1]} "
                f"pixels -> {height} x {width}): expected transforms that keep it; scales are set with "
                "data.input_size, augmentation.resize_range and augmentation.multi_scale"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The transformed sample; the same generator state gives the same result.

        Raises InputError if a transform fails on the image, or does not return a uint8 RGB image.
        """
        self._compose.set_random_seed(int(rng.integers(2**31)))
        return self._apply(self._compose, sample)

    def _apply(self, compose: Callable[..., dict[str, Any]], sample: Sample) -> Sample:
        height, width = sample.image.shape[:2]
        inside = sample.instances.clip((height, width)).with_area()
        try:
            out = compose(image=sample.image, bboxes=inside.boxes, labels=inside.labels)
        except Exception as error:  # whatever a transform raises
            raise self._error(sample, one_line(error)) from error
        image = out["image"]
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,):
            kind = f"{getattr(image, 'dtype', type(image).__name__)} of shape {tuple(image.shape)}"
            raise self._error(sample, f"expected a uint8 image with three channels as the result, found {kind}")
        boxes = np.asarray(out["bboxes"], dtype=np.float32).reshape(-1, 4)
        labels = np.asarray(out["labels"], dtype=np.int64).reshape(-1)
        return replace(sample, image=np.ascontiguousarray(image), instances=Instances(boxes, labels))

    def _error(self, sample: Sample, reason: str) -> InputError:
        return InputError(f"augmentation.extra ({self._names}) failed on {sample.meta.path}: {reason}")


def _test_sample() -> Sample:
    """Noise with a box."""
    image = np.random.default_rng(0).integers(0, 256, (*TEST_SIZE, 3), dtype=np.uint8)
    instances = Instances(np.array([[60, 40, 200, 180]], np.float32), np.zeros(1, np.int64))
    return Sample(image, instances, ImageMeta(0, "a test image", TEST_SIZE))


def _composed(library: Any, transforms: Sequence[tuple[str, Mapping[str, object]]]) -> Any:
    built = [_build(library, name, arguments) for name, arguments in transforms]
    boxes = library.BboxParams(format="pascal_voc", label_fields=["labels"], min_visibility=0.1)
    # The filters belong to the whole process, but this is built while a run is prepared, before other threads.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about boxes given to transforms that do not move them
        return library.Compose(built, bbox_params=boxes)


def _build(library: Any, name: str, arguments: Mapping[str, object]) -> object:
    kinds = {transform: kind for transform, kind in vars(library).items() if isinstance(kind, type)}
    known = {transform: kind for transform, kind in kinds.items() if issubclass(kind, library.BasicTransform)}
    if name in kinds and issubclass(kinds[name], library.BaseCompose):
        raise InputError(
            f"augmentation.extra: {name} is a composition, which is not supported: list its transforms themselves, "
            "each with its probability p"
        )
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known)) or "see its documentation"
        raise InputError(f"augmentation.extra: albumentations has no transform named {name!r}; nearest names: {near}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Argument")  # about unknown arguments
            return known[name](**arguments)
    except Exception as error:  # whatever albumentations or its validation raises
        raise InputError(
            f"augmentation.extra: {name} does not accept {dict(arguments)}: {one_line(error)}"
        ) from error
