"""A thin adapter for the albumentations transforms that a user lists in the configuration.

albumentations needs boxes inside the image. It only warns about unknown arguments; here they are an error.
"""

import difflib
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.structures import Instances, Sample
from rtmdet.core.wording import one_line


class ExtraTransforms:
    """Albumentations transforms, given as (class name, constructor arguments), applied in order.

    Boxes with less than a tenth of their area left are dropped. Raises InputError for an unknown name or argument.
    """

    def __init__(self, transforms: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for newer versions in the network
        import albumentations  # takes seconds, and only users who list a transform need it

        self._names = ", ".join(name for name, _ in transforms)
        built = [_build(albumentations, name, arguments) for name, arguments in transforms]
        # The filters belong to the whole process, but these are built while a run is prepared, before other threads.
        boxes = albumentations.BboxParams(format="pascal_voc", label_fields=["labels"], min_visibility=0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about boxes given to transforms that do not move them
            self._compose = albumentations.Compose(built, bbox_params=boxes)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The transformed sample; the same generator state gives the same result.

        Raises InputError if a transform fails on the image, or does not return a uint8 RGB image.
        """
        self._compose.set_random_seed(int(rng.integers(2**31)))
        height, width = sample.image.shape[:2]
        inside = sample.instances.clip((height, width)).with_area()
        try:
            out = self._compose(image=sample.image, bboxes=inside.boxes, labels=inside.labels)
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


def _build(library: Any, name: str, arguments: Mapping[str, object]) -> object:
    kind = getattr(library, name, None)
    if not isinstance(kind, type) or not issubclass(kind, library.BasicTransform):
        names = [one for one, value in vars(library).items() if isinstance(value, type)]
        near = ", ".join(difflib.get_close_matches(name, names)) or "see its documentation"
        raise InputError(f"augmentation.extra: albumentations has no transform named {name!r}; nearest names: {near}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Argument")  # about unknown arguments
            return kind(**arguments)
    except Exception as error:  # whatever albumentations or its validation raises
        raise InputError(
            f"augmentation.extra: {name} does not accept {dict(arguments)}: {one_line(error)}"
        ) from error
