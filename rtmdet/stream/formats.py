"""The detections in the formats of other programs, written image by image.

The folder of each format: coco/results.json with coco/images.json, detections.csv, yolo/labels, voc/Annotations,
labelme, cvat.xml, mot.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rtmdet.data.formats.cvat import CVAT_END, cvat_begin, cvat_image
from rtmdet.data.formats.labelme import labelme_document
from rtmdet.data.formats.voc import voc_document
from rtmdet.data.formats.yolo import yolo_line
from rtmdet.stream.document import ListFile
from rtmdet.stream.label_files import GrowingFile, LabeledResult, LabelFiles, write_text
from rtmdet.stream.track_files import MotFiles

COLUMNS = ("file", "frame", "seconds", "class_name", "score", "x1", "y1", "x2", "y2", "id")


def open_formats(
    formats: Sequence[str], folder: Path, classes: Sequence[str], category_ids: Sequence[int]
) -> list[LabelFiles]:
    """The files of each format below a folder; nothing is written yet."""
    kinds: dict[str, Callable[[Path, Sequence[str]], LabelFiles]] = {
        "coco": partial(CocoFiles, category_ids=category_ids), "csv": CsvTable, "yolo": YoloLabels,
        "voc": VocLabels, "labelme": LabelmeLabels, "cvat": CvatTask, "mot": MotFiles,
    }  # fmt: skip
    return [kinds[name](folder, classes) for name in dict.fromkeys(formats)]


class CocoFiles:
    """results.json, in COCO's results format, and images.json, which has the image of each id and the categories."""

    def __init__(self, folder: Path, classes: Sequence[str], category_ids: Sequence[int]) -> None:
        ids = category_ids or range(1, len(classes) + 1)
        categories = [{"id": number, "name": name} for number, name in zip(ids, classes, strict=True)]
        before = f'{{"info": {{}}, "categories": {json.dumps(categories)}, "annotations": [], "images": ['
        self._images = ListFile(folder / "coco" / "images.json", before=before, after="]}")
        self._results = ListFile(folder / "coco" / "results.json")
        self._ids = itertools.count(1)

    def add(self, labeled: LabeledResult) -> None:
        """Append the picture and its detections."""
        number = next(self._ids)
        self._images.add(labeled.image(number))
        self._results.begin()
        for row in labeled.found.to_coco(number):
            self._results.add(row)

    def close(self) -> None:
        """Complete both files."""
        self._images.close()
        self._results.close()


class CsvTable(GrowingFile):
    """detections.csv: a row per object, with COLUMNS."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        super().__init__(folder / "detections.csv", ",".join(COLUMNS) + "\n")

    def add(self, labeled: LabeledResult) -> None:
        """Append the rows of a picture."""
        frame = labeled.frame
        seconds = "" if frame.seconds is None else f"{frame.seconds:.3f}"
        place = (frame.source.name, "" if frame.index is None else frame.index, seconds)
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        for found in labeled.found:
            box = (f"{side:.2f}" for side in found.box)
            writer.writerow([*place, found.name, f"{found.score:.5f}", *box, found.id])  # None is written as nothing
        self.append(rows.getvalue())


class CvatTask(GrowingFile):
    """cvat.xml: one task with all pictures."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        super().__init__(folder / "cvat.xml", cvat_begin(classes), CVAT_END)
        self._names = dict(enumerate(classes))
        self._ids = itertools.count(1)

    def add(self, labeled: LabeledResult) -> None:
        """Append a picture."""
        self.append(cvat_image(labeled.image(next(self._ids)), labeled.annotations(), self._names))


class YoloLabels:
    """yolo/labels: a text file per picture, and yolo/classes.txt with the class of each number."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder, self._classes, self._begun = folder / "yolo", classes, False

    def add(self, labeled: LabeledResult) -> None:
        """Write the file of a picture."""
        if not self._begun:
            write_text(self._folder / "classes.txt", "".join(f"{name}\n" for name in self._classes))
            self._begun = True
        image = labeled.image(1)
        lines = [yolo_line(entry["category_id"], entry, image) for entry in labeled.annotations()]
        write_text(self._folder / "labels" / f"{labeled.stem}.txt", "".join(lines))

    def close(self) -> None:
        """Nothing is open."""


class VocLabels:
    """voc/Annotations: an XML file per picture."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder, self._names = folder / "voc" / "Annotations", dict(enumerate(classes))

    def add(self, labeled: LabeledResult) -> None:
        """Write the file of a picture."""
        text = io.BytesIO()
        voc_document(labeled.image(1), labeled.annotations(), self._names).write(text, encoding="utf-8")
        write_text(self._folder / f"{labeled.stem}.xml", text.getvalue().decode())

    def close(self) -> None:
        """Nothing is open."""


class LabelmeLabels:
    """labelme: a JSON file per picture, which names the photo relative to itself."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder, self._names = folder / "labelme", dict(enumerate(classes))

    def add(self, labeled: LabeledResult) -> None:
        """Write the file of a picture."""
        path = self._folder / f"{labeled.stem}.json"
        photo = Path(labeled.frame.source.name)
        near = labeled.frame.index is None and photo.is_file()
        image_path = Path(os.path.relpath(photo, path.parent)).as_posix() if near else labeled.file_name
        document = labelme_document(labeled.image(1), labeled.annotations(), self._names, image_path)
        write_text(path, json.dumps(document, indent=1))

    def close(self) -> None:
        """Nothing is open."""
