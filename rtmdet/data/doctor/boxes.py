"""Boxes against their images: outside, over the edge, with an area that does not fit; and those not learned from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator

from rtmdet.data.coco.dataset import Unusable, reason_against
from rtmdet.data.coco.file import CocoAnnotation, CocoImage, is_outside
from rtmdet.data.coco.repairs import ROUNDING
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding, Item, Severity

MANY_OVER_EDGE = 0.2  # share of the boxes that does not come from careless drawing
AREA_TOLERANCE = 1.01  # an object fills at most its box
UNUSABLE: dict[Unusable, tuple[Severity, str, str]] = {
    Unusable.OTHER_CLASS: ("hint", "other-class", "nothing, if data.classes leaves them out on purpose"),
    Unusable.CROWD: ("hint", "crowd", "nothing: training leaves them out, the evaluation ignores what lies on them"),
    Unusable.TOO_SMALL: ("warning", "degenerate-box", "draw them again or take them out: training leaves them out"),
    Unusable.WITHOUT_AREA: ("warning", "no-area", "write the area in square pixels: training leaves them out"),
}


def find_misplaced_boxes(file: AnnotationFile, of_wrong_size: Container[int]) -> Iterator[Finding]:
    """Boxes that do not fit their image or their area; those of images of a wrong size are not looked at."""
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
            over.append((overhang, file.box_item(annotation, f"{overhang:.0f} px over")))
        if annotation["area"] > width * height * AREA_TOLERANCE:
            areas.append(file.box_item(annotation, f"area {annotation['area']:.0f}, box {width * height:.0f}"))
    name = file.source.name
    advice = "correct the boxes or take them out; is 'bbox' x, y, width, height?"
    yield Finding("error", "outside-box", name, "boxes outside of their image", advice, tuple(outside))
    yield _report_over_edge(file, over)
    advice = "write the area of the outline or of the box: AP small, medium and large go by it"
    yield Finding("hint", "wrong-area", name, "objects with more area than their box", advice, tuple(areas))


def _report_over_edge(file: AnnotationFile, over: list[tuple[float, Item]]) -> Finding:
    """The boxes with their overhang in pixels, the worst first."""
    items = tuple(item for _, item in sorted(over, key=lambda pair: -pair[0]))
    message = "boxes that hang over the edge of their image"
    if len(over) > MANY_OVER_EDGE * len(file.annotations):
        advice = "see whether 'bbox' is x, y, width, height in pixels of these images: so many are no accident"
        return Finding("warning", "over-edge", file.source.name, message, advice, items)
    advice = "nothing: training and evaluation cut them at the edge"
    return Finding("hint", "over-edge", file.source.name, message, advice, items)


def find_unusable_objects(file: AnnotationFile, wanted: set[int]) -> Iterator[Finding]:
    """Objects that give nothing to learn from, by reason; `wanted` are the category ids to learn."""
    items: defaultdict[Unusable, list[Item]] = defaultdict(list)
    for annotation in file.annotations:
        reason = reason_against(annotation, wanted)
        if reason is not None:
            category = file.categories[annotation["category_id"]]["name"]
            items[reason].append(file.box_item(annotation, f"{category} {annotation['bbox']}"))
    for reason, cases in items.items():
        severity, code, advice = UNUSABLE[reason]
        if reason is Unusable.TOO_SMALL and all(max(annotation["bbox"]) <= 1 for annotation in file.annotations):
            advice = "they look like shares of the image's size: multiply by its width and height"
        yield Finding(severity, code, file.source.name, f"objects not learned from: {reason}", advice, tuple(cases))


def _overhang(annotation: CocoAnnotation, image: CocoImage) -> float:
    """How many pixels a box reaches over the edge of its image, at the worst side."""
    x, y, width, height = annotation["bbox"]
    return max(-x, -y, x + width - image["width"], y + height - image["height"])


def _size_text(image: CocoImage) -> str:
    return f"{image['width']} x {image['height']}"
