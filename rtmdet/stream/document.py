"""detections.json: the settings of a run, then `images`, an entry for each one that could be read.

docs/detections.md explains it to users. Fields may be added; existing ones keep their names and meaning.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired

from rtmdet.core.detections import DetectedImage
from rtmdet.stream.growing_file import ListFile


class DetectedFile(DetectedImage):
    """An image, or a frame of a video, and the picture or video with its detections."""

    picture: NotRequired[str]  # relative to the folder of detections.json; absent if none was drawn
    frame: NotRequired[int]  # of a video, from 0
    seconds: NotRequired[float]  # since the beginning of the video


def open_document(
    path: Path, *, weights: str, input_size: tuple[int, int], thresholds: Mapping[str, float]
) -> ListFile:
    """detections.json with the settings of the run and no image yet.

    `input_size` is (H, W) of the network's input, `thresholds` has the score of each class that is detected.
    """
    height, width = input_size
    sides = {"width": width, "height": height}
    head = {"weights": weights, "input": sides, "score_thresholds": dict(thresholds)}
    before = json.dumps(head, indent=1).removesuffix("\n}") + ',\n "images": ['
    return ListFile(path, before=before, after="]}", indent=1)
