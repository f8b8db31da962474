"""Reads a whole COCO file: its usable entries, and findings about the others. Training stops at the first fault."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from rtmdet.data.coco.file import CocoAnnotation, CocoCategory, CocoImage, read_sound
from rtmdet.data.coco.layout import place_images
from rtmdet.data.coco.repairs import turn_rotated_boxes
from rtmdet.data.doctor.finding import Finding, Item, Severity, SplitFiles
from rtmdet.data.formats.faults import Fault, collect_faults
from rtmdet.data.image_names import in_other_folders

FAULTS = {  # by code: what the cases are, and what to do
    "missing-list": ("required lists missing from the file", "export again with images, annotations and categories"),
    "empty-list": ("empty lists", "check the export"),
    "broken-entry": ("unusable entries", "correct or remove them"),
    "repeated-image-id": ("repeated image ids", "give every image its own id"),
    "repeated-category-id": ("repeated category ids", "give every category its own id"),
    "repeated-name": ("categories with the same name", "rename or merge them"),
    "unknown-category": ("objects with an unknown category", "correct category_id, or add it to 'categories'"),
    "shifted-ids": ("class ids that are all one too high or too low", "correct all as the line says"),
    "unknown-image": ("objects with an unknown image", "correct image_id, or add it to 'images'"),
    "ambiguous-image": ("image names that match several files", "write the path of the right file"),
    "shared-image": ("image files that several entries name", "add the missing images"),
}
NOTES: dict[str, tuple[Severity, str, str]] = {
    "moved-image": (
        "warning",
        "image names that are found only in another folder, while others are where their names say",
        "make sure that these are the annotated images, not others of the same name, which boxes would not fit; "
        "restore the missing ones or correct the names",
    ),
    "repeated-annotation-id": (
        "hint",
        "repeated annotation ids",
        "training renumbers them; other tools may count such objects wrongly: give every annotation its own id",
    ),
    "repeated-image": (
        "hint",
        "images labeled in several entries or files",
        "training joins their objects; other tools take each entry for another image: join the entries",
    ),
    "renamed-image": (
        "hint",
        "image names that differ from their files",
        "no action needed: they were matched by the last parts of their paths or without suffix",
    ),
    "group-category": (
        "hint",
        "categories that are only the supercategory of others",
        "no action needed: they are not counted as classes",
    ),
}


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationFile:
    """The usable entries of a file; every annotation has its image and category among them."""

    source: SplitFiles
    images: dict[int, CocoImage]
    annotations: tuple[CocoAnnotation, ...]
    categories: dict[int, CocoCategory]  # sorted by id, which is the order of the labels

    def finding(self, severity: Severity, code: str, message: str, advice: str, items: Iterable[Item]) -> Finding:
        """All cases of one kind in this split."""
        return Finding(severity, code, self.source.name, message, advice, tuple(items))

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


def read_annotation_file(source: SplitFiles, classes: Collection[str] = ()) -> tuple[AnnotationFile, list[Finding]]:
    """The usable entries of a file, and findings about the others; categories among `classes` are never only groups.

    Raises InputError only if the file or the folder is missing, or the file is not JSON or has no list of images.
    """
    with collect_faults() as faults:
        file, groups, again = read_sound(source.annotations, classes, images=source.images)
        names = [image["file_name"] for image in file["images"]]
        place_images(source.annotations, file, source.images)
    turn_rotated_boxes(file["annotations"])
    images = {image["id"]: image for image in file["images"]}
    categories = {category["id"]: category for category in sorted(file["categories"], key=itemgetter("id"))}
    found = AnnotationFile(source, images, tuple(file["annotations"]), categories)
    counts = Counter(annotation["id"] for annotation in file["annotations"])
    pairs = [*zip(names, file["images"], strict=True)]
    moved = in_other_folders({name: image["file_name"] for name, image in pairs})
    renamed = {
        name: Item(f"{name!r} for {image['file_name']!r}", image["id"])
        for name, image in pairs
        if name != image["file_name"]
    }
    notes = {
        "moved-image": [item for name, item in renamed.items() if name in moved],
        "repeated-annotation-id": [
            Item(f"id {number}, {count} times", annotation_id=number) for number, count in counts.items() if count > 1
        ],
        "repeated-image": [found.image_item(first, f"ids {first} and {other}") for other, first in again.items()],
        "renamed-image": [item for name, item in renamed.items() if name not in moved],
        "group-category": [Item(f"{group['name']!r} (id {group['id']})") for group in groups],
    }
    return found, [
        *_list_faults(found, faults),
        *(found.finding(NOTES[code][0], code, *NOTES[code][1:], items) for code, items in notes.items()),
    ]


def _list_faults(file: AnnotationFile, faults: Iterable[Fault]) -> Iterator[Finding]:
    """One finding per kind of fault. Its texts omit the path and the remedy, which are printed once per finding."""
    items: dict[str, list[Item]] = {code: [] for code in FAULTS}
    for fault in faults:
        if fault.code != "missing-image":  # reported one by one when the image files are read
            text = (fault.text.rpartition("; ")[0] or fault.text).removeprefix(f"{file.source.annotations}: ")
            image_id = fault.identifier if fault.key == "images" else None
            annotation_id = fault.identifier if fault.key == "annotations" else None
            items[fault.code].append(Item(text, image_id, annotation_id))
    return (file.finding("error", code, *FAULTS[code], found) for code, found in items.items())
