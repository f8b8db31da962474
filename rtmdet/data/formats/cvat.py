"""CVAT for images 1.1 (one XML file), read and written. Format: CVAT's documentation, "XML annotation format".

Frame: continuous pixels from the image's top left corner. Dimension legend: V vertices of one shape.
Not done with hotcoco, which ignores rotations, ellipses and masks, and accepts NaN.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below
from rtmdet.core.wording import shown
from rtmdet.data.coco.file import CocoAnnotation, CocoImage
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.formats.labeled_image import LabeledImage, LabeledObject, assemble, choose_category_ids
from rtmdet.data.formats.outlines import Outline, around, ellipse, rotated_box
from rtmdet.data.formats.splits import FoundSplits, Split, convert_files
from rtmdet.data.formats.xml_file import parse_number, read_xml, root_tag, xml_text
from rtmdet.data.image_names import ImageNames
from rtmdet.data.split_names import by_split, group_files, joined_remark, only_file, unused_remark

FEW_FILES = 4  # XML files checked for CVAT if none is called annotations.xml
SKIPPED = ("polyline", "points", "cuboid", "skeleton")
CVAT_END = "</annotations>\n"


def find_cvat(path: Path, images: Path | None) -> FoundSplits | None:
    """The splits of CVAT: one file each, or the subsets of a project; None without a CVAT file."""
    files = [path] if path.is_file() else files_below(path, (".xml",), levels=1)
    usual = [file for file in files if file.name == "annotations.xml"]
    others = [file for file in files if file not in usual and file.suffix.lower() == ".xml"][:FEW_FILES]
    found, more = list(filter(_is_cvat, usual)), list(filter(_is_cvat, others))
    if not found:
        found, more = more, []
    remarks = [f"{file}: not used, since {found[0]} is: remove the one that is out of date" for file in more]
    files_of, unnamed = group_files(path, found)
    if [*files_of] != ["train"]:
        splits = convert_files(path, found, partial(convert_cvat, images=images))
        return None if splits is None else replace(splits, remarks=[*splits.remarks, *remarks])
    file = only_file(path, "train", files_of["train"])
    remarks += unused_remark(path, unnamed)
    groups, without = _splits(read_xml(file).findall("image"))
    groups = groups or {"train": []}  # for a file without images, which the reader rejects
    converts = {name: partial(convert_cvat, file, images, subsets=subsets) for name, subsets in groups.items()}
    return FoundSplits(converts, [*remarks, *unused_remark(file, [f"subset {subset!r}" for subset in without])])


def _is_cvat(path: Path) -> bool:
    return root_tag(path) == "annotations"


def _splits(entries: Iterable[Element]) -> tuple[dict[str, list[str]], list[str]]:
    """The subsets of each split, and those of none."""
    return by_split(sorted(set(map(_subset, entries))), Path)


def _subset(entry: Element) -> str:
    """The subset of a project that an image is in; "" in a task."""
    return entry.get("subset", "")


def convert_cvat(
    annotations: Path,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    *,
    subsets: Collection[str] | None = None,
) -> Split:
    """Convert a CVAT XML file; the images are in `images`, by default in images/ beside it, else beside it.

    `subsets` selects subsets of a project, None all; their images may be in a folder with the subset's name. Classes
    are `names`, else the task's labels in CVAT's order, else those of all objects, sorted. Boxes, polygons, ellipses
    and masks (by their boxes) become objects; rotated shapes get an axis-aligned box. Other shapes are skipped and
    counted. Image tags are ignored.

    Raises InputError for a file, shape or image that cannot be used.
    """
    root = read_xml(annotations)
    entries = root.findall("image")
    if root.tag != "annotations" or not entries:
        raise InputError(
            f"{annotations}: expected <annotations> with <image> entries, found <{root.tag}> with {len(entries)}; "
            "export the task as 'CVAT for images'"
        )
    beside = annotations.parent / "images"
    folder = images or (beside if beside.is_dir() else annotations.parent)
    entries = [entry for entry in entries if subsets is None or _subset(entry) in subsets]
    labeled = []
    for entry in entries:
        with one_entry():
            labeled.append(_read_image(annotations, entry, folder))
    # The points of a skeleton are labels, too, with a <parent>.
    kinds = [label for label in root.findall("meta//labels/label") if not label.findtext("parent")]
    labels = [(label.findtext("name") or "").strip() for label in kinds if label.findtext("type") != "skeleton"]
    classes = choose_category_ids(labeled, names or list(dict.fromkeys(labels)) or None)
    skipped = Counter(shape.tag for entry in entries for shape in entry if shape.tag in SKIPPED)
    remarks = [f"skipped: {count} x {kind}" for kind, count in skipped.items()]
    if subsets is None:
        remarks += joined_remark(annotations, _splits(entries)[0])
    return assemble(annotations, labeled, folder, classes, remarks)


def _read_image(path: Path, entry: Element, folder: Path) -> LabeledImage:
    name = entry.get("name", "").strip().replace("\\", "/")
    if not name:
        raise InputError(f"{path}: image {entry.get('id')}: expected a file name under 'name', found none; add it")
    where = f"{path}: {name}"
    width, height = _numbers(where, entry, ("width", "height"))
    shapes = [shape for shape in entry if shape.tag in OUTLINES]
    objects = []
    for number, shape in enumerate(shapes, start=1):
        with one_entry():
            objects.append(_read_shape(f"{where}: shape {number}", shape))
    if _subset(entry) and ImageNames(folder).has(within := f"{_subset(entry)}/{name}"):
        name = within
    return LabeledImage(path, name, objects, (int(height), int(width)))


def _read_shape(where: str, shape: Element) -> LabeledObject:
    label = shape.get("label", "").strip()
    if not label:
        raise InputError(f"{where}: expected a class under 'label', found none; add it")
    return LabeledObject(where, label, OUTLINES[shape.tag](where, shape))


def _box(where: str, shape: Element) -> Outline:
    left, top, right, bottom = _numbers(where, shape, ("xtl", "ytl", "xbr", "ybr"))
    if right < left or bottom < top:
        raise InputError(
            f"{where}: expected xtl <= xbr and ytl <= ybr, found {left:g}, {top:g}, {right:g}, {bottom:g}; correct it"
        )
    if not (angle := _angle(where, shape)):
        return None, (left, top, right, bottom)
    return rotated_box((left + right) / 2, (top + bottom) / 2, right - left, bottom - top, angle=angle)


def _polygon(where: str, shape: Element) -> Outline:
    text = shape.get("points", "")
    try:
        points = np.array([[float(value) for value in pair.split(",")] for pair in text.split(";")])
    except ValueError:  # not numbers, or not in pairs
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3 or not np.isfinite(points).all():
        raise InputError(f"{where}: expected 'points' x,y;x,y;... of 3 or more, found {shown(text)}; draw it again")
    return around(points)


def _ellipse(where: str, shape: Element) -> Outline:
    return ellipse(*_numbers(where, shape, ("cx", "cy", "rx", "ry")), angle=_angle(where, shape))


def _mask(where: str, shape: Element) -> Outline:
    left, top, width, height = _numbers(where, shape, ("left", "top", "width", "height"))
    return None, (left, top, left + width, top + height)


def _angle(where: str, shape: Element) -> float:
    """The clockwise rotation in radians, from x to y."""
    return math.radians(_numbers(where, shape, ("rotation",))[0]) if "rotation" in shape.attrib else 0.0


OUTLINES = {"box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask}


def _numbers(where: str, element: Element, keys: Sequence[str]) -> list[float]:
    """The attributes as numbers; sizes and radii must not be negative."""
    numbers = []
    for key in keys:
        text = element.get(key)
        number = parse_number(text)
        if number is None or (key in ("width", "height", "rx", "ry") and number < 0):
            raise InputError(
                f"{where}: expected a finite number, not negative for a size, under {key!r}, found {shown(text)}"
            )
        numbers.append(number)
    return numbers


def cvat_begin(names: Sequence[str]) -> str:
    """The beginning of the file, with the class names as the labels of its task."""
    meta = Element("meta")
    labels = SubElement(SubElement(meta, "task"), "labels")
    for name in names:
        SubElement(SubElement(labels, "label"), "name").text = name
    indent(meta)
    text = tostring(meta, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n{text}\n'


def cvat_image(image: CocoImage, annotations: Sequence[CocoAnnotation], names: Mapping[int, str]) -> str:
    """The entry of one image, with its boxes."""
    sides = {"width": str(image["width"]), "height": str(image["height"])}
    entry = Element("image", {"id": str(image["id"] - 1), "name": xml_text(image["file_name"]), **sides})
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        corners = zip(("xtl", "ytl", "xbr", "ybr"), (x, y, x + width, y + height), strict=True)
        box = {"label": names[annotation["category_id"]], "source": "auto", "occluded": "0", "z_order": "0"}
        SubElement(entry, "box", {**box, **{key: f"{value:.2f}" for key, value in corners}})
    indent(entry)
    return tostring(entry, encoding="unicode") + "\n"
