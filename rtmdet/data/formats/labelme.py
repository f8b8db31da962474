"""LabelMe JSON files, read and written. Format: files of the annotation tool LabelMe, versions 3 to 5.

Frame: continuous pixels from the image's top left corner. Dimension legend: V vertices of one shape.
"""

import math
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any, TypeGuard

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.wording import shown
from rtmdet.data.coco.file import CocoAnnotation, CocoImage, is_number, whole_number
from rtmdet.data.formats import label_files
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.formats.labeled_image import LabeledImage, LabeledObject, assemble, choose_category_ids
from rtmdet.data.formats.outlines import Outline, around, ellipse
from rtmdet.data.formats.splits import FoundSplits, Split, convert_folders
from rtmdet.data.split_names import group_files, joined_remark

VERSION = "5.5.0"  # of LabelMe, whose files look like those written here
SKIPPED = ("point", "points", "line", "linestrip")  # shapes without area
MIN_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}  # other shapes: as for a polygon


def find_labelme(path: Path, documents: Mapping[Path, object], images: Path | None) -> FoundSplits | None:
    """The splits of LabelMe, a folder each; None without its files among the JSON `documents`."""
    folders = {file.parent for file, content in documents.items() if is_labelme(content)}
    if not folders:
        return None
    top = path if path.is_dir() else path.parent
    return convert_folders(partial(convert_labelme, images=images), top, folders)


def is_labelme(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether the content of a JSON file is from LabelMe."""
    return isinstance(document, dict) and isinstance(document.get("shapes"), list)


def convert_labelme(
    annotations: Path,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    *,
    folders: Collection[Path] | None = None,
) -> Split:
    """Convert a folder of LabelMe JSON files; `folders` selects files directly in one of them.

    An image has the name of its JSON file, else it is the file's imagePath, relative to the file. It is in `images`,
    by default in images/ beside a folder annotations/ or labels/, else in the folder of the JSON files, else in that
    of imagePath. Images without a JSON file are skipped. Classes are `names`, else those of all objects, sorted.

    Polygons, rectangles, circles, other shapes with three or more points (such as rotated rectangles) and masks (by
    their boxes) become objects. Shapes with the same label and group_id are one object with the box around them,
    without an outline. Points, lines, shapes with fewer points and other JSON files are skipped and counted.

    Raises InputError for a folder, JSON file, shape or image that cannot be used.
    """
    if annotations.is_file():
        raise InputError(f"{annotations}: expected a folder of LabelMe files, found one file; give its folder")
    folder = label_files.label_folder(annotations, ".json")
    documents = label_files.read_all(folder, ".json", label_files.read_without_photo, folders)
    files = {path: content for path, content in documents.items() if is_labelme(content)}
    if not files:
        raise InputError(f"{folder}: expected LabelMe files (*.json with 'shapes'), found none; check the path")
    images = images or label_files.image_folder(folder, [_named_image(*each) for each in files.items()])
    file_names = label_files.images_by_name(images)
    others = sum(content is not None for content in documents.values()) - len(files)
    skipped = Counter({"JSON file of another kind": others} if others else {})
    joined: list[int] = []
    labeled = []
    for path, content in files.items():
        with one_entry():
            objects = _read_objects(path, content, skipped, joined)
            named = label_files.find_image(path, folder, _name_inside(path, content, images), file_names)
            labeled.append(LabeledImage(path, named, objects, _size(path, content)))
    remarks = [f"skipped: {count} x {kind}" for kind, count in skipped.items()]
    if folders is None:
        remarks += joined_remark(annotations, group_files(folder, {path.parent for path in files})[0])
    if joined:
        made = f"{len(joined)} object{'s' if len(joined) > 1 else ''}"
        remarks.append(f"joined: {sum(joined)} shapes to {made}, by the same label and group_id")
    return assemble(annotations, labeled, images, choose_category_ids(labeled, names), remarks)


def _named_image(path: Path, document: Mapping[str, Any]) -> str:
    """The absolute path of imagePath, which is relative to the file; "" if it is missing or already absolute."""
    image_path = document.get("imagePath")
    if not isinstance(image_path, str) or PureWindowsPath(image_path).anchor:  # a path of another machine
        return ""
    return os.path.abspath(path.parent / image_path.replace("\\", "/"))


def _name_inside(path: Path, document: Mapping[str, Any], images: Path) -> str:
    """The file's imagePath, relative to the image folder if it is inside; "" if there is none."""
    named, image_path = _named_image(path, document), document.get("imagePath")
    if os.path.isfile(named) and Path(named).is_relative_to(os.path.abspath(images)):
        return os.path.relpath(named, images)
    return image_path if isinstance(image_path, str) else ""


def _read_objects(
    path: Path, document: Mapping[str, Any], skipped: Counter[str], joined: list[int]
) -> list[LabeledObject]:
    """The objects in the order of their first shapes; shapes with the same class and group_id are one object.

    Counts what it skips, and the shapes of each object that has several.
    """
    groups: dict[object, list[LabeledObject]] = {}
    for number, shape in enumerate(document["shapes"]):
        kind = shape.get("shape_type") if isinstance(shape, dict) else None
        if kind in SKIPPED or (str(kind) not in MIN_POINTS and _has_few_points(shape)):
            skipped[str(kind)] += 1
            continue
        with one_entry():
            found = _read_shape(f"{path}: shape {number}", shape)
            group = shape.get("group_id")
            groups.setdefault(number if group is None else (found.name, str(group)), []).append(found)
    joined += [len(parts) for parts in groups.values() if len(parts) > 1]
    return [_join(parts) if len(parts) > 1 else parts[0] for parts in groups.values()]


def _size(path: Path, document: Mapping[str, object]) -> tuple[int, int] | None:
    """(H, W) in the file, None if missing."""
    height, width = document.get("imageHeight"), document.get("imageWidth")
    if height is None and width is None:
        return None
    size = whole_number(height), whole_number(width)
    if size[0] is None or size[1] is None:
        raise InputError(
            f"{path}: expected integers for 'imageHeight' and 'imageWidth', found {shown(height)} and "
            f"{shown(width)}; save the file again"
        )
    return size[0], size[1]


def _read_shape(where: str, shape: object) -> LabeledObject:
    if not isinstance(shape, dict):
        raise InputError(f"{where}: expected an object {{...}}, found {shown(shape)}; save the file again")
    name = shape.get("label")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: expected a class as text under 'label', found {shown(name)}; name the class")
    outline = _outline(where, shape.get("shape_type", "polygon"), _points(where, shape.get("points")))
    return LabeledObject(where, name.strip(), outline, crowd=shape.get("difficult") is True)  # of X-AnyLabeling


def _points(where: str, points: object) -> np.ndarray:
    """The vertices (V, 2) float64."""
    pairs = isinstance(points, list) and all(isinstance(point, list) and len(point) == 2 for point in points)
    if not isinstance(points, list) or not pairs or not all(is_number(value) for point in points for value in point):
        raise InputError(f"{where}: expected 'points' of two finite numbers, found {shown(points)}; draw it again")
    return np.array(points, np.float64).reshape(-1, 2)


def _has_few_points(shape: object) -> bool:
    points = shape.get("points") if isinstance(shape, dict) and shape.get("shape_type") is not None else None
    return isinstance(points, list) and len(points) < MIN_POINTS["polygon"]


def _outline(where: str, kind: object, points: np.ndarray) -> Outline:
    if len(points) < (least := MIN_POINTS.get(str(kind), MIN_POINTS["polygon"])):
        raise InputError(f"{where}: expected a {kind} of at least {least} points, found {len(points)}; draw it again")
    if kind == "circle":  # points: the center and one on the rim
        center, rim = points[:2].tolist()
        return ellipse(*center, *[math.dist(center, rim)] * 2)
    polygon, (left, top, right, bottom) = around(points)
    if kind == "mask":  # points: the first and the last pixel
        right, bottom = right + 1, bottom + 1
    return None if kind in ("rectangle", "mask") else polygon, (left, top, right, bottom)


def _join(parts: Sequence[LabeledObject]) -> LabeledObject:
    lefts, tops, rights, bottoms = zip(*(part.outline[1] for part in parts), strict=True)
    outline = None, (min(lefts), min(tops), max(rights), max(bottoms))
    return LabeledObject(parts[0].where, parts[0].name, outline, crowd=all(part.crowd for part in parts))


def labelme_document(
    image: CocoImage, annotations: Sequence[CocoAnnotation], names: Mapping[int, str], image_path: str
) -> dict[str, object]:
    """The JSON of one image: a rectangle for each box. `image_path` is relative to the JSON file."""
    shapes: list[dict[str, object]] = []
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        shapes.append(
            {
                "label": names[annotation["category_id"]],
                "points": [[x, y], [x + width, y + height]],
                "group_id": None,
                "description": "",
                "shape_type": "rectangle",
                "flags": {},
            }
        )
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": image["height"],
        "imageWidth": image["width"],
    }
