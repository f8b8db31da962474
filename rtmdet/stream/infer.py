"""A whole run of detection: sources in, pictures and files out, one outcome per picture while it runs.

detections.json has the settings of the run, then `images`, an entry for each one that could be read.
docs/detections.md explains it to users. Fields may be added; existing ones keep their names and meaning.
"""

import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NotRequired

import numpy as np

from rtmdet.core.detections import DetectedImage
from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.core.picture_source import source_mark
from rtmdet.core.threads import in_order
from rtmdet.detector import Detector
from rtmdet.stream.detecting import DetectSettings, Result, detect_frames, room_of
from rtmdet.stream.formats import LabelFiles, TracksTable, labeled_result, open_formats
from rtmdet.stream.frames import Failure, Frame, Source
from rtmdet.stream.growing_file import ListFile
from rtmdet.stream.output_paths import (
    DOCUMENT,
    OutputPaths,
    check_jpeg_size,
    choose_output_paths,
    claimed,
    crop_folders,
    save_crops,
)
from rtmdet.stream.tracking import check_tracking, follow
from rtmdet.stream.video import DEFAULT_RATE, VideoWriter, load_pyav

WRITERS = 2  # threads that draw and encode
AHEAD = 6  # pictures that wait for them or for their turn


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """What to write into a folder."""

    folder: Path
    pictures: bool = True  # drawn pictures and videos
    labels: bool = True  # class names and scores in them
    document: bool = True  # detections.json
    crops: bool = False  # each object as a picture of its own
    formats: Sequence[str] = ()  # of other programs: coco, csv, yolo, voc, labelme, cvat, mot


class DetectedFile(DetectedImage):
    """An image, or a frame of a video, and the picture or video with its detections."""

    picture: NotRequired[str]  # relative to the folder of detections.json; absent if none was drawn
    frame: NotRequired[int]  # of a video, from 0
    seconds: NotRequired[float]  # since the beginning of the video


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One picture's entry for detections.json, the reason why there is none, or why its picture was not drawn."""

    entry: DetectedFile | None
    failure: Failure | None = None


def infer(
    detector: Detector, sources: Sequence[Source], settings: DetectSettings, output: OutputSettings, *, weights: str
) -> Generator[Outcome]:
    """Detect in every picture of the sources and write the results; gives the outcome of each, in order.

    Reading, the network and writing overlap, in bounded memory. What is written stays whole if the iterator is closed
    early or ends with an error. `weights` is what the results name as their origin. Raises InputError if a picture
    would replace a photo, a package is missing for videos or tracking, or a still picture shall be tracked, all at
    once, and for results that cannot be written.
    """
    if output.pictures and any(source.moving for source in sources):
        load_pyav()  # before any work
    if settings.tracked:
        check_tracking(sources)
    elif "mot" in output.formats:
        raise InputError("--save mot: its rows are tracks: add --track")
    targets = choose_output_paths(sources, output.folder, drawn=output.pictures)
    with ExitStack() as stack:
        if output.document or output.pictures or output.crops or output.formats:
            stack.enter_context(claimed(output.folder))
        formats = open_formats(output.formats, output.folder, detector.classes, detector.category_ids)
        document = None
        if output.document:
            document = _open_document(output.folder / DOCUMENT, detector, settings, weights)
            if settings.tracked:
                formats.append(TracksTable(output.folder))
        by_source = dict(zip(sources, targets, strict=True))
        writer = _Writer(output, by_source, document, formats, stack.pop_all(), crop_folders(detector.classes))
    return _outcomes(detector, sources, settings, writer)


def _open_document(path: Path, detector: Detector, settings: DetectSettings, weights: str) -> ListFile:
    """detections.json with the settings of the run and no image yet."""
    height, width = detector.input_size
    sides = {"width": width, "height": height}
    head = {"weights": weights, "input": sides, "score_thresholds": dict(settings.thresholds)}
    before = json.dumps(head, indent=1).removesuffix("\n}") + ',\n "images": ['
    return ListFile(path, before=before, after="]}", indent=1)


def _outcomes(
    detector: Detector, sources: Sequence[Source], settings: DetectSettings, writer: "_Writer"
) -> Generator[Outcome]:
    live, tiled = any(source.live for source in sources), settings.tiling is not None
    # Of pictures to be cut, which may be very large, one is drawn while the network is at the next one.
    ahead = 1 if live else 2 if tiled else AHEAD
    found = detect_frames(detector, sources, settings)
    results = follow(found, settings) if settings.tracked else found
    try:
        drawn = in_order(writer.draw, results, threads=1 if tiled else WRITERS, ahead=ahead, room=room_of)
        yield from in_order(writer.append, drawn, threads=1, ahead=1 if tiled else ahead)
    finally:
        writer.close()


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A result whose picture is written."""

    result: Result
    outcome: Outcome
    picture: np.ndarray | None = None  # for a video, whose frames are written in order


@dataclass(slots=True, eq=False)
class _Writer:
    """Writes the results: `draw` in any order and thread, `append` one after the other."""

    output: OutputSettings
    targets: Mapping[Source, OutputPaths]
    document: ListFile | None
    formats: Sequence[LabelFiles]
    claim: ExitStack  # of the folder
    crop_folders: Mapping[str, Path]  # of each class
    video: VideoWriter | None = field(default=None, init=False)
    filmed: Source | None = field(default=None, init=False)  # the source of the open or broken video

    def draw(self, result: Result | Failure) -> _Drawn | Failure:
        """Draw and save the picture and the crops of one result."""
        if isinstance(result, Failure):
            return result
        entry, target, frame = self._entry(result), self.targets[result.frame.source], result.frame
        picture = result.found.draw(labels=self.output.labels) if self.output.pictures else None
        failure = None
        try:
            if picture is not None and not frame.source.moving:
                check_jpeg_size(frame.source.name, picture)
                save_image(target.picture, picture, source=Path(frame.source.name))
        except InputError as error:
            entry.pop("picture", None)
            failure = Failure(error, partial=True)
        try:
            if self.output.crops:
                objects = [(self.crop_folders[found.name], found.box) for found in result.found]
                save_crops(self.output.folder / "crops", target.of_frame(frame), result.pixels, objects)
        except InputError as error:
            failure = failure or Failure(error, partial=True)
        return _Drawn(result, Outcome(entry, failure), picture if frame.source.moving else None)

    def append(self, drawn: _Drawn | Failure) -> Outcome:
        """Add one result to the files that have all of them."""
        if isinstance(drawn, Failure):
            return Outcome(None, drawn)
        if self.document is not None:
            self.document.add(drawn.outcome.entry)
        if self.formats:
            labeled = labeled_result(drawn.result, self.targets[drawn.result.frame.source])
            for files in self.formats:
                files.add(labeled)
        if drawn.picture is None:
            return drawn.outcome
        try:
            self._film(drawn.result.frame, drawn.picture)
        except InputError as error:  # said once: its other frames are not tried
            self.video = None
            return Outcome(drawn.outcome.entry, Failure(error, partial=True))
        return drawn.outcome

    def _film(self, frame: Frame, picture: np.ndarray) -> None:
        if frame.source != self.filmed:
            self._end_video()
            self.filmed = frame.source
            path, mark = self.targets[frame.source].picture, source_mark(Path(frame.source.name))
            size = picture.shape[0], picture.shape[1]
            self.video = VideoWriter(path, size, frame.rate or DEFAULT_RATE, comment=mark)
        if self.video is not None:
            self.video.add(picture, frame.seconds or 0.0)

    def _end_video(self) -> None:
        video, self.video = self.video, None
        if video is not None:
            video.close()

    def close(self) -> None:
        """Complete the files."""
        with ExitStack() as stack:  # all of them, even if one fails
            stack.callback(self.claim.close)  # the last
            for files in (self.document, *self.formats):
                if files is not None:
                    stack.callback(files.close)
            stack.callback(self._end_video)

    def _entry(self, result: Result) -> DetectedFile:
        image, frame = result.found.to_dict(), result.frame
        picture = self.targets[frame.source].picture.relative_to(self.output.folder)
        entry = DetectedFile(
            file=frame.source.name,
            picture=picture.as_posix(),
            width=image["width"],
            height=image["height"],
            objects=image["objects"],
        )
        if not self.output.pictures:
            del entry["picture"]
        if frame.index is not None:
            entry["frame"] = frame.index
        if frame.seconds is not None:
            entry["seconds"] = round(frame.seconds, 3)
        return entry
