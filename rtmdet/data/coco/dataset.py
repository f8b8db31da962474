"""The COCO data set: images with their boxes, on pycocotools' index. Reference: mmdet's CocoDataset and its filters.

Dimension legend: N boxes of one image, K classes. Boxes are xyxy in pixels of the original image.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from rtmdet.core.errors import InputError
from rtmdet.core.instances import Instances
from rtmdet.core.structures import ImageMeta, Sample
from rtmdet.core.wording import shortened
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage, read_and_repair
from rtmdet.data.image_names import place_images
from rtmdet.data.images import ValueRange, image_size, read_image

MIN_SIDE = 32  # pixels; smaller images are left out of training


class Unusable(StrEnum):
    """Why an object is not learned from, in the words of the messages."""

    OTHER_CLASS = "of other classes"
    CROWD = "crowds"
    TOO_SMALL = "under 1 pixel wide or high"
    WITHOUT_AREA = "without area"


@dataclass(frozen=True, slots=True, eq=False)
class _Record:
    """What `load` needs of one image."""

    image: CocoImage
    instances: Instances


class CocoDataset:
    """Images of a COCO annotation file with the boxes of the wanted classes.

    For training, images without a usable box (unless `keep_empty`) and images with a side under 32 pixels
    are left out; for validation every image of the file stays. A box is usable where it is no crowd, has an
    area and is at least 1 pixel wide and high.

    Public attributes: `classes` the K names in the order of the labels, `category_ids` the file's id of each
    label, `image_ids` in the order of the index, `coco` the file's index for COCOeval, `unused` of each reason
    against a box how many boxes it concerns, `remarks` what of the file had to be mended, a line each.
    """

    def __init__(
        self,
        annotations: Path,
        images: Path,
        *,
        classes: Sequence[str] | None = None,
        training: bool,
        keep_empty: bool = False,
        value_range: ValueRange | None = None,
    ) -> None:
        """Read and check the whole file; `classes` picks and orders some of its classes (None: all, by id).

        `value_range` is for images of 16 bits, as `read_image` takes it.

        For training the file must have all of them, for validation one: nothing is measured of the others.
        Raises InputError for a fault in the file, a class that it must have, a missing image file, or where no
        usable box is left.
        """
        file, self.remarks = read_and_repair(annotations, classes or ())
        self.remarks += place_images(annotations, file, images)
        if classes is not None and not training:
            self.remarks += _join_classes(annotations, file, classes)
        ids = _category_ids(annotations, file, classes)
        self.classes, self.category_ids = tuple(ids), tuple(ids.values())
        self.coco = index_coco(file)
        self._folder = images
        self._annotations = annotations
        self._value_range = value_range
        self.unused: Counter[str] = Counter()
        self._records = self._select(training=training, keep_empty=keep_empty)
        self.image_ids = tuple(record.image["id"] for record in self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __getstate__(self) -> dict[str, object]:
        """What loader processes need, where they are not forked: all but the index, which is large."""
        return {name: value for name, value in vars(self).items() if name != "coco"}

    @property
    def box_count(self) -> int:
        """Number of usable boxes of all images."""
        return sum(len(record.instances) for record in self._records)

    @property
    def class_counts(self) -> list[int]:
        """Number of usable boxes of each class, by label."""
        labels = np.concatenate([record.instances.labels for record in self._records])
        return np.bincount(labels, minlength=len(self.classes)).tolist()

    def part(self, indices: Sequence[int]) -> CocoDataset:
        """A data set of some of the images, given by their places in this one."""
        part = object.__new__(type(self))
        vars(part).update(vars(self))
        part._records = [self._records[index] for index in indices]
        part.image_ids = tuple(record.image["id"] for record in part._records)
        kept = set(part.image_ids)
        file = copy.copy(self.coco.dataset)
        file["images"] = [image for image in file["images"] if image["id"] in kept]
        file["annotations"] = [
            entry | {"bbox": [*entry["bbox"]]} for entry in file["annotations"] if entry["image_id"] in kept
        ]
        part.coco = index_coco(file)
        return part

    def path(self, index: int) -> Path:
        """The file of an image, by its place in the data set."""
        return self._folder / self._records[index].image["file_name"]

    def truth(self, index: int) -> tuple[ImageMeta, Instances]:
        """The ground truth of an image, by its place in the data set, without decoding it."""
        record = self._records[index]
        meta = ImageMeta(record.image["id"], str(self.path(index)), (record.image["height"], record.image["width"]))
        return meta, Instances(record.instances.boxes.copy(), record.instances.labels.copy())

    def load(self, index: int) -> Sample:
        """The decoded image with its boxes, by its place in the data set.

        Raises InputError where the image cannot be read or has another size than the annotation file says.
        """
        meta, instances = self.truth(index)
        entry = self._records[index].image
        image = read_annotated_image(self.path(index), entry, self._annotations, self._value_range)
        return Sample(image, instances, meta)

    def check_size(self, index: int) -> None:
        """Raise InputError as `load` does where the header of an image's file says another size than the file."""
        path = self.path(index)
        _check_size(path, image_size(path), self._records[index].image, self._annotations)

    def _select(self, *, training: bool, keep_empty: bool) -> list[_Record]:
        """The images to use; raises InputError where they hold no usable box."""
        records: list[_Record] = []
        reasons = self.unused
        labels = {category: label for label, category in enumerate(self.category_ids)}
        for image_id, image in self.coco.imgs.records():
            record = _make_record(image, self.coco.imgToAnns[image_id], labels, reasons)
            if training and min(image["width"], image["height"]) < MIN_SIDE:
                reasons[f"in images with a side under {MIN_SIDE} pixels"] += len(record.instances)
            elif keep_empty or not training or len(record.instances):
                # Differs from mmdet: an image with nothing but crowds or specks counts as empty, too; it would
                # teach that they are background.
                records.append(record)
        if not any(len(record.instances) for record in records):
            why = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count) or "the file has none"
            raise InputError(f"{self._annotations}: no usable box of {list(self.classes)}: {why}; check the file")
        return records


def read_annotated_image(
    path: Path, entry: CocoImage, annotations: Path, value_range: ValueRange | None = None
) -> np.ndarray:
    """Decode the image of an entry of the annotation file: (H, W, 3) uint8 RGB.

    Raises InputError where it cannot be read or has another size than the entry says: its boxes would be off.
    """
    image = read_image(path, value_range)
    _check_size(path, image.shape[:2], entry, annotations)
    return image


def _check_size(path: Path, size: Sequence[int], entry: CocoImage, annotations: Path) -> None:
    height, width = size
    if (height, width) != (entry["height"], entry["width"]):
        raise InputError(
            f"{path}: expected {entry['width']} x {entry['height']} pixels as {annotations} says of image "
            f"{entry['id']}, found {width} x {height} after turning by EXIF orientation; "
            "restore the file or annotate it as it is now"
        )


def index_coco(file: CocoFile) -> COCO:
    """pycocotools' index of a file that is already read, as its own createIndex makes it, which prints."""
    coco = COCO()
    coco.dataset = file
    coco.imgs = {image["id"]: image for image in file["images"]}
    coco.cats = {category["id"]: category for category in file["categories"]}
    coco.anns = {annotation["id"]: annotation for annotation in file["annotations"]}
    coco.imgToAnns, coco.catToImgs = defaultdict(list), defaultdict(list)
    for annotation in file["annotations"]:
        coco.imgToAnns[annotation["image_id"]].append(annotation)
        coco.catToImgs[annotation["category_id"]].append(annotation["image_id"])
    return coco


def _join_classes(path: Path, file: CocoFile, classes: Sequence[str]) -> list[str]:
    """Give the file the categories that it lacks, unless it has none of them; a line about either difference."""
    names = [category["name"] for category in file["categories"]]
    missing = [name for name in classes if name not in names]
    others = [name for name in names if name not in classes]
    if len(missing) == len(classes):
        return []
    free = max(category["id"] for category in file["categories"]) + 1
    file["categories"] += [{"id": free + place, "name": name, "absent": True} for place, name in enumerate(missing)]
    said = (
        (missing, "no category", "nothing is measured of that"),
        (others, "not among the classes", "left out"),
    )
    return [f"{path}: {what}: {shortened(map(repr, names), 5)}: {so}" for names, what, so in said if names]


def _category_ids(path: Path, file: CocoFile, classes: Sequence[str] | None) -> dict[str, int]:
    """The file's category id of each wanted class, in the order of the labels."""
    in_file = {category["name"]: category["id"] for category in sorted(file["categories"], key=lambda c: c["id"])}
    if classes is None:
        return in_file
    if not classes or len(set(classes)) < len(classes):
        raise InputError(f"classes: expected names without repetition, found {list(classes)}; list each class once")
    unknown = [name for name in classes if name not in in_file]
    if unknown:
        raise InputError(
            f"{path}: no category is named {shortened(map(repr, unknown), 5)}; the file's are "
            f"{shortened(map(repr, in_file), 5)}; write the names as the file does"
        )
    return {name: in_file[name] for name in classes}


def _make_record(
    image: CocoImage, annotations: Sequence[CocoAnnotation], labels: Mapping[int, int], reasons: Counter[str]
) -> _Record:
    """The usable boxes of one image; the reasons against the others are counted."""
    boxes, box_labels = [], []
    for annotation in annotations:
        reason = reason_against(annotation, labels)
        if reason:
            reasons[reason] += 1
            continue
        x, y, width, height = annotation["bbox"]
        boxes.append((x, y, x + width, y + height))
        box_labels.append(labels[annotation["category_id"]])
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    return _Record(image, Instances(corners, np.array(box_labels, np.int64)))


def reason_against(annotation: CocoAnnotation, wanted: Container[int]) -> Unusable | None:
    """Why an annotation gives no box to learn from, None where it does; `wanted` has the category ids to learn."""
    _, _, width, height = annotation["bbox"]
    if annotation["category_id"] not in wanted:
        return Unusable.OTHER_CLASS
    if annotation["iscrowd"]:
        return Unusable.CROWD
    if width < 1 or height < 1:
        return Unusable.TOO_SMALL
    return Unusable.WITHOUT_AREA if annotation["area"] <= 0 else None
