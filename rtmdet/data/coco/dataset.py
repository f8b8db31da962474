"""The COCO data set: images with their boxes, on pycocotools' index. Reference: mmdet's CocoDataset and its filters.

Dimension legend: N boxes of one image, K classes. Boxes are xyxy in pixels of the original image.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO

from rtmdet.core.errors import InputError
from rtmdet.core.files import spread
from rtmdet.core.paths import FilePath, user_path
from rtmdet.core.structures import ImageMeta, Instances, Sample
from rtmdet.core.tiling import Tiling
from rtmdet.core.wording import shortened
from rtmdet.data.caches import LruCache
from rtmdet.data.coco.edit import part_of
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage, check_entry_size, read_and_repair, read_boxes
from rtmdet.data.coco.layout import place_images
from rtmdet.data.coco.usable import FRACTIONS, are_fractions, reason_against
from rtmdet.data.coco.windows import Cutting, cut_pictures
from rtmdet.images.depth import LOOKED_AT
from rtmdet.images.reading import ValueRange, image_size, read_image

MIN_SIDE = 32  # pixels; training skips smaller images
PICTURE_MEMORY = 512 * 2**20  # bytes of decoded pictures that each process keeps for their windows, at most


@dataclass(frozen=True, slots=True, eq=False)
class _Record:
    """One image with its ground truth."""

    image: CocoImage
    instances: Instances


class CocoDataset:
    """Images of a COCO annotation file with the boxes of the chosen classes.

    For training, images without a usable box and images with a side under 32 pixels are skipped; `keep_empty` keeps
    those without any object of the classes. Validation uses every image of the file. A box is usable if it is not a
    crowd region, has an area and is at least 1 pixel wide and high.

    Public attributes: `classes` the K names in the order of the labels, `category_ids` the file's id of each label,
    `image_ids` in the order of the data set, `coco` pycocotools' index of the file for COCOeval, without the outlines
    of boxes, `unused` the skipped boxes counted by reason, `remarks` one line about each repair of the file.
    """

    def __init__(
        self,
        annotations: FilePath,
        images: FilePath,
        *,
        classes: Sequence[str] | None = None,
        training: bool,
        keep_empty: bool = False,
        value_range: ValueRange | None = None,
        tiling: Tiling | None = None,
    ) -> None:
        """Read and check the whole file; `classes` chooses and orders its classes (None: all, by id).

        For training the file must have all of `classes`, for validation at least one: AP of the others is not
        measured. `value_range` is for 16-bit images, see `read_image`. `tiling`, for training, adds the windows of
        large pictures as images of their own, see `cut_pictures`.

        Raises InputError for a fault in the file, a missing class, a missing image file, or if no box is usable.
        """
        annotations, images = user_path(annotations), user_path(images)
        file, self.remarks = read_and_repair(annotations, classes or (), read_boxes(annotations), images=images)
        self.remarks += place_images(annotations, file, images)
        if classes is not None and not training:
            self.remarks += _join_classes(annotations, file, classes)
        ids = _category_ids(annotations, file, classes)
        self.classes, self.category_ids = tuple(ids), tuple(ids.values())
        self._cuttings: dict[int, Cutting] = {}  # by the id of the window
        if tiling is not None:
            assert training, "validation measures whole pictures"
            file, self._cuttings = cut_pictures(file, set(self.category_ids), tiling, keep_empty=keep_empty)
        self.coco = index_coco(file)
        self._folder = images
        self._annotations = annotations
        self._value_range = value_range
        self.unused: Counter[str] = Counter()
        self._records = self._select(training=training, keep_empty=keep_empty)
        self.image_ids = tuple(record.image["id"] for record in self._records)
        self._decoded: LruCache[np.ndarray] = LruCache(self.pictures_in_memory)

    def __len__(self) -> int:
        return len(self._records)

    def __getstate__(self) -> dict[str, object]:
        """What loader processes need if they are not forked: everything except what is large, index and pixels."""
        kept = {name: value for name, value in vars(self).items() if name != "coco"}
        return kept | {"_decoded": LruCache(self.pictures_in_memory)}

    @property
    def box_count(self) -> int:
        """Number of usable boxes of all images."""
        return sum(len(record.instances) for record in self._records)

    @property
    def class_counts(self) -> list[int]:
        """Number of usable boxes of each class, by label."""
        labels = np.concatenate([record.instances.labels for record in self._records])
        return np.bincount(labels, minlength=len(self.classes)).tolist()

    @property
    def image_classes(self) -> list[set[int]]:
        """The labels of the usable boxes of each image."""
        return [set(record.instances.labels.tolist()) for record in self._records]

    @property
    def window_count(self) -> int:
        """Number of images that are windows of larger pictures."""
        return sum(image_id in self._cuttings for image_id in self.image_ids)

    @property
    def pictures(self) -> np.ndarray:
        """The number of the picture that each image is, or is a window of, from 0: (M,) int64 for M images."""
        return np.unique([self._file_entry(index)["id"] for index in range(len(self))], return_inverse=True)[1]

    @property
    def pictures_in_memory(self) -> int:
        """How many pictures with windows PICTURE_MEMORY holds, at least one."""
        sizes = (3 * cutting.picture["height"] * cutting.picture["width"] for cutting in self._cuttings.values())
        return max(PICTURE_MEMORY // max(sizes, default=PICTURE_MEMORY), 1)

    def without_reduced(self) -> "CocoDataset":
        """The data set without the pictures that also have windows; the same without a tiling."""
        if not self._cuttings:
            return self
        cut = {cutting.picture["id"] for cutting in self._cuttings.values()}
        return self.part([index for index, image_id in enumerate(self.image_ids) if image_id not in cut])

    def part(self, indices: Sequence[int]) -> "CocoDataset":
        """A data set of some of the images, chosen by index."""
        part = object.__new__(type(self))
        vars(part).update(vars(self))
        part._records = [self._records[index] for index in indices]
        part.image_ids = tuple(record.image["id"] for record in part._records)
        file = part_of(self.coco.dataset, set(part.image_ids))
        file["annotations"] = [{**entry, "bbox": [*entry["bbox"]]} for entry in file["annotations"]]
        part.coco = index_coco(file)
        return part

    def path(self, index: int) -> Path:
        """The file of the image at an index."""
        return self._folder / self._records[index].image["file_name"]

    @property
    def paths(self) -> list[Path]:
        """The image files, by index."""
        return [self.path(index) for index in range(len(self))]

    @property
    def few_paths(self) -> list[Path]:
        """At most LOOKED_AT of the image files, spread over all, to look at their values."""
        return spread(list(dict.fromkeys(self.paths)), LOOKED_AT)  # windows of a picture have one path

    def truth(self, index: int) -> tuple[ImageMeta, Instances]:
        """The ground truth of the image at an index, without decoding it."""
        record = self._records[index]
        meta = ImageMeta(record.image["id"], str(self.path(index)), (record.image["height"], record.image["width"]))
        return meta, Instances(record.instances.boxes.copy(), record.instances.labels.copy())

    def load(self, index: int) -> Sample:
        """The decoded image at an index, with its boxes.

        Raises InputError if the image cannot be read or its size differs from the annotation file.
        """
        meta, instances = self.truth(index)
        entry = self._file_entry(index)

        def decode(_: int) -> np.ndarray:
            return read_annotated_image(self.path(index), entry, self._annotations, self._value_range)

        if not self._cuttings:
            return Sample(decode(meta.image_id), instances, meta)
        image = self._decoded.get(entry["id"], decode)
        if meta.image_id in self._cuttings:
            x1, y1, x2, y2 = self._cuttings[meta.image_id].window
            image = image[y1:y2, x1:x2]
        return Sample(image.copy(), instances, meta)

    def check_size(self, index: int) -> None:
        """Raise InputError if the size in the image file's header differs from the annotation file."""
        path = self.path(index)
        check_entry_size(path, image_size(path), self._file_entry(index), self._annotations)

    def _file_entry(self, index: int) -> CocoImage:
        """The entry of the whole picture in the file of the image at an index."""
        entry = self._records[index].image
        cutting = self._cuttings.get(entry["id"])
        return entry if cutting is None else cutting.picture

    def _select(self, *, training: bool, keep_empty: bool) -> list[_Record]:
        """The images to use; raises InputError if none has a usable box."""
        records: list[_Record] = []
        reasons = self.unused
        labels = {category: label for label, category in enumerate(self.category_ids)}
        for image_id, image in self.coco.imgs.items():
            annotations = self.coco.imgToAnns[image_id]
            record = _make_record(image, annotations, labels, reasons)
            is_empty = not any(annotation["category_id"] in labels for annotation in annotations)
            if training and min(image["width"], image["height"]) < MIN_SIDE:
                reasons[f"in images with a side under {MIN_SIDE} pixels"] += len(record.instances)
            elif (keep_empty and is_empty) or not training or len(record.instances) or image_id in self._cuttings:
                # Differs from mmdet: an image with only crowd regions or boxes under 1 pixel is skipped, too; it
                # would teach that they are background.
                records.append(record)
        if not any(len(record.instances) for record in records):
            why = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count) or "the file has none"
            advice = FRACTIONS if self.coco.anns and are_fractions(self.coco.anns.values()) else "check the file"
            raise InputError(
                f"{self._annotations}: no usable box of {shortened(map(repr, self.classes))}: {why}; {advice}"
            )
        return records


def read_annotated_image(
    path: Path, entry: CocoImage, annotations: Path, value_range: ValueRange | None = None
) -> np.ndarray:
    """Decode the image of an entry of the annotation file: (H, W, 3) uint8 RGB.

    Raises InputError if it cannot be read or its size differs from the entry: its boxes would be misplaced.
    """
    image = read_image(path, value_range)
    check_entry_size(path, (image.shape[0], image.shape[1]), entry, annotations)
    return image


def index_coco(file: CocoFile) -> COCO:
    """pycocotools' index of a file in memory. Its own createIndex would print."""
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
    """Add the missing categories to the file, unless all are missing; returns one line about each difference."""
    names = [category["name"] for category in file["categories"]]
    missing = [name for name in classes if name not in names]
    others = [name for name in names if name not in classes]
    if len(missing) == len(classes):
        return []
    free = max(category["id"] for category in file["categories"]) + 1
    file["categories"] += [{"id": free + k, "name": name, "absent": True} for k, name in enumerate(missing)]
    differences = ((missing, "not in this file, so not measured"), (others, "not among the classes, so skipped"))
    return [f"{path}: {what}: {shortened(map(repr, names), 5)}" for names, what in differences if names]


def _category_ids(path: Path, file: CocoFile, classes: Sequence[str] | None) -> dict[str, int]:
    """The file's category id of each chosen class, in the order of the labels."""
    in_file = {category["name"]: category["id"] for category in sorted(file["categories"], key=lambda c: c["id"])}
    if classes is None:
        return in_file
    if not classes or len(set(classes)) < len(classes):
        raise InputError(f"classes: expected one name or more, each once, found {list(classes)}")
    unknown = [name for name in classes if name not in in_file]
    if unknown:
        raise InputError(
            f"{path}: expected a category {shortened(map(repr, unknown), 5)}, found "
            f"{shortened(map(repr, in_file), 5)}; the names must be equal: correct those of the file or those of the "
            "detector or training data"
        )
    return {name: in_file[name] for name in classes}


def _make_record(
    image: CocoImage, annotations: Sequence[CocoAnnotation], labels: Mapping[int, int], reasons: Counter[str]
) -> _Record:
    """The usable boxes of one image; the others are counted in `reasons`."""
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
