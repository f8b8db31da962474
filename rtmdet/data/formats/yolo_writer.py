"""COCO -> YOLO data sets: data.yaml, images/SPLIT, labels/SPLIT. The reader is in yolo.py.

Written here and not by hotcoco, which drops the folders of the images and keeps what hangs over their borders.
"""

from __future__ import annotations

from pathlib import Path

import yaml

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage
from rtmdet.data.formats.image_folder import copy_image, label_names
from rtmdet.data.formats.yolo_layout import read_data_yaml


def write_yolo(file: CocoFile, images: Path, out: Path, split: str) -> list[str]:
    """Write one split of a YOLO data set into the folder `out`, images copied; returns remarks, a line each.

    Class numbers count from 0 in the order of the category ids. A data.yaml that is there gets the split beside its
    others. Boxes are cut at the borders; crowds are left out, since YOLO has no word for them.

    Raises InputError where the split, or a data.yaml with other classes, is there already, and for images that
    differ in their suffix only: their label files would be one.
    """
    if (out / "labels" / split).exists():
        raise InputError(f"{out / 'labels' / split} is there already; give another --out or --split")
    categories = sorted(file["categories"], key=lambda category: category["id"])
    numbers = {category["id"]: number for number, category in enumerate(categories)}
    description = _current_data_yaml(out, [category["name"] for category in categories])
    stems = label_names(file)
    annotations_of: dict[int, list[CocoAnnotation]] = {image["id"]: [] for image in file["images"]}
    for annotation in file["annotations"]:
        if not annotation["iscrowd"]:
            annotations_of[annotation["image_id"]].append(annotation)
    for image, stem in zip(file["images"], stems, strict=True):
        lines = [_line(numbers[entry["category_id"]], entry, image) for entry in annotations_of[image["id"]]]
        label = out / "labels" / split / f"{stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(lines))
        copy_image(images, image["file_name"], out / "images" / split)
    text = yaml.safe_dump(description | {split: f"images/{split}"}, sort_keys=False, allow_unicode=True)
    (out / "data.yaml").write_text(text, encoding="utf-8")
    crowds = sum(annotation["iscrowd"] for annotation in file["annotations"])
    return [f"left out: {crowds} crowds"] if crowds else []


def _current_data_yaml(out: Path, names: list[str]) -> dict[str, object]:
    """The content of the data.yaml that is there, or of a new one."""
    path = out / "data.yaml"
    if not path.exists():
        return {"names": names}
    found = read_data_yaml(path)
    if found.get("names") != names:
        raise InputError(f"{path}: expected the classes {names}, found {found.get('names')}; give another --out")
    return found


def _line(number: int, annotation: CocoAnnotation, image: CocoImage) -> str:
    """Class, center and size as shares of the image."""
    x, y, width, height = annotation["bbox"]
    left, right = (min(max(value / image["width"], 0.0), 1.0) for value in (x, x + width))
    top, bottom = (min(max(value / image["height"], 0.0), 1.0) for value in (y, y + height))
    values = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    return f"{number} " + " ".join(f"{value:.6f}" for value in values) + "\n"
