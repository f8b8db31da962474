"""From an exported file's outputs to detections, without torch: the same steps as core.postprocess.

Dimension legend: P priors of all levels, K classes, S selected (prior, class) pairs, D detections.
"""

from itertools import pairwise

import cv2
import numpy as np

from rtmdet.core.arrays import clip_boxes, keep_best
from rtmdet.core.backend import Selection
from rtmdet.core.detections import Detections
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.strides import STRIDES


def select_detections(
    boxes: np.ndarray, scores: np.ndarray, *, input_size: tuple[int, int], letterbox: Letterbox, selection: Selection
) -> Detections:
    """The detections of one image from its decoded boxes (P, 4) in input pixels and scores (P, K)."""
    height, width = input_size
    ends = np.cumsum([0, *(height // stride * (width // stride) for stride in STRIDES)])
    parts = [_select(boxes[a:b], scores[a:b], selection) for a, b in pairwise(ends)]
    level_boxes, level_scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return suppress(to_image(Detections(level_boxes, level_scores, labels), input_size, letterbox), selection)


def to_image(found: Detections, input_size: tuple[int, int], letterbox: Letterbox) -> Detections:
    """Clipped to the input of (H, W), in the pixels of the original image, without those that have no area."""
    boxes = letterbox.to_image(clip_boxes(found.boxes, input_size))
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return Detections(boxes[real], found.scores[real], found.labels[real])


def suppress(found: Detections, selection: Selection) -> Detections:
    """NMS per class, then the best `max_detections` above the threshold, by falling score; the others vote."""
    found = found[np.argsort(-found.scores, kind="stable")]
    sides = found.boxes[:, 2:] - found.boxes[:, :2]
    rectangles = np.hstack([found.boxes[:, :2], sides]).astype(np.float64)  # x, y, width, height

    def of_class(own: np.ndarray) -> np.ndarray:
        kept = cv2.dnn.NMSBoxes(rectangles[own], found.scores[own], 0.0, selection.nms.iou_threshold)
        return own[np.asarray(kept, np.int64)]

    def of_all(best: np.ndarray) -> np.ndarray:
        labels = found.labels[best]
        kept = [of_class(best[labels == label]) for label in np.unique(labels)]
        return np.sort(np.concatenate(kept)) if kept else best

    sure = np.flatnonzero(found.scores > selection.score_threshold)
    return selection.nms.vote(found[keep_best(sure, selection.max_detections, of_all)], found)


def _select(boxes: np.ndarray, scores: np.ndarray, selection: Selection) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (S, 4), scores (S,) and labels (S,) of one level."""
    flat = scores.ravel()
    chosen = np.flatnonzero(scores > np.array(selection.least_scores, scores.dtype))
    chosen = chosen[np.argsort(-flat[chosen], kind="stable")][: selection.nms_pre]
    prior, label = np.divmod(chosen, scores.shape[1])
    return boxes[prior], flat[chosen], label
