"""LabelMe JSON files -> COCO. Format: files of the annotation tool LabelMe, versions 3 to 5.

Frame: continuous pixels from the image's top left corner. Dimension legend: V vertices of one shape.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, TypeGuard

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import is_number, shown
from rtmdet.data.files import files_below
from rtmdet.data.formats.ellipse import ellipse
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.formats.image_folder import (
    choose_image,
    image_folder,
    images_by_name,
    label_folder,
    named_like,
    without_suffix,
)
from rtmdet.data.formats.labeled_image import ConvertedSet, LabeledImage, LabeledObject, assemble, choose_classes
from rtmdet.data.images import IMAGE_SUFFIXES
from rtmdet.data.json_file import read_json

SKIPPED = ("point", "points", "line", "linestrip")  # shapes without area
MIN_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 2}  # other shapes: as for a polygon


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One shape; shapes with the same class and group_id are one object."""

    group: object
    outline: LabeledObject


def is_labelme(document: object) -> TypeGuard[dict[str, Any]]:
    """Whether the content of a JSON file is from LabelMe."""
    return isinstance(document, dict) and isinstance(document.get("shapes"), list)


def convert_labelme(
    annotations: Path,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    *,
    folders: Collection[Path] | None = None,
) -> ConvertedSet:
    """Convert a folder of LabelMe JSON files; `folders` selects files directly in one of them.

    An image has the name of its JSON file, else it is the file's imagePath, relative to the file. It is in `images`,
    by default in images/ beside a folder annotations/ or labels/, else in the folder of the JSON files, else in that
    of imagePath. Images without a JSON file are skipped. Classes are `names`, else those of all objects, sorted.

    Polygons, rectangles, circles, other shapes with three or more points (such as rotated rectangles) and masks (by
    their boxes) become objects. Shapes with the same label and group_id are one object with the box around them,
    without an outline. Points, lines, shapes with fewer points and other JSON files are skipped and counted.

    Raises InputError for a folder, JSON file, shape or image that cannot be used.
    """
    folder = label_folder(annotations, ".json")
    paths = [path for path in files_below(folder, (".json",)) if folders is None or path.parent in folders]
    documents = {}
    for path in paths:
        with one_entry():
            documents[path] = read_json(path)
    files = {path: content for path, content in documents.items() if is_labelme(content)}
    if not files:
        raise InputError(f"{folder}: expected LabelMe files (*.json with 'shapes'), found none; check the path")
    images = images or _image_folder(folder, files)
    file_names = images_by_name(images)
    others = len(documents) - len(files)
    skipped = Counter({"JSON file of another kind": others} if others else {})
    labeled = []
    for path, content in files.items():
        with one_entry():
            alike = named_like(without_suffix(path, folder), file_names)
            labeled.append(_read_image(path, content, images, alike, skipped))
    remarks = [f"skipped: {count} x {kind}" for kind, count in skipped.items()]
    return assemble(annotations, labeled, images, choose_classes(labeled, names), remarks)


def _image_folder(folder: Path, files: Mapping[Path, Mapping[str, Any]]) -> Path:
    """The image folder: the usual one, or if that has no images, the common folder of the images in imagePath."""
    usual = image_folder(folder)
    named = [] if files_below(usual, IMAGE_SUFFIXES) else [_named_image(*each) for each in files.items()]
    above = [os.path.dirname(file) for file in named if os.path.isfile(file)]
    return Path(os.path.commonpath(above)) if above else usual


def _named_image(path: Path, document: Mapping[str, Any]) -> str:
    """The absolute path of imagePath, which is relative to the file; "" if it is missing or already absolute."""
    image_path = document.get("imagePath")
    if not isinstance(image_path, str) or PureWindowsPath(image_path).anchor:  # a path of another machine
        return ""
    return os.path.abspath(path.parent / image_path.replace("\\", "/"))


def _read_image(
    path: Path, document: Mapping[str, Any], images: Path, file_names: Sequence[str], skipped: Counter[str]
) -> LabeledImage:
    parts = []
    for number, shape in enumerate(document["shapes"]):
        kind = shape.get("shape_type") if isinstance(shape, dict) else None
        if kind in SKIPPED or (str(kind) not in MIN_POINTS and _has_few_points(shape)):
            skipped[str(kind)] += 1
        else:
            with one_entry():
                parts.append(_read_shape(f"{path}: shape {number}", shape))
    image_path, named = document.get("imagePath"), _named_image(path, document)
    if os.path.isfile(named) and Path(named).is_relative_to(os.path.abspath(images)):
        image_path = os.path.relpath(named, images)
    name = choose_image(path, image_path if isinstance(image_path, str) else "", file_names)
    return LabeledImage(path, name, _size(path, document), _join_groups(parts))


def _size(path: Path, document: Mapping[str, object]) -> tuple[int, int] | None:
    """(H, W) in the file, None if missing."""
    height, width = document.get("imageHeight"), document.get("imageWidth")
    if height is None and width is None:
        return None
    if not isinstance(height, int) or not isinstance(width, int):
        raise InputError(
            f"{path}: expected integers for 'imageHeight' and 'imageWidth', found {shown(height)} and "
            f"{shown(width)}; save the file again"
        )
    return height, width


def _read_shape(where: str, shape: object) -> _Part:
    if not isinstance(shape, dict):
        raise InputError(f"{where}: expected an object {{...}}, found {shown(shape)}; save the file again")
    name = shape.get("label")
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{where}: expected a class as text under 'label', found {shown(name)}; name the class")
    polygon, box = _outline(where, shape.get("shape_type", "polygon"), _points(where, shape.get("points")))
    return _Part(shape.get("group_id"), LabeledObject(where, name.strip(), box, polygon))


def _points(where: str, points: object) -> np.ndarray:
    """The vertices (V, 2) float64."""
    pairs = isinstance(points, list) and all(isinstance(point, list) and len(point) == 2 for point in points)
    if not isinstance(points, list) or not pairs or not all(is_number(value) for point in points for value in point):
        raise InputError(f"{where}: expected 'points' of two finite numbers, found {shown(points)}; draw it again")
    return np.array(points, np.float64).reshape(-1, 2)


def _has_few_points(shape: object) -> bool:
    """Whether a shape has too few points for an outline."""
    points = shape.get("points") if isinstance(shape, dict) and shape.get("shape_type") is not None else None
    return isinstance(points, list) and len(points) < MIN_POINTS["polygon"]


def _outline(
    where: str, kind: object, points: np.ndarray
) -> tuple[np.ndarray | None, tuple[float, float, float, float]]:
    """The polygon (V, 2) or None, and the xyxy box of a shape."""
    if len(points) < (least := MIN_POINTS.get(str(kind), MIN_POINTS["polygon"])):
        raise InputError(f"{where}: expected a {kind} of at least {least} points, found {len(points)}; draw it again")
    if kind == "circle":  # points: the center and one on the rim
        (x, y), rim = points[0].tolist(), points[1].tolist()
        radius = math.dist((x, y), rim)
        return ellipse((x, y), (radius, radius))
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    if kind == "mask":  # points: the first and the last pixel
        right, bottom = right + 1, bottom + 1
    return (None if kind in ("rectangle", "mask") else points), (left, top, right, bottom)


def _join_groups(parts: Sequence[_Part]) -> list[LabeledObject]:
    """The objects, in the order of their first parts."""
    groups: dict[object, list[LabeledObject]] = {}
    for number, part in enumerate(parts):
        alone = part.group is None
        key = number if alone else (part.outline.name, str(part.group))
        groups.setdefault(key, []).append(part.outline)
    return [_join(group) if len(group) > 1 else group[0] for group in groups.values()]


def _join(parts: Sequence[LabeledObject]) -> LabeledObject:
    lefts, tops, rights, bottoms = zip(*(part.box for part in parts), strict=True)
    return LabeledObject(parts[0].where, parts[0].name, (min(lefts), min(tops), max(rights), max(bottoms)))
