"""COCO annotation files: the types of their entries, read and checked with a one-line error for every fault.

Boxes in these files are [x, y, width, height] in pixels of the original image. Format: cocodataset.org, "object
detection".
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NotRequired, TypedDict, TypeGuard, cast

from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json
from rtmdet.core.wording import LONGEST_LINE, is_one_line, shortened, shown
from rtmdet.data.class_names import id_shift, shift_text, similar_name_remarks
from rtmdet.data.coco import repairs
from rtmdet.data.formats.faults import one_entry, raise_or_collect
from rtmdet.data.image_names import ImageNames
from rtmdet.images.reading import check_size, image_size


class CocoImage(TypedDict):
    """One image; width and height are those after EXIF rotation."""

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
    iscrowd: int  # 1: a crowd region (a group of objects), not used for training
    ignore: NotRequired[int]  # 1: not used for training, as in mmdet; COCO's evaluation counts it
    segmentation: NotRequired[list[list[float]] | dict[str, object]]  # polygons x, y, x, y ... or RLE


class CocoCategory(TypedDict):
    """One class."""

    id: int
    name: str
    absent: NotRequired[bool]  # not in the file, added here


class CocoFile(TypedDict):
    """A whole annotation file."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


Entry = dict[str, object]

KINDS = {"images": "image", "annotations": "annotation", "categories": "category"}  # name of an entry of each list


def read_boxes(path: Path) -> object:
    """The content of an annotation file without the outlines of boxes: most of it, and training does not use them."""
    return read_json(path, _without_outline)


def read_coco(path: Path) -> CocoFile:
    """Read and check an annotation file, as `read_and_repair` does, without the remarks."""
    return read_and_repair(path)[0]


def read_and_repair(
    path: Path, classes: Collection[str] = (), document: object = None, *, images: Path | None = None
) -> tuple[CocoFile, list[str]]:
    """Read and check an annotation file; also returns one line about each kind of repair.

    If annotation ids repeat (some exporters restart in every image), all are renumbered from 1; ids of images and
    classes must not repeat. Entries of one image are joined. Categories that are only the supercategory of others are
    removed, unless they are among `classes`. Rotated boxes become upright, all are clipped to their image. `document`
    is the file's content where it is read already; it becomes the result. Missing image sizes are read from the image
    files in the folder `images`.

    Raises InputError at the first fault, with the file, the entry's id and what to do.
    """
    file, groups, again = read_sound(path, classes, document, images=images)
    entries = {image["id"]: image for image in file["images"]}
    turned = repairs.turn_rotated_boxes(file["annotations"])
    for annotation in file["annotations"]:  # Differs from mmdet: that skips boxes outside of their image
        if is_outside(annotation, image := entries[annotation["image_id"]]):
            if images is not None and (found := ImageNames(images, path).path(image["file_name"])):
                check_entry_size(found, image_size(found), image, path)  # the likelier reason
            raise InputError(
                f"{path}: annotation {annotation['id']}: box {annotation['bbox']} (x, y, width, height) lies outside "
                f"its image {image['id']} of {image['width']} x {image['height']} pixels; correct or remove the box"
            )
    annotations = cast("list[Entry]", file["annotations"])
    repeated = repairs.renumber_annotations(annotations)
    clipped = repairs.clip_overhanging_boxes(annotations, entries)
    repaired = (
        repairs.repeated_images_remark(len(again)),
        f"repeated annotation ids: {repeated}; all are renumbered from 1" if repeated else "",
        f"rotated boxes: {turned}, replaced by the upright boxes around them" if turned else "",
        repairs.clipped_remark(clipped, len(annotations)),
    )
    not_classes = [
        f"category {group['id']}, {group['name']!r}, has no objects and is the supercategory of others: not a class"
        for group in groups
    ]
    similar = similar_name_remarks(category["name"] for category in file["categories"])
    return file, [f"{path}: {text}" for text in (*filter(None, repaired), *not_classes, *similar)]


def read_sound(
    path: Path, classes: Collection[str] = (), document: object = None, *, images: Path | None
) -> tuple[CocoFile, list[CocoCategory], dict[int, int]]:
    """The usable entries, the categories removed because they are only the supercategory of others, and repeated ids.

    These are of images that were listed again, with the first id of each; see `join_repeated_images`.

    Every annotation has its image and its category among them; its box may lie outside the image. Missing `area` and
    `iscrowd` are filled in (the box's area, 0), and image sizes from the files in `images`. File names get forward
    slashes.

    Raises InputError at the first fault; while faults are collected, only if the file has no list of images.
    """
    document = read_json(path) if document is None else document
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a COCO object {{...}}, found {shown(document)}; check the path")
    _list(path, document, "images")  # required even while faults are collected
    given = {
        key: _read_entries(path, document, key, check)
        for key, check in (
            ("categories", _check_category),
            ("images", partial(_check_image, None if images is None else ImageNames(images, path))),
            ("annotations", _check_annotation),
        )
    }
    file = cast(CocoFile, document)
    groups = repairs.remove_group_categories(file, classes)
    _check_unique_names(path, file["categories"])
    _check_references(path, file, given)
    return file, groups, repairs.join_repeated_images(file)


def box_annotation(
    number: int,
    image_id: int,
    category_id: int,
    *,
    box: Sequence[float],
    polygon: list[float] | None = None,
    crowd: bool = False,
) -> CocoAnnotation:
    """An object; `box` is xyxy in pixels and gives bbox and area, `polygon` is its outline x, y, x, y ..."""
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


def by_image(annotations: Iterable[CocoAnnotation]) -> defaultdict[int, list[CocoAnnotation]]:
    """The objects of every image, by image id."""
    found = defaultdict(list)
    for annotation in annotations:
        found[annotation["image_id"]].append(annotation)
    return found


def _list(path: Path, document: Entry, key: str) -> list[object]:
    entries = document.get(key)
    if not isinstance(entries, list):
        found = shown(entries) if key in document else "no such key"
        raise InputError(
            f"{path}: expected a list under {key!r}, found {found}; is this COCO? see rtmdet data convert"
        )
    return entries


def _read_entries(path: Path, document: Entry, key: str, check: Callable[[str, Entry], None]) -> set[int]:
    """Keep only the usable entries in one list of the file; returns the ids of all entries."""
    entries: list[object] = []
    with one_entry("missing-list"):
        entries = _list(path, document, key)
        if not entries and key != "annotations":
            raise_or_collect(
                f"{path}: expected at least one entry in {key!r}, found none; check the export", "empty-list"
            )
    sound: list[Entry] = []
    given: set[int] = set()
    document[key] = sound
    for position, entry in enumerate(entries):
        where = f"{key}[{position}]"
        if isinstance(entry, dict) and key == "annotations" and _is_no_number(entry.get("id")):
            entry["id"] = position + 1  # nothing refers to it
        identifier = whole_number(entry.get("id")) if isinstance(entry, dict) else None
        if identifier in given and key != "annotations":
            text = f"{KINDS[key]} id {identifier} is used twice, again at {where}; give each {KINDS[key]} its own id"
            raise_or_collect(f"{path}: {text}", f"repeated-{KINDS[key]}-id", key, identifier)
            continue
        with one_entry("broken-entry", key, identifier):
            if not isinstance(entry, dict):
                raise InputError(f"{path}: {where}: expected an object {{...}}, found {shown(entry)}; correct it")
            given.add(_integer(f"{path}: {where}", entry, "id"))
            check(f"{path}: {KINDS[key]} {identifier}", entry)
            sound.append(entry)
    return given


def _is_no_number(identifier: object) -> bool:
    """Whether an id is missing, or text such as a UUID."""
    return isinstance(identifier, str | None) and whole_number(identifier) is None


def _check_category(where: str, entry: Entry) -> None:
    if not is_one_line(name := _text(where, entry, "name", "name the class")):
        raise InputError(
            f"{where}: expected one line of at most {LONGEST_LINE} letters for 'name', found {shown(name)}; rename "
            "the class"
        )
    entry["name"] = name.strip()  # as in all other formats, to which it may be exported


def _check_unique_names(path: Path, categories: Iterable[CocoCategory]) -> None:
    first: dict[str, int] = {}
    for category in categories:
        name, identifier = category["name"], category["id"]
        other = first.setdefault(name, identifier)
        if other != identifier:
            text = (
                f"categories {other} and {identifier} are both named {name!r}; give one another name in the file, or "
                "the objects of both the same category_id"
            )
            raise_or_collect(f"{path}: {text}", "repeated-name")


def check_entry_size(path: Path, size: tuple[int, int], entry: CocoImage, annotations: Path) -> None:
    """Raise InputError if the (H, W) of an image file differs from its entry in the annotation file."""
    check_size(path, size, (entry["height"], entry["width"]), f"image {entry['id']} in {annotations}")


def _check_image(names: ImageNames | None, where: str, entry: Entry) -> None:
    name = _text(where, entry, "file_name", "name the image's file")
    entry["file_name"] = re.sub(r"(?<![^/])\./", "", name.replace("\\", "/"))  # as Windows writes it; ./ says nothing
    if names is not None and not (entry.get("width") and entry.get("height")) and (file := names.path(name)):
        height, width = image_size(file)
        entry |= {"height": entry.get("height") or height, "width": entry.get("width") or width}
    for key in ("width", "height"):
        if _integer(where, entry, key) < 1:
            raise InputError(f"{where}: expected {key!r} of at least 1 pixel, found {entry[key]}; correct it")


def _without_outline(entry: Entry) -> Entry:
    if entry.get("bbox") and entry.pop("segmentation", None):
        entry.pop("attributes", None)  # whose angle is that of a box without an outline
    return entry


def _check_annotation(where: str, entry: Entry) -> None:
    for key in ("image_id", "category_id"):
        _integer(where, entry, key)
    box = _box_around(entry.get("segmentation")) if entry.get("bbox") in (None, []) else entry["bbox"]
    if box is None:
        mask = isinstance(entry.get("segmentation"), dict)
        found, remedy = (
            ("a mask", "write its box, as of pycocotools.mask.toBbox") if mask else ("neither", "draw the box")
        )
        raise InputError(f"{where}: expected a 'bbox' or polygons under 'segmentation', found {found}; {remedy}")
    entry["bbox"] = box
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
    entry["iscrowd"] = int(crowd)  # of true or 1.0


def _box_around(segmentation: object) -> list[float] | None:
    """The box x, y, width, height around polygons; None if there are none."""
    polygons = segmentation if isinstance(segmentation, list) else []
    flat = [value for polygon in polygons if isinstance(polygon, list) for value in polygon[: len(polygon) // 2 * 2]]
    if not flat or not all(map(is_number, flat)):
        return None
    (left, right), (top, bottom) = ((min(values), max(values)) for values in (flat[::2], flat[1::2]))
    return [left, top, right - left, bottom - top]


def _check_references(path: Path, file: CocoFile, given: Mapping[str, set[int]]) -> None:
    """Keep only annotations with a usable image and category. Broken images and categories are reported already."""
    images, categories = ({entry["id"]: entry for entry in file[key]} for key in ("images", "categories"))
    used, known = {annotation["category_id"] for annotation in file["annotations"]}, shortened(categories)
    if shift := id_shift(used, given["categories"]):
        raise_or_collect(f"{path}: {shift_text(used, given['categories'], shift)}", "shifted-ids")
        for annotation in file["annotations"]:
            annotation["category_id"] -= shift
    for annotation in file["annotations"]:
        where = f"{path}: annotation {annotation['id']}"
        category, image = annotation["category_id"], annotation["image_id"]
        if category not in given["categories"]:
            text = f"unknown category_id {category} (the file has {known}); correct it or add the category"
            raise_or_collect(f"{where}: {text}", "unknown-category", "annotations", annotation["id"])
        if image not in given["images"]:
            text = f"unknown image_id {image}; correct it or add the image to 'images'"
            raise_or_collect(f"{where}: {text}", "unknown-image", "annotations", annotation["id"])
    file["annotations"] = [
        annotation
        for annotation in file["annotations"]
        if annotation["image_id"] in images and annotation["category_id"] in categories
    ]


def is_outside(annotation: CocoAnnotation, image: CocoImage) -> bool:
    """Whether a box does not touch its image. A box under 1 pixel counts as inside: it is skipped later."""
    x, y, width, height = annotation["bbox"]
    if width < 1 or height < 1:
        return False
    return x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0


def _value(where: str, entry: Entry, key: str) -> object:
    if key not in entry:
        raise InputError(f"{where}: the key {key!r} is missing; add it")
    return entry[key]


def _text(where: str, entry: Entry, key: str, remedy: str) -> str:
    value = _value(where, entry, key)
    if not isinstance(value, str) or not value:
        raise InputError(f"{where}: expected text for {key!r}, found {shown(value)}; {remedy}")
    return value


def _integer(where: str, entry: Entry, key: str) -> int:
    number = whole_number(value := _value(where, entry, key))
    if number is None:
        raise InputError(f"{where}: expected an integer for {key!r}, found {shown(value)}; correct it")
    entry[key] = number
    return number


def whole_number(value: object) -> int | None:
    """The integer, also one written as 3.0 or as text, as some tools do; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if not value % 1 and abs(value) < 1e18 else None  # the rest of nan and inf is nan


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite number of plausible size."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12
