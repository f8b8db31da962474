"""Findings about boxes that do not fit their image or their area, and about objects and images that training skips.

The rules of what training uses are those of rtmdet/data/coco/dataset.py.
"""

from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Sequence

import numpy as np

from rtmdet.core.arrays import iou_matrix
from rtmdet.data.coco.dataset import MIN_SIDE
from rtmdet.data.coco.file import CocoAnnotation, CocoImage, by_image, is_outside
from rtmdet.data.coco.repairs import ROUNDING, WRONG_BOXES, are_too_many, overhang
from rtmdet.data.coco.usable import FRACTIONS, Unusable, are_fractions, reason_against
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding, Item, Severity

AREA_TOLERANCE = 1.01  # an object's area is at most that of its box, up to rounding
MAX_DETECTIONS = 100  # per image that COCO's metrics count
# IoU from which two boxes are one object that was labeled twice: in sound data sets hardly any overlap so much, two
# people's boxes of one object nearly always. Objects of different classes may be one before the other.
SAME_OBJECT, SAME_OF_TWO_CLASSES = 0.7, 0.9
_ROWS = 256  # boxes that are compared with all of their image at a time: bounds the memory
UNUSABLE: dict[Unusable, tuple[Severity, str, str]] = {
    Unusable.OTHER_CLASS: ("hint", "other-class", "no action needed if data.classes omits them on purpose"),
    Unusable.CROWD: ("hint", "crowd", "no action needed: training skips crowd regions, evaluation ignores matches"),
    Unusable.IGNORED: ("hint", "ignored", "no action needed if training is to skip them; evaluation counts them"),
    Unusable.TOO_SMALL: ("warning", "degenerate-box", "training skips them: draw them again or remove them"),
    Unusable.WITHOUT_AREA: ("warning", "no-area", "training skips them: write the area in square pixels"),
}


def find_misplaced_boxes(file: AnnotationFile, of_wrong_size: Container[int]) -> Iterator[Finding]:
    """Boxes that do not fit their image or their area; images in `of_wrong_size` (by id) are skipped."""
    outside, areas = [], []
    over: list[tuple[float, Item]] = []  # with the pixels beyond the edge
    for annotation in file.annotations:
        if annotation["image_id"] in of_wrong_size:
            continue
        image = file.images[annotation["image_id"]]
        x, y, width, height = annotation["bbox"]
        if is_outside(annotation, image):
            text = f"{annotation['bbox']}, image {image['width']} x {image['height']}"
            outside.append(file.box_item(annotation, text))
        elif (excess := overhang((x, y, x + width, y + height), (image["height"], image["width"]))) > ROUNDING:
            over.append((excess, file.box_item(annotation, f"{excess:.0f} px beyond the edge")))
        if annotation["area"] > width * height * AREA_TOLERANCE:
            areas.append(file.box_item(annotation, f"area {annotation['area']:.0f}, box {width * height:.0f}"))
    advice = "correct or remove the boxes; is 'bbox' x, y, width, height?"
    yield file.finding("error", "outside-box", "boxes outside their image", advice, outside)
    many = are_too_many(len(over), len(file.annotations))
    advice = WRONG_BOXES if many else "no action needed: training and evaluation clip them to the image"
    worst_first = [item for _, item in sorted(over, key=lambda pair: -pair[0])]
    message = "boxes that extend beyond their image"
    yield file.finding("warning" if many else "hint", "over-edge", message, advice, worst_first)
    advice = "write the area of the outline or of the box: AP_small, AP_medium and AP_large depend on it"
    yield file.finding("hint", "wrong-area", "objects whose area exceeds their box", advice, areas)


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
        if reason is Unusable.TOO_SMALL and are_fractions(file.annotations):
            advice = FRACTIONS
        yield file.finding(severity, code, f"objects not used: {reason}", advice, cases)


def find_double_boxes(file: AnnotationFile, usable: Sequence[CocoAnnotation]) -> Iterator[Finding]:
    """Objects that have two boxes, as of two people or of two files."""
    same: dict[int, Item] = {}
    mixed: dict[int, Item] = {}
    for annotations in by_image(usable).values():
        labels = np.array([annotation["category_id"] for annotation in annotations])
        for first, second, iou in overlapping_pairs(annotations):
            one, other = annotations[first], annotations[second]
            if labels[first] == labels[second]:
                same |= {id(each): file.box_item(each, f"{each['bbox']}") for each in (one, other)}
            elif iou >= SAME_OF_TWO_CLASSES:
                names = " and ".join(file.categories[each["category_id"]]["name"] for each in (one, other))
                mixed[id(one)] = file.box_item(one, f"{names} {one['bbox']}")
    message = f"boxes that overlap another of their class (IoU {SAME_OBJECT} or more)"
    yield file.finding("warning", "double-box", message, "labeled twice? keep one of each", same.values())
    message = f"boxes almost equal to one of another class (IoU {SAME_OF_TWO_CLASSES} or more)"
    yield file.finding("warning", "two-classes", message, "keep the right one of each", mixed.values())


def overlapping_pairs(annotations: Sequence[CocoAnnotation]) -> Iterator[tuple[int, int, float]]:
    """Two indices of objects of one image whose boxes may be one object, the smaller one first; the IoU."""
    boxes = np.array([annotation["bbox"] for annotation in annotations], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    for start in range(0, len(boxes), _ROWS):
        ious = iou_matrix(boxes[start : start + _ROWS], boxes)
        for row, column in np.argwhere(ious >= SAME_OBJECT):
            if start + row < column:
                yield int(start + row), int(column), float(ious[row, column])


def trained_images(
    file: AnnotationFile, usable: Sequence[CocoAnnotation], wanted: Container[int], *, keep_empty: bool
) -> set[int]:
    """The ids of the images that training uses."""
    large = {image_id for image_id, image in file.images.items() if not _is_tiny(image)}
    with_box = {annotation["image_id"] for annotation in usable}
    marked = {annotation["image_id"] for annotation in file.annotations if annotation["category_id"] in wanted}
    return large - (marked - with_box) if keep_empty else large & with_box


def find_dropped_images(file: AnnotationFile, trained: set[int]) -> Iterator[Finding]:
    """Images that training skips; `trained` are the ids of those that it uses."""
    skipped = {image_id: image for image_id, image in file.images.items() if image_id not in trained}
    tiny = [file.image_item(image_id) for image_id, image in skipped.items() if _is_tiny(image)]
    message = f"images not used for training: a side under {MIN_SIDE} px"
    yield file.finding("warning", "tiny-image", message, "remove them, or use larger versions", tiny)
    empty = [file.image_item(image_id) for image_id, image in skipped.items() if not _is_tiny(image)]
    advice = "no action needed; data.keep_empty=true trains on those without any object, against false positives"
    yield file.finding("hint", "empty-image", "images not used for training: no usable box", advice, empty)


def find_crowded_images(file: AnnotationFile, usable: Sequence[CocoAnnotation]) -> Finding:
    """Images with more objects of a class than COCO's metrics count detections."""
    counts = Counter((annotation["image_id"], annotation["category_id"]) for annotation in usable).most_common()
    items = [
        file.image_item(image_id, f"{count} objects of {file.categories[category_id]['name']!r}")
        for (image_id, category_id), count in counts
        if count > MAX_DETECTIONS
    ]
    message = f"images with more than {MAX_DETECTIONS} objects of a class"
    advice = (
        f"AP and AR count {MAX_DETECTIONS} detections of a class per image, so they stay low: judge by the best F1, "
        "which counts all"
    )
    return file.finding("hint", "crowded-image", message, advice, items)


def _is_tiny(image: CocoImage) -> bool:
    return min(image["width"], image["height"]) < MIN_SIDE
