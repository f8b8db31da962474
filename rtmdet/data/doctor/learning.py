"""What training learns from, and which images it skips. The facts are those of rtmdet/data/coco/dataset.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence

from rtmdet.data.coco.dataset import MIN_SIDE, reason_against
from rtmdet.data.coco.file import CocoAnnotation, CocoImage
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding

MAX_DETECTIONS = 100  # of an image that count in COCO's numbers


def usable_annotations(file: AnnotationFile, wanted: Container[int]) -> list[CocoAnnotation]:
    """The objects to learn from; `wanted` has the category ids to learn."""
    return [annotation for annotation in file.annotations if reason_against(annotation, wanted) is None]


def trained_images(file: AnnotationFile, usable: Sequence[CocoAnnotation], *, keep_empty: bool) -> set[int]:
    """The ids of the images that training shows."""
    with_box = {annotation["image_id"] for annotation in usable}
    large = {image_id for image_id, image in file.images.items() if not _is_tiny(image)}
    return large if keep_empty else large & with_box


def find_dropped_images(
    file: AnnotationFile, usable: Sequence[CocoAnnotation], *, keep_empty: bool
) -> Iterator[Finding]:
    """Images that training leaves out."""
    name = file.source.name
    tiny = tuple(file.image_item(image_id) for image_id in file.images if _is_tiny(file.images[image_id]))
    message = f"images not trained on: a side under {MIN_SIDE} px"
    yield Finding("warning", "tiny-image", name, message, "take them out, or find them in full size", tiny)
    with_box = {annotation["image_id"] for annotation in usable}
    empty = tuple(file.image_item(image_id) for image_id in file.images if image_id not in with_box)
    if not keep_empty:
        advice = "nothing, or data.keep_empty=true where they really show no object: fewer false alarms"
        yield Finding("hint", "empty-image", name, "images not trained on: no usable box", advice, empty)


def find_crowded_images(file: AnnotationFile, usable: Sequence[CocoAnnotation]) -> Finding:
    """Images with more objects than COCO's numbers look at."""
    counts = Counter(annotation["image_id"] for annotation in usable)
    items = tuple(
        file.image_item(image_id, f"{count} objects")
        for image_id, count in counts.most_common()
        if count > MAX_DETECTIONS
    )
    message = f"images with more than {MAX_DETECTIONS} objects"
    advice = f"AP and AR count {MAX_DETECTIONS} detections an image, and stay under 1: cut the images into tiles"
    return Finding("hint", "crowded-image", file.source.name, message, advice, items)


def _is_tiny(image: CocoImage) -> bool:
    return min(image["width"], image["height"]) < MIN_SIDE
