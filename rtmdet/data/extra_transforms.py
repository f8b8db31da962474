"""Transforms of albumentations that a user names in the configuration, behind one thin adapter.

albumentations knows boxes as float64 in the image's pixels and needs them inside the image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from rtmdet.data.transforms import clip_boxes, has_area
from rtmdet.structures import InputError, Sample


class ExtraTransforms:
    """A list of (class name, constructor arguments) of albumentations, applied in order.

    Boxes of which less than a tenth remains visible are dropped. Raises InputError for a name or an argument
    that albumentations does not know.
    """

    def __init__(self, transforms: Sequence[tuple[str, Mapping[str, object]]]) -> None:
        import albumentations  # takes seconds, and only users who name a transform need it

        built = [_build(albumentations, name, arguments) for name, arguments in transforms]
        boxes = albumentations.BboxParams(format="pascal_voc", label_fields=["labels"], min_visibility=0.1)
        self._compose = albumentations.Compose(built, bbox_params=boxes)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The transformed sample; the same generator state gives the same result."""
        self._compose.set_random_seed(int(rng.integers(2**31)))
        boxes = clip_boxes(sample.boxes, sample.image.shape[:2])
        keep = has_area(boxes)
        out = self._compose(image=sample.image, bboxes=boxes[keep], labels=sample.labels[keep])
        return replace(
            sample,
            image=np.ascontiguousarray(out["image"]),
            boxes=np.asarray(out["bboxes"], dtype=np.float32).reshape(-1, 4),
            labels=np.asarray(out["labels"], dtype=np.int64).reshape(-1),
        )


def _build(library: object, name: str, arguments: Mapping[str, object]) -> object:
    kind = getattr(library, name, None)
    if not isinstance(kind, type) or not issubclass(kind, library.BasicTransform):  # type: ignore[attr-defined]
        raise InputError(f"augmentation.extra: albumentations has no transform named {name!r}")
    try:
        return kind(**arguments)
    except Exception as error:  # whatever albumentations or its validation raises
        reason = " ".join(str(error).split())
        raise InputError(f"augmentation.extra: {name} does not take {dict(arguments)}: {reason}") from error
