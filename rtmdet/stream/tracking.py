"""Ids of objects across the frames of a video, by ByteTrack: the only file that imports the package trackers.

ByteTrack: Multi-Object Tracking by Associating Every Detection Box, arXiv:2110.06864. A filter predicts the box of
each track in the next frame, where the sure detections are assigned to the tracks by IoU, and then the unsure ones to
the tracks that are left. Legend: D detections.
"""

import importlib.metadata
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from statistics import median_low
from typing import TYPE_CHECKING

import numpy as np

from rtmdet.core.arguments import checked
from rtmdet.core.arrays import is_tensor
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.paths import FilePath
from rtmdet.detector import Detector, Score
from rtmdet.stream.detecting import DetectSettings, Result, detect_frames
from rtmdet.stream.frames import Failure, Source
from rtmdet.stream.sources import find_sources
from rtmdet.stream.video import DEFAULT_RATE

if TYPE_CHECKING:
    from trackers import ByteTrackTracker

LOST = 1.0  # seconds for which an object may be out of sight and keep its id
LOST_FRAMES = 3  # the same in frames, where these take longer
LAST = 9  # steps from frame to frame that tell how long one takes
OLDEST = (2, 6)  # version of trackers: it takes the times of frames
# Without --no-deps, opencv-python would be unpacked over opencv-python-headless.
INSTALL = 'pip install "plain-rtmdet[track]", then pip install --no-deps "trackers>=2.6,<3"'


def check_tracking(sources: Sequence[Source]) -> None:
    """Raise InputError unless the package is installed and all sources have frames that belong together."""
    stills = [source.name for source in sources if not source.moving]
    if stills:
        number = f"{len(stills)} still pictures" if len(stills) > 1 else "a still picture"
        raise InputError(
            f"tracking: expected videos or cameras, found {number} ({stills[0]}): give the video itself, or make "
            "one of numbered frames with ffmpeg"
        )
    load_trackers()


def load_trackers() -> "type[ByteTrackTracker]":
    """The tracker. Raises InputError if the package is not installed or too old."""
    try:
        from trackers import ByteTrackTracker  # an extra
    except ImportError as error:
        missing = f" ({error.name} is)" if error.name not in (None, "trackers") else ""
        raise InputError(f"tracking needs the package trackers, which is missing{missing}: {INSTALL}") from error
    version = importlib.metadata.version("trackers")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        raise InputError(f"tracking needs trackers 2.6 or newer, found {version}: {INSTALL}")
    return ByteTrackTracker


class VideoTracks:
    """The tracks of one video. Each class has a tracker with its own score threshold, so that no id changes class."""

    def __init__(self, settings: DetectSettings, rate: Fraction | None) -> None:
        """Tracks for a video of `rate` frames per second. Raises InputError if the package is not installed."""
        self._settings = settings
        self._rate = float(rate or DEFAULT_RATE)
        self._trackers: dict[int, ByteTrackTracker] = {}  # of each label that was found
        self._numbers: dict[tuple[int, int], int] = {}  # of each label and its tracker's id: the id in the video
        self._shown = 0.0  # time of the last frame by the video
        self._clock = 0.0  # the same for the trackers: always rising
        self._steps: deque[float] = deque(maxlen=LAST)  # seconds from frame to frame

    def follow(self, found: Detections, seconds: float | None) -> Detections:
        """What was found in the next frame (D,), at `seconds`, with ids.

        Without those below the threshold of their class that continue no track, and at most `max_boxes`.
        """
        self._advance(seconds)
        arrays = found.numpy()
        ids = np.full(len(found), -1)
        for label in sorted({*self._trackers, *arrays.labels.tolist()}):
            own = np.flatnonzero(arrays.labels == label)
            ids[own] = self._follow_class(label, arrays[own])
        thresholds = np.array([self._settings.thresholds.get(name, 1.0) for name in found.classes], np.float32)
        kept = np.flatnonzero((ids >= 0) | (arrays.scores >= thresholds[arrays.labels]))
        tracked = replace(arrays, ids=ids)[kept[: self._settings.max_boxes]]
        return tracked.to("cpu") if is_tensor(found.boxes) else tracked

    def _advance(self, seconds: float | None) -> None:
        """Set the clock to the next frame; one frame later where the source's times stand still or fall."""
        step = 0.0 if seconds is None else seconds - self._shown
        self._shown = self._shown if seconds is None else seconds
        step = step if step > 0 else 1 / self._rate
        if self._clock > 0:  # not what is before the first frame
            self._steps.append(step)
        self._clock += step

    def _follow_class(self, label: int, found: Detections) -> np.ndarray:
        """The ids (D,) of what was found of one class; -1: none."""
        if label not in self._trackers:
            # A box that would be shown anyway is sure, and may begin a track. The package's own thresholds are 0.6
            # and 0.7, the paper's least score is 0.1; those of RTMDet are tuned for each class in the validation.
            threshold = self._settings.thresholds[found.classes[label]]
            self._trackers[label] = load_trackers()(
                frame_rate=self._rate, high_conf_det_threshold=threshold, track_activation_threshold=threshold
            )
        theirs = found.to_supervision()
        theirs.data["row"] = np.arange(len(found))
        # Not by the rate of the header: a camera, or a network that is slow, gives fewer frames than it says.
        frame = median_low(self._steps or [0.0])  # seconds
        self._trackers[label].maximum_time_without_update = max(LOST, (LOST_FRAMES + 1.5) * frame)
        tracked = self._trackers[label].update(theirs, timestamp=self._clock)  # in another order
        assert tracked.tracker_id is not None
        ids = np.full(len(found), -1)
        for row, number in zip(tracked.data.get("row", ()), tracked.tracker_id, strict=True):
            if number >= 0:
                ids[row] = self._numbers.setdefault((label, int(number)), len(self._numbers) + 1)
        return ids


def follow(results: Iterable[Result | Failure], settings: DetectSettings) -> Iterator[Result | Failure]:
    """The results of videos, one after the other, with ids; each video has its own, from 1."""
    source: Source | None = None
    tracks: VideoTracks | None = None
    for result in results:
        if isinstance(result, Failure):
            yield result
            continue
        frame = result.frame
        if tracks is None or frame.source != source:
            source, tracks = frame.source, VideoTracks(settings, frame.rate)
        yield replace(result, found=tracks.follow(result.found, frame.seconds))


@checked
def track(
    detector: Detector,
    video: FilePath | int,
    *,
    score: Score = "auto",
    max_detections: int = 100,
    batch_size: int = 8,
    tile: int | None = None,
) -> Iterator[Result]:
    """The objects in each frame of a video, with ids that they keep from frame to frame, while it is read.

    `video` is a file, an address or the number of a camera. A Result has the `frame`, with its `index` from 0 and its
    `seconds`, the `pixels`, and what was `found`, with `ids`: an object gets one in the second frame in a row that
    shows it, and keeps it if it is not found for up to LOST seconds or LOST_FRAMES frames. A box of at least half of
    `score` counts if it continues a track. `tile` also detects in windows of this side in pixels, by default as in
    the training run, 0 not at all. Raises InputError at once if the video is not there or a package is missing, and
    at the end if pieces of the video are damaged or missing.
    """
    thresholds = dict(zip(detector.classes, detector.thresholds(score), strict=True))
    tiling = detector.choose_tiling(tile)
    settings = DetectSettings(thresholds, max_detections, batch_size, tracked=True, tiling=tiling)
    sources = find_sources([str(video)]).sources
    check_tracking(sources)
    return _sound(follow(detect_frames(detector, sources, settings), settings))


def _sound(results: Iterable[Result | Failure]) -> Iterator[Result]:
    for result in results:
        if isinstance(result, Failure):
            raise result.error
        yield result
