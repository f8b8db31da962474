"""Cameras of this machine, by number, with OpenCV."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2

from rtmdet.core.errors import InputError
from rtmdet.stream.frames import Frame


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera, which ends only when it is unplugged or the program is stopped."""

    number: int
    live: bool = True
    moving: bool = True

    @property
    def name(self) -> str:
        """What results call it."""
        return f"camera {self.number}"

    @property
    def relative_path(self) -> Path:
        """The name of its files."""
        return Path(f"camera_{self.number}")

    def count(self) -> None:
        """Unknown."""

    def frames(self) -> Iterator[Frame]:
        """The frames as they come. Raises InputError if the camera is not there, or gives no frame any more."""
        capture = cv2.VideoCapture(self.number)
        try:
            if not capture.isOpened():
                raise InputError(f"{self.name}: no such camera, or another program uses it; check the number")
            rate = Fraction(max(capture.get(cv2.CAP_PROP_FPS), 0)).limit_denominator(1001) or None  # -1: unknown
            began, index = time.monotonic(), 0
            while True:
                done, image = capture.read()
                if not done:
                    raise InputError(f"{self.name}: no more frames after {index}; check its cable")
                read = partial(cv2.cvtColor, image, cv2.COLOR_BGR2RGB)
                yield Frame(self, read, index, time.monotonic() - began, rate)
                index += 1
        finally:
            capture.release()
