"""Views of one picture for test-time augmentation: several sizes, each plain and mirrored, and how they are merged.

Differs from mmdet: sizes of 0.75, 1 and 1.25 times the input, and the detector's own NMS; there 320, 640 and 960
pixels in an input of 960, and NMS at 0.6.

Legend: H, W height and width of the network's input, D detections.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rtmdet.core.backend import Backend, Selection, detect
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import Letterbox, letterbox
from rtmdet.core.strides import STRIDES
from rtmdet.deploy.exported import suppress

SCALES = (0.75, 1.0, 1.25)  # of the input size


@dataclass(frozen=True, slots=True)
class View:
    """One way to show a picture to the network: in an input of `size` (H, W), mirrored left to right or not."""

    size: tuple[int, int]
    mirrored: bool = False

    def show(self, pixels: np.ndarray) -> tuple[np.ndarray, Letterbox]:
        """The input (H, W, 3) for a picture, always resized from the original, and where the picture lies in it."""
        return letterbox(np.ascontiguousarray(pixels[:, ::-1]) if self.mirrored else pixels, self.size)

    def back(self, found: Detections, width: int) -> Detections:
        """The detections of this view in a picture `width` pixels wide, in the pixels of the plain one."""
        found = found.numpy()
        if not self.mirrored:
            return found
        boxes = found.boxes.copy()
        boxes[:, [0, 2]] = width - found.boxes[:, [2, 0]]
        return replace(found, boxes=boxes)


def check_views(*, tta: bool, tile: int | None) -> None:
    """Raise InputError for both --tta and --tile."""
    if tta and tile:
        raise InputError("--tta and --tile: expected one of them")


def choose_views(input_size: tuple[int, int], *, augmented: bool) -> list[View]:
    """The plain view, or SCALES of the input size (H, W) in multiples of the network's stride, each also mirrored."""
    if not augmented:
        return [View(input_size)]
    step = max(STRIDES)
    sizes = [tuple(max(round(side * scale / step), 1) * step for side in input_size) for scale in SCALES]
    return [View((height, width), mirrored) for height, width in dict.fromkeys(sizes) for mirrored in (False, True)]


def detect_in_views(
    backend: Backend,
    views: Sequence[View],
    shown: Sequence[Sequence[tuple[np.ndarray, Letterbox]]],
    widths: Sequence[int],
    selection: Selection,
) -> list[Detections]:
    """The detections of pictures `widths` pixels wide, with each view in `shown`; one batch per view.

    Several views give detections down to the scores that vote, so that boxes do not depend on the score threshold.
    """
    of_views = selection
    if len(views) > 1:
        each = selection.least_scores if selection.class_thresholds else ()
        of_views = replace(selection, score_threshold=selection.least_score, class_thresholds=each)
    parts: list[list[Detections]] = []  # per view, per picture
    for number, view in enumerate(views):
        canvases, letterboxes = zip(*(picture[number] for picture in shown), strict=True)
        batch = np.stack(canvases).transpose(0, 3, 1, 2)  # (B, 3, H, W)
        found = detect(backend, batch, letterboxes, of_views)
        parts.append([view.back(detections, width) for detections, width in zip(found, widths, strict=True)])
    return [merge_views(seen, selection) for seen in zip(*parts, strict=True)]


def merge_views(parts: Sequence[Detections], selection: Selection) -> Detections:
    """The detections (D,) of all views of one picture: NMS per class over all of them, with their own scores.

    An object that several views find keeps the score of the view that is surest of it; with box voting, which each
    view has, too, its box is the mean of theirs, otherwise that of the surest.
    """
    if len(parts) == 1:
        return parts[0]
    if not selection.class_thresholds:
        return suppress(Detections.join(parts), selection)
    every = replace(selection, max_detections=sum(map(len, parts)))  # the limit counts what is left
    return selection.kept(suppress(Detections.join(parts), every))
