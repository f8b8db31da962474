"""Video files and streams, read and written with PyAV: the only file that imports it.

Legend: H, W height and width of a frame, upright.
"""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.paths import is_address, storable_name
from rtmdet.core.whole_file import reason_of, unwritable
from rtmdet.images.reading import VIDEO_SUFFIXES
from rtmdet.stream.frames import Frame

STREAM_SUFFIXES = (".m3u8", ".mpd")  # lists of the pieces of a stream
STREAM_SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "udp", "tcp", "srt")
LEAST_GAP = 1.0  # seconds between the last frame and the end by the header that show a cut file
WAIT = 10.0  # seconds for an address to answer, or to send the next piece
CLOCK = 90_000  # ticks per second of a written video
DEFAULT_RATE = Fraction(25)  # frames per second where a source does not say


def load_pyav() -> ModuleType:
    """PyAV. Raises InputError if it is not installed."""
    try:
        import av  # an extra
    except ImportError as error:
        raise InputError(
            'videos need the package PyAV, which is missing: pip install "plain-rtmdet[video]"'
        ) from error
    av.logging.set_level(None)  # its own messages about faults that we report
    return av


def is_video(word: str) -> bool:
    """Whether a path or address is that of a video, by its suffix or scheme. Raises InputError for no address."""
    if not is_address(word):  # a path, in which # and ? are letters like others
        return _has_video_suffix(word)
    try:
        parts = urlsplit(word)
    except ValueError as error:
        raise InputError(f"{word}: not an address ({error}): correct it") from error
    return parts.scheme in STREAM_SCHEMES or _has_video_suffix(parts.path)


def _has_video_suffix(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in (*VIDEO_SUFFIXES, *STREAM_SUFFIXES)


@dataclass(frozen=True, slots=True)
class Video:
    """A video file or the address of one; `live` for streams."""

    name: str
    live: bool = False
    moving: bool = True

    @property
    def relative_path(self) -> Path:
        if not is_address(self.name):
            return Path(Path(self.name).name)
        name = PurePosixPath(urlsplit(self.name).path).name
        return Path(storable_name(name) if name else "stream")  # many cameras have an address without a path

    def count(self) -> int | None:
        """The number of frames in its header; None if it says nothing or is not readable."""
        if self.live or is_address(self.name):
            return None
        try:
            with _opened(self.name) as container:
                return _video_stream(container, self.name).frames or None
        except InputError:
            return None

    def frames(self) -> Iterator[Frame]:
        """The frames in order, upright, with their times.

        Damaged ones are left out. Raises InputError at the end if some were, or if the video ends early.
        """
        with _opened(self.name) as container:
            stream = _video_stream(container, self.name)
            stream.thread_type = "AUTO"
            rate = stream.average_rate or stream.guessed_rate or DEFAULT_RATE
            faults = _Faults()
            end = last = begin = 0.0
            for index, image in enumerate(_decoded(container, stream, faults)):
                time = float(index / rate) if image.time is None else image.time
                if index == 0:
                    begin = time
                elif time - begin < last:  # a stream that began again: its clock continues
                    begin = time - last - float(1 / rate)
                faults.longest = max(faults.longest, time - begin - last)
                last = time - begin
                yield Frame(self, partial(_upright, image), index, last, Fraction(rate))
                faults.frames += 1
                end = time + float((image.duration or 0) * (image.time_base or 0))
            faults.report(self.name, stream.frames, end, None if self.live else _duration(container, stream))


@dataclass(slots=True)
class _Faults:
    """What was wrong with a video so far."""

    frames: int = 0  # sound ones
    damaged: int = 0  # packets that could not be decoded
    hidden: int = 0  # frames that a shortened video still holds, but does not show
    ended: str = ""  # why reading broke off
    longest: float = 0.0  # seconds from one frame to the next

    def report(self, name: str, expected: int, end: float, duration: float | None) -> None:
        """Raise InputError if anything was wrong.

        `expected` frames and `duration` in seconds are those of the header, 0 and None if it has none; `end` is that
        of the last frame.
        """
        again = "try again" if is_address(name) else "copy it again"
        if self.frames == 0 and is_address(name):  # the file is sound where only its index is at its end
            why = "perhaps its server sends no parts of a file"
            raise InputError(f"{name}: no frame can be decoded ({why}): download the video and give the file")
        if self.frames == 0:
            raise InputError(f"{name}: expected a video, found no frame that can be decoded; replace the file")
        shown = expected - self.hidden
        if self.ended or (expected and not self.damaged and self.frames < shown - 1):
            of = f" of {shown}" if expected else ""
            why = f" ({self.ended})" if self.ended else ""
            raise InputError(f"{name}: the video ends early, after {self.frames}{of} frames{why}; {again}")
        if not expected and duration is not None and duration - end > max(LEAST_GAP, 3 * self.longest):
            when = f"at {end:.1f} of {duration:.1f} seconds"
            raise InputError(f"{name}: the video ends early, after {self.frames} frames, {when}; {again}")
        if self.damaged:
            raise InputError(f"{name}: {self.damaged} damaged pieces of the video were left out; {again}")


def _decoded(container: Any, stream: Any, faults: _Faults) -> Iterator[Any]:
    """The frames of PyAV that can be decoded."""
    error_type = load_pyav().FFmpegError
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except error_type as error:
            faults.ended = _why(error)
            packet = None
        faults.hidden += packet is not None and packet.is_discard
        try:
            # None asks the decoder for the frames that it still holds.
            decoded = stream.decode(None) if packet is None else packet.decode()
        except EOFError:  # it has given them already
            decoded = []
        except error_type:
            faults.damaged += 1
            decoded = []
        yield from decoded
        if packet is None:
            return


def _why(error: Exception) -> str:
    """Why a video cannot be read; PyAV itself calls a time that is over an exit."""
    silent = isinstance(error, load_pyav().error.ExitError)
    return f"no answer for {WAIT:g} seconds" if silent else reason_of(error)


def _upright(image: Any) -> np.ndarray:
    """The pixels (H, W, 3) uint8 RGB of a frame of PyAV, turned and mirrored as its player would do it."""
    pixels = image.to_ndarray(format="rgb24")
    if (stored := image.side_data.get("DISPLAYMATRIX")) is None:
        return pixels
    # What stands at (x, y) is shown at (a x + c y, b x + d y).
    (a, b), (c, d) = np.frombuffer(stored, np.int32).reshape(3, 3)[:2, :2].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


@contextmanager
def _opened(name: str) -> Iterator[Any]:
    """The open container. Raises InputError."""
    av = load_pyav()
    try:
        # What stands before a colon in a file's name would be taken for a protocol.
        container = av.open(name, timeout=WAIT) if is_address(name) else av.open(f"file:{name}")
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{name}: the video cannot be opened ({_why(error)}); check the path or file") from error
    with container:
        yield container


def _video_stream(container: Any, name: str) -> Any:
    if not container.streams.video:
        raise InputError(f"{name}: expected a video, found a file without pictures; check the path")
    return container.streams.video[0]


def _duration(container: Any, stream: Any) -> float | None:
    """The length of the pictures in seconds, by the header."""
    if match := re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", "")):
        hours, minutes, seconds = map(float, match.groups())
        return 3600 * hours + 60 * minutes + seconds
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / 1e6 if alone else None


class VideoWriter:
    """Writes an .mp4 that every player opens (H.264 where the library has it), frame by frame; no sound."""

    def __init__(self, path: Path, size: tuple[int, int], rate: Fraction, *, comment: str = "") -> None:
        """A video of frames of `size` (H, W), `rate` of them per second, into `path`. Raises InputError."""
        av = load_pyav()
        self.path = path
        self._size = size
        self._last = -1
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(f"file:{path}", "w", options={"movflags": "faststart"})
            self._container.metadata["comment"] = comment
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            self._stream = self._container.add_stream(codec, rate=rate)
            self._stream.width, self._stream.height = _even(size[1]), _even(size[0])
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, CLOCK)
            if codec == "libx264":
                self._stream.options = {"crf": "20", "preset": "veryfast"}

    def add(self, picture: np.ndarray, seconds: float) -> None:
        """Append a frame (H, W, 3) uint8 RGB, shown from `seconds` on. Raises InputError."""
        av = load_pyav()
        if picture.shape[:2] != self._size:
            picture = cv2.resize(picture, self._size[::-1], interpolation=cv2.INTER_AREA)
        height, width = self._size
        padded = cv2.copyMakeBorder(picture, 0, _even(height) - height, 0, _even(width) - width, cv2.BORDER_REPLICATE)
        image = av.VideoFrame.from_ndarray(padded, format="rgb24")
        self._last = max(round(seconds * CLOCK), self._last + 1)  # times must rise
        image.pts, image.time_base = self._last, Fraction(1, CLOCK)
        with self._writing(begun=True):
            self._container.mux(self._stream.encode(image))

    def close(self) -> None:
        """Complete the file. Raises InputError."""
        with self._writing(begun=True):
            self._container.mux(self._stream.encode(None))
            self._container.close()

    @contextmanager
    def _writing(self, *, begun: bool = False) -> Iterator[None]:
        try:
            yield
        except (load_pyav().FFmpegError, OSError) as error:
            if not begun:
                raise unwritable(self.path, error, "video") from error
            with suppress(OSError):  # nothing opens it without its end, and on a full disk other files need the room
                os.truncate(self.path, 0)  # PyAV has it still open
                self.path.unlink()
            remedy = "what there was of it is removed: make room, or choose another path"
            raise unwritable(self.path, error, "video", remedy) from error


def comment_of(path: Path) -> str:
    """The comment in a video file; "" if there is none or it is not a video."""
    try:
        with _opened(str(path)) as container:
            return container.metadata.get("comment", "")
    except InputError:
        return ""


def _even(side: int) -> int:
    """A side of a video, rounded up to an even number, as yuv420p needs; codecs refuse very small ones."""
    return max(2 * math.ceil(side / 2), 16)
