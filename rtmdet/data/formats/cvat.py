"""CVAT for images 1.1 (one XML file) -> COCO. Format: CVAT's documentation, "XML annotation format".

Frame: continuous pixels from the image's top left corner. Dimension legend: V vertices of one shape.
Not done with hotcoco, which ignores rotations, ellipses and masks, and accepts NaN.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import is_number, shown
from rtmdet.data.formats.ellipse import ellipse
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.formats.labeled_image import ConvertedSet, LabeledImage, LabeledObject, assemble, choose_classes
from rtmdet.data.formats.xml_file import read_xml
from rtmdet.data.image_names import ImageNames

OBJECTS = ("box", "polygon", "ellipse", "mask")
SKIPPED = ("polyline", "points", "cuboid", "skeleton")

Outline = tuple[np.ndarray | None, tuple[float, float, float, float]]  # polygon (V, 2) or None, xyxy box


def is_cvat(path: Path) -> bool:
    """Whether a file is CVAT's XML."""
    try:
        return read_xml(path).tag == "annotations"
    except InputError:
        return False


def cvat_subsets(path: Path) -> list[str]:
    """The names of the subsets of a project; [""] for a task. Raises InputError if the file is not XML."""
    return sorted({entry.get("subset", "") for entry in read_xml(path).findall("image")})


def convert_cvat(
    annotations: Path,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    *,
    subsets: Collection[str] | None = None,
) -> ConvertedSet:
    """Convert a CVAT XML file; the images are in `images`, by default in images/ beside it, else beside it.

    `subsets` selects subsets of a project, None all; their images may be in a folder with the subset's name. Classes
    are `names`, else the task's labels in CVAT's order, else those of all objects, sorted. Boxes, polygons, ellipses
    and masks (by their boxes) become objects; rotated shapes get an axis-aligned box. Other shapes are skipped and
    counted. Image tags are ignored.

    Raises InputError for a file, shape or image that cannot be used.
    """
    root = read_xml(annotations)
    entries = root.findall("image")
    if root.tag != "annotations" or not entries:
        raise InputError(
            f"{annotations}: expected <annotations> with <image> entries, found <{root.tag}> with {len(entries)}; "
            "export the task as 'CVAT for images'"
        )
    beside = annotations.parent / "images"
    folder = images or (beside if beside.is_dir() else annotations.parent)
    entries = [entry for entry in entries if subsets is None or entry.get("subset", "") in subsets]
    labeled = []
    for entry in entries:
        with one_entry():
            labeled.append(_read_image(annotations, entry, folder))
    labels = [(element.text or "").strip() for element in root.findall("meta//labels/label/name")]
    classes = choose_classes(labeled, names or list(dict.fromkeys(labels)) or None)
    skipped = Counter(shape.tag for entry in entries for shape in entry if shape.tag in SKIPPED)
    remarks = [f"skipped: {count} x {kind}" for kind, count in skipped.items()]
    return assemble(annotations, labeled, folder, classes, remarks)


def _read_image(path: Path, entry: Element, folder: Path) -> LabeledImage:
    name = entry.get("name", "").strip().replace("\\", "/")
    if not name:
        raise InputError(f"{path}: image {entry.get('id')}: expected a file name under 'name', found none; add it")
    where = f"{path}: {name}"
    width, height = _numbers(where, entry, ("width", "height"))
    shapes = [shape for shape in entry if shape.tag in OBJECTS]
    objects = []
    for number, shape in enumerate(shapes, start=1):
        with one_entry():
            objects.append(_read_shape(f"{where}: shape {number}", shape))
    within = f"{entry.get('subset')}/{name}"
    if entry.get("subset") and ImageNames(folder).has(within):
        name = within
    return LabeledImage(path, name, (int(height), int(width)), objects)


def _read_shape(where: str, shape: Element) -> LabeledObject:
    label = shape.get("label", "").strip()
    if not label:
        raise InputError(f"{where}: expected a class under 'label', found none; add it")
    polygon, box = {"box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask}[shape.tag](where, shape)
    return LabeledObject(where, label, box, polygon)


def _box(where: str, shape: Element) -> Outline:
    left, top, right, bottom = _numbers(where, shape, ("xtl", "ytl", "xbr", "ybr"))
    if right < left or bottom < top:
        raise InputError(
            f"{where}: expected xtl <= xbr and ytl <= ybr, found {left:g}, {top:g}, {right:g}, {bottom:g}; correct it"
        )
    if not _angle(where, shape):
        return None, (left, top, right, bottom)
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    return _around(_turned(corners, corners.mean(0), _angle(where, shape)))


def _polygon(where: str, shape: Element) -> Outline:
    text = shape.get("points", "")
    try:
        points = np.array([[float(value) for value in pair.split(",")] for pair in text.split(";")])
    except ValueError:  # not numbers, or not in pairs
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise InputError(f"{where}: expected 'points' x,y;x,y;... of 3 or more, found {shown(text)}; draw it again")
    return _around(points)


def _ellipse(where: str, shape: Element) -> Outline:
    x, y, radius_x, radius_y = _numbers(where, shape, ("cx", "cy", "rx", "ry"))
    return ellipse((x, y), (radius_x, radius_y), angle=_angle(where, shape))


def _mask(where: str, shape: Element) -> Outline:
    left, top, width, height = _numbers(where, shape, ("left", "top", "width", "height"))
    return None, (left, top, left + width, top + height)


def _angle(where: str, shape: Element) -> float:
    """The clockwise rotation in radians, from x to y."""
    return math.radians(_numbers(where, shape, ("rotation",))[0]) if "rotation" in shape.attrib else 0.0


def _turned(points: np.ndarray, center: np.ndarray, angle: float) -> np.ndarray:
    cosine, sine = math.cos(angle), math.sin(angle)
    return (points - center) @ np.array([[cosine, sine], [-sine, cosine]]) + center


def _around(polygon: np.ndarray) -> Outline:
    (left, top), (right, bottom) = polygon.min(0).tolist(), polygon.max(0).tolist()
    return polygon, (left, top, right, bottom)


def _numbers(where: str, element: Element, keys: Sequence[str]) -> list[float]:
    """The attributes as numbers; sizes and radii must not be negative."""
    numbers = []
    for key in keys:
        text = element.get(key)
        try:
            number = float(text or "")
        except ValueError:
            number = math.nan
        if not is_number(number) or (key in ("width", "height", "rx", "ry") and number < 0):
            raise InputError(
                f"{where}: expected a finite number, not negative for a size, under {key!r}, found {shown(text)}"
            )
        numbers.append(number)
    return numbers
