"""Boxes of one class that overlap: which of them NMS keeps, and box voting, which lets the dropped ones count.

Arrays are of NumPy or torch. Dimension legend: D kept detections, C candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rtmdet.core.arrays import Array, concatenate, iou_matrix
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError

VOTER = 0.5  # a voter has more than this share of the score of the box that it votes on
CHUNK = 32  # boxes that are voted on at a time, which bounds memory


@dataclass(frozen=True, slots=True)
class Overlap:
    """What becomes of overlapping boxes of one class. The defaults are the original's."""

    iou_threshold: float = 0.65  # NMS drops a box that overlaps a better one by more
    box_voting: bool = False  # the dropped boxes vote on where the better one is

    def __post_init__(self) -> None:
        if not 0 <= self.iou_threshold <= 1:
            raise InputError(f"iou_threshold {self.iou_threshold}: expected 0 .. 1")

    def least_score(self, score_threshold: float) -> float:
        """The score from which on candidates matter where detections need `score_threshold`."""
        return VOTER * score_threshold if self.box_voting else score_threshold

    def vote(self, kept: Detections, candidates: Detections) -> Detections:
        """Each box of `kept` (D,) moved to the weighted mean of the candidates (C,) that vote on it, it among them.

        Voters are of its class, overlap it by more than `iou_threshold` and have more than half of its score; what
        they have beyond both, multiplied, is their weight. `kept` and `candidates` are sorted by falling score.
        Idea: Gidaris and Komodakis, "Object detection via a multi-region and semantic segmentation-aware CNN model",
        2015. Differs from mmdet: that keeps the surest box as it is; the mean is better placed where a detector was
        trained on few images (docs/small-data.md).
        """
        if not self.box_voting or self.iou_threshold == 1 or not len(kept):
            return kept
        candidates = _able_to_vote(candidates, kept)
        boxes = concatenate([kept.boxes])  # a copy
        for label in set(kept.labels.tolist()):
            own = kept.labels == label
            boxes[own] = self._means(kept[own], candidates[candidates.labels == label])
        return replace(kept, boxes=boxes)

    def _means(self, kept: Detections, candidates: Detections) -> Array:
        """The moved boxes (D, 4) of one class."""
        chunks = [kept[start : start + CHUNK] for start in range(0, len(kept), CHUNK)]
        return concatenate([_mean_of_voters(some, candidates, self.iou_threshold) for some in chunks])


ORIGINAL = Overlap()


def read_overlap(values: Mapping[str, Any]) -> Overlap:
    """The rule in a file's metadata; what is missing there is the original's. Raises TypeError or ValueError."""
    iou, voting = values.get("iou_threshold", ORIGINAL.iou_threshold), values.get("box_voting", ORIGINAL.box_voting)
    if not isinstance(voting, bool):
        raise TypeError(f"box_voting {voting!r}: expected true or false")
    return Overlap(float(iou), voting)


def _able_to_vote(candidates: Detections, kept: Detections) -> Detections:
    """Those sure enough for the last of the kept ones."""
    return candidates[: int((candidates.scores > VOTER * kept.scores[-1]).sum())]


def _mean_of_voters(kept: Detections, candidates: Detections, iou_threshold: float) -> Array:
    able = _able_to_vote(candidates, kept)  # (C,)
    near = (iou_matrix(kept.boxes, able.boxes) - iou_threshold).clip(0)  # (D, C)
    sure = (able.scores - VOTER * kept.scores[:, None]).clip(0)
    votes = near * sure
    return votes @ able.boxes / votes.sum(1)[:, None]
