"""Findings about boxes: outside their image, beyond its edge, with a wrong area, or not used for training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator

from rtmdet.data.coco.dataset import Unusable, reason_against
from rtmdet.data.coco.file import CocoAnnotation, CocoImage, is_outside
from rtmdet.data.coco.repairs import ROUNDING
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding, Item, Severity

MANY_OVER_EDGE = 0.2  # fraction of the boxes above which careless drawing is no explanation
AREA_TOLERANCE = 1.01  # an object's area is at most that of its box, up to rounding
UNUSABLE: dict[Unusable, tuple[Severity, str, str]] = {
    Unusable.OTHER_CLASS: ("hint", "other-class", "no action needed if data.classes omits them on purpose"),
    Unusable.CROWD: ("hint", "crowd", "no action needed: training skips crowd regions, evaluation ignores matches"),
    Unusable.TOO_SMALL: ("warning", "degenerate-box", "training skips them: draw them again or remove them"),
    Unusable.WITHOUT_AREA: ("warning", "no-area", "training skips them: write the area in square pixels"),
}


def find_misplaced_boxes(file: AnnotationFile, of_wrong_size: Container[int]) -> Iterator[Finding]:
    """Boxes that do not fit their image or their area; images in `of_wrong_size` (by id) are skipped."""
    outside, areas = [], []
    over: list[tuple[float, Item]] = []
    for annotation in file.annotations:
        if annotation["image_id"] in of_wrong_size:
            continue
        image = file.images[annotation["image_id"]]
        _, _, width, height = annotation["bbox"]
        if is_outside(annotation, image):
            outside.append(file.box_item(annotation, f"{annotation['bbox']}, image {_size_text(image)}"))
        elif (overhang := _overhang(annotation, image)) > ROUNDING:
            over.append((overhang, file.box_item(annotation, f"{overhang:.0f} px beyond the edge")))
        if annotation["area"] > width * height * AREA_TOLERANCE:
            areas.append(file.box_item(annotation, f"area {annotation['area']:.0f}, box {width * height:.0f}"))
    name = file.source.name
    advice = "correct or remove the boxes; is 'bbox' x, y, width, height?"
    yield Finding("error", "outside-box", name, "boxes outside their image", advice, tuple(outside))
    yield _report_over_edge(file, over)
    advice = "write the area of the outline or of the box: AP_small, AP_medium and AP_large depend on it"
    yield Finding("hint", "wrong-area", name, "objects whose area exceeds their box", advice, tuple(areas))


def _report_over_edge(file: AnnotationFile, over: list[tuple[float, Item]]) -> Finding:
    """A finding about boxes beyond the edge, the worst first; `over` has (pixels beyond the edge, case)."""
    items = tuple(item for _, item in sorted(over, key=lambda pair: -pair[0]))
    message = "boxes that extend beyond their image"
    if len(over) > MANY_OVER_EDGE * len(file.annotations):
        advice = "too many to be an accident: is 'bbox' x, y, width, height in pixels of these images?"
        return Finding("warning", "over-edge", file.source.name, message, advice, items)
    advice = "no action needed: training and evaluation clip them to the image"
    return Finding("hint", "over-edge", file.source.name, message, advice, items)


def find_unusable_objects(file: AnnotationFile, wanted: set[int]) -> Iterator[Finding]:
    """Objects that training skips, by reason; `wanted` has the category ids to learn."""
    items: defaultdict[Unusable, list[Item]] = defaultdict(list)
    for annotation in file.annotations:
        reason = reason_against(annotation, wanted)
        if reason is not None:
            category = file.categories[annotation["category_id"]]["name"]
            items[reason].append(file.box_item(annotation, f"{category} {annotation['bbox']}"))
    for reason, cases in items.items():
        severity, code, advice = UNUSABLE[reason]
        if reason is Unusable.TOO_SMALL and all(max(annotation["bbox"]) <= 1 for annotation in file.annotations):
            advice = "they look like fractions of the image's size: multiply by its width and height"
        yield Finding(severity, code, file.source.name, f"objects not used: {reason}", advice, tuple(cases))


def _overhang(annotation: CocoAnnotation, image: CocoImage) -> float:
    """How many pixels a box extends beyond its image, on the worst side."""
    x, y, width, height = annotation["bbox"]
    return max(-x, -y, x + width - image["width"], y + height - image["height"])


def _size_text(image: CocoImage) -> str:
    return f"{image['width']} x {image['height']}"
