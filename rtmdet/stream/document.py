"""detections.json: the settings of a run, then `images`, an entry for each one that could be read.

docs/detections.md explains it to users. Fields may be added; existing ones keep their names and meaning.
"""

import json
from pathlib import Path
from typing import NotRequired, TypedDict

from rtmdet.core.detections import DetectedImage
from rtmdet.stream.growing_file import ListFile


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


def open_document(path: Path, head: DetectionsHead) -> ListFile:
    """detections.json with the settings of the run and no image yet."""
    before = json.dumps(head, indent=1).removesuffix("\n}") + ',\n "images": ['
    return ListFile(path, before=before, after="]}", indent=1)
