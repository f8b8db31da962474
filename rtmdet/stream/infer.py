"""A whole run of detection: sources in, pictures and files out, one outcome per picture while it runs."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.core.picture_source import source_mark
from rtmdet.core.threads import in_order
from rtmdet.detector import Detector
from rtmdet.stream.detecting import DetectSettings, Result, detect_frames, room_of
from rtmdet.stream.document import DetectedFile, open_document
from rtmdet.stream.formats import open_formats
from rtmdet.stream.frames import Failure, Frame, Source
from rtmdet.stream.growing_file import ListFile
from rtmdet.stream.label_files import LabelFiles, labeled_result
from rtmdet.stream.output_paths import (
    DOCUMENT,
    OutputPaths,
    check_jpeg_size,
    choose_output_paths,
    claimed,
    crop_folders,
    save_crops,
)
from rtmdet.stream.track_files import TracksTable
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
            path, size, thresholds = output.folder / DOCUMENT, detector.input_size, settings.thresholds
            document = open_document(path, weights=weights, input_size=size, thresholds=thresholds)
            if settings.tracked:
                formats.append(TracksTable(output.folder))
        by_source = dict(zip(sources, targets, strict=True))
        writer = _Writer(output, by_source, document, formats, stack.pop_all(), crop_folders(detector.classes))
    return _outcomes(detector, sources, settings, writer)


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


class _Writer:
    """Writes the results: `draw` in any order and thread, `append` one after the other."""

    def __init__(
        self,
        output: OutputSettings,
        targets: dict[Source, OutputPaths],
        document: ListFile | None,
        formats: Sequence[LabelFiles],
        claim: ExitStack,
        crop_folders: Mapping[str, Path],
    ) -> None:
        self._output = output
        self._targets = targets
        self._document = document
        self._formats = formats
        self._claim = claim  # of the folder
        self._crop_folders = crop_folders  # of each class
        self._video: VideoWriter | None = None
        self._filmed: Source | None = None  # the source of the open or broken video

    def draw(self, result: Result | Failure) -> _Drawn | Failure:
        """Draw and save the picture and the crops of one result."""
        if isinstance(result, Failure):
            return result
        entry, target, frame = self._entry(result), self._targets[result.frame.source], result.frame
        picture = result.found.draw(labels=self._output.labels) if self._output.pictures else None
        failure = None
        try:
            if picture is not None and not frame.source.moving:
                check_jpeg_size(frame.source.name, picture)
                save_image(target.picture, picture, source=Path(frame.source.name))
        except InputError as error:
            entry.pop("picture", None)
            failure = Failure(error, partial=True)
        try:
            if self._output.crops:
                objects = [(self._crop_folders[found.name], found.box) for found in result.found]
                save_crops(self._output.folder / "crops", target.of_frame(frame), result.pixels, objects)
        except InputError as error:
            failure = failure or Failure(error, partial=True)
        return _Drawn(result, Outcome(entry, failure), picture if frame.source.moving else None)

    def append(self, drawn: _Drawn | Failure) -> Outcome:
        """Add one result to the files that have all of them."""
        if isinstance(drawn, Failure):
            return Outcome(None, drawn)
        if self._document is not None:
            self._document.add(drawn.outcome.entry)
        if self._formats:
            labeled = labeled_result(drawn.result, self._targets[drawn.result.frame.source])
            for files in self._formats:
                files.add(labeled)
        if drawn.picture is None:
            return drawn.outcome
        try:
            self._film(drawn.result.frame, drawn.picture)
        except InputError as error:  # said once: its other frames are not tried
            self._video = None
            return Outcome(drawn.outcome.entry, Failure(error, partial=True))
        return drawn.outcome

    def _film(self, frame: Frame, picture: np.ndarray) -> None:
        """Append a drawn frame to the video of its source."""
        if frame.source != self._filmed:
            self._end_video()
            self._filmed = frame.source
            path, mark = self._targets[frame.source].picture, source_mark(Path(frame.source.name))
            size = picture.shape[0], picture.shape[1]
            self._video = VideoWriter(path, size, frame.rate or DEFAULT_RATE, comment=mark)
        if self._video is not None:
            self._video.add(picture, frame.seconds or 0.0)

    def _end_video(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            video.close()

    def close(self) -> None:
        """Complete the files."""
        with ExitStack() as stack:  # all of them, even if one fails
            stack.callback(self._claim.close)  # the last
            for files in (self._document, *self._formats):
                if files is not None:
                    stack.callback(files.close)
            stack.callback(self._end_video)

    def _entry(self, result: Result) -> DetectedFile:
        image, frame = result.found.to_dict(), result.frame
        picture = self._targets[frame.source].picture.relative_to(self._output.folder)
        entry = DetectedFile(
            file=frame.source.name,
            picture=picture.as_posix(),
            width=image["width"],
            height=image["height"],
            objects=image["objects"],
        )
        if not self._output.pictures:
            del entry["picture"]
        if frame.index is not None:
            entry["frame"] = frame.index
        if frame.seconds is not None:
            entry["seconds"] = round(frame.seconds, 3)
        return entry
