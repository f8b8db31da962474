"""A result under the names of its label files, and how the text files of all formats are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoAnnotation, CocoImage, box_annotation
from rtmdet.stream.detecting import Result
from rtmdet.stream.frames import Frame
from rtmdet.stream.pictures import Target


@dataclass(frozen=True, slots=True, eq=False)
class LabeledResult:
    """What was found in one picture."""

    frame: Frame
    found: Detections
    stem: Path  # of its label files
    file_name: str  # of the image, below the folder it was found in; for a frame that of its label file, as .jpg

    def image(self, number: int) -> CocoImage:
        """The picture with its number."""
        height, width = self.found.image_size or (0, 0)
        return CocoImage(id=number, file_name=self.file_name, width=width, height=height)

    def annotations(self) -> list[CocoAnnotation]:
        """Its objects; category ids are the class numbers from 0."""
        return [
            box_annotation(number, 0, found.label, box=found.box) for number, found in enumerate(self.found, start=1)
        ]


def label(result: Result, target: Target) -> LabeledResult:
    """A result under the names of its target."""
    frame, stem = result.frame, target.of_frame(result.frame)
    name = frame.source.place.as_posix() if frame.index is None else f"{stem.as_posix()}.jpg"
    return LabeledResult(frame, result.found, stem, name)


class LabelFiles(Protocol):
    """The files of one format."""

    def add(self, labeled: LabeledResult) -> None:
        """Write one picture. Raises InputError."""

    def close(self) -> None:
        """Complete the files. Raises InputError."""


class GrowingFile:
    """A text file that is created with its first text, and completed with `end`."""

    def __init__(self, path: Path, begin: str, end: str = "") -> None:
        self._path, self._begin, self._end = path, begin, end
        self._file: IO[str] | None = None

    def append(self, text: str) -> None:
        """Add a text. Raises InputError if the file cannot be written."""
        with writing(self._path):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace", newline="")
                self._file.write(self._begin)
            self._file.write(text)

    def close(self) -> None:
        """Complete the file, if there is one."""
        if self._file is not None:
            with writing(self._path), self._file as file:
                file.write(self._end)


def write_text(path: Path, text: str) -> None:
    """Write a small file, creating its folder. Raises InputError."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what fails while a file is written into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: the file cannot be written ({error.strerror}); choose another --out") from error
