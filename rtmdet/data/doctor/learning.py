"""Which objects and images training uses and which it skips, by the same rules as rtmdet/data/coco/dataset.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence

from rtmdet.data.coco.dataset import MIN_SIDE, reason_against
from rtmdet.data.coco.file import CocoAnnotation, CocoImage
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding

MAX_DETECTIONS = 100  # per image that COCO's metrics count


def usable_annotations(file: AnnotationFile, wanted: Container[int]) -> list[CocoAnnotation]:
    """The objects that training uses; `wanted` has the category ids to learn."""
    return [annotation for annotation in file.annotations if reason_against(annotation, wanted) is None]


def trained_images(file: AnnotationFile, usable: Sequence[CocoAnnotation], *, keep_empty: bool) -> set[int]:
    """The ids of the images that training uses."""
    with_box = {annotation["image_id"] for annotation in usable}
    large = {image_id for image_id, image in file.images.items() if not _is_tiny(image)}
    return large if keep_empty else large & with_box


def find_dropped_images(
    file: AnnotationFile, usable: Sequence[CocoAnnotation], *, keep_empty: bool
) -> Iterator[Finding]:
    """Images that training skips."""
    name = file.source.name
    tiny = tuple(file.image_item(image_id) for image_id in file.images if _is_tiny(file.images[image_id]))
    message = f"images not used for training: a side under {MIN_SIDE} px"
    yield Finding("warning", "tiny-image", name, message, "remove them, or use larger versions", tiny)
    with_box = {annotation["image_id"] for annotation in usable}
    empty = tuple(file.image_item(image_id) for image_id in file.images if image_id not in with_box)
    if not keep_empty:
        advice = "no action needed; if they really show no object, data.keep_empty=true reduces false positives"
        yield Finding("hint", "empty-image", name, "images not used for training: no usable box", advice, empty)


def find_crowded_images(file: AnnotationFile, usable: Sequence[CocoAnnotation]) -> Finding:
    """Images with more objects than COCO's metrics count detections."""
    counts = Counter(annotation["image_id"] for annotation in usable)
    items = tuple(
        file.image_item(image_id, f"{count} objects")
        for image_id, count in counts.most_common()
        if count > MAX_DETECTIONS
    )
    message = f"images with more than {MAX_DETECTIONS} objects"
    advice = (
        f"AP and AR count {MAX_DETECTIONS} detections per image, so they cannot reach 1: cut the images into tiles"
    )
    return Finding("hint", "crowded-image", file.source.name, message, advice, items)


def _is_tiny(image: CocoImage) -> bool:
    return min(image["width"], image["height"]) < MIN_SIDE
