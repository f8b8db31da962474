"""YOLO data sets (data.yaml, images/, labels/) -> COCO. Format: Ultralytics, "Object Detection Datasets Overview".

A label file has a line for each object: the class, then x centre, y centre, width, height, or a polygon
x y x y ... of three points or more, all as shares of the image's width and height.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from rtmdet.data.coco_file import CocoFile, box_annotation, shown
from rtmdet.data.images import IMAGE_SUFFIXES, image_size
from rtmdet.structures import InputError

SPLITS = ("train", "val", "test")
SLACK = 0.01  # shares may lie so far outside 0 .. 1: tools round


@dataclass(frozen=True, slots=True, eq=False)
class YoloSplit:
    """One split, converted."""

    coco: CocoFile
    images: Path  # the folder that its file names are relative to


def convert_yolo(path: Path, split: str) -> YoloSplit:
    """The COCO file of one split of a YOLO data set, from its data.yaml or the folder that holds it.

    Category ids are YOLO's class numbers, from 0. Images without a label file, or with an empty one, stay as
    images without objects. Raises InputError for a description, a label or an image that cannot be used.
    """
    path = path / "data.yaml" if path.is_dir() else path
    description = read_description(path)
    names = _class_names(path, description)
    folder = _image_folder(path, description, split)
    coco: CocoFile = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for number, name in names.items()],
    }
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise InputError(
            f"{folder}: expected images ({', '.join(IMAGE_SUFFIXES)}), found none; check {split!r} in {path}"
        )
    if not any(_label_file(file).is_file() for file in files):
        raise InputError(
            f"{folder}: none of the {len(files)} images has a label file (such as {_label_file(files[0])}); put the "
            "labels there"
        )
    for image_id, file in enumerate(files, start=1):
        height, width = image_size(file)
        name = file.relative_to(folder).as_posix()
        coco["images"].append({"id": image_id, "file_name": name, "width": width, "height": height})
        for label, points in _read_labels(_label_file(file), names):
            number = len(coco["annotations"]) + 1
            outline = points * (width, height)
            box = [*outline.min(0).tolist(), *outline.max(0).tolist()]
            polygon = outline.reshape(-1).tolist()
            coco["annotations"].append(box_annotation(number, image_id, label, box=box, polygon=polygon))
    return YoloSplit(coco, folder)


def find_description(path: Path) -> Path | None:
    """The data.yaml that a path is or that a folder holds, under this or another name; None where there is none."""
    if path.is_file():
        return path if path.suffix.lower() in (".yaml", ".yml") else None
    files = [path / "data.yaml", *sorted(path.glob("*.yaml")), *sorted(path.glob("*.yml"))]
    return next((file for file in files if file.is_file() and "names" in read_description(file)), None)


def named_splits(path: Path) -> list[str]:
    """Which of train, val and test a data.yaml names. Raises InputError where train is not among them."""
    description = read_description(path)
    names = [split for split in SPLITS if description.get(split) or (split == "val" and description.get("valid"))]
    if "train" not in names:
        raise InputError(f"{path}: expected a folder of images under 'train', found {names or 'no split'}; add it")
    return names


def read_description(path: Path) -> dict[str, object]:
    """The content of a data.yaml. Raises InputError for a file that is none."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give a YOLO data.yaml or the folder that holds it") from error
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}); check the path") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not YAML ({reason}); correct the file") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a YOLO description with 'names', found {shown(document)}; check the path")
    return document


def _class_names(path: Path, description: dict[str, object]) -> dict[int, str]:
    """Class number -> name; the file has a list, or a mapping from numbers."""
    names = description.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    numbered = isinstance(names, dict) and all(type(number) is int and number >= 0 for number in names)
    if not isinstance(names, dict) or not names or not numbered:
        raise InputError(f"{path}: expected class names under 'names', found {shown(names)}; list them in order")
    texts = {number: str(name) for number, name in sorted(names.items())}
    if len(set(texts.values())) < len(texts):
        raise InputError(f"{path}: expected different names under 'names', found {shown(names)}; rename one")
    return texts


def _image_folder(path: Path, description: dict[str, object], split: str) -> Path:
    """The folder of a split. Some exports write ../train/images where train/images is meant."""
    given = description.get(split, description.get("valid") if split == "val" else None)
    if isinstance(given, list) and len(given) == 1:
        (given,) = given
    root = description.get("path", "")
    if not isinstance(given, str) or not isinstance(root, str):
        has = ", ".join(name for name in SPLITS if name in description) or "none"
        raise InputError(f"{path}: expected a folder of images under {split!r}, found {shown(given)} (it has {has})")
    inside = [part for part in Path(given).parts if part != ".."]
    for folder in (path.parent / root / given, path.parent / given, path.parent.joinpath(*inside)):
        if folder.is_dir():
            return folder
    raise InputError(f"{path}: the folder of {split!r}, {given}, does not exist; correct 'path' or {split!r}")


def _label_file(image: Path) -> Path:
    """labels/ in the place of the last images/ of the path, else beside the image."""
    parts = list(image.with_suffix(".txt").parts)
    for place in range(len(parts) - 2, 0, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts)


def _read_labels(path: Path, names: dict[int, str]) -> list[tuple[int, np.ndarray]]:
    """The class and the points (V, 2), as shares, of each object."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a text file of labels, found {error}; write it again") from error
    lines = enumerate(text.splitlines(), start=1)
    return [_read_line(f"{path}: line {number}", line, names) for number, line in lines if line.strip()]


def _read_line(where: str, line: str, names: dict[int, str]) -> tuple[int, np.ndarray]:
    first, *rest = line.split()
    try:
        label, values = float(first), np.array([float(word) for word in rest])
    except ValueError:
        label, values = math.nan, np.zeros(0)
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise InputError(
            f"{where}: expected a class and 4 numbers, or a polygon of 3 points or more, "
            f"found {shown(line.strip())}; correct the line"
        )
    if label not in names:
        raise InputError(
            f"{where}: class {first} is not in 'names' (it has {shown(sorted(names))}); correct the line or data.yaml"
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
