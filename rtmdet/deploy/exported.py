"""The backend of exported files, without torch: a library runs the network, the rest is NumPy.

From the outputs to detections it takes the same steps as core.postprocess. Dimension legend: B images, P priors of
all levels, K classes, N detections of all images, S selected (prior, class) pairs, D detections.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from rtmdet.core.arrays import Array, clip_boxes, is_tensor, keep_best
from rtmdet.core.backend import Backend, Selection
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.facts import ExportFacts, NmsFacts
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.strides import STRIDES
from rtmdet.core.wording import one_line

Outputs = Sequence[np.ndarray]
Run = Callable[[np.ndarray], Outputs]
Shape = Sequence[int | None]  # None: any length


def check_interface(name: str, facts: ExportFacts, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> None:
    """Raise InputError if the metadata of a file, called `name`, do not fit its inputs and outputs, by names."""
    height, width = facts.model.input_size if facts.fixed_input else (None, None)
    if {key: tuple(shape) for key, shape in inputs.items()} != {"images": (facts.fixed_batch, 3, height, width)}:
        raise _unfit(name, f"inputs {dict(inputs)}")
    if list(outputs) != (["boxes", "scores"] if facts.nms is None else ["image", "boxes", "scores", "labels"]):
        raise _unfit(name, f"outputs {', '.join(outputs)}")
    found = outputs["scores"][-1] if outputs["scores"] else None
    if facts.nms is None and found != len(facts.model.classes):
        raise _unfit(name, f"scores of {found} classes, names of {len(facts.model.classes)}")


def _unfit(name: str, what: str) -> InputError:
    return InputError(f"{name}: its metadata do not fit its network ({what}): export it again")


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
    reopen: "Callable[[], ExportedBackend]"  # in another process, from the same file

    def __reduce__(self) -> "tuple[Callable[[], ExportedBackend], tuple[()]]":
        """For pickle: what runs the network cannot be copied."""
        return self.reopen, ()

    def forward(self, images: Array) -> Outputs:
        """The file's outputs for B images, uint8 RGB (B, 3, H, W), as `run` gives them.

        Raises InputError for images of a size that the file cannot take, and for a file whose network fails.
        """
        pixels = images.cpu().numpy() if is_tensor(images) else images
        (height, width), expected = pixels.shape[2:], self.facts.model.input_size
        if self.facts.fixed_input and (height, width) != expected:
            raise InputError(
                f"{self.name} takes only images of {expected[1]} x {expected[0]} pixels, found {width} x {height}: "
                "leave the input size (or --tta) out, or export it again without --fixed"
            )
        fixed = self.facts.fixed_batch
        if fixed is None:
            return self._run_checked(np.ascontiguousarray(pixels))
        parts = []
        for start in range(0, len(pixels), fixed):
            chunk = pixels[start : start + fixed]
            black = np.zeros((fixed - len(chunk), *chunk.shape[1:]), np.uint8)  # the file takes no fewer images
            parts.append(self._of_images(self._run_checked(np.concatenate([chunk, black])), start, len(chunk)))
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def select(
        self, outputs: Outputs, input_size: tuple[int, int], letterboxes: Sequence[Letterbox], selection: Selection
    ) -> list[Detections]:
        """The detections in each of B images, in original pixels by falling score.

        NMS in the file may have dropped more than the selection does: boxes below its score, and those that overlap.
        """
        if self.facts.nms is None:
            return [
                select_detections(boxes, scores, input_size=input_size, letterbox=letterbox, selection=selection)
                for boxes, scores, letterbox in zip(*outputs, letterboxes, strict=True)
            ]
        image, boxes, scores, labels = outputs
        sure = scores > selection.score_threshold
        own = [sure & (image == index) for index in range(len(letterboxes))]
        found = [Detections(boxes[mine], scores[mine], labels[mine]) for mine in own]
        return [
            suppress(to_image(detections, input_size, letterbox), selection)
            for detections, letterbox in zip(found, letterboxes, strict=True)
        ]

    def _run_checked(self, images: np.ndarray) -> Outputs:
        """`run`; raises InputError if it fails, or gives something else: a file's metadata can be wrong about it."""
        count, _, height, width = images.shape
        try:
            outputs = [np.asarray(output) for output in self.run(images)]
        except Exception as error:  # of many types
            blame_memory(error)
            raise InputError(
                f"{self.name}: running it on a batch of {count} of {width} x {height} pixels failed "
                f"({one_line(error)[-200:]}): try fewer or smaller images, or export it again"
            ) from error
        classes, number = len(self.facts.model.classes), outputs[0].size
        priors = sum(height // stride * (width // stride) for stride in STRIDES)
        expected: Sequence[tuple[str, Shape]] = [("f", (count, priors, 4)), ("f", (count, priors, classes))]
        if self.facts.nms is not None:
            expected = [("i", (number,)), ("f", (number, 4)), ("f", (number,)), ("i", (number,))]
        found = [(output.dtype.kind, output.shape) for output in outputs]
        if found != expected or (self.facts.nms is not None and not np.isin(outputs[3], range(classes)).all()):
            raise _unfit(self.name, f"outputs {found}, expected {expected} for K = {classes}")
        return outputs

    def _of_images(self, outputs: Outputs, start: int, count: int) -> Outputs:
        """The outputs of the first `count` images of a chunk that begins with image `start` of the batch."""
        if self.facts.nms is None:
            return [part[:count] for part in outputs]
        own = outputs[0] < count
        return [outputs[0][own] + start, *(part[own] for part in outputs[1:])]


def nms_inside(backend: Backend) -> NmsFacts | None:
    """The NMS in the file that a backend runs; None if its outputs are all boxes, as those of torch are."""
    return backend.facts.nms if isinstance(backend, ExportedBackend) else None


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
