"""COCO -> YOLO data sets: data.yaml, images/SPLIT, labels/SPLIT. The reader is in yolo.py.

Not done with hotcoco, which drops the folders of the images and does not clip boxes.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage
from rtmdet.data.formats.image_folder import copy_image, label_names
from rtmdet.data.formats.yolo_layout import read_data_yaml


def write_yolo(file: CocoFile, images: Path, out: Path, split: str) -> list[str]:
    """Write one split of a YOLO data set into the folder `out` and copy its images; returns remarks, a line each.

    Class numbers count from 0 in the order of the category ids. An existing data.yaml gets the split added. Boxes are
    clipped to the image; crowd regions are skipped, since YOLO has no equivalent.

    Raises InputError if the split, or a data.yaml with other classes, exists already, and for images that differ only
    in their suffix: they would share a label file.
    """
    if (out / "labels" / split).exists():
        raise InputError(f"{out / 'labels' / split} exists already; give another --out or --split")
    categories = sorted(file["categories"], key=lambda category: category["id"])
    numbers = {category["id"]: number for number, category in enumerate(categories)}
    description = _current_data_yaml(out, [category["name"] for category in categories])
    stems = label_names(file)
    annotations_of: dict[int, list[CocoAnnotation]] = {image["id"]: [] for image in file["images"]}
    for annotation in file["annotations"]:
        if not annotation["iscrowd"]:
            annotations_of[annotation["image_id"]].append(annotation)
    for image, stem in zip(file["images"], stems, strict=True):
        lines = [yolo_line(numbers[entry["category_id"]], entry, image) for entry in annotations_of[image["id"]]]
        label = out / "labels" / split / f"{stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(lines))
        copy_image(images, image["file_name"], out / "images" / split)
    text = yaml.safe_dump(description | {split: f"images/{split}"}, sort_keys=False, allow_unicode=True)
    (out / "data.yaml").write_text(text, encoding="utf-8")
    crowds = sum(annotation["iscrowd"] for annotation in file["annotations"])
    return [f"skipped: {crowds} x crowd region"] if crowds else []


def _current_data_yaml(out: Path, names: list[str]) -> dict[str, object]:
    """The content of the existing data.yaml, or of a new one."""
    path = out / "data.yaml"
    if not path.exists():
        return {"names": names}
    found = read_data_yaml(path)
    if found.get("names") != names:
        raise InputError(f"{path}: expected the classes {names}, found {found.get('names')}; give another --out")
    return found


def yolo_line(number: int, annotation: CocoAnnotation, image: CocoImage) -> str:
    """Class, center and size as fractions of the image's size."""
    x, y, width, height = annotation["bbox"]
    left, right = (min(max(value / image["width"], 0.0), 1.0) for value in (x, x + width))
    top, bottom = (min(max(value / image["height"], 0.0), 1.0) for value in (y, y + height))
    values = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return f"{number} " + " ".join(f"{value:.6f}" for value in values) + "\n"
