"""Detector: weights in, ready to be called on images of any size. What scripts and notebooks use.

    detector = Detector.from_weights("rtmdet-tiny-coco")
    detections = detector([image])[0]

Dimension legend: B images, H, W of the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import letterbox
from rtmdet.core.postprocess import postprocess
from rtmdet.core.structures import Detections
from rtmdet.evaluation.score_curve import DEFAULT_SCORE
from rtmdet.models.folding import fold_batch_norms
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.weights.download import resolve
from rtmdet.weights.load import LoadedWeights, load_weights, read_checkpoint

DEFAULT_INPUT_SIZE = (640, 640)


class Detector:
    """A model in evaluation mode with its class names and input size (H, W), on its device.

    `named` is false where nobody named the classes: they have numbers then. `config` is the YAML of the run that
    trained it, `category_ids` are those of the classes in its annotation file,
    `score_thresholds` where its validation says each class is best cut; they are empty where that is not known.
    `value_range` is how the training read images of 16 bits (`read_image`).
    """

    def __init__(
        self,
        model: RTMDet,
        *,
        classes: Sequence[str],
        input_size: tuple[int, int],
        device: torch.device,
        named: bool = True,
        config: str = "",
        category_ids: Sequence[int] = (),
        score_thresholds: Sequence[float] = (),
        value_range: tuple[int, int] | None = None,
    ) -> None:
        if len(classes) != model.bbox_head.num_classes:
            raise InputError(
                f"the detector has {model.bbox_head.num_classes} classes, found {len(classes)} names "
                f"({', '.join(classes)}): give one name a class"
            )
        if any(side < 32 or side % 32 for side in input_size):
            raise InputError(f"input size {input_size}: each side must be a multiple of 32 pixels")
        self.classes = tuple(classes)
        self.named = named
        self.input_size = input_size
        self.device = device
        self.config = config
        self.category_ids = tuple(category_ids)
        self.score_thresholds = tuple(score_thresholds)
        self.value_range = value_range
        memory_format = torch.channels_last if device.type == "cpu" else torch.contiguous_format
        self.model = model.eval().to(device).to(memory_format=memory_format)

    @classmethod
    def from_weights(
        cls,
        weights: str | Path,
        *,
        size: str | None = None,
        classes: Sequence[str] | None = None,
        input_size: tuple[int, int] | None = None,
        device: str = "auto",
        fold: bool = True,
    ) -> Detector:
        """A detector from a checkpoint file or a published name (zoo.WEIGHTS).

        Size, class names and input size come from the checkpoint where they are not given. `fold` merges
        batch norms into convolutions: the same numbers, faster. Raises InputError where the weights do not
        fit or do not say enough.
        """
        checkpoint = read_checkpoint(resolve(str(weights), progress=True))
        backbone = checkpoint.backbone or None  # its weights are in the checkpoint: nothing is fetched
        model = build_rtmdet(_size_of(checkpoint, size), _num_classes_of(checkpoint), backbone=backbone)
        load_weights(model, checkpoint)
        names = classes or checkpoint.classes
        return cls(
            fold_batch_norms(model) if fold else model,
            classes=names or [f"class {k}" for k in range(model.bbox_head.num_classes)],
            named=bool(names),
            input_size=input_size or checkpoint.input_size or DEFAULT_INPUT_SIZE,
            device=choose_device(device),
            config=checkpoint.config,
            category_ids=checkpoint.category_ids,
            score_thresholds=checkpoint.score_thresholds,
            value_range=checkpoint.value_range,
        )

    def preprocess(self, images: Sequence[np.ndarray]) -> tuple[Tensor, list[tuple[float, float]]]:
        """Letterbox RGB uint8 images: (B, 3, H, W) uint8 on the device, and each image's scale (x, y)."""
        boxed = [letterbox(image, self.input_size) for image in images]
        stack = torch.from_numpy(np.stack([canvas for canvas, _ in boxed]))  # (B, H, W, 3)
        return stack.permute(0, 3, 1, 2).to(self.device), [scale for _, scale in boxed]

    @torch.inference_mode()
    def __call__(
        self,
        images: Sequence[np.ndarray],
        *,
        score_threshold: float | Sequence[float] = DEFAULT_SCORE,
        iou_threshold: float = 0.65,
        max_detections: int = 100,
    ) -> list[Detections]:
        """Objects in RGB uint8 images (H, W, 3) of any sizes, boxes in each image's own pixels, on the CPU.

        `score_threshold` is one for all classes or one a class, for instance `score_thresholds`. Boxes are cut at
        the image's border, as users expect of pixels; evaluation leaves them uncut.
        """
        thresholds = [score_threshold] if isinstance(score_threshold, float | int) else list(score_threshold)
        if len(thresholds) not in (1, len(self.classes)):
            raise InputError(f"{len(thresholds)} score thresholds for {len(self.classes)} classes: give one a class")
        if not images:
            return []
        batch, scales = self.preprocess(images)
        found = postprocess(
            self.model(batch),
            input_size=self.input_size,
            scales=scales,
            score_threshold=min(thresholds),
            iou_threshold=iou_threshold,
            nms_pre=1000,
            max_detections=max_detections,
        )
        if len(thresholds) > 1:
            found = [detections.above(thresholds) for detections in found]
        return [detections.cpu().clipped(image.shape[:2]) for detections, image in zip(found, images, strict=True)]


def choose_device(name: str) -> torch.device:
    """The torch device of a name; `auto` is CUDA where there is one, else the CPU. Raises InputError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used here ({str(error).splitlines()[0]}): try cpu") from error
    return device


def _size_of(checkpoint: LoadedWeights, size: str | None) -> str:
    found = size or checkpoint.size
    if found is None:
        raise InputError(f"{checkpoint.path} does not say its model size: give one with --size")
    return found


def _num_classes_of(checkpoint: LoadedWeights) -> int:
    if checkpoint.num_classes is None:
        raise InputError(f"{checkpoint.path} has no class branch: it is a backbone to train from, not a detector")
    return checkpoint.num_classes
