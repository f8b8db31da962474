"""YOLO label files -> COCO. Format: Ultralytics, "Object Detection Datasets Overview".

A label file has a line for each object: the class, then x center, y center, width, height, or a polygon
x y x y ... of three points or more, all as fractions of the image's width and height.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoFile, box_annotation, shown
from rtmdet.data.files import as_on_disk, comparable, files_below
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.formats.labeled_image import ConvertedSet
from rtmdet.data.formats.yolo_layout import YoloLayout, read_layout, split_images
from rtmdet.data.images import IMAGE_SUFFIXES, image_size

TOLERANCE = 0.01  # fractions may be this far outside 0 .. 1: tools round
MIN_POSES = 5  # lines needed to distinguish keypoints from polygons
CORNERS = 8  # numbers of a rotated box


def convert_yolo(path: Path, split: str) -> ConvertedSet:
    """Convert one split of a YOLO data set; `path` is its data.yaml, its list of names, or the folder of either.

    Category ids are YOLO's class numbers, from 0. Images without a label file, or with an empty one, become images
    without objects. Raises InputError for a data.yaml, a label or an image that cannot be used.
    """
    layout = read_layout(path)
    folder, files = split_images(layout, split)
    coco: CocoFile = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in layout.names.items()],
    }
    labels = _LabelFiles()
    label_files = [labels.find(file) for file in files]
    if not any(label_files):
        expected = _label_folder(files[0].parent) / f"{files[0].stem}.txt"
        raise InputError(
            f"{folder}: expected label files such as {expected}, found none for {len(files)} images; "
            "put the labels there"
        )
    everything = (line.values for label_file in label_files for line in _parse_lines(label_file))
    poses = not layout.has_keypoints and _are_poses(everything)
    for image_id, (file, label_file) in enumerate(zip(files, label_files, strict=True), start=1):
        size = None
        with one_entry():
            size = image_size(file)
        if size is None:
            continue
        height, width = size
        name = file.relative_to(folder).as_posix()
        coco["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        for line in _read_lines(label_file):
            with one_entry():
                label, points = _read_object(line, layout, box_only=poses or layout.has_keypoints)
                number = len(coco["annotations"]) + 1
                outline = points * (width, height)
                box = [*outline.min(0).tolist(), *outline.max(0).tolist()]
                polygon = outline.reshape(-1).tolist()
                coco["annotations"].append(box_annotation(number, image_id, label, box=box, polygon=polygon))
    remarks = labels.remarks()
    if poses:
        remarks.append(
            "the labels are boxes with keypoints, although data.yaml has no kpt_shape: only boxes are used"
        )
    return ConvertedSet(coco, folder, remarks)


def _label_folder(images: Path) -> Path:
    """The path with its last images/ replaced by labels/; unchanged if there is none."""
    parts = list(images.parts)
    for place in range(len(parts) - 1, -1, -1):
        if parts[place].lower() == "images":
            return as_on_disk(Path(*parts[:place], "labels", *parts[place + 1 :]))
    return images


class _LabelFiles:
    """Finds the label files of images without regard to letter case and Unicode form, and those without an image."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, list[Path]]] = {}  # folder -> files by comparable stem
        self._beside: dict[Path, list[Path]] = {}  # image folder -> its label folders

    def find(self, image: Path) -> Path | None:
        """The label file: in labels/ if the image is in images/, else beside it; None if there is none."""
        if image.parent not in self._beside:
            self._beside[image.parent] = list(dict.fromkeys((_label_folder(image.parent), image.parent)))
        for folder in self._beside[image.parent]:
            alike = self._list(folder).get(comparable(image.stem), [])
            if named := [file for file in alike if file.stem == image.stem] or alike:
                return named[0]
        return None

    def remarks(self) -> list[str]:
        """One line about label files without an image."""
        lost: list[Path] = []
        for images, (folder, *_) in self._beside.items():
            stems = {comparable(image.stem) for image in files_below(images, IMAGE_SUFFIXES, levels=0)}
            files = [file for stem, alike in self._list(folder).items() if stem not in stems for file in alike]
            lost += filter(_holds_labels, files)
        if not lost:
            return []
        return [f"{len(lost)} label files have no image, such as {lost[0]}: skipped; are images missing?"]

    def _list(self, folder: Path) -> dict[str, list[Path]]:
        if folder not in self._listed:
            found: dict[str, list[Path]] = {}
            for file in files_below(folder, (".txt",), levels=0):
                found.setdefault(comparable(file.stem), []).append(file)
            self._listed[folder] = found
        return self._listed[folder]


def _holds_labels(path: Path) -> bool:
    """Whether the first line of a text file is a label; lists of class names or images are not label files."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        words = file.readline().split()
    return len(words) >= 5 and words[0].isdecimal()


class _Line(NamedTuple):
    """One line of a label file, an object."""

    where: str  # file and line number
    text: str
    label: float  # NaN if the line is not numbers
    values: np.ndarray  # the numbers after the class


def _read_lines(path: Path | None) -> list[_Line]:
    """The lines of a label file that are not empty; [] without a file."""
    with one_entry():
        return list(_parse_lines(path))
    return []


def _parse_lines(path: Path | None) -> Iterator[_Line]:
    try:
        text = "" if path is None else path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a text file of labels, found {error}; write it again") from error
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield _parse(f"{path}: line {number}", line.strip())


def _parse(where: str, text: str) -> _Line:
    try:
        label, *values = map(float, text.split())
    except ValueError:
        return _Line(where, text, math.nan, np.zeros(0))
    return _Line(where, text, label, np.array(values))


def _are_poses(lines: Iterable[np.ndarray]) -> bool:
    """Whether lines are boxes with keypoints: all of the same length, with all points inside their boxes.

    Lines of eight numbers are never: they may be the corners of rotated boxes.
    """
    count, length, widths = 0, None, {2, 3}  # numbers per point: x, y, perhaps visibility
    try:
        for values in lines:
            length = len(values) if length is None else length
            widths = {width for width in widths if _has_points_inside(values, width)}
            if not widths or len(values) != length or length == CORNERS:
                return False
            count += 1
    except InputError:  # an unreadable file: reported when its labels are read
        return False
    return count >= MIN_POSES


def _has_points_inside(values: np.ndarray, width: int) -> bool:
    """Whether the first four numbers are a box and the others points of `width` numbers inside it."""
    if len(values) <= 4 or (len(values) - 4) % width:
        return False
    points = values[4:].reshape(-1, width)
    marked = points[(points[:, :2] != 0).any(1)]
    center, half = values[:2], values[2:4] / 2
    in_image = (center - half >= -TOLERANCE).all() and (center + half <= 1 + TOLERANCE).all()
    inside = np.abs(marked[:, :2] - center) <= half + TOLERANCE
    has_visibility = width == 2 or np.isin(points[:, 2], (0, 1, 2)).all()
    return bool(in_image and inside.all() and has_visibility)


def _read_object(line: _Line, layout: YoloLayout, *, box_only: bool) -> tuple[int, np.ndarray]:
    """The class of an object and its points (V, 2), as fractions of the image's size."""
    where, text, label = line.where, line.text, line.label
    values = line.values[:4] if box_only else line.values
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise InputError(
            f"{where}: expected a class and 4 numbers, or a polygon of 3 points or more, "
            f"found {shown(text)}; correct the line"
        )
    if label not in layout.names:
        raise InputError(
            f"{where}: class {text.split()[0]} is not in 'names' (it has {shown(sorted(layout.names))}); correct the "
            f"line or {layout.file}"
        )
    if not ((values >= -TOLERANCE) & (values <= 1 + TOLERANCE)).all() or (
        len(values) == 4 and (values[2:] < 0).any()
    ):
        raise InputError(
            f"{where}: expected fractions of the image's size within 0 .. 1, found {shown(text)}; are they pixels?"
        )
    points = _corners(values) if len(values) == 4 else values.reshape(-1, 2)
    return int(label), points.clip(0, 1)  # a box may extend beyond the image


def _corners(values: np.ndarray) -> np.ndarray:
    """Center and size (4,) -> top left, top right, bottom right, bottom left (4, 2)."""
    (x, y), (half_width, half_height) = values[:2], values[2:] / 2
    left, top, right, bottom = x - half_width, y - half_height, x + half_width, y + half_height
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
