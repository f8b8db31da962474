"""Images with their objects, as read from one label file per image, and their conversion to COCO.

Frame: pixels of the original image. Dimension legend: V vertices of one outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, box_annotation
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.image_names import locate_images
from rtmdet.data.images import image_size


@dataclass(frozen=True, slots=True, eq=False)
class LabeledObject:
    """One object; all numbers are finite."""

    where: str  # label file and object, for messages
    name: str  # class name
    box: tuple[float, float, float, float]  # xyxy
    polygon: np.ndarray | None = None  # (V, 2) as (x, y)
    crowd: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LabeledImage:
    """One image with its objects."""

    label_file: Path
    file_name: str  # of the image, relative to the image folder
    size: tuple[int, int] | None  # (H, W) in the label file, if given
    objects: Sequence[LabeledObject]


@dataclass(frozen=True, slots=True, eq=False)
class ConvertedSet:
    """A data set converted to COCO."""

    coco: CocoFile
    images: Path  # its file names are relative to this folder
    remarks: Sequence[str] = ()  # one line about each kind of entry that COCO has no equivalent for


def choose_classes(images: Sequence[LabeledImage], wanted: Sequence[str] | None) -> list[str]:
    """The class names in the order of their ids: `wanted`, or those of all objects, sorted.

    Raises InputError if an object's class is not among `wanted`, or if there is no object.
    """
    objects = [found for image in images for found in image.objects]
    if wanted is None:
        if not objects:
            label_files = sorted({image.label_file for image in images})
            where = label_files[0] if len(label_files) == 1 else label_files[0].parent
            raise InputError(f"{where}: expected objects on {len(images)} labeled images, found none; label them")
        return sorted({found.name for found in objects})
    if not wanted or len(set(wanted)) < len(wanted):
        raise InputError(f"classes: expected names without repetition, found {list(wanted)}; list each class once")
    for found in objects:
        if found.name not in wanted:
            raise InputError(
                f"{found.where}: class {found.name!r} is not among {list(wanted)}; add it or correct the object"
            )
    return list(wanted)


def assemble(
    annotations: Path,
    images: Sequence[LabeledImage],
    folder: Path,
    names: Sequence[str],
    remarks: Sequence[str] = (),
) -> ConvertedSet:
    """Convert the images to COCO; ids of images, objects and classes count from 1 in the given order.

    Boxes and outlines are clipped to their images, whose sizes are read from the files in `folder`; messages about
    missing files name `annotations`. Raises InputError for an image file that is missing or whose size differs from
    its label file, and for an object outside its image.
    """
    files, renamed = locate_images(annotations, folder, [image.file_name for image in images])
    placed = ((files[image.file_name], image) for image in images if image.file_name in files)
    ids = {name: number for number, name in enumerate(names, start=1)}
    coco: CocoFile = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    for image_id, (file, image) in enumerate(placed, start=1):
        with one_entry():
            height, width = _checked_size(image, folder / file)
            coco["images"].append({"id": image_id, "file_name": file, "width": width, "height": height})
            for found in image.objects:
                with one_entry():
                    number = len(coco["annotations"]) + 1
                    inside = _clip(found, (height, width))
                    coco["annotations"].append(_annotation(number, image_id, ids[found.name], inside))
    return ConvertedSet(coco, folder, [*remarks, *renamed])


def _checked_size(image: LabeledImage, path: Path) -> tuple[int, int]:
    """(H, W) of the image file. Raises InputError if it differs from the label file."""
    height, width = image_size(path)
    if image.size is not None and image.size != (height, width):
        raise InputError(
            f"{image.label_file}: expected the size of {path}, {width} x {height} pixels after EXIF rotation, found "
            f"{image.size[1]} x {image.size[0]}; restore the image or annotate it again"
        )
    return height, width


def _clip(found: LabeledObject, size: tuple[int, int]) -> LabeledObject:
    """The object clipped to an image of (H, W). Raises InputError if it is outside."""
    height, width = size
    left, top, right, bottom = found.box
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        raise InputError(
            f"{found.where}: the box {left:g}, {top:g}, {right:g}, {bottom:g} (left, top, right, bottom) lies "
            f"outside its image of {width} x {height} pixels; correct or remove it"
        )
    box = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    polygon = None if found.polygon is None else found.polygon.clip(0, (width, height))
    return replace(found, box=box, polygon=polygon)


def _annotation(number: int, image_id: int, category_id: int, found: LabeledObject) -> CocoAnnotation:
    polygon = None if found.polygon is None else found.polygon.reshape(-1).tolist()
    return box_annotation(number, image_id, category_id, box=found.box, polygon=polygon, crowd=found.crowd)
