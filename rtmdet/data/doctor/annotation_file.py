"""A COCO file read to its end: what is sound and what is not, where `read_coco` stops at the first fault."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoAnnotation, CocoCategory, CocoImage, Entry, entry_fault, shown
from rtmdet.data.coco.repairs import find_headings
from rtmdet.data.doctor.finding import Finding, Item, Source, without_remedy
from rtmdet.data.image_names import ImageNames
from rtmdet.data.json_file import read_json

KINDS = {"images": "image", "annotations": "annotation", "categories": "category"}


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationFile:
    """The sound entries of a file; every annotation belongs to an image and a category of them."""

    source: Source
    images: dict[int, CocoImage]
    annotations: tuple[CocoAnnotation, ...]
    categories: dict[int, CocoCategory]  # by rising id, the order of the labels

    def path(self, image_id: int) -> Path:
        """The file of an image."""
        return self.source.images / self.images[image_id]["file_name"]

    def image_item(self, image_id: int, text: str = "") -> Item:
        """A case about an image, named by its file."""
        name = self.images[image_id]["file_name"]
        return Item(f"{name}: {text}" if text else name, image_id, files=(self.path(image_id),))

    def box_item(self, annotation: CocoAnnotation, text: str) -> Item:
        """A case about an object."""
        x, y, width, height = annotation["bbox"]
        image_id = annotation["image_id"]
        words = f"annotation {annotation['id']} in {self.images[image_id]['file_name']}: {text}"
        return Item(words, image_id, annotation["id"], (self.path(image_id),), (x, y, x + width, y + height))

    def annotations_of_images(self) -> dict[int, list[CocoAnnotation]]:
        """The objects of every image."""
        found: dict[int, list[CocoAnnotation]] = {image_id: [] for image_id in self.images}
        for annotation in self.annotations:
            found[annotation["image_id"]].append(annotation)
        return found


def read_annotation_file(source: Source) -> tuple[AnnotationFile, list[Finding]]:
    """The sound entries of a file, and what is wrong with the others.

    Raises InputError only where the file is missing, is no JSON or has no list of images.
    """
    document = read_json(source.annotations)
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise InputError(
            f"{source.annotations}: expected a COCO object with a list under 'images', found {shown(document)}; "
            "is this COCO? see rtmdet data convert"
        )
    findings = list(_find_missing_lists(source, document))
    sound, given_ids = {}, {}
    for key in KINDS:
        entries = document.get(key)
        entries = entries if isinstance(entries, list) else []
        given_ids[key] = {entry.get("id") for entry in entries if isinstance(entry, dict) and _has_id(entry)}
        sound[key], found = _read_entries(source, key, entries)
        findings += found
    images = {cast(int, entry["id"]): cast(CocoImage, entry) for entry in sound["images"]}
    findings += _place_images(source, images)
    by_id = sorted(cast("list[CocoCategory]", sound["categories"]), key=lambda category: category["id"])
    annotations = cast("list[CocoAnnotation]", sound["annotations"])
    headings = find_headings(by_id, (one["category_id"] for one in annotations))
    findings.append(_tell_headings(source, [category for category in by_id if category["id"] in headings]))
    categories = {category["id"]: category for category in by_id if category["id"] not in headings}
    findings += _find_unknown_references(source, annotations, given_ids)
    known = tuple(one for one in annotations if one["image_id"] in images and one["category_id"] in categories)
    file = AnnotationFile(source, images, known, categories)
    return file, [*findings, *_find_clashing_names(source, categories)]


def _find_missing_lists(source: Source, document: Entry) -> Iterator[Finding]:
    missing = tuple(Item(repr(key)) for key in KINDS if not isinstance(document.get(key), list))
    advice = "write the file again with all three lists: images, annotations, categories"
    yield Finding("error", "missing-list", source.name, "lists that the file lacks", advice, missing)
    empty = tuple(Item(repr(key)) for key in ("images", "categories") if document.get(key) == [])
    yield Finding("error", "empty-list", source.name, "lists without an entry", "check the export", empty)


def _read_entries(source: Source, key: str, entries: list[object]) -> tuple[list[Entry], list[Finding]]:
    """The sound entries of a list; of several with one id only the first, except annotations."""
    sound: list[Entry] = []
    broken, repeated = [], []
    seen: set[object] = set()
    for position, entry in enumerate(entries):
        identifier = entry["id"] if isinstance(entry, dict) and _has_id(entry) else None
        where = f"{key}[{position}]" if identifier is None else f"{KINDS[key]} {identifier}"
        image_id, annotation_id = (identifier if key == one else None for one in ("images", "annotations"))
        fault = entry_fault(key, where, entry)
        again = identifier is not None and identifier in seen
        seen.add(identifier)
        if again:
            repeated.append(Item(f"{where}, again at {key}[{position}]", image_id, annotation_id))
        if fault:
            broken.append(Item(without_remedy(fault), image_id, annotation_id))
        elif not again or key == "annotations":
            sound.append(cast(Entry, entry))
    advice = "correct the entries, or take them out"
    findings = [Finding("error", "broken-entry", source.name, f"{key} that cannot be used", advice, tuple(broken))]
    return sound, [*findings, _repeated_ids(source, key, tuple(repeated))]


def _repeated_ids(source: Source, key: str, items: tuple[Item, ...]) -> Finding:
    code, message = f"repeated-{KINDS[key]}-id", f"{KINDS[key]} ids that stand more than once"
    if key == "annotations":  # they point at others, but nothing points at them
        advice = (
            "training numbers them anew; other tools may count such objects wrongly: number them through the file"
        )
        return Finding("hint", code, source.name, message, advice, items)
    return Finding("error", code, source.name, message, f"number the {key} through the file", items)


def _place_images(source: Source, images: Mapping[int, CocoImage]) -> Iterator[Finding]:
    """Give images the names of their files; what is found under another name, under several, and one for several."""
    index = ImageNames(source.images)
    names: defaultdict[str, set[str]] = defaultdict(set)  # that a file has in the annotations
    renamed, ambiguous = [], []
    for image_id, image in images.items():
        name, files = image["file_name"], index.find(image["file_name"])
        if len(files) > 1:
            ambiguous.append(Item(f"{name!r}: any of {', '.join(map(repr, files[:3]))}", image_id))
        elif files:
            names[files[0]].add(name)
            image["file_name"] = files[0]
            if name != files[0]:
                renamed.append(Item(f"{name!r} for {files[0]!r}", image_id))
    shared = tuple(
        Item(f"{file!r} for {' and '.join(map(repr, sorted(named)))}")
        for file, named in names.items()
        if len(named) > 1
    )
    message, advice = "image names that fit several files", "write the one that is meant"
    yield Finding("error", "ambiguous-image", source.name, message, advice, tuple(ambiguous))
    yield Finding("error", "shared-image", source.name, "files that several names fit", "add the other ones", shared)
    message, advice = "image names not written as their files are", "nothing: they are matched by their last parts"
    yield Finding("hint", "renamed-image", source.name, message, advice, tuple(renamed))


def _find_unknown_references(
    source: Source, annotations: list[CocoAnnotation], given_ids: Mapping[str, set[object]]
) -> Iterator[Finding]:
    """Annotations of images and categories that the file does not have; broken ones are reported themselves."""
    for key in ("images", "categories"):
        name = f"{KINDS[key]}_id"
        items = tuple(
            Item(f"annotation {one['id']}: {name} {cast(Entry, one)[name]}", annotation_id=one["id"])
            for one in annotations
            if cast(Entry, one)[name] not in given_ids[key]
        )
        message, advice = f"objects of unknown {key}", f"correct the {name}, or add the {KINDS[key]} to {key!r}"
        yield Finding("error", f"unknown-{KINDS[key]}", source.name, message, advice, items)


def _find_clashing_names(source: Source, categories: Mapping[int, CocoCategory]) -> Iterator[Finding]:
    ids: defaultdict[str, list[int]] = defaultdict(list)
    for identifier, category in categories.items():
        ids[category["name"]].append(identifier)
    items = tuple(Item(f"{name!r} has the ids {found}") for name, found in ids.items() if len(found) > 1)
    yield Finding("error", "repeated-name", source.name, "categories of one name", "rename or merge them", items)


def _tell_headings(source: Source, headings: list[CocoCategory]) -> Finding:
    items = tuple(Item(f"{heading['name']!r} (id {heading['id']})") for heading in headings)
    message, advice = "categories that only name a group of others", "nothing here: they are not counted as classes"
    return Finding("hint", "heading", source.name, message, advice, items)


def _has_id(entry: Entry) -> bool:
    identifier = entry.get("id")
    return isinstance(identifier, int) and not isinstance(identifier, bool)
