"""detections.json: its entries, written one by one, so that it is never in memory as a whole.

DetectionsFile defines it; docs/detections.md explains it to users. Fields may be added; existing ones keep their
names and meaning.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, NotRequired, TypedDict

from rtmdet.core.detections import DetectedImage
from rtmdet.core.errors import InputError


class DetectedFile(DetectedImage):
    """An image, or a frame of a video, and the picture or video with its detections."""

    picture: NotRequired[str]  # relative to the folder of detections.json; absent if none was drawn
    frame: NotRequired[int]  # of a video, from 0
    seconds: NotRequired[float]  # since the beginning of the video


class InputSide(TypedDict):
    """Size of the network's input in pixels."""

    width: int
    height: int


class DetectionsHead(TypedDict):
    """The settings of a run."""

    weights: str
    input: InputSide
    score_thresholds: dict[str, float]  # of each class that was detected


class DetectionsFile(DetectionsHead):
    """The settings, then one entry per image; images that could not be read have none."""

    images: list[DetectedFile]


class ListFile:
    """A JSON file with a list that grows: entries are appended, and `close` completes it.

    The file appears under its name when it is closed, until then under that name with `.unfinished`, and not at all
    without any entry. `before` and `after` surround the entries.
    """

    def __init__(self, path: Path, *, before: str = "[", after: str = "]", indent: int | None = None) -> None:
        self.path = path
        self._unfinished = path.with_name(f"{path.name}.{os.getpid()}.unfinished")
        self._before, self._after, self._indent = before, after, indent
        self._comma = ""
        self._file: IO[str] | None = None

    def add(self, entry: object) -> None:
        """Append an entry. Raises InputError if the file cannot be written."""
        self.begin()
        assert self._file is not None
        text = json.dumps(entry, indent=self._indent)
        try:
            self._file.write(f"{self._comma}\n{text}")
            self._comma = ","
        except OSError as error:
            raise self._unwritable(error) from error

    def begin(self) -> None:
        """Let the file appear even if no entry follows. Raises InputError if it cannot be written."""
        if self._file is not None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._unfinished.open("w", encoding="utf-8")
            self._file.write(self._before)
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Complete the file and give it its name. Raises InputError if that fails."""
        if self._file is None:
            return
        try:
            with self._file as file:
                self._file = None
                file.write(f"\n{self._after}\n")
            self._unfinished.replace(self.path)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(f"{self.path}: the file cannot be written ({error.strerror}); choose another path")


def open_document(path: Path, head: DetectionsHead) -> ListFile:
    """detections.json with the settings of the run and no image yet."""
    before = json.dumps(head, indent=1).removesuffix("\n}") + ',\n "images": ['
    return ListFile(path, before=before, after="]}", indent=1)
