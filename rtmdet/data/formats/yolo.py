"""YOLO data sets: data.yaml, images/SPLIT, labels/SPLIT, read and written.

Format: Ultralytics, "Object Detection Datasets Overview".

A label file has a line for each object: the class, then x center, y center, width, height, or a polygon
x y x y ... of three points or more, all as fractions of the image's width and height.
Not written with hotcoco, which drops the folders of the images and does not clip boxes.
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from rtmdet.core.arguments import check_choice
from rtmdet.core.errors import InputError
from rtmdet.core.files import as_on_disk, files_below, spread
from rtmdet.core.paths import comparable
from rtmdet.core.whole_file import first_line, read_text
from rtmdet.core.wording import shown
from rtmdet.data.class_names import id_shift, shift_text
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage, by_image
from rtmdet.data.formats.faults import one_entry, raise_or_collect
from rtmdet.data.formats.label_files import copy_image, label_names, outlines_remark
from rtmdet.data.formats.labeled_image import LabeledImage, LabeledObject, assemble
from rtmdet.data.formats.outlines import around, rotated_box
from rtmdet.data.formats.splits import Split
from rtmdet.data.formats.yolo_layout import YoloLayout, read_data_yaml, read_layout, split_images
from rtmdet.data.split_names import SPLITS
from rtmdet.images.reading import HEIC_SUFFIXES, IMAGE_SUFFIXES

TOLERANCE = 0.01  # fractions may be this far outside 0 .. 1: tools round
MIN_POSES = 5  # lines needed to distinguish keypoints from polygons
CORNERS = 8  # numbers of a rotated box
FEW = 4  # label files of a folder that are looked at to tell what it holds


def convert_yolo(path: Path, split: str) -> Split:
    """Convert one split of a YOLO data set; `path` is its data.yaml, its list of names, or the folder of either.

    Category ids are YOLO's class numbers, from 0. Images without a label file, or with an empty one, become images
    without objects. Raises InputError for a data.yaml, a label or an image that cannot be used.
    """
    layout = read_layout(path)
    folder, files = split_images(layout, split)
    listed: dict[Path, dict[str, list[str]]] = {}
    label_files = _unshared(files, [_find_labels(file, listed) for file in files])
    if not any(label_files):
        expected = _label_folders(files[0].parent)[0] / f"{files[0].stem}.txt"
        raise InputError(
            f"{folder}: expected label files such as {expected}, found none for {len(files)} images; "
            "put the labels there"
        )
    layout = _as_numbered(layout, label_files)
    everything = (line.values for label_file in label_files for line in _read_lines(label_file))
    like_poses, poses = (0, False) if layout.has_keypoints else _count_poses(everything)
    labeled = []
    for file, label_file in zip(files, label_files, strict=True):
        objects: list[LabeledObject] = []
        with one_entry():
            for line in _read_lines(label_file):
                with one_entry():
                    objects.append(_read_object(line, layout, box_only=poses or layout.has_keypoints))
        name = file.relative_to(folder).as_posix()
        labeled.append(LabeledImage(label_file or layout.file, name, objects, in_fractions=True))
    remarks = _lost_labels(files)
    if poses:
        remarks.append(
            "the labels are boxes with keypoints, although data.yaml has no kpt_shape: only boxes are used"
        )
    elif like_poses:
        remarks.append(
            f"{like_poses} label lines may be boxes with keypoints or polygons, and are read as polygons: if they "
            "are boxes with keypoints, add kpt_shape to data.yaml"
        )
    return assemble(layout.file, labeled, folder, {name: number for number, name in layout.names.items()}, remarks)


def _label_folders(images: Path) -> list[Path]:
    """The path with an images/ in it replaced by labels/, first the last one, which YOLO means; then as it is."""
    parts = images.parts
    depths = [depth for depth in reversed(range(len(parts))) if parts[depth].lower() == "images"]
    return [*(as_on_disk(Path(*parts[:depth], "labels", *parts[depth + 1 :])) for depth in depths), images]


def _find_labels(image: Path, listed: dict[Path, dict[str, list[str]]]) -> Path | None:
    """The label file, in any letter case: in labels/ if the image is in images/, else beside it; None without one.

    `listed` caches folder listings between calls.
    """
    for folder in _label_folders(image.parent):
        if (found := as_on_disk(folder / f"{image.stem}.txt", listed)).is_file():
            return found
    return None


def _unshared(images: Sequence[Path], label_files: Sequence[Path | None]) -> list[Path | None]:
    """The label files, None for an image in another letter case than its file, which is exactly that of another.

    Raises InputError if two images share a file otherwise.
    """
    exact = {file: image for image, file in zip(images, label_files, strict=True) if file and file.stem == image.stem}
    taken: dict[Path, Path] = {}
    found: list[Path | None] = []
    for image, file in zip(images, label_files, strict=True):
        own = None if file and exact.get(file, image).stem != image.stem else file
        if own and (other := taken.setdefault(own, image)) != image:
            raise_or_collect(f"images {other} and {image} share the label file {own}; rename one with its labels")
        found.append(own)
    return found


def _lost_labels(images: Sequence[Path]) -> list[str]:
    """One line about label files without an image."""
    lost: list[Path] = []
    photos: list[Path] = []
    for folder in dict.fromkeys(image.parent for image in images):
        stems = {comparable(image.stem) for image in files_below(folder, IMAGE_SUFFIXES, levels=0)}
        texts = [text for labels in _label_folders(folder) for text in files_below(labels, (".txt",), levels=0)]
        lost += [file for file in texts if comparable(file.stem) not in stems and holds_labels(file)]
        photos += files_below(folder, HEIC_SUFFIXES, levels=0)
    if not lost:
        return []
    names = {comparable(file.stem) for file in lost}
    heic = next((photo for photo in photos if comparable(photo.stem) in names), None)
    why = "are images missing?" if heic is None else f"{heic} cannot be decoded here: convert it to JPEG"
    return [f"{len(lost)} label files have no image, such as {lost[0]}: skipped; {why}"]


def unused_labels(layout: YoloLayout) -> list[str]:
    """One line about label files beside or below the data set that no folder with images belongs to."""
    files = files_below(layout.file.parent, (*IMAGE_SUFFIXES, ".txt"))
    folders = {file.parent for file in files if file.suffix.lower() != ".txt"}
    used = {os.path.realpath(labels) for folder in folders for labels in _label_folders(folder)}
    texts: dict[Path, list[Path]] = {}
    for file in files:
        if file.suffix.lower() == ".txt":
            texts.setdefault(file.parent, []).append(file)
    unused = [
        file
        for folder, found in texts.items()
        if os.path.realpath(folder) not in used and any(map(holds_labels, spread(found, FEW)))
        for file in found
    ]
    where = "they are not in the labels/ of an images/ with their photos"
    return [f"{len(unused)} label files are not used, such as {unused[0]}: {where}"] if unused else []


def holds_labels(path: Path) -> bool:
    """Whether the first line of a text file is a label; lists of class names or images are not label files."""
    with suppress(OSError, ValueError):
        number, *sides = first_line(path).split()
        return number.isdecimal() and len(list(map(float, sides[:4]))) == 4
    return False


def _as_numbered(layout: YoloLayout, label_files: Iterable[Path | None]) -> YoloLayout:
    """The layout, with the names as the labels number them where all class ids are one too high or too low.

    Raises InputError about that, unless faults are collected.
    """
    used, ends = set[int](), {min(layout.names), max(layout.names)}
    try:
        for line in chain.from_iterable(map(_read_lines, label_files)):
            if line.label.is_integer():
                used.add(int(line.label))
            if ends <= used:  # so the ids are as they should be, and the other files need not be read for this
                return layout
    except InputError:  # an unreadable file: reported when its labels are read
        return layout
    if not (shift := id_shift(used, layout.names)):
        return layout
    raise_or_collect(f"{layout.file}: {shift_text(used, layout.names, shift)}")
    return replace(layout, names={number + shift: name for number, name in layout.names.items()})


class _Line(NamedTuple):
    """One line of a label file, an object."""

    where: str  # file and line number
    text: str
    label: float  # NaN if the line is not numbers
    values: np.ndarray  # the numbers after the class


def _read_lines(path: Path | None) -> Iterator[_Line]:
    """The lines of a label file that are not empty; none without a file."""
    text = "" if path is None else read_text(path, "label file")
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if line:
            try:
                label, *values = map(float, line.split())
            except ValueError:
                label, values = math.nan, []
            yield _Line(f"{path}: line {number}", line, label, np.array(values))


def _count_poses(lines: Iterable[np.ndarray]) -> tuple[int, bool]:
    """The number of lines if all look like boxes with keypoints, else 0; and whether they are.

    Such lines have one length, and all points lie inside the boxes. Few lines do not show it, nor do lines of eight
    numbers, which may be four corners; they are, if most of them go around a convex shape.
    """
    count, corners, length, widths = 0, 0, None, {2, 3}  # numbers per point: x, y, perhaps visibility
    try:
        for values in lines:
            length = len(values) if length is None else length
            widths = {width for width in widths if _has_points_inside(values, width)}
            if not widths or len(values) != length:
                return 0, False
            count += 1
            corners += length == CORNERS and _is_convex(values.reshape(-1, 2))
    except InputError:  # an unreadable file: reported when its labels are read
        return 0, False
    return (0 if 2 * corners > count else count), count >= MIN_POSES and length != CORNERS


def _is_convex(points: np.ndarray) -> bool:
    """Whether the corners (4, 2) go around a convex shape."""
    sides = np.roll(points, -1, 0) - points
    following = np.roll(sides, -1, 0)
    turns = sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0]
    return bool(turns.any() and ((turns >= 0).all() or (turns <= 0).all()))


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


def _read_object(line: _Line, layout: YoloLayout, *, box_only: bool) -> LabeledObject:
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
    outline = rotated_box(*values.tolist()) if len(values) == 4 else around(values.reshape(-1, 2))
    return LabeledObject(where, layout.names[int(label)], outline)  # a box may extend beyond the image


def write_yolo(file: CocoFile, images: Path, out: Path, split: str) -> list[str]:
    """Write one split of a YOLO data set into the folder `out` and copy its images; returns remarks, a line each.

    Class numbers count from 0 in the order of the category ids. An existing data.yaml gets a line added. Boxes are
    clipped to the image; crowd regions are skipped, since YOLO has no equivalent.

    Raises InputError if the split, or a data.yaml with other classes or folders, exists already, and for images that
    differ only in their suffix: they would share a label file.
    """
    check_choice("split", split, SPLITS)
    for folder in (out / "labels" / split, out / "images" / split):
        if folder.exists():
            raise InputError(f"{folder} exists already; give another --out or --split")
    categories = sorted(file["categories"], key=lambda category: category["id"])
    numbers = {category["id"]: number for number, category in enumerate(categories)}
    description = _data_yaml(out, [category["name"] for category in categories], split)
    stems = label_names(file)
    annotations_of = by_image(annotation for annotation in file["annotations"] if not annotation["iscrowd"])
    for image, stem in zip(file["images"], stems, strict=True):
        lines = [yolo_line(numbers[entry["category_id"]], entry, image) for entry in annotations_of[image["id"]]]
        # YOLO looks for labels/ in place of the last images/ of an image's path, in this letter case only.
        name = "/labels/".join(f"/images/{split}/{stem}.txt".rsplit("/images/", 1))
        label = out / name.removeprefix("/")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(lines), encoding="utf-8", newline="\n")
        copy_image(images, image["file_name"], out / "images" / split)
    (out / "data.yaml").write_text(description, encoding="utf-8")
    crowds = sum(annotation["iscrowd"] for annotation in file["annotations"])
    return [f"skipped: {crowds} x crowd region or object marked 'ignore'"] * bool(crowds) + outlines_remark(file)


def _data_yaml(out: Path, names: list[str], split: str) -> str:
    """The text of the existing data.yaml, or of a new one, with a line for the split."""
    path, place = out / "data.yaml", f"images/{split}"
    if not path.exists():
        return yaml.safe_dump({"names": names, split: place}, sort_keys=False, allow_unicode=True)
    layout, keys = read_layout(path), read_data_yaml(path)
    if layout.names != dict(enumerate(names)):
        raise InputError(
            f"{path}: expected the classes {names}, found {[*layout.names.values()]}; give another --out"
        )
    if layout.root.resolve() != out.resolve():
        raise InputError(f"{path}: expected no 'path', found {shown(keys['path'])}; remove it, or give another --out")
    if [*map(os.path.normpath, layout.image_paths.get(split, []))] == [os.path.normpath(place)]:
        return read_text(path)
    if split in keys or split in layout.image_paths:
        found = shown(keys.get(split, layout.image_paths.get(split)))
        raise InputError(f"{path}: expected {place} for {split!r}, found {found}; remove it, or give another --out")
    text = f"{read_text(path).rstrip()}\n{split}: {place}\n"
    try:
        yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(
            f"{path}: no line can be added to this; add {split}: {place} there, and try again"
        ) from error
    return text


def yolo_line(number: int, annotation: CocoAnnotation, image: CocoImage) -> str:
    """Class, center and size as fractions of the image's size."""
    x, y, width, height = annotation["bbox"]
    left, right = (min(max(value / image["width"], 0.0), 1.0) for value in (x, x + width))
    top, bottom = (min(max(value / image["height"], 0.0), 1.0) for value in (y, y + height))
    values = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return f"{number} " + " ".join(f"{value:.6f}" for value in values) + "\n"
