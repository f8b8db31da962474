"""What travels through a run of detection: single pictures from any source, or the reason why one is missing.

Legend: H, W height and width of a picture.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.pictures import ValueRange
from rtmdet.images.reading import decode_image, read_header


class Source(Protocol):
    """Where pictures come from: an image file, an address, a video or a camera."""

    @property
    def name(self) -> str:
        """Its path or address, for results and messages."""

    @property
    def relative_path(self) -> Path:
        """Where its results belong, relative to the output folder; the suffix is that of the source."""

    @property
    def live(self) -> bool:
        """Whether frames come as they happen, so that each must be answered before the next is there."""

    @property
    def moving(self) -> bool:
        """Whether it has frames that belong together, as a video has."""

    def count(self) -> int | None:
        """The number of its pictures as far as its header says so; None if unknown."""

    def frames(self) -> "Iterator[Frame]":
        """Its pictures in order, not yet decoded to pixels where that can wait.

        Raises InputError if it cannot be opened or ends early.
        """


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a source. `read` returns its pixels, (H, W, 3) uint8 RGB, upright, or raises InputError."""

    source: Source
    read: Callable[[], np.ndarray]
    index: int | None = None  # in a video, from 0
    seconds: float | None = None  # since the beginning of the video
    rate: Fraction | None = None  # frames per second of the video
    room: int = 0  # bytes of memory that the file and its pixels take; 0 if that is not known, as of a video


def encoded_frame(source: Source, data: bytes, value_range: ValueRange | None) -> Frame:
    """The picture in an image file's bytes. Raises InputError if its header cannot be read."""
    height, width = read_header(source.name, data).size
    return Frame(source, partial(decode_image, source.name, data, value_range), room=len(data) + 3 * height * width)


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """A picture without a result, or a video that broke off; `partial`: it has results, or some frames of it have."""

    error: InputError
    partial: bool = False
    file: str = ""  # name of the source; empty: the picture was read, but its drawing or crops cannot be written

    def __str__(self) -> str:
        return f"{'incomplete' if self.partial else 'skipped'}: {self.error}"
