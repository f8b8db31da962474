"""What is written about the tracks of videos: a table with a row per track, and the rows of the MOT Challenge."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rtmdet.core.detections import Detection
from rtmdet.stream.frames import Frame
from rtmdet.stream.growing_file import GrowingFile
from rtmdet.stream.label_files import LabeledResult, LabelFiles, write_table

TRACK_COLUMNS = (
    "file", "id", "class_name", "first_frame", "last_frame", "first_seconds", "last_seconds", "frames", "mean_score",
)  # fmt: skip


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
            write_table(self._path, TRACK_COLUMNS, self._rows())

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
        """Complete the last file."""
        if self._file is not None:
            self._file.close()


def _mot_row(frame: Frame, found: Detection) -> str:
    left, top, right, bottom = found.box
    box = ",".join(f"{side:.2f}" for side in (left, top, right - left, bottom - top))
    return f"{(frame.index or 0) + 1},{found.id},{box},{found.score:.5f},-1,-1,-1\n"
