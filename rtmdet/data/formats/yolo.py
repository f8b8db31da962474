"""YOLO label files -> COCO. Format: Ultralytics, "Object Detection Datasets Overview".

A label file has a line for each object: the class, then x centre, y centre, width, height, or a polygon
x y x y ... of three points or more, all as shares of the image's width and height.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from rtmdet.data.coco_file import CocoFile, box_annotation, shown
from rtmdet.data.formats.labelled_image import ConvertedSet
from rtmdet.data.formats.yolo_layout import YoloLayout, read_layout, split_images
from rtmdet.data.images import image_size
from rtmdet.structures import InputError

SLACK = 0.01  # shares may lie so far outside 0 .. 1: tools round


def convert_yolo(path: Path, split: str) -> ConvertedSet:
    """The COCO file of one split of a YOLO data set: from its data.yaml, its list of names, or the folder of either.

    Category ids are YOLO's class numbers, from 0. Images without a label file, or with an empty one, stay as
    images without objects. Raises InputError for a description, a label or an image that cannot be used.
    """
    layout = read_layout(path)
    folder, files = split_images(layout, split)
    coco: CocoFile = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in layout.names.items()],
    }
    if not any(_label_file(file).is_file() for file in files):
        raise InputError(
            f"{folder}: none of the {len(files)} images has a label file (such as {_label_file(files[0])}); put the "
            "labels there"
        )
    for image_id, file in enumerate(files, start=1):
        height, width = image_size(file)
        name = file.relative_to(folder).as_posix()
        coco["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        for label, points in _read_labels(_label_file(file), layout):
            number = len(coco["annotations"]) + 1
            outline = points * (width, height)
            box = [*outline.min(0).tolist(), *outline.max(0).tolist()]
            polygon = outline.reshape(-1).tolist()
            coco["annotations"].append(box_annotation(number, image_id, label, box=box, polygon=polygon))
    return ConvertedSet(coco, folder)


def _label_file(image: Path) -> Path:
    """labels/ in the place of the last images/ of the path; beside the image where there is none."""
    beside = image.with_suffix(".txt")
    parts = list(beside.parts)
    for place in range(len(parts) - 2, 0, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    file = Path(*parts)
    return beside if beside.is_file() and not file.is_file() else file


def _read_labels(path: Path, layout: YoloLayout) -> list[tuple[int, np.ndarray]]:
    """The class and the points (V, 2), as shares, of each object."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a text file of labels, found {error}; write it again") from error
    lines = enumerate(text.splitlines(), start=1)
    return [_read_line(f"{path}: line {number}", line, layout) for number, line in lines if line.strip()]


def _read_line(where: str, line: str, layout: YoloLayout) -> tuple[int, np.ndarray]:
    first, *rest = line.split()
    rest = rest[:4] if layout.has_keypoints else rest
    try:
        label, values = float(first), np.array([float(word) for word in rest])
    except ValueError:
        label, values = math.nan, np.zeros(0)
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise InputError(
            f"{where}: expected a class and 4 numbers, or a polygon of 3 points or more, "
            f"found {shown(line.strip())}; correct the line"
        )
    if label not in layout.names:
        raise InputError(
            f"{where}: class {first} is not in 'names' (it has {shown(sorted(layout.names))}); correct the line or "
            f"{layout.file}"
        )
    if not ((values >= -SLACK) & (values <= 1 + SLACK)).all() or (len(values) == 4 and (values[2:] < 0).any()):
        raise InputError(
            f"{where}: expected shares of the image's size within 0 .. 1, found {shown(line.strip())}; "
            "are they pixels?"
        )
    points = _corners(values) if len(values) == 4 else values.reshape(-1, 2)
    return int(label), points.clip(0, 1)  # a box may hang over the edge


def _corners(values: np.ndarray) -> np.ndarray:
    """Centre and size (4,) -> top left, top right, bottom right, bottom left (4, 2)."""
    (x, y), (half_width, half_height) = values[:2], values[2:] / 2
    left, top, right, bottom = x - half_width, y - half_height, x + half_width, y + half_height
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
