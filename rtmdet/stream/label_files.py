"""A result under the names of its label files, and how the text files of all formats are written."""

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rtmdet.core.detections import Detections
from rtmdet.core.whole_file import write_whole
from rtmdet.data.coco.file import CocoAnnotation, CocoImage, box_annotation
from rtmdet.stream.detecting import Result
from rtmdet.stream.frames import Frame
from rtmdet.stream.output_paths import OutputPaths


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


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, creating its folder. Raises InputError."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write a small file, creating its folder. Raises InputError."""
    write_whole(path, text.encode(errors="backslashreplace"))
