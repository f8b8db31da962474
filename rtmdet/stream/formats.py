"""The detections in the formats of other programs, and a table of the tracks, written image by image.

`open_formats` writes what was found, below one folder: coco/results.json with coco/images.json, detections.csv,
yolo/labels, voc/Annotations, labelme, cvat.xml, mot. `open_label_set` writes one format as a data set of its own.
"""

import csv
import io
import itertools
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rtmdet.core.detections import Detection, Detections
from rtmdet.core.whole_file import write_whole
from rtmdet.data.coco.file import CocoAnnotation, CocoCategory, CocoFile, CocoImage, box_annotation
from rtmdet.data.formats.cvat import CVAT_END, cvat_begin, cvat_image
from rtmdet.data.formats.labelme import labelme_document
from rtmdet.data.formats.voc import voc_document
from rtmdet.data.formats.yolo import yolo_line
from rtmdet.stream.detecting import Result
from rtmdet.stream.frames import Frame
from rtmdet.stream.growing_file import GrowingFile, ListFile
from rtmdet.stream.output_paths import OutputPaths

COLUMNS = ("file", "frame", "seconds", "class_name", "score", "x1", "y1", "x2", "y2", "id")
TRACK_COLUMNS = (
    "file", "id", "class_name", "first_frame", "last_frame", "first_seconds", "last_seconds", "frames", "mean_score",
)  # fmt: skip
# Format -> where photos belong in a data set of it.
PHOTO_FOLDERS = {"labelme": ".", "cvat": "images", "yolo": "images", "voc": "JPEGImages", "coco": "images"}


@dataclass(frozen=True, slots=True, eq=False)
class LabeledResult:
    """What was found in one picture."""

    frame: Frame
    found: Detections
    stem: Path  # of its label files
    file_name: str  # of the image, see OutputPaths; for a frame that of its label file, as .jpg

    def image(self, number: int) -> CocoImage:
        """The picture with its number."""
        height, width = self.found.image_size or (0, 0)
        return CocoImage(id=number, file_name=self.file_name, width=width, height=height)

    def annotations(self) -> list[CocoAnnotation]:
        """Its objects; category ids are the class numbers from 0."""
        return [
            box_annotation(number, 0, found.label, box=found.box) for number, found in enumerate(self.found, start=1)
        ]


def labeled_result(result: Result, target: OutputPaths) -> LabeledResult:
    """A result under the names of its target."""
    frame, stem = result.frame, target.of_frame(result.frame)
    name = target.file_name if frame.index is None else f"{stem.as_posix()}.jpg"
    return LabeledResult(frame, result.found, stem, name)


class LabelFiles(ABC):
    """The files of one format."""

    @abstractmethod
    def add(self, labeled: LabeledResult) -> None:
        """Write one picture. Raises InputError."""

    def close(self) -> None:  # noqa: B027 - formats with a file per picture have nothing to complete
        """Complete the files. Raises InputError."""


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
        number = next(self._ids)
        self._images.add(labeled.image(number))
        self._results.append("")  # the file appears even if no detection follows
        for row in labeled.found.to_coco(number):
            self._results.add(row)

    def close(self) -> None:
        self._images.close()
        self._results.close()


class CocoLabels(LabelFiles):
    """A COCO file: all pictures with their objects and the categories."""

    def __init__(self, path: Path, classes: Sequence[str], category_ids: Sequence[int]) -> None:
        self._path = path
        self._file = CocoFile(images=[], annotations=[], categories=_categories(classes, category_ids))

    def add(self, labeled: LabeledResult) -> None:
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
        super().__init__(path, csv_text([COLUMNS]))

    def add(self, labeled: LabeledResult) -> None:
        frame = labeled.frame
        seconds = "" if frame.seconds is None else f"{frame.seconds:.3f}"
        origin = (frame.source.name, "" if frame.index is None else frame.index, seconds)
        rows = [
            [*origin, found.name, f"{found.score:.5f}", *(f"{side:.2f}" for side in found.box), found.id]
            for found in labeled.found
        ]
        self.append(csv_text(rows))


class CvatTask(GrowingFile, LabelFiles):
    """An XML file: one task with all pictures."""

    def __init__(self, path: Path, classes: Sequence[str]) -> None:
        super().__init__(path, cvat_begin(classes), CVAT_END)
        self._names = dict(enumerate(classes))
        self._ids = itertools.count(1)

    def add(self, labeled: LabeledResult) -> None:
        self.append(cvat_image(labeled.image(next(self._ids)), labeled.annotations(), self._names))


class YoloLabels(LabelFiles):
    """labels/: a text file per picture, and classes.txt with the class of each number."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder, self._classes, self._begun = folder, classes, False

    def add(self, labeled: LabeledResult) -> None:
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
        document = voc_document(labeled.image(1), labeled.annotations(), self._names)
        write_whole(self._folder / f"{labeled.stem}.xml", document)


class LabelmeLabels(LabelFiles):
    """A JSON file per picture, which names the photo relative to itself."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder, self._names = folder, dict(enumerate(classes))

    def add(self, labeled: LabeledResult) -> None:
        path = self._folder / f"{labeled.stem}.json"
        photo = Path(labeled.frame.source.name)
        image_path = labeled.file_name
        if labeled.frame.index is None and photo.is_file():
            with suppress(ValueError):  # on another drive
                image_path = Path(os.path.relpath(photo, path.parent)).as_posix()
        document = labelme_document(labeled.image(1), labeled.annotations(), self._names, image_path)
        write_text(path, json.dumps(document, indent=1))


@dataclass(slots=True)
class _Track:
    """One object so far."""

    name: str  # of its class
    first: tuple[int, float]  # number of the frame, seconds; the frame itself would hold its pixels
    last: tuple[int, float]
    frames: int = 0  # in which it was found
    scores: float = 0.0  # their sum

    def row(self) -> list[object]:
        numbers, seconds = zip(self.first, self.last, strict=True)
        mean = f"{self.scores / self.frames:.5f}"
        return [self.name, *numbers, *(f"{value:.3f}" for value in seconds), self.frames, mean]


class TracksTable(LabelFiles):
    """tracks.csv: a row per track with TRACK_COLUMNS, by video and then by id, written when all is known."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tracks.csv"
        self._tracks: dict[str, dict[int, _Track]] = {}  # of each video, by id

    def add(self, labeled: LabeledResult) -> None:
        """Count the objects of a frame."""
        tracks = self._tracks.setdefault(labeled.frame.source.name, {})
        now = labeled.frame.index or 0, labeled.frame.seconds or 0.0
        for found in labeled.found:
            if found.id is not None:
                track = tracks.setdefault(found.id, _Track(found.name, now, now))
                track.last = now
                track.frames += 1
                track.scores += found.score

    def close(self) -> None:
        """Write the table, if there was a frame. Raises InputError."""
        if self._tracks:
            write_text(self._path, csv_text([TRACK_COLUMNS, *self._rows()]))

    def _rows(self) -> Iterator[list[object]]:
        for file, tracks in self._tracks.items():
            for number, track in sorted(tracks.items()):
                yield [file, number, *track.row()]


class MotFiles(LabelFiles):
    """NAME.txt per video, in the format of the MOT Challenge's results.

    A row is frame, id, left, top, width, height, score, -1, -1, -1; frames count from 1. Objects without an id have
    none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name: Path | None = None
        self._file: GrowingFile | None = None

    def add(self, labeled: LabeledResult) -> None:
        """Append the rows of a frame. The frames of a video come one after the other."""
        name = labeled.stem.parent
        if self._file is None or name != self._name:
            self.close()
            self._name, self._file = name, GrowingFile(self._folder / f"{name}.txt")
        self._file.append("".join(_mot_row(labeled.frame, found) for found in labeled.found if found.id is not None))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _mot_row(frame: Frame, found: Detection) -> str:
    left, top, right, bottom = found.box
    box = ",".join(f"{side:.2f}" for side in (left, top, right - left, bottom - top))
    return f"{(frame.index or 0) + 1},{found.id},{box},{found.score:.5f},-1,-1,-1\n"


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Lines of a CSV file; None is written as nothing."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a small file, creating its folder. Raises InputError."""
    write_whole(path, text.encode(errors="backslashreplace"))
