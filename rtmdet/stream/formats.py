"""The detections in the formats of other programs, written image by image.

`open_formats` writes what was found, below one folder: coco/results.json with coco/images.json, detections.csv,
yolo/labels, voc/Annotations, labelme, cvat.xml, mot. `open_label_set` writes one format as a data set of its own.
"""

import csv
import io
import itertools
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rtmdet.core.whole_file import write_whole
from rtmdet.data.coco.file import CocoCategory, CocoFile
from rtmdet.data.formats.cvat import CVAT_END, cvat_begin, cvat_image
from rtmdet.data.formats.labelme import labelme_document
from rtmdet.data.formats.voc import voc_document
from rtmdet.data.formats.yolo import yolo_line
from rtmdet.stream.growing_file import GrowingFile, ListFile
from rtmdet.stream.label_files import LabeledResult, LabelFiles, write_text
from rtmdet.stream.track_files import MotFiles

COLUMNS = ("file", "frame", "seconds", "class_name", "score", "x1", "y1", "x2", "y2", "id")


def open_formats(
    formats: Sequence[str], folder: Path, classes: Sequence[str], category_ids: Sequence[int]
) -> list[LabelFiles]:
    """The files of each format below a folder; nothing is written yet."""
    kinds: dict[str, Callable[[], LabelFiles]] = {
        "coco": lambda: CocoFiles(folder / "coco", classes, category_ids),
        "csv": lambda: CsvTable(folder / "detections.csv"),
        "yolo": lambda: YoloLabels(folder / "yolo", classes),
        "voc": lambda: VocLabels(folder / "voc", classes),
        "labelme": lambda: LabelmeLabels(folder / "labelme", classes),
        "cvat": lambda: CvatTask(folder / "cvat.xml", classes),
        "mot": lambda: MotFiles(folder / "mot"),
    }
    return [kinds[name]() for name in dict.fromkeys(formats)]


# Format -> where photos belong in a data set of it.
PHOTO_FOLDERS = {"labelme": ".", "cvat": "images", "yolo": "images", "voc": "JPEGImages", "coco": "images"}


def open_label_set(format: str, folder: Path, classes: Sequence[str], category_ids: Sequence[int]) -> LabelFiles:
    """The labels of a data set in one of PHOTO_FOLDERS, where its photos belong; nothing is written yet."""
    kinds: dict[str, Callable[[], LabelFiles]] = {
        "labelme": lambda: LabelmeLabels(folder, classes),
        "cvat": lambda: CvatTask(folder / "annotations.xml", classes),
        "yolo": lambda: YoloLabels(folder, classes),
        "voc": lambda: VocLabels(folder, classes),
        "coco": lambda: CocoLabels(folder / "annotations" / "instances_default.json", classes, category_ids),
    }
    return kinds[format]()


def _categories(classes: Sequence[str], category_ids: Sequence[int]) -> list[CocoCategory]:
    ids = category_ids or range(1, len(classes) + 1)
    return [CocoCategory(id=number, name=name) for number, name in zip(ids, classes, strict=True)]


class CocoFiles(LabelFiles):
    """results.json, in COCO's results format, and images.json, which has the image of each id and the categories."""

    def __init__(self, folder: Path, classes: Sequence[str], category_ids: Sequence[int]) -> None:
        categories = json.dumps(_categories(classes, category_ids))
        before = f'{{"info": {{}}, "categories": {categories}, "annotations": [], "images": ['
        self._images = ListFile(folder / "images.json", before=before, after="]}")
        self._results = ListFile(folder / "results.json")
        self._ids = itertools.count(1)

    def add(self, labeled: LabeledResult) -> None:
        """Append the picture and its detections."""
        number = next(self._ids)
        self._images.add(labeled.image(number))
        self._results.append("")  # the file appears even if no detection follows
        for row in labeled.found.to_coco(number):
            self._results.add(row)

    def close(self) -> None:
        """Complete both files."""
        self._images.close()
        self._results.close()


class CocoLabels(LabelFiles):
    """A COCO file: all pictures with their objects and the categories."""

    def __init__(self, path: Path, classes: Sequence[str], category_ids: Sequence[int]) -> None:
        self._path = path
        self._file = CocoFile(images=[], annotations=[], categories=_categories(classes, category_ids))

    def add(self, labeled: LabeledResult) -> None:
        """Add a picture."""
        number = len(self._file["images"]) + 1
        self._file["images"].append(labeled.image(number))
        for entry in labeled.annotations():
            entry["category_id"] = self._file["categories"][entry["category_id"]]["id"]
            entry["id"], entry["image_id"] = len(self._file["annotations"]) + 1, number
            entry["segmentation"] = []  # tools expect the key
            self._file["annotations"].append(entry)

    def close(self) -> None:
        """Write the file."""
        write_text(self._path, json.dumps(self._file, indent=1))


class CsvTable(GrowingFile, LabelFiles):
    """A row per object, with COLUMNS."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, ",".join(COLUMNS) + "\n")

    def add(self, labeled: LabeledResult) -> None:
        """Append the rows of a picture."""
        frame = labeled.frame
        seconds = "" if frame.seconds is None else f"{frame.seconds:.3f}"
        origin = (frame.source.name, "" if frame.index is None else frame.index, seconds)
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        for found in labeled.found:
            box = (f"{side:.2f}" for side in found.box)
            writer.writerow([*origin, found.name, f"{found.score:.5f}", *box, found.id])  # None is written as nothing
        self.append(rows.getvalue())


class CvatTask(GrowingFile, LabelFiles):
    """An XML file: one task with all pictures."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        super().__init__(path, cvat_begin(classes), CVAT_END)
        self._names = dict(enumerate(classes))
        self._ids = itertools.count(1)

    def add(self, labeled: LabeledResult) -> None:
        """Append a picture."""
        self.append(cvat_image(labeled.image(next(self._ids)), labeled.annotations(), self._names))


class YoloLabels(LabelFiles):
    """labels/: a text file per picture, and classes.txt with the class of each number."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder, self._classes, self._begun = folder, classes, False

    def add(self, labeled: LabeledResult) -> None:
        """Write the file of a picture."""
        if not self._begun:
            write_text(self._folder / "classes.txt", "".join(f"{name}\n" for name in self._classes))
            self._begun = True
        image = labeled.image(1)
        lines = [yolo_line(entry["category_id"], entry, image) for entry in labeled.annotations()]
        write_text(self._folder / "labels" / f"{labeled.stem}.txt", "".join(lines))


class VocLabels(LabelFiles):
    """Annotations/: an XML file per picture."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder, self._names = folder / "Annotations", dict(enumerate(classes))

    def add(self, labeled: LabeledResult) -> None:
        """Write the file of a picture."""
        document = voc_document(labeled.image(1), labeled.annotations(), self._names)
        write_whole(self._folder / f"{labeled.stem}.xml", document)


class LabelmeLabels(LabelFiles):
    """A JSON file per picture, which names the photo relative to itself."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder, self._names = folder, dict(enumerate(classes))

    def add(self, labeled: LabeledResult) -> None:
        """Write the file of a picture."""
        path = self._folder / f"{labeled.stem}.json"
        photo = Path(labeled.frame.source.name)
        image_path = labeled.file_name
        if labeled.frame.index is None and photo.is_file():
            with suppress(ValueError):  # on another drive
                image_path = Path(os.path.relpath(photo, path.parent)).as_posix()
        document = labelme_document(labeled.image(1), labeled.annotations(), self._names, image_path)
        write_text(path, json.dumps(document, indent=1))
