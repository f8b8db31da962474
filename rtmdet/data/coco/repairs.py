"""Habits of exporting tools that would mislead training or evaluation, mended in a checked COCO file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

ROUNDING = 1.0  # pixels that a box may hang over the edge: tools round


def renumber_annotations(annotations: Sequence[dict[str, Any]]) -> int:
    """Give annotations ids of their own, from 1; returns how many had the id of another.

    COCOeval would take annotations of one id for one, and a match with annotation 0 for no match. Nothing refers to
    these ids, as it does to those of images and classes.
    """
    ids = [annotation["id"] for annotation in annotations]
    repeated, least = len(ids) - len(set(ids)), min(ids, default=1)
    if repeated:
        for number, annotation in enumerate(annotations, start=1):
            annotation["id"] = number
    elif least < 1:
        for annotation in annotations:
            annotation["id"] += 1 - least
    return repeated


def clip_overhanging_boxes(annotations: Iterable[dict[str, Any]], images: Mapping[int, Mapping[str, Any]]) -> int:
    """Cut boxes that hang over the edge of their image by more than a pixel; returns how many did.

    Differs from mmdet: it leaves them as they are. Detections end at the edge, so such a box could not be found at a
    high IoU; all other formats are cut, too. An area that is the box's follows.
    """
    cut = 0
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        image = images[annotation["image_id"]]
        right, bottom = x + width, y + height
        if max(-x, -y, right - image["width"], bottom - image["height"]) <= ROUNDING:
            continue
        left, top, right, bottom = max(x, 0), max(y, 0), min(right, image["width"]), min(bottom, image["height"])
        if right <= left or bottom <= top:  # of less than a pixel, which is not used
            continue
        if annotation["area"] == width * height:
            annotation["area"] = (right - left) * (bottom - top)
        annotation["bbox"] = [left, top, right - left, bottom - top]
        cut += 1
    return cut


def find_group_categories(categories: Collection[Mapping[str, Any]], used: Iterable[int]) -> list[int]:
    """The ids of categories that are no classes but the name of a group of them.

    Roboflow writes the name of the project as category 0, and under `supercategory` of every class. Such an entry
    has no annotation (`used` has the ids of those that have), no supercategory of its own, and is the one of another.
    It may bear the name of a class.
    """
    with_objects = set(used)
    groups: dict[object, set[int]] = {}
    for category in categories:
        groups.setdefault(_supercategory(category), set()).add(category["id"])
    return [
        category["id"]
        for category in categories
        if category["id"] not in with_objects
        and _supercategory(category) is None
        and groups.get(category.get("name"), set()) - {category["id"]}
    ]


def _supercategory(category: Mapping[str, Any]) -> str | None:
    """The name of the group, None where there is none; Roboflow writes "none"."""
    name = category.get("supercategory")
    return name if isinstance(name, str) and name not in ("", "none") else None
