"""Compares an exported file with the network that it was made of, on real images.

Dimension legend: N, M boxes of one image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np

from rtmdet.core.arrays import iou_matrix
from rtmdet.core.detections import Detections
from rtmdet.deploy.export_result import Agreement
from rtmdet.deploy.exported import nms_inside
from rtmdet.detector import Detector

SAME_BOX, SAME_HALF_BOX = 0.99, 0.9  # IoU; of files that calculate with 16-bit floats, which move boxes a little
SCORE_MARGIN = 0.01  # boxes with scores so near to the threshold may be missing in one of both
LARGEST_AP_DIFFERENCE = 0.002


def compare_detections(
    network: Detector, file: Detector, images: Iterable[np.ndarray], *, same_box: float = SAME_BOX
) -> Agreement:
    """Detect in every image (H, W, 3) uint8 RGB with both and compare above the network's score thresholds.

    Or above that of NMS in the file, where it is higher. Boxes of a class are the same from the IoU `same_box` on.
    """
    inside = nms_inside(file.backend)
    cut = [max(score, inside.score + SCORE_MARGIN) if inside else score for score in network.thresholds()]
    low = [max(score - SCORE_MARGIN, 0.0) for score in cut]
    pairs = []
    times: tuple[list[float], list[float]] = ([], [])
    for image in images:
        pair = []
        for detector, seconds in zip((network, file), times, strict=True):
            began = perf_counter()
            found = detector(image, score=low, max_detections=300, tile=0)
            seconds.append(perf_counter() - began)
            pair.append(found.numpy())
        pairs.append(_match(pair[0], pair[1], cut, same_box))
    matched = sum(part.matched for part in pairs)
    boxes = sum(part.boxes for part in pairs)
    return Agreement(
        images=len(pairs),
        boxes=sum(part.own for part in pairs),
        matched=matched / boxes if boxes else 1.0,
        box_difference=max((part.box_difference for part in pairs), default=0.0),
        score_difference=max((part.score_difference for part in pairs), default=0.0),
        seconds=(median(times[0] or [0.0]), median(times[1] or [0.0])),
    )


@dataclass(frozen=True, slots=True)
class _Matches:
    """The comparison of one image."""

    own: int  # boxes of the network above the threshold
    boxes: int  # of both
    matched: int  # of both
    box_difference: float
    score_difference: float


def _match(a: Detections, b: Detections, cut: Sequence[float], same_box: float) -> _Matches:
    same = (iou_matrix(a.boxes, b.boxes) >= same_box) & (a.labels[:, None] == b.labels[None, :])  # (N, M)
    scores = np.abs(a.scores[:, None] - b.scores[None, :])
    nearest = np.where(same, scores, np.inf)  # of several equal boxes the one with the nearest score
    sure = [part.scores >= np.asarray(cut)[part.labels] for part in (a, b)]
    matched = [same.any(1 - axis) for axis in (0, 1)]
    rows = np.flatnonzero(sure[0] & matched[0])
    partners = nearest[rows].argmin(1) if len(rows) else np.empty(0, np.int64)
    return _Matches(
        own=int(sure[0].sum()),
        boxes=int(sum(part.sum() for part in sure)),
        matched=int(sum((part & hit).sum() for part, hit in zip(sure, matched, strict=True))),
        box_difference=float(np.abs(a.boxes[rows] - b.boxes[partners]).max(initial=0.0)),
        score_difference=float(scores[rows, partners].max(initial=0.0)),
    )
