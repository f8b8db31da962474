"""A COCO file read to its end: what is sound and what is not, where training stops at the first fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from rtmdet.data.coco.file import CocoAnnotation, CocoCategory, CocoImage, read_sound
from rtmdet.data.doctor.finding import Finding, Item, SplitFiles, without_remedy
from rtmdet.data.formats.faults import Fault, collect_faults
from rtmdet.data.image_names import place_images

FAULTS = {  # by code: what the cases are, and what to do
    "missing-list": ("lists that the file lacks", "write it again with all three: images, annotations, categories"),
    "empty-list": ("lists without an entry", "check the export"),
    "broken-entry": ("entries that cannot be used", "correct the entries, or take them out"),
    "repeated-image-id": ("image ids that repeat", "number the images through the file"),
    "repeated-category-id": ("category ids that repeat", "number the categories through the file"),
    "repeated-name": ("categories of one name", "rename or merge them"),
    "unknown-category": ("objects of unknown categories", "correct the category_id, or add it to 'categories'"),
    "unknown-image": ("objects of unknown images", "correct the image_id, or add it to 'images'"),
    "ambiguous-image": ("image names that fit several files", "write the one that is meant"),
    "shared-image": ("files that several names fit", "add the other ones"),
}
HINTS = {
    "repeated-annotation-id": (
        "annotation ids that repeat",
        "training renumbers them; other tools may count such objects wrongly: number them through the file",
    ),
    "renamed-image": ("image names not written as their files are", "nothing: they are matched by their last parts"),
    "group-category": ("categories that only name a group of others", "nothing: they are not counted as classes"),
}


@dataclass(frozen=True, slots=True, eq=False)
class AnnotationFile:
    """The sound entries of a file; every annotation belongs to an image and a category of them."""

    source: SplitFiles
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


def read_annotation_file(source: SplitFiles) -> tuple[AnnotationFile, list[Finding]]:
    """The sound entries of a file, and what is wrong with the others.

    Raises InputError only where the file or the folder is missing, or the file is no JSON or has no list of images.
    """
    with collect_faults() as faults:
        file, groups = read_sound(source.annotations)
        names = [image["file_name"] for image in file["images"]]
        place_images(source.annotations, file, source.images)
    # missing images are told one by one where their files are read
    findings = list_faults(source, [fault for fault in faults if fault.code != "missing-image"])
    again = Counter(annotation["id"] for annotation in file["annotations"])
    repeated = [
        Item(f"annotation {number}, {count} times", annotation_id=number)
        for number, count in again.items()
        if count > 1
    ]
    renamed = [
        Item(f"{name!r} for {image['file_name']!r}", image["id"])
        for name, image in zip(names, file["images"], strict=True)
        if name != image["file_name"]
    ]
    group_items = [Item(f"{group['name']!r} (id {group['id']})") for group in groups]
    findings += [
        Finding("hint", code, source.name, *HINTS[code], tuple(items))
        for code, items in (
            ("repeated-annotation-id", repeated),
            ("renamed-image", renamed),
            ("group-category", group_items),
        )
    ]
    images = {image["id"]: image for image in file["images"]}
    categories = {one["id"]: one for one in sorted(file["categories"], key=itemgetter("id"))}
    return AnnotationFile(source, images, tuple(file["annotations"]), categories), findings


def list_faults(source: SplitFiles, faults: Iterable[Fault]) -> list[Finding]:
    """A finding for each kind of fault; the texts lose the path, which the split tells, and the remedy."""
    items: dict[str, list[Item]] = {code: [] for code in FAULTS}
    for one in faults:
        text = without_remedy(one.text).removeprefix(f"{source.annotations}: ")
        image_id, annotation_id = (one.identifier if one.key == key else None for key in ("images", "annotations"))
        items[one.code].append(Item(text, image_id, annotation_id))
    return [Finding("error", code, source.name, *FAULTS[code], tuple(found)) for code, found in items.items()]
