"""The network in the middle of the stream: reading and resizing in threads before it, batches in order behind it.

Legend: H, W height and width of the network's input, B pictures of a batch, K classes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from rtmdet.core.detections import Detections, InMemory
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.threads import MOST_ROOM, in_order, prefetched
from rtmdet.core.tiling import Tiling
from rtmdet.deploy.views import View, choose_views, detect_in_views
from rtmdet.detector import Detector
from rtmdet.images.inputs import OpenedImage
from rtmdet.stream.frames import Failure, Frame, Source

READERS = 2  # threads that decode and resize
LEAST_TRACKED = 300  # boxes that are looked for in a frame for tracking, at least
CONTINUING = 0.5  # share of a class's threshold from which on a box can continue a track


@dataclass(frozen=True, slots=True)
class DetectSettings:
    """What to look for: a score threshold per class name; other classes are left out."""

    thresholds: Mapping[str, float]
    max_boxes: int = 100  # of a picture, the best ones
    batch: int = 8  # pictures per pass of the network
    augmented: bool = False  # test-time augmentation, without tiling
    tiling: Tiling | None = None  # also detect in windows
    tracked: bool = False  # boxes below the thresholds are looked for, too: stream.tracking chooses among them

    def __post_init__(self) -> None:
        for option, number in (("--max-boxes", self.max_boxes), ("--batch", self.batch)):
            if number < 1:
                raise InputError(f"{option} {number}: expected at least 1")

    def least(self, name: str) -> float:
        """The score from which on boxes of a class are looked for."""
        # Scores never exceed 1: of a class that is not wanted, no box counts among the best ones.
        share = CONTINUING if self.tracked else 1.0
        return share * self.thresholds[name] if name in self.thresholds else 2.0

    @property
    def most(self) -> int:
        """The number of boxes that are looked for in a picture."""
        return max(self.max_boxes, LEAST_TRACKED) if self.tracked else self.max_boxes


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """A picture with what was found in it."""

    frame: Frame
    pixels: np.ndarray  # (H, W, 3) uint8 RGB
    found: Detections


@dataclass(frozen=True, slots=True, eq=False)
class _Prepared:
    """A picture with its views, ready for the network."""

    frame: Frame
    image: OpenedImage
    shown: Sequence[tuple[np.ndarray, Letterbox]]  # of each view


def frames_of(sources: Iterable[Source]) -> Iterator[Frame | Failure]:
    """The frames of all sources in order; where one breaks off, the reason, and then the next source."""
    for source in sources:
        begun = False
        try:
            for frame in source.frames():
                begun = True
                yield frame
        except InputError as error:
            yield Failure(error, partial=begun, file=source.name)


def detect_frames(
    detector: Detector, sources: Sequence[Source], settings: DetectSettings
) -> Iterator[Result | Failure]:
    """What is found in each picture of the sources, in their order; the network runs in the caller's thread.

    Memory holds a few batches at most, less of large pictures; of those to be cut, one and the next. A live source is
    answered frame by frame.
    """
    live, tiled = any(source.live for source in sources), settings.tiling is not None
    size = 1 if live or tiled else settings.batch
    views = [] if tiled else choose_views(detector.input_size, augmented=settings.augmented)
    ahead = 1 if live else 2 if tiled else size + READERS
    frames = prefetched(frames_of(sources), ahead=1 if live else READERS)
    threads = 1 if tiled else READERS
    ready = in_order(partial(_prepare, views), frames, threads=threads, ahead=ahead, room=room_of)
    for batch in _batches(ready, size):
        yield from _run(detector, batch, views, settings)


def room_of(item: "Frame | _Prepared | Result | Failure") -> int:
    """The bytes of memory that a picture takes, as far as its header tells."""
    frame = item if isinstance(item, Frame | Failure) else item.frame
    return 0 if isinstance(frame, Failure) else frame.room


def _batches(items: Iterable[_Prepared | Failure], size: int) -> Iterator[list[_Prepared | Failure]]:
    """The items in lists with `size` pictures, fewer of large ones, or with as many failures."""
    batch: list[_Prepared | Failure] = []
    for item in items:
        batch.append(item)
        failed = sum(isinstance(result, Failure) for result in batch)
        if size in (failed, len(batch) - failed) or sum(map(room_of, batch)) > MOST_ROOM:
            yield batch
            batch = []
    if batch:
        yield batch


def _prepare(views: Sequence[View], frame: Frame | Failure) -> _Prepared | Failure:
    if isinstance(frame, Failure):
        return frame
    try:
        pixels = frame.read()
    except InputError as error:
        return Failure(error, partial=frame.index is not None, file=frame.source.name)
    frame = replace(frame, read=partial(np.asarray, pixels))  # without the bytes of the file
    image = OpenedImage(pixels, InMemory(partial(np.asarray, pixels)), Path(frame.source.name))
    return _Prepared(frame, image, [view.show(pixels) for view in views])


def _run(
    detector: Detector, batch: Sequence[_Prepared | Failure], views: Sequence[View], settings: DetectSettings
) -> Iterator[Result | Failure]:
    """The results of a batch, in its order."""
    pictures = [item for item in batch if isinstance(item, _Prepared)]
    found = iter(_detect(detector, pictures, views, settings) if pictures else ())
    for item in batch:
        yield item if isinstance(item, Failure) else Result(item.frame, item.image.pixels, next(found))


def _detect(
    detector: Detector, pictures: Sequence[_Prepared], views: Sequence[View], settings: DetectSettings
) -> list[Detections]:
    thresholds = [settings.least(name) for name in detector.classes]
    wanted = np.array([name in settings.thresholds for name in detector.classes])
    selection = detector.selection(thresholds, settings.most)
    if settings.tiling is None:
        shown = [picture.shown for picture in pictures]
        widths = [picture.image.pixels.shape[1] for picture in pictures]
        found = detect_in_views(detector.backend, views, shown, widths, selection)
    else:
        images = (picture.image.pixels for picture in pictures)
        found = [detector.detect_in_windows(image, settings.tiling, selection, settings.batch) for image in images]
    return [
        detector.complete(detections[wanted[detections.labels]][: settings.most], picture.image)
        for detections, picture in zip(found, pictures, strict=True)
    ]
