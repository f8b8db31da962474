"""Which annotations training uses."""

from collections.abc import Container, Iterable
from enum import StrEnum

from rtmdet.data.coco.file import CocoAnnotation

FRACTIONS = "they look like fractions of the image's size: multiply by its width and height"


class Unusable(StrEnum):
    """Why training skips an object, in the words of the messages."""

    OTHER_CLASS = "of other classes"
    CROWD = "crowd regions"
    IGNORED = "marked 'ignore'"
    TOO_SMALL = "under 1 pixel wide or high"
    WITHOUT_AREA = "without area"


def reason_against(annotation: CocoAnnotation, wanted: Container[int]) -> Unusable | None:
    """Why training skips an annotation, None if it does not; `wanted` has the category ids to learn."""
    _, _, width, height = annotation["bbox"]
    if annotation["category_id"] not in wanted:
        return Unusable.OTHER_CLASS
    if annotation["iscrowd"]:
        return Unusable.CROWD
    if annotation.get("ignore"):
        return Unusable.IGNORED
    if width < 1 or height < 1:
        return Unusable.TOO_SMALL
    return Unusable.WITHOUT_AREA if annotation["area"] <= 0 else None


def are_fractions(annotations: Iterable[CocoAnnotation]) -> bool:
    """Whether all boxes look like fractions of the image's size instead of pixels."""
    return all(max(annotation["bbox"]) <= 1 for annotation in annotations)
