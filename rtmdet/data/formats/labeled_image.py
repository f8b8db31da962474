"""What the readers of one label file an image hand over, and how it becomes a COCO file.

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
    """One object; its numbers are finite."""

    where: str  # its place in the label file, in words
    name: str  # of its class
    box: tuple[float, float, float, float]  # xyxy
    polygon: np.ndarray | None = None  # (V, 2) as (x, y)
    crowd: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LabeledImage:
    """One image with its objects."""

    source: Path  # the label file
    file_name: str  # of the image, relative to the images' folder
    size: tuple[int, int] | None  # (H, W) that the label file says
    objects: Sequence[LabeledObject]


@dataclass(frozen=True, slots=True, eq=False)
class ConvertedSet:
    """A data set, converted."""

    coco: CocoFile
    images: Path  # the folder that its file names are relative to
    remarks: Sequence[str] = ()  # what became of entries that COCO has no equal for, a line each


def choose_classes(images: Sequence[LabeledImage], wanted: Sequence[str] | None) -> list[str]:
    """The classes of one image or more in the order of their ids: `wanted`, or those of all objects, sorted.

    Raises InputError where an object is of another class than the wanted ones, and where there is no object.
    """
    objects = [found for image in images for found in image.objects]
    if wanted is None:
        if not objects:
            sources = sorted({image.source for image in images})
            where = sources[0] if len(sources) == 1 else sources[0].parent
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
    """The images as COCO; ids of images, objects and classes count from 1 in the given order.

    Boxes and outlines are cut at the borders of their images, whose sizes are read from the files in `folder`;
    `annotations` is what a message about missing files names. Raises InputError for an image file that is missing or
    of another size than its label file says, and for an object outside of its image.
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
                    inside = _cut(found, (height, width))
                    coco["annotations"].append(_annotation(number, image_id, ids[found.name], inside))
    return ConvertedSet(coco, folder, [*remarks, *renamed])


def _checked_size(image: LabeledImage, path: Path) -> tuple[int, int]:
    """(H, W) of the image file, as its label file says."""
    height, width = image_size(path)
    if image.size is not None and image.size != (height, width):
        raise InputError(
            f"{image.source}: expected the size of {path}, {width} x {height} pixels (after turning by EXIF "
            f"orientation), found {image.size[1]} x {image.size[0]}; restore the image or annotate it as it is now"
        )
    return height, width


def _cut(found: LabeledObject, size: tuple[int, int]) -> LabeledObject:
    """The object without what hangs over the border: tools round, and hands slip."""
    height, width = size
    left, top, right, bottom = found.box
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        raise InputError(
            f"{found.where}: the box {left:g}, {top:g}, {right:g}, {bottom:g} (left, top, right, bottom) lies "
            f"outside its image of {width} x {height} pixels; correct it or take it out"
        )
    box = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    polygon = None if found.polygon is None else found.polygon.clip(0, (width, height))
    return replace(found, box=box, polygon=polygon)


def _annotation(number: int, image_id: int, category_id: int, found: LabeledObject) -> CocoAnnotation:
    polygon = None if found.polygon is None else found.polygon.reshape(-1).tolist()
    return box_annotation(number, image_id, category_id, box=found.box, polygon=polygon, crowd=found.crowd)
