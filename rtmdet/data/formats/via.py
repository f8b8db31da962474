"""VGG Image Annotator (VIA 1 and 2) region files -> COCO. Reference: the balloon tutorial of mmdet.

Frame: pixels of the original image. Dimension legend: V vertices of one region.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage, box_annotation, is_number, is_outside, shown
from rtmdet.data.formats.ellipse import ellipse
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.formats.labeled_image import ConvertedSet
from rtmdet.data.image_names import locate_images
from rtmdet.data.images import image_size
from rtmdet.data.json_file import read_json

DEFAULT_CLASS = "object"  # of regions without attributes
OUTLINES = ("polygon", "polyline", "rect", "circle", "ellipse")


@dataclass(frozen=True, slots=True, eq=False)
class _Outline:
    """The shape of one region."""

    polygon: np.ndarray  # (V, 2) float64 as (x, y)
    box: tuple[float, float, float, float]  # xyxy


@dataclass(frozen=True, slots=True)
class _Region:
    """One annotated object."""

    where: str  # file, image and region, for messages
    outline: _Outline
    name: str  # class name


def convert_via(annotations: Path, images: Path, *, class_name: str, class_key: str | None) -> ConvertedSet:
    """Convert a VIA region file or VIA 2 project.

    Every region has the class `class_name`, or the class in its attribute `class_key`; classes are then numbered in
    the order of their names. Images without regions are kept. Image sizes are read from the files in the folder
    `images`. Points and unknown shapes are skipped and counted.

    Raises InputError for a file that is not from VIA, a region that cannot be used or a missing image.
    """
    entries = _read_entries(annotations)
    everything = [region for regions in entries.values() for _, region in regions]
    skipped = Counter(kind for region in everything if (kind := _kind_without_outline(region)))
    regions_of: dict[str, list[_Region]] = {name: [] for name in entries}
    for name, regions in entries.items():
        for where, region in regions:
            if not _kind_without_outline(region):
                with one_entry():
                    regions_of[name].append(_read_region(where, region, class_name, class_key))
    files, remarks = locate_images(annotations, images, list(regions_of))
    names = [class_name] if class_key is None else sorted({one.name for each in regions_of.values() for one in each})
    ids = {name: number for number, name in enumerate(names, start=1)}
    coco: CocoFile = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name} for name, number in ids.items()],
    }
    for image_id, (name, file) in enumerate(files.items()):
        image = _coco_image(image_id, file, images)
        coco["images"].append(image)
        for found in regions_of[name]:
            # Differs from mmdet: annotations count from 1, since COCOeval takes a match with annotation 0 for
            # no match; categories count from 1, too, as usual in COCO.
            number = len(coco["annotations"]) + 1
            annotation = _coco_annotation(number, image_id, ids[found.name], found.outline)
            with one_entry():
                if is_outside(annotation, image):
                    raise InputError(
                        f"{found.where}: it lies outside its image of {image['width']} x {image['height']} pixels; "
                        "correct or remove it"
                    )
                coco["annotations"].append(annotation)
    return ConvertedSet(coco, images, [*(f"skipped: {count} x {kind}" for kind, count in skipped.items()), *remarks])


def is_via(document: object) -> bool:
    """Whether the content of a JSON file is from VIA: a project, or entries with file names and regions."""
    if isinstance(document, dict) and "_via_img_metadata" in document:
        return True
    return isinstance(document, dict) and bool(document) and all(map(_is_entry, document.values()))


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and {"filename", "regions"} <= entry.keys()


def class_attribute(*paths: Path) -> str | None:
    """The attribute with the class of every region of VIA files; None if regions have no attributes.

    Raises InputError if several attributes could be the class, if a region lacks the only one, or for a file that is
    not from VIA.
    """
    groups = [group for path in paths for group in _read_entries(path).values()]
    regions = [pair for group in groups for pair in group if not _kind_without_outline(pair[1])]
    texts = [{key for key in _attributes(region) if _class_text(region, key)} for _, region in regions]
    common = sorted(set.intersection(*texts)) if texts else []
    some = sorted(set().union(*texts))
    if len(common) > 1 or (not common and len(some) > 1):
        raise InputError(
            f"{paths[0]}: expected one attribute with the class, found {', '.join(common or some)}; choose one with "
            "rtmdet data convert via --class-key"
        )
    if some and not common:
        where = next(where for (where, _), found in zip(regions, texts, strict=True) if not found)
        raise InputError(
            f"{where}: expected a class as text under {some[0]!r}, as in other regions, found none; name the class, "
            "or use rtmdet data convert via --class-name"
        )
    return common[0] if common else None


def via_file_names(path: Path) -> list[str]:
    """The image names in a VIA file. Raises InputError for a file that is not from VIA."""
    return list(_read_entries(path))


def _kind_without_outline(region: Mapping[str, object]) -> str:
    """The shape name of a region without area or of an unknown kind; "" for usable regions."""
    shape = region.get("shape_attributes")
    kind = shape.get("name") if isinstance(shape, dict) else None
    return kind if isinstance(kind, str) and kind not in OUTLINES else ""


def _attributes(region: Mapping[str, object]) -> Mapping[str, object]:
    attributes = region.get("region_attributes")
    return attributes if isinstance(attributes, dict) else {}


def _class_text(region: Mapping[str, object], key: str) -> str | None:
    """The value of a region's attribute: a text, or the only ticked checkbox; None if there is neither."""
    value = _attributes(region).get(key)
    if isinstance(value, dict):
        ticked = [name for name, on in value.items() if on is True]
        value = ticked[0] if len(ticked) == 1 else None
    return value if isinstance(value, str) and value else None


def _read_entries(path: Path) -> dict[str, list[tuple[str, Mapping[str, object]]]]:
    """The regions by image name, each with file, image and region number for messages."""
    document = read_json(path)
    if isinstance(document, dict) and "_via_img_metadata" in document:
        document = document["_via_img_metadata"]
    entries = list(document.values()) if isinstance(document, dict) else []
    if not entries or not all(map(_is_entry, entries)):
        raise InputError(
            f"{path}: expected a VIA region file (entries with 'filename' and 'regions'), found "
            f"{shown(document)}; export the annotations as JSON"
        )
    regions_of: dict[str, list[tuple[str, Mapping[str, object]]]] = {}
    for entry in entries:
        name, regions = entry["filename"], entry["regions"]
        if not isinstance(name, str):
            raise InputError(f"{path}: expected text for 'filename', found {shown(name)}; export the file again")
        name = name.replace("\\", "/")
        if name in regions_of:
            raise InputError(f"{path}: expected one entry per 'filename', found {shown(name)} twice; merge them")
        if isinstance(regions, dict):  # VIA 1: a mapping from numbers
            regions = list(regions.values())
        if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
            raise InputError(f"{path}: {name}: expected regions, found {shown(regions)}; export the file again")
        regions_of[name] = [(f"{path}: {name}: region {number}", region) for number, region in enumerate(regions)]
    return regions_of


def _read_region(where: str, region: Mapping[str, object], class_name: str, class_key: str | None) -> _Region:
    shape = region.get("shape_attributes")
    if not isinstance(shape, dict):
        raise InputError(f"{where}: expected 'shape_attributes', found {shown(shape)}; draw the region again")
    name = class_name if class_key is None else _class_text(region, class_key)
    if name is None:
        raise InputError(
            f"{where}: expected the class as text under the attribute {class_key!r}, found "
            f"{shown(region.get('region_attributes'))}; name the region's class or choose another --class-key"
        )
    return _Region(where, _outline(where, shape), name)


def _outline(where: str, shape: Mapping[str, object]) -> _Outline:
    """The vertices and the box of a region's shape."""
    kind = shape.get("name")
    if kind in ("polygon", "polyline"):
        return _polygon(where, shape)
    if kind == "rect":
        x, y, width, height = _numbers(where, shape, ("x", "y", "width", "height"))
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        return _Outline(np.array(corners, np.float64), (x, y, x + width, y + height))
    if kind == "circle":
        x, y, radius = _numbers(where, shape, ("cx", "cy", "r"))
        return _Outline(*ellipse((x, y), (radius, radius)))
    if kind == "ellipse":
        x, y, radius_x, radius_y = _numbers(where, shape, ("cx", "cy", "rx", "ry"))
        (angle,) = _numbers(where, shape, ("theta",)) if "theta" in shape else (0.0,)
        return _Outline(*ellipse((x, y), (radius_x, radius_y), angle=angle))
    raise InputError(
        f"{where}: expected a polygon, polyline, rect, circle or ellipse, found {shown(kind)}; draw it as one of them"
    )


def _polygon(where: str, shape: Mapping[str, object]) -> _Outline:
    xs, ys = (_coordinates(where, shape, key) for key in ("all_points_x", "all_points_y"))
    if len(xs) != len(ys):
        raise InputError(f"{where}: expected as many x as y, found {len(xs)} and {len(ys)}; draw the region again")
    if len(xs) < 3:
        raise InputError(
            f"{where}: expected a polygon of at least 3 vertices, found {len(xs)}; draw the region again"
        )
    return _Outline(np.column_stack([xs, ys]).astype(np.float64), (min(xs), min(ys), max(xs), max(ys)))


def _numbers(where: str, shape: Mapping[str, object], keys: Sequence[str]) -> list[float]:
    """The shape's numbers under the keys; sizes and radii must not be negative."""
    values = [shape.get(key) for key in keys]
    sizes = ("width", "height", "r", "rx", "ry")
    usable = [is_number(value) and not (key in sizes and value < 0) for key, value in zip(keys, values, strict=True)]
    if not all(usable):
        found = ", ".join(f"{key}={shown(value)}" for key, value in zip(keys, values, strict=True))
        raise InputError(
            f"{where}: expected finite numbers, sizes not negative, found {found}; draw the region again"
        )
    return [cast(float, value) for value in values]


def _coordinates(where: str, shape: Mapping[str, object], key: str) -> list[float]:
    values = shape.get(key)
    if not isinstance(values, list) or not all(is_number(value) for value in values):
        raise InputError(f"{where}: expected a list of numbers under {key!r}, found {shown(values)}; draw it again")
    return values


def _coco_image(number: int, name: str, folder: Path) -> CocoImage:
    height, width = image_size(folder / name)
    return {"id": number, "file_name": name, "width": width, "height": height}


def _coco_annotation(number: int, image_id: int, category_id: int, outline: _Outline) -> CocoAnnotation:
    """A COCO annotation. The box is min and max of the vertices; the polygon runs through pixel centers (+ 0.5)."""
    polygon = (outline.polygon + 0.5).reshape(-1).tolist()
    return box_annotation(number, image_id, category_id, box=outline.box, polygon=polygon)
