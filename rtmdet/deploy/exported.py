"""The backend of exported files, without torch: a library runs the network, the rest is NumPy.

Dimension legend: B images, P priors, K classes, N detections of all images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rtmdet.core.arrays import Array, is_tensor
from rtmdet.core.backend import Selection
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ExportFacts
from rtmdet.core.letterbox import Letterbox
from rtmdet.deploy.decoded import select_detections, suppress, to_image

Run = Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclass(frozen=True, slots=True)
class ExportedBackend:
    """The network of one file; its detections are NumPy arrays.

    `run` maps uint8 RGB (B, 3, H, W) to boxes (B, P, 4) in input pixels and scores (B, P, K); with NMS in the file to
    the image index (N,), boxes (N, 4), scores (N,) and labels (N,), by falling score.
    """

    name: str  # of the file, for messages
    run: Run
    facts: ExportFacts
    device: str

    def detect(self, images: Array, letterboxes: Sequence[Letterbox], selection: Selection) -> list[Detections]:
        """The detections in each of B images, uint8 RGB (B, 3, H, W), in original pixels by falling score.

        NMS in the file may have dropped more than the selection does: boxes below its score, and those that overlap.
        Raises InputError for images of a size that the file cannot take.
        """
        pixels = images.cpu().numpy() if is_tensor(images) else images
        size = pixels.shape[2], pixels.shape[3]
        if self.facts.fixed_input and size != self.facts.model.input_size:
            height, width = self.facts.model.input_size
            raise InputError(
                f"{self.name} takes only images of {width} x {height} pixels, found {size[1]} x {size[0]}: leave the "
                "input size out, or export it again without --fixed"
            )
        found: list[Detections] = []
        most = self.facts.fixed_batch or len(pixels)
        for start in range(0, len(pixels), most):
            places = letterboxes[start : start + most]
            outputs = self.run(_filled(pixels[start : start + most], self.facts.fixed_batch))
            for index, place in enumerate(places):
                found.append(self._detections(outputs, index, size, place, selection))
        return found

    def _detections(
        self, outputs: Sequence[np.ndarray], index: int, size: tuple[int, int], place: Letterbox, selection: Selection
    ) -> Detections:
        """The detections of one image of the batch."""
        if self.facts.nms is None:
            boxes, scores = outputs
            return select_detections(
                boxes[index], scores[index], input_size=size, letterbox=place, selection=selection
            )
        image, *parts = outputs
        own = Detections(*(part[image == index] for part in parts))
        return suppress(to_image(own[own.scores > selection.score_threshold], size, place), selection)


def _filled(images: np.ndarray, batch: int | None) -> np.ndarray:
    """The images, with black ones after them if the file takes only so many at a time."""
    if batch is None or len(images) == batch:
        return np.ascontiguousarray(images)
    return np.concatenate([images, np.zeros((batch - len(images), *images.shape[1:]), np.uint8)])
