"""Repairs a COCO file where exporting tools have habits that would harm training or evaluation."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rtmdet.data.formats.outlines import rotated_box

ROUNDING = 1.0  # pixels that a box may extend beyond its image: tools round
MANY_OVER_EDGE = 0.2  # fraction of the boxes above which careless drawing is no explanation
FEW_OVER_EDGE = 4  # boxes that nothing can be concluded from
WRONG_BOXES = "too many to be an accident: is 'bbox' x, y, width, height in pixels of these images?"


def join_repeated_images(file: Any) -> dict[int, int]:
    """Join the entries of a COCO file's images that have the same name and size, with their objects, under the first.

    Returns the first id by the id of each further entry, which is removed. Of boxes that are equal in several entries
    one stays. Differs from mmdet, to which the objects of one entry are background in the other.
    """
    first: dict[tuple[object, ...], int] = {}
    ids = {
        image["id"]: first.setdefault((image["file_name"], image["width"], image["height"]), image["id"])
        for image in file["images"]
    }
    repeated = {image: other for image, other in ids.items() if image != other}
    if not repeated:
        return {}
    file["images"] = [image for image in file["images"] if image["id"] not in repeated]
    found, objects = dict[tuple[object, ...], int](), []
    for annotation in file["annotations"]:
        listed, joined = annotation["image_id"], ids[annotation["image_id"]]
        key = (joined, annotation["category_id"], *annotation["bbox"], annotation["iscrowd"])
        if found.setdefault(key, listed) == listed:  # boxes repeated within one entry are kept
            objects.append({**annotation, "image_id": joined})
    file["annotations"] = objects
    return repeated


def repeated_images_remark(count: int) -> str:
    """One line about images whose entries were joined; empty if there are none."""
    return f"images labeled in several entries or files: {count}; their objects are joined" if count else ""


def renumber_annotations(annotations: Sequence[dict[str, Any]]) -> int:
    """Make annotation ids unique and at least 1; returns how many repeated an id."""
    # COCOeval takes annotations with equal ids for one, and a match with annotation 0 for no match. Nothing in the
    # file refers to these ids.
    ids = [annotation["id"] for annotation in annotations]
    repeated, least = len(ids) - len(set(ids)), min(ids, default=1)
    if repeated:
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
    elif least < 1:
        for annotation in annotations:
            annotation["id"] += 1 - least
    return repeated


def turn_rotated_boxes(annotations: Iterable[Any]) -> int:
    """Replace the boxes with an angle, as CVAT exports them, by the upright ones around them; returns how many."""
    turned = 0
    for annotation in annotations:
        attributes = annotation.get("attributes")
        angle = attributes.get("rotation", 0.0) if isinstance(attributes, dict) else 0.0  # in degrees, clockwise
        if annotation.get("segmentation") or type(angle) not in (int, float) or not 0 < abs(angle) < 360:
            continue  # an outline is rotated already
        x, y, width, height = annotation["bbox"]
        _, box = rotated_box(x + width / 2, y + height / 2, width, height, angle=math.radians(angle))
        annotation["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        annotation["attributes"] = {**attributes, "rotation": 0.0}
        turned += 1
    return turned


def clip_overhanging_boxes(annotations: Iterable[dict[str, Any]], images: Mapping[int, Mapping[str, Any]]) -> int:
    """Clip boxes that extend more than a pixel beyond their image, and an area equal to the box's; returns how many.

    Differs from mmdet, which leaves them: detections end at the edge, so none could match such a box at a high IoU.
    """
    clipped = 0
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        image = images[annotation["image_id"]]
        right, bottom = x + width, y + height
        if overhang((x, y, right, bottom), (image["height"], image["width"])) <= ROUNDING:
            continue
        left, top, right, bottom = max(x, 0), max(y, 0), min(right, image["width"]), min(bottom, image["height"])
        if right <= left or bottom <= top:  # a box under 1 pixel, which is skipped later
            continue
        if annotation["area"] == width * height:
            annotation["area"] = (right - left) * (bottom - top)
        annotation["bbox"] = [left, top, right - left, bottom - top]
        clipped += 1
    return clipped


def overhang(box: tuple[float, float, float, float], size: tuple[int, int]) -> float:
    """How many pixels a box xyxy extends beyond an image of (H, W), on the worst side; negative inside."""
    left, top, right, bottom = box
    return max(-left, -top, right - size[1], bottom - size[0])


def clipped_remark(clipped: int, boxes: int, wrong: str = WRONG_BOXES) -> str:
    """A line about boxes that were clipped, with what may be `wrong` if they are too many; empty if none was."""
    if not clipped:
        return ""
    many = f"; {wrong}" if are_too_many(clipped, boxes) else ""
    return f"boxes beyond the edge of their image: {clipped}, clipped{many}"


def are_too_many(clipped: int, boxes: int) -> bool:
    """Whether the number of boxes over the edge shows that something else is wrong."""
    return clipped > max(MANY_OVER_EDGE * boxes, FEW_OVER_EDGE)


def remove_group_categories(file: Any, classes: Collection[str]) -> list[Any]:
    """Remove and return the categories of a COCO file that are not classes but only the supercategory of others.

    Such a category has no annotations and no supercategory of its own, and another category has its name as
    supercategory. Roboflow writes the project's name this way, as category 0. Categories among `classes` stay.
    """
    categories, used = file["categories"], {annotation["category_id"] for annotation in file["annotations"]}
    supercategories = {_supercategory(category) for category in categories}
    found = [
        category
        for category in categories
        if category["id"] not in used and not _supercategory(category) and category["name"] in supercategories
    ]
    names = {category["name"] for category in categories if category not in found}
    kept = set(classes) - names  # a group may have the name of one of its classes
    groups = [category for category in found if category["name"] not in kept]
    file["categories"] = [category for category in categories if category not in groups]
    return groups


def _supercategory(category: Mapping[str, Any]) -> str | None:
    """The supercategory's name, None if there is none (Roboflow writes "none")."""
    name = category.get("supercategory")
    return name.strip() if isinstance(name, str) and name.strip() not in ("", "none") else None
