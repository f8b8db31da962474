"""Whatever runs the network: letterboxed images in, detections out.

Dimension legend: B images, H, W height and width of the network's input.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rtmdet.core.arrays import Array
from rtmdet.core.detections import Detections
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.nms import ORIGINAL, VOTER_SHARE, NmsSettings
from rtmdet.core.strides import STRIDES

CANDIDATES = 30  # (prior, class) pairs per level for each box that is wanted: many overlap
LEAST_CANDIDATES, MOST_CANDIDATES = 1000, 30000
ALMOST = 0.999


@dataclass(frozen=True, slots=True)
class Selection:
    """Which predictions become detections. The defaults are those of COCO evaluation."""

    score_threshold: float = 0.001  # scores must exceed it
    nms: NmsSettings = ORIGINAL
    nms_pre: int = MOST_CANDIDATES  # (prior, class) pairs per level that enter NMS
    max_detections: int = 300  # of an image
    class_thresholds: tuple[float, ...] = ()  # scores reach that of their class; `detect` adds this to a backend

    def for_most(self, max_detections: int) -> "Selection":
        """The same for another number of detections, from fewer candidates where few are wanted: that is faster."""
        nms_pre = min(max(CANDIDATES * max_detections, LEAST_CANDIDATES), MOST_CANDIDATES)
        return replace(self, max_detections=max_detections, nms_pre=nms_pre)

    @property
    def least_score(self) -> float:
        """The score from which on predictions are candidates: those that vote need less than detections do."""
        return VOTER_SHARE * self.score_threshold if self.nms.box_voting else self.score_threshold

    @property
    def least_scores(self) -> tuple[float, ...]:
        """As `least_score` for each class, or for all: candidates of one class take no place from those of others."""
        if not self.class_thresholds:
            return (self.least_score,)
        share = VOTER_SHARE if self.nms.box_voting else ALMOST  # scores may be equal to the threshold of their class
        return tuple(share * threshold for threshold in self.class_thresholds)

    def searched_from(self, share: float) -> "Selection":
        """The same with NMS alone, from this share of the thresholds on.

        Without voting: a box that is moved away from a seam could no longer be told from a whole one.
        """
        lower = tuple(share * threshold for threshold in self.class_thresholds)
        nms = NmsSettings(self.nms.iou_threshold)
        return replace(self, score_threshold=share * self.score_threshold, class_thresholds=lower, nms=nms)

    def kept(self, found: Detections) -> Detections:
        """An image's detections, by falling score, above the thresholds and at most as many as wanted."""
        if self.class_thresholds:
            return found.above(self.class_thresholds)[: self.max_detections]
        return found[found.scores > self.score_threshold][: self.max_detections]


class Backend(Protocol):
    """Runs the network on the CPU or on a GPU, by torch or by another library."""

    @property
    def device(self) -> Any:
        """Where it runs, such as cpu or cuda:0; for torch a torch.device."""

    def forward(self, images: Array) -> Any:
        """The network's outputs for B images, uint8 RGB (B, 3, H, W)."""

    def select(
        self, outputs: Any, input_size: tuple[int, int], letterboxes: Sequence[Letterbox], selection: Selection
    ) -> list[Detections]:
        """The detections in each of B images by falling score, from the outputs for an input of (H, W).

        Boxes are in the pixels of the original image, where its letterbox places it; they can reach a little beyond.
        Their arrays are of the library that ran the network: torch tensors, or NumPy arrays.
        """


def detect(
    backend: Backend, images: Array, letterboxes: Sequence[Letterbox], selection: Selection
) -> list[Detections]:
    """The detections in each of B letterboxed images, uint8 RGB (B, 3, H, W)."""
    size = images.shape[2], images.shape[3]
    outputs = backend.forward(images)
    if not selection.class_thresholds:
        return backend.select(outputs, size, letterboxes, selection)
    every = replace(selection, max_detections=len(STRIDES) * selection.nms_pre)  # the limit counts what is left
    return [selection.kept(detections) for detections in backend.select(outputs, size, letterboxes, every)]
