"""VGG Image Annotator (VIA 1 and 2) region files -> COCO. Reference: the balloon tutorial of mmdet.

Frame: pixels of the original image. Dimension legend: V vertices of one region.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json
from rtmdet.core.wording import shown
from rtmdet.data.coco.file import is_number
from rtmdet.data.coco.layout import find_folder
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.formats.labeled_image import LabeledImage, LabeledObject, assemble, choose_category_ids
from rtmdet.data.formats.outlines import Outline, ellipse
from rtmdet.data.formats.splits import FoundSplits, Split, convert_files
from rtmdet.data.split_names import group_files

DEFAULT_CLASS = "object"  # of regions without attributes
OUTLINES = ("polygon", "polyline", "rect", "circle", "ellipse")

Regions = Sequence[tuple[str, Mapping[str, object]]]  # each with file, image and region number for messages


def find_via(path: Path, documents: Mapping[Path, object], images: Path | None) -> FoundSplits | None:
    """The splits of VIA, a file each, with the same class attribute; None without its files among the `documents`."""
    via = [file for file, content in documents.items() if is_via(content)]
    groups, _ = group_files(path, via)
    learned = [file for name in ("train", "val") for file in groups.get(name, ())]
    key = class_attribute(*(learned or via)) if via else None
    return convert_files(path, via, partial(convert_via, images=images, class_key=key))


def convert_via(
    annotations: Path, images: Path | None = None, *, class_name: str = DEFAULT_CLASS, class_key: str | None
) -> Split:
    """Convert a VIA region file or VIA 2 project; its images are in the folder `images`, by default found near it.

    Every region has the class `class_name`, or the class in its attribute `class_key`; classes are then numbered in
    the order of their names. Images without regions are kept. Points and unknown shapes are skipped and counted.

    Raises InputError for a file that is not from VIA, a region that cannot be used or a missing image.
    """
    entries = _read_entries(annotations)
    everything = [region for regions in entries.values() for _, region in regions]
    skipped = Counter(kind for region in everything if (kind := _kind_without_outline(region)))
    labeled = []
    for name, regions in entries.items():
        objects: list[LabeledObject] = []
        for where, region in regions:
            if not _kind_without_outline(region):
                with one_entry():
                    objects.append(_read_region(where, region, class_name, class_key))
        labeled.append(LabeledImage(annotations, name, objects))
    ids = choose_category_ids(labeled, [class_name] if class_key is None else None)
    remarks = [f"skipped: {count} x {kind}" for kind, count in skipped.items()]
    unused = sorted({key for region in everything for key in _attributes(region)})
    if class_key is None and class_name == DEFAULT_CLASS and unused:
        remarks.append(f"no region has a class under {', '.join(unused)}: all are of one class, {class_name}")
    # Images count from 0 as in mmdet. Differs from mmdet: annotations count from 1, since COCOeval takes a match with
    # annotation 0 for no match; categories count from 1, too, as usual in COCO.
    folder = images or find_folder(annotations, list(entries))
    return assemble(annotations, labeled, folder, ids, remarks, first_id=0)


def is_via(document: object) -> bool:
    """Whether the content of a JSON file is from VIA: a project, or entries with file names and regions."""
    if isinstance(document, dict) and "_via_img_metadata" in document:
        return True
    return isinstance(document, dict) and bool(document) and all(map(_is_entry, document.values()))


def _is_entry(entry: object) -> bool:
    return isinstance(entry, dict) and {"filename", "regions"} <= entry.keys()


def class_attribute(*paths: Path) -> str | None:
    """The attribute with the class of every region of VIA files; None if regions have no attributes.

    Raises InputError if several attributes could be the class, if half of the regions lack the only one, or for a
    file that is not from VIA.
    """
    groups = [group for path in paths for group in _read_entries(path).values()]
    regions = [pair for group in groups for pair in group if not _kind_without_outline(pair[1])]
    texts = [{key for key in _attributes(region) if _class_text(region, key)} for _, region in regions]
    unclear = [
        (where, key, value)
        for (where, region), usable in zip(regions, texts, strict=True)
        for key, value in _attributes(region).items()
        if not usable and (any(value.values()) if isinstance(value, dict) else bool(value) and value is not True)
    ]
    common = sorted(set.intersection(*texts)) if texts else []
    some = sorted(set().union(*texts))
    # A number is the class only where no text is, or could be.
    words = [key for key in common if not all(is_number(_attributes(region)[key]) for _, region in regions)]
    unfilled = [key for key in some if key not in common and all(key in _attributes(region) for _, region in regions)]
    if words or unfilled:
        common, some = words, words or unfilled
    if len(common) > 1 or (not common and len(some) > 1):
        raise InputError(
            f"{paths[0]}: expected one attribute with the class, found {', '.join(common or some)}; choose one with "
            "rtmdet data convert via --class-key"
        )
    if unclear and not common:
        where, key, value = unclear[0]
        raise InputError(
            f"{where}: expected a class as text, number or one ticked option under {key!r}, found {shown(value)}; "
            "correct it, or use rtmdet data convert via --class-name"
        )
    if some and not common and 2 * sum(some[0] in found for found in texts) > len(texts):
        return some[0]  # the others are faults
    if some and not common:
        where = next(where for (where, _), found in zip(regions, texts, strict=True) if some[0] not in found)
        raise InputError(
            f"{where}: expected a class as text under {some[0]!r}, as in other regions, found none; name the class, "
            "or use rtmdet data convert via --class-name"
        )
    return common[0] if common else None


def _kind_without_outline(region: Mapping[str, object]) -> str:
    """The shape name of a region without area or of an unknown kind; "" for usable regions."""
    shape = region.get("shape_attributes")
    kind = shape.get("name") if isinstance(shape, dict) else None
    return kind if isinstance(kind, str) and kind not in OUTLINES else ""


def _attributes(region: Mapping[str, object]) -> dict[str, object]:
    return _inside(region, "region_attributes")


def _class_text(region: Mapping[str, object], key: str) -> str | None:
    """The value of a region's attribute: a text, a number or the only ticked checkbox; None without any."""
    value = _attributes(region).get(key)
    if isinstance(value, dict):
        ticked = [name for name, on in value.items() if on is True]
        value = ticked[0] if len(ticked) == 1 else None
    return str(value).strip() or None if is_number(value) or isinstance(value, str) else None


def _read_entries(path: Path) -> dict[str, Regions]:
    """The regions by image name. Raises InputError for a file that is not from VIA."""
    document, options = read_json(path), dict[str, dict[str, str]]()
    if isinstance(document, dict) and "_via_img_metadata" in document:
        options, document = _numbered_options(document), document["_via_img_metadata"]
    entries = list(document.values()) if isinstance(document, dict) else []
    if not entries or not all(map(_is_entry, entries)):
        raise InputError(
            f"{path}: expected a VIA region file (entries with 'filename' and 'regions'), found "
            f"{shown(document)}; export the annotations as JSON"
        )
    regions_of: dict[str, Regions] = {}
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
        for region in regions:
            _describe(_attributes(region), options)
        regions_of[name] = [(f"{path}: {name}: region {number}", region) for number, region in enumerate(regions)]
    return regions_of


def _numbered_options(project: Mapping[str, object]) -> dict[str, dict[str, str]]:
    """The descriptions of the options of a project's menus that have numbers, by attribute and number."""
    found: dict[str, dict[str, str]] = {}
    for key, menu in _inside(_inside(project, "_via_attributes"), "region").items():
        options = _inside(menu, "options").items()
        found[key] = {
            number: text for number, text in options if number.isdigit() and isinstance(text, str) and text.strip()
        }
    return found


def _inside(content: object, key: str) -> dict[str, object]:
    """The object under a key; empty if there is none."""
    value = content.get(key) if isinstance(content, Mapping) else None
    return value if isinstance(value, dict) else {}


def _describe(attributes: dict[str, object], options: Mapping[str, Mapping[str, str]]) -> None:
    """Replace the numbers of options by their descriptions."""
    for key, texts in options.items():
        if isinstance(value := attributes.get(key), str):
            attributes[key] = texts.get(value, value)


def _read_region(where: str, region: Mapping[str, object], class_name: str, class_key: str | None) -> LabeledObject:
    shape = region.get("shape_attributes")
    if not isinstance(shape, dict):
        raise InputError(f"{where}: expected 'shape_attributes', found {shown(shape)}; draw the region again")
    name = class_name if class_key is None else _class_text(region, class_key)
    if name is None:
        raise InputError(
            f"{where}: expected the class as text under the attribute {class_key!r}, found "
            f"{shown(region.get('region_attributes'))}; name the region's class or choose another --class-key"
        )
    polygon, box = _outline(where, shape)
    # The box is min and max of the vertices; the polygon runs through pixel centers.
    return LabeledObject(where, name, (None if polygon is None else polygon + 0.5, box))


def _outline(where: str, shape: Mapping[str, object]) -> Outline:
    kind = shape.get("name")
    if kind in ("polygon", "polyline"):
        return _polygon(where, shape)
    if kind == "rect":
        x, y, width, height = _numbers(where, shape, ("x", "y", "width", "height"))
        corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
        return np.array(corners, np.float64), (x, y, x + width, y + height)
    if kind == "circle":
        x, y, radius = _numbers(where, shape, ("cx", "cy", "r"))
        return ellipse(x, y, radius, radius)
    if kind == "ellipse":
        (angle,) = _numbers(where, shape, ("theta",)) if "theta" in shape else (0.0,)
        return ellipse(*_numbers(where, shape, ("cx", "cy", "rx", "ry")), angle=angle)
    raise InputError(
        f"{where}: expected a polygon, polyline, rect, circle or ellipse, found {shown(kind)}; draw it as one of them"
    )


def _polygon(where: str, shape: Mapping[str, object]) -> Outline:
    xs, ys = (_coordinates(where, shape, key) for key in ("all_points_x", "all_points_y"))
    if len(xs) != len(ys):
        raise InputError(f"{where}: expected as many x as y, found {len(xs)} and {len(ys)}; draw the region again")
    if len(xs) < 3:
        raise InputError(
            f"{where}: expected a polygon of at least 3 vertices, found {len(xs)}; draw the region again"
        )
    return np.column_stack([xs, ys]).astype(np.float64), (min(xs), min(ys), max(xs), max(ys))


def _numbers(where: str, shape: Mapping[str, object], keys: Sequence[str]) -> list[float]:
    """The shape's numbers under the keys; sizes and radii must not be negative."""
    values = {key: shape.get(key) for key in keys}
    sizes = ("width", "height", "r", "rx", "ry")
    if not all(is_number(value) and not (key in sizes and value < 0) for key, value in values.items()):
        found = ", ".join(f"{key}={shown(value)}" for key, value in values.items())
        raise InputError(
            f"{where}: expected finite numbers, sizes not negative, found {found}; draw the region again"
        )
    return [cast(float, value) for value in values.values()]


def _coordinates(where: str, shape: Mapping[str, object], key: str) -> list[float]:
    values = shape.get(key)
    if not isinstance(values, list) or not all(is_number(value) for value in values):
        raise InputError(f"{where}: expected a list of numbers under {key!r}, found {shown(values)}; draw it again")
    return values
