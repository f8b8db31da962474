"""Boxes of one class that overlap: which of them NMS keeps, and box voting, which lets the dropped ones count.

Arrays are of NumPy or torch. Dimension legend: D kept detections, C candidates.
"""

from dataclasses import dataclass, replace

from rtmdet.core.arguments import check_fields
from rtmdet.core.arrays import Array, concatenate, iou_matrix
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError

VOTER_SHARE = 0.5  # a voter has more than this share of the score of the box that it votes on
CHUNK = 32  # boxes that are voted on at a time, which bounds memory


@dataclass(frozen=True, slots=True)
class NmsSettings:
    """What becomes of overlapping boxes of one class. The defaults are the original's."""

    iou_threshold: float = 0.65  # NMS drops a box that overlaps a better one by more
    box_voting: bool = False  # the dropped boxes vote on where the better one is

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.iou_threshold <= 1:
            raise InputError(f"iou_threshold {self.iou_threshold}: expected 0 .. 1")

    def __str__(self) -> str:
        return f"IoU {self.iou_threshold:g}{' with box voting' if self.box_voting else ''}"

    def vote(self, kept: Detections, candidates: Detections) -> Detections:
        """Each box of `kept` (D,) moved to the weighted mean of the candidates (C,) of its class, it among them.

        Both are sorted by falling score. The weight of a candidate is max(IoU - iou_threshold, 0) x max(its score -
        half of the kept box's score, 0): zero where it comes in, so that boxes do not jump.
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
        return concatenate([_weighted_means(some, candidates, self.iou_threshold) for some in chunks])


ORIGINAL = NmsSettings()


def _able_to_vote(candidates: Detections, kept: Detections) -> Detections:
    """Those sure enough for the last of the kept ones."""
    return candidates[: int((candidates.scores > VOTER_SHARE * kept.scores[-1]).sum())]


def _weighted_means(kept: Detections, candidates: Detections, iou_threshold: float) -> Array:
    candidates = _able_to_vote(candidates, kept)  # (C,)
    iou_margin = (iou_matrix(kept.boxes, candidates.boxes) - iou_threshold).clip(0)  # (D, C)
    score_margin = (candidates.scores - VOTER_SHARE * kept.scores[:, None]).clip(0)
    weights = (iou_margin * score_margin)[..., None]  # (D, C, 1)
    # Not a matrix product, which a GPU may calculate with too few bits for pixels.
    return (weights * candidates.boxes).sum(1) / weights.sum(1)
