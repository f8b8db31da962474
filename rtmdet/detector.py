"""Detector: opens weights or an exported file and detects in images of any size, for scripts and notebooks.

    detector = Detector("rtmdet-tiny-coco")
    detections = detector("photo.jpg")

Torch is imported only if the file needs it. Dimension legend: B images at a time, K classes, H, W height and width.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from rtmdet.core.arguments import TorchDevice, checked
from rtmdet.core.backend import Backend, Selection, detect
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts, check_names
from rtmdet.core.letterbox import Letterbox, letterbox_batch
from rtmdet.core.nms import NmsSettings
from rtmdet.core.paths import FilePath, user_path
from rtmdet.core.pictures import ValueRange, check_range
from rtmdet.core.tiled_detection import detect_tiled
from rtmdet.core.tiling import Tiling
from rtmdet.core.wording import shortened, size_text
from rtmdet.deploy.exported import nms_inside
from rtmdet.deploy.open_weights import open_weights, save_weights
from rtmdet.deploy.views import check_views, choose_views, detect_in_views
from rtmdet.evaluation.score_curve import DEFAULT_SCORE
from rtmdet.images.inputs import ImageInput, OpenedImage, images_in, list_inputs, open_image

if TYPE_CHECKING:
    from rtmdet.deploy.export_result import Exports
    from rtmdet.models.rtmdet import RTMDet

LEAST_TILED = 300  # boxes that are looked for in a window, at least; the picture's best ones are chosen at the end
Score = float | str | Sequence[float]
Classes = str | Sequence[str] | None  # names; None: all


class Detector:
    """A network with its class names and input size (H, W), on its device.

    Several threads may call one detector. While it is called, `model` is in evaluation mode, then in its own again.
    """

    backend: Backend
    path: Path | None  # of its file
    facts: ModelFacts

    @checked
    def __init__(
        self,
        weights: FilePath,
        *,
        size: str | None = None,
        classes: Sequence[str] | None = None,
        input_size: int | tuple[int, int] | None = None,
        device: str | TorchDevice = "auto",
        fold: bool = True,
        half: bool = False,
        threads: int | None = None,
    ) -> None:
        """A detector from a checkpoint, a run's folder, a published name (zoo.WEIGHTS) or a file of `rtmdet export`.

        ONNX Runtime runs an exported .onnx, OpenVINO an .xml. Model size, class names and input size (H, W) default
        to those in the file. `device` is cpu, cuda, cuda:1, mps, auto or a torch.device. `fold` merges batch norms
        into convolutions: same results, faster. `half` computes in 16-bit floats on a CUDA GPU: faster, with scores
        that differ by up to about 0.02. `threads` are those of an exported file, by default as many as cores; torch
        has torch.set_num_threads. Raises InputError if the weights do not fit or lack metadata.
        """
        self.path, self.backend, facts = open_weights(
            weights, size=size, device=str(device), fold=fold, half=half, threads=threads
        )
        if classes is not None:
            number = len(facts.classes)
            facts = replace(facts, classes=tuple(classes), named=True)
            facts.check_classes(number)
            check_names(facts.classes)
        self.facts = facts
        if input_size is not None:
            self.input_size = input_size

    @classmethod
    def from_model(
        cls, model: "RTMDet | Callable[..., Any]", facts: ModelFacts, device: str | TorchDevice = "auto"
    ) -> "Detector":
        """A detector for an existing model, which is moved to the device and stays in its mode. Raises InputError.

        One of torch.compile runs compiled; of AveragedModel and parallel training the module inside is taken.
        """
        from rtmdet.deploy.torch_backend import use_model

        detector = cls.__new__(cls)
        detector.path = None
        detector.backend = use_model(model, facts, str(device))
        detector.facts = facts
        return detector

    def __repr__(self) -> str:
        return f"Detector({str(self.path or 'model')!r}: {shortened(self.classes)}; {size_text(self.input_size)})"

    @checked
    def with_nms(self, nms: NmsSettings) -> "Detector":
        """The same network with another rule for overlapping boxes. Raises InputError if NMS in a file forbids it."""
        other = copy(self)
        other.facts = replace(self.facts, nms=self._possible(nms))
        return other

    def _possible(self, nms: NmsSettings) -> NmsSettings:
        """The same settings. Raises InputError if NMS in the file drops boxes that they keep, or that vote."""
        inside = nms_inside(self.backend)
        if inside is not None and nms.box_voting:
            raise InputError(f"{self.path}: NMS in the file drops the boxes that vote: export it without nms")
        if inside is not None and nms.iou_threshold > inside.iou:
            raise InputError(
                f"{self.path}: NMS in the file drops boxes that overlap by more than {inside.iou:g}, so that "
                f"{nms.iou_threshold:g} has no effect: give at most {inside.iou:g}, or export it without nms"
            )
        return nms

    @property
    def classes(self) -> tuple[str, ...]:
        """K names."""
        return self.facts.classes

    @property
    def named(self) -> bool:
        """Whether the classes have names; otherwise these are only numbers."""
        return self.facts.named

    @property
    def category_ids(self) -> tuple[int, ...]:
        """The ids of the classes in the annotation file of the training; empty: unknown."""
        return self.facts.category_ids

    @property
    def score_thresholds(self) -> tuple[float, ...]:
        """The threshold of each class, tuned in the validation of the training; empty: unknown."""
        return self.facts.score_thresholds

    @property
    def config(self) -> str:
        """The YAML of the training run; empty: unknown."""
        return self.facts.config

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) in pixels that pictures are fitted into. May be set, also to one number; InputError if unusable."""
        return self.facts.input_size

    @input_size.setter
    @checked
    def input_size(self, input_size: int | tuple[int, int]) -> None:
        height, width = np.broadcast_to(input_size, 2).tolist()
        self.facts = replace(self.facts, input_size=(height, width))

    @property
    def value_range(self) -> ValueRange | None:
        """The values of 16-bit images that become black and white; None: 0 and 65535. May be set."""
        return self.facts.value_range

    @value_range.setter
    def value_range(self, pair: ValueRange | None) -> None:
        self.facts = replace(self.facts, value_range=pair if pair is None else check_range(pair))

    @property
    def device(self) -> Any:
        """Where the network runs: a torch.device, or the name of one for exported files."""
        return self.backend.device

    @property
    def model(self) -> "RTMDet":
        """The network in torch, with batch norms merged into its convolutions unless opened with `fold=False`.

        Raises InputError for exported files, which have neither layers nor gradients.
        """
        from rtmdet.deploy.torch_backend import TorchBackend
        from rtmdet.models.rtmdet import network_inside

        if not isinstance(self.backend, TorchBackend):
            raise InputError(
                f"{self.path}: this needs the layers and gradients of the network, which an exported file does not "
                "have: give the checkpoint that it was made of, such as last.pth"
            )
        return network_inside(self.backend.model)

    def preprocess(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, list[Letterbox]]:
        """RGB uint8 images as the network's input, (B, 3, H, W) uint8, and where each one lies in it."""
        return letterbox_batch(images, self.input_size)

    def thresholds(self, score: Score = "auto") -> tuple[float, ...]:
        """The score threshold of each of the K classes.

        "auto": those tuned in the validation of the training, DEFAULT_SCORE if unknown; a number is for all classes.
        Raises InputError.
        """
        if isinstance(score, str):
            if score != "auto":
                raise InputError(f'score {score!r}: expected "auto", a number 0 .. 1 or one per class')
            score = self.score_thresholds or DEFAULT_SCORE
        try:
            values = np.asarray(score, np.float64)
        except (TypeError, ValueError, RuntimeError):  # the last for tensors with gradients
            raise InputError(f'score {score!r}: expected "auto", a number 0 .. 1 or one per class') from None
        least = tuple(values.ravel().tolist()) if values.ndim else (float(values),) * len(self.classes)
        if len(least) != len(self.classes):
            raise InputError(f"{len(least)} score thresholds for {len(self.classes)} classes: give one per class")
        if not all(0 <= threshold <= 1 for threshold in least):
            raise InputError(f"score {score}: expected 0 .. 1")
        return least

    @checked
    def choose_tiling(self, tile: int | None = None) -> Tiling | None:
        """Windows of a side in pixels; 0: none; None: those of the training, if any. Raises InputError."""
        if tile is None:
            return self.facts.tiling
        return Tiling(tile) if tile else None

    # A path is typed as that of one image, which it nearly always is: types cannot tell a folder from a file, and a
    # union would make every caller check. `folder` is for the others.
    @overload  # texts, arrays and tensors are iterables too, but this comes first
    def __call__(self, images: ImageInput, *, score: Score = ...,  # type: ignore[overload-overlap]
                 classes: Classes = ..., iou_threshold: float | None = ..., max_detections: int = ...,
                 batch_size: int = ..., tile: int | None = ..., tta: bool = ...,
                 color: str = ...) -> Detections: ...  # fmt: skip

    @overload
    def __call__(self, images: Iterable[ImageInput], *, score: Score = ...,
                 classes: Classes = ..., iou_threshold: float | None = ..., max_detections: int = ...,
                 batch_size: int = ..., tile: int | None = ..., tta: bool = ...,
                 color: str = ...) -> list[Detections]: ...  # fmt: skip

    def __call__(
        self,
        images: ImageInput | Iterable[ImageInput],
        *,
        score: Score = "auto",
        classes: Classes = None,
        iou_threshold: float | None = None,
        max_detections: int = 100,
        batch_size: int = 8,
        tile: int | None = None,
        tta: bool = False,
        color: str = "rgb",
    ) -> Detections | list[Detections]:
        """The objects in one image, or a list for several images; boxes in each image's own pixels, on the CPU.

        An image is a file's path, its content (bytes, or a file opened in binary mode), a PIL image, a uint8 array
        (H, W), (H, W, 3) or (H, W, 4), or a uint8 tensor (H, W), (3, H, W) or (4, H, W). Several images are an
        iterable of these, or the path of a folder (see `folder`). They are opened and processed in batches of
        `batch_size`. The channels of arrays and tensors must be RGB, which cannot be checked; `color="bgr"` is for
        those of OpenCV. `tile` also detects in overlapping windows of this side in pixels, by default as in the
        training (data.tile); 0 not at all. Then batches are of the windows of one image, boxes of several windows
        are merged above an IoU of 0.5, and there is no voting. `tta`, without windows, detects in each image at three
        sizes, also mirrored, and merges the results: six times as slow.

        `score` is the score threshold: "auto", a number or one per class (see `thresholds`); `classes` are the names
        of those that are looked for, by default all. NMS drops a box that overlaps a better one of its class by more
        than `iou_threshold`, by default that of the weights' training; the best `max_detections` per image are kept.
        Boxes are clipped to the image (evaluation does not clip). Raises InputError, with the image's path or index,
        for anything that is not an image.
        """
        _check_options(max_detections, batch_size, tta, tile)
        selection = self.selection(self._wanted(self.thresholds(score), classes), max_detections, iou_threshold)
        tiling = None if tta else self.choose_tiling(tile)
        single, inputs = list_inputs(images)
        opened = (open_image(image, name, color, self.value_range) for name, image in inputs)
        found: list[Detections] = []
        if tiling is None:
            while batch := list(islice(opened, batch_size)):
                found += self._detect(batch, selection, augmented=tta)
        else:
            for image in opened:
                parts = self.detect_in_windows(image.pixels, tiling, selection, batch_size)
                found.append(self.complete(parts[:max_detections], image))
        if not isinstance(self.device, str):
            found = [one.to("cpu") for one in found]  # tensors where torch ran
        return found[0] if single else found

    @checked
    def folder(
        self,
        path: FilePath,
        *,
        score: Score = "auto",
        classes: Classes = None,
        iou_threshold: float | None = None,
        max_detections: int = 100,
        batch_size: int = 8,
        tile: int | None = None,
        tta: bool = False,
    ) -> list[Detections]:
        """The objects in each image file of a folder, in the order of the names; further options as for a call.

        Raises InputError if it is not a folder with images, and for a file that is not an image.
        """
        return self(
            images_in(user_path(path)),
            score=score,
            classes=classes,
            iou_threshold=iou_threshold,
            max_detections=max_detections,
            batch_size=batch_size,
            tile=tile,
            tta=tta,
        )

    @checked
    def save(self, path: FilePath) -> None:
        """Write the network with its names, thresholds and sizes into one .pth file, as a training does.

        Raises InputError for exported files, for merged batch norms (open with fold=False), for a network that could
        not be opened again, and if it fails.
        """
        save_weights(self.model, self.facts, user_path(path), source=self.path)

    @checked
    def export(self, formats: Sequence[str] = ("onnx",), *, images: FilePath, out: FilePath = ".") -> "Exports":
        """Write files for other programs into the folder `out`, each compared on the image files of a folder.

        As rtmdet.export, which has more options. Formats with all tensors need a detector opened with fold=False.
        Raises InputError.
        """
        import rtmdet  # not at the top: this function is a shortcut to what is built on the Detector

        return rtmdet.export(self, formats, images=Path(images), out=Path(out))

    def selection(
        self, thresholds: Sequence[float], max_detections: int, iou_threshold: float | None = None
    ) -> Selection:
        """What becomes a detection: by the score threshold of each class and the NMS threshold, None: the own one."""
        own = self.facts.nms
        nms = own if iou_threshold is None else self._possible(replace(own, iou_threshold=iou_threshold))
        different = tuple(thresholds) if len(set(thresholds)) > 1 else ()
        return Selection(min(thresholds), nms, class_thresholds=different).for_most(max_detections)

    def _wanted(self, thresholds: Sequence[float], classes: Classes) -> Sequence[float]:
        """The thresholds, of classes that are not wanted one that no score reaches. Raises InputError."""
        if classes is None:
            return thresholds
        wanted = [classes] if isinstance(classes, str) or not isinstance(classes, Iterable) else [*classes]
        if not wanted or any(name not in self.classes for name in wanted):
            raise InputError(f"classes: expected some of {shortened(self.classes)}, found {classes!r}")
        return [least if name in wanted else 2.0 for name, least in zip(self.classes, thresholds, strict=True)]

    def _detect(self, images: Sequence[OpenedImage], selection: Selection, *, augmented: bool) -> list[Detections]:
        pictures = [image.pixels for image in images]
        if augmented:
            views = choose_views(self.input_size, augmented=True)
            shown = [[view.show(pixels) for view in views] for pixels in pictures]
            found = detect_in_views(self.backend, views, shown, [pixels.shape[1] for pixels in pictures], selection)
        else:
            batch, letterboxes = self.preprocess(pictures)
            found = detect(self.backend, batch, letterboxes, selection)
        return [self.complete(detections, image) for detections, image in zip(found, images, strict=True)]

    def detect_in_windows(
        self, pixels: np.ndarray, tiling: Tiling, selection: Selection, batch_size: int
    ) -> Detections:
        """The objects in a picture (H, W, 3) uint8 RGB and its windows, `batch_size` of them at a time.

        In NumPy arrays, for `complete`; they can be more than the selection's `max_detections`.
        """
        selection = selection.for_most(max(selection.max_detections, LEAST_TILED))
        return detect_tiled(self.backend, self.input_size, pixels, tiling, selection, batch_size=batch_size)

    def complete(self, found: Detections, image: OpenedImage) -> Detections:
        """What the backend found in an image, with its classes and picture, on the CPU, clipped to the image.

        Differs from mmdet: boxes end at the photo, not in the padding beside it. Evaluation does not clip.
        """
        size = image.pixels.shape[0], image.pixels.shape[1]
        return replace(
            found.on_cpu().clipped(size),
            classes=self.classes,
            category_ids=self.category_ids,
            image_size=size,
            path=image.path,
            picture=image.read,
        )


@checked
def _check_options(max_detections: int, batch_size: int, tta: bool, tile: int | None) -> None:
    check_views(tta=tta, tile=tile)
    for name, number in (("max_detections", max_detections), ("batch_size", batch_size)):
        if number < 1:
            raise InputError(f"{name}: expected at least 1, found {number}")
