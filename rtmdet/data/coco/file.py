"""COCO annotation files: the types of their entries, and a check that turns every fault into one clear line.

Boxes in these files are [x, y, width, height] in pixels of the original image. Format: cocodataset.org, "object
detection".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, TypeGuard, cast

from rtmdet.core.errors import InputError
from rtmdet.data.class_names import describe_similar
from rtmdet.data.coco.repairs import clip_boxes, find_headings, number_annotations
from rtmdet.data.json_file import read_json


class CocoImage(TypedDict):
    """One image; width and height are those of the image turned as its EXIF orientation says."""

    id: int
    file_name: str  # relative to the images' folder
    width: int
    height: int


class CocoAnnotation(TypedDict):
    """One object."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]  # x, y, width, height
    area: float  # square pixels
    iscrowd: int  # 1: a group of objects, kept out of training
    segmentation: NotRequired[list[list[float]] | dict[str, object]]  # polygons x, y, x, y ... or run lengths


class CocoCategory(TypedDict):
    """One class."""

    id: int
    name: str
    absent: NotRequired[bool]  # the file lacks it, it was added here


class CocoFile(TypedDict):
    """A whole annotation file."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


Entry = dict[str, object]

KINDS = {"images": "image", "annotations": "annotation", "categories": "category"}  # an entry of each list


def read_coco(path: Path) -> CocoFile:
    """Read and check an annotation file, as `read_and_repair` does, without the remarks."""
    return read_and_repair(path)[0]


def read_and_repair(path: Path, classes: Collection[str] = ()) -> tuple[CocoFile, list[str]]:
    """Read and check an annotation file; also says, a line each, what had to be mended.

    Annotations of repeated ids, as where an export counts anew in every image, are all numbered from 1 in their
    order; ids of images and classes must not be repeated. Categories that only name a group of others are left out,
    unless they are among `classes`. Where `area` or `iscrowd` are missing they are filled in (the box's area, 0).
    File names get forward slashes. Boxes are cut at the edge of their image.

    Raises InputError at the first fault, with the file, the entry's id and what to do.
    """
    document = read_json(path)
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a COCO object {{...}}, found {shown(document)}; check the path")
    categories = _index(path, document, "categories", _check_category)
    images = _index(path, document, "images", _check_image)
    annotations = _entries(path, document, "annotations", _check_annotation)
    headings = _take_out_headings(document, categories, classes)
    _check_unique_names(path, categories)
    for key, entries in (("images", images), ("categories", categories)):
        if not entries:
            raise InputError(f"{path}: expected at least one entry in {key!r}, found none; check the export")
    for identifier, annotation in annotations:
        _check_references(f"{path}: annotation {identifier}", annotation, images, categories)
    repeated = number_annotations([annotation for _, annotation in annotations])
    cut = clip_boxes([annotation for _, annotation in annotations], images)
    remarks = [f"{repeated} annotations had the id of another one: all are numbered anew, from 1"] if repeated else []
    remarks += [f"{cut} boxes hang over the edge of their image: cut there"] if cut else []
    similar = describe_similar(category["name"] for category in cast(CocoFile, document)["categories"])
    return cast(CocoFile, document), [f"{path}: {text}" for text in (*remarks, *headings, *similar)]


def box_annotation(
    number: int,
    image_id: int,
    category_id: int,
    *,
    box: Sequence[float],
    polygon: list[float] | None = None,
    crowd: bool = False,
) -> CocoAnnotation:
    """An object; `box` is xyxy in pixels, from which bbox and area follow, `polygon` its outline x, y, x, y ..."""
    left, top, right, bottom = box
    annotation: CocoAnnotation = {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "iscrowd": int(crowd),
    }
    if polygon is not None:
        annotation["segmentation"] = [polygon]
    return annotation


def _index(path: Path, document: Entry, key: str, check: Callable[[str, Entry], None]) -> dict[int, Entry]:
    """The checked entries of one list of the file by their ids, which differ."""
    by_id: dict[int, Entry] = {}
    for identifier, entry in _entries(path, document, key, check):
        if identifier in by_id:
            raise InputError(f"{path}: {KINDS[key]} id {identifier} stands twice; number the {key} through the file")
        by_id[identifier] = entry
    return by_id


def _entries(path: Path, document: Entry, key: str, check: Callable[[str, Entry], None]) -> list[tuple[int, Entry]]:
    """The checked entries of one list of the file, each after its id."""
    entries = document.get(key)
    if not isinstance(entries, list):
        found = shown(entries) if key in document else "no such key"
        raise InputError(
            f"{path}: expected a list under {key!r}, found {found}; is this COCO? see rtmdet data convert"
        )
    numbered = []
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: {key}[{position}]: expected an object, found {shown(entry)}; correct it")
        identifier = _integer(f"{path}: {key}[{position}]", entry, "id")
        check(f"{path}: {KINDS[key]} {identifier}", entry)
        numbered.append((identifier, entry))
    return numbered


def _take_out_headings(document: Entry, categories: dict[int, Entry], classes: Collection[str]) -> list[str]:
    """Leave out of both what is no class but a group's name; a line about each."""
    used = {annotation["category_id"] for annotation in cast(CocoFile, document)["annotations"]}
    found = find_headings(categories.values(), used)
    names = [category["name"] for identifier, category in categories.items() if identifier not in found]
    kept = set(classes) - set(names)  # a group may bear the name of a class of its own
    headings = {number: categories.pop(number) for number in found if categories[number]["name"] not in kept}
    document["categories"] = list(categories.values())
    return [
        f"category {identifier}, {entry['name']!r}, has no objects and is the supercategory of others: not a class"
        for identifier, entry in headings.items()
    ]


def _check_category(where: str, entry: Entry) -> None:
    name = _value(where, entry, "name")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: expected a text for 'name', found {shown(name)}; name the class")


def _check_unique_names(path: Path, categories: dict[int, Entry]) -> None:
    first: dict[object, int] = {}
    for identifier, entry in categories.items():
        other = first.setdefault(entry["name"], identifier)
        if other != identifier:
            name = entry["name"]
            raise InputError(
                f"{path}: categories {other} and {identifier} are both named {name!r}; rename or merge them"
            )


def _check_image(where: str, entry: Entry) -> None:
    name = _value(where, entry, "file_name")
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}: expected a text for 'file_name', found {shown(name)}; name the image's file")
    entry["file_name"] = name.replace("\\", "/")  # as Windows writes it
    for key in ("width", "height"):
        if isinstance(size := entry.get(key), float) and size.is_integer():
            entry[key] = int(size)
        if _integer(where, entry, key) < 1:
            raise InputError(f"{where}: expected {key!r} of at least 1 pixel, found {entry[key]}; correct it")


def _check_annotation(where: str, entry: Entry) -> None:
    for key in ("image_id", "category_id"):
        _integer(where, entry, key)
    box = _value(where, entry, "bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box):
        raise InputError(f"{where}: expected 4 finite numbers for 'bbox', found {shown(box)}; correct the box")
    if box[2] < 0 or box[3] < 0:
        raise InputError(
            f"{where}: expected a 'bbox' [x, y, width, height], found the negative size {box}; correct it"
        )
    for key, value in (("area", box[2] * box[3]), ("iscrowd", 0)):
        if entry.get(key) is None:
            entry[key] = value
    area, crowd = entry["area"], entry["iscrowd"]
    if not is_number(area):
        raise InputError(f"{where}: expected a finite number for 'area', found {shown(area)}; correct it")
    if crowd not in (0, 1):
        raise InputError(f"{where}: expected 0 or 1 for 'iscrowd', found {shown(crowd)}; correct it")


def _check_references(where: str, entry: Entry, images: dict[int, Entry], categories: dict[int, Entry]) -> None:
    """The annotation's image and category stand in the file, and its box touches the image."""
    category, image = (cast(int, entry[key]) for key in ("category_id", "image_id"))
    if category not in categories:
        known = ", ".join(f"{identifier}" for identifier in categories)
        raise InputError(
            f"{where}: unknown category_id {category} (the file has {known}); correct it or add the category"
        )
    if image not in images:
        raise InputError(f"{where}: unknown image_id {image}; correct it or add the image to 'images'")
    if is_outside(cast(CocoAnnotation, entry), cast(CocoImage, images[image])):
        raise InputError(
            f"{where}: box {entry['bbox']} (x, y, width, height) lies outside its image {image} of "
            f"{images[image]['width']} x {images[image]['height']} pixels; correct the box or take it out"
        )


def is_outside(annotation: CocoAnnotation, image: CocoImage) -> bool:
    """Whether a box does not touch its image. One of less than a pixel counts as inside: it is left out later."""
    x, y, width, height = annotation["bbox"]
    if width < 1 or height < 1:
        return False
    return x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0


def _value(where: str, entry: Entry, key: str) -> object:
    if key not in entry:
        raise InputError(f"{where}: the key {key!r} is missing; add it")
    return entry[key]


def _integer(where: str, entry: Entry, key: str) -> int:
    value = _value(where, entry, key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{where}: expected an integer for {key!r}, found {shown(value)}; correct it")
    return value


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a number that pixels can hold; NaN fails every comparison."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def shown(value: object) -> str:
    """A value as messages quote it: on one line and not long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def entry_fault(key: str, where: str, entry: object) -> str | None:
    """What `read_coco` would refuse in an entry of the list `key`, in the words of its message; None: nothing.

    `where` begins the message. Fills in what `read_coco` fills in.
    """
    check = {"images": _check_image, "annotations": _check_annotation, "categories": _check_category}[key]
    if not isinstance(entry, dict):
        return f"{where}: expected an object, found {shown(entry)}; correct it"
    try:
        _integer(where, entry, "id")
        check(where, entry)
    except InputError as error:
        return str(error)
    return None
