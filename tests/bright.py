"""A detector whose detections are known: its network is a function of the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rtmdet.core.arrays import Array
from rtmdet.core.backend import Selection
from rtmdet.core.detections import Detections
from rtmdet.core.facts import ModelFacts
from rtmdet.core.letterbox import Letterbox
from rtmdet.deploy.exported import to_image
from rtmdet.detector import Detector

SIDE = 64


@dataclass
class BrightBackend:
    """Finds one object per image, around its pixels brighter than 200: `bright`, and the same as `white` at 0.5."""

    device: str = "cpu"
    batches: list[int] = field(default_factory=list)
    selections: list[Selection] = field(default_factory=list)

    def forward(self, images: Array) -> Array:
        self.batches.append(len(images))
        return images

    def select(
        self, outputs: Array, input_size: tuple[int, int], letterboxes: Sequence[Letterbox], selection: Selection
    ) -> list[Detections]:
        self.selections.append(selection)
        return [self._one(image, place, selection) for image, place in zip(outputs, letterboxes, strict=True)]

    def _one(self, image: np.ndarray, place: Letterbox, selection: Selection) -> Detections:
        y, x = np.nonzero(image.min(0) > 200)
        boxes = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]] * 2 if len(x) else np.empty((0, 4)))
        found = Detections(boxes.astype(np.float32), np.float32([0.9, 0.5])[: len(boxes)], np.arange(len(boxes)))
        kept = found.above(selection.score_threshold)[: selection.max_detections]
        return to_image(kept, (image.shape[1], image.shape[2]), place)


def bright_detector() -> Detector:
    """A detector of bright objects, whose backend says which batches it got."""
    made = Detector.__new__(Detector)
    made.path, made.backend = None, BrightBackend()
    made.facts = ModelFacts(("bright", "white"), (SIDE, SIDE))
    return made


def scene(number: int, size: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """A dark picture of (H, W) with a bright square, whose place tells the number."""
    image = np.full((*size, 3), 20, np.uint8)
    left = 2 * number % (size[1] - 16)
    image[8:24, left : left + 16] = 250
    return image
