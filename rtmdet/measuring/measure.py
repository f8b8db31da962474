"""Measuring a model on validation images, for train, evaluate and compare."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rtmdet import __version__
from rtmdet.config.file import parse_config
from rtmdet.config.schema import EVALUATION_BACKENDS, EvaluationConfig
from rtmdet.core.backend import Backend, Selection, detect
from rtmdet.core.console import progress, warn
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.structures import Batch, ImageMeta
from rtmdet.core.threads import in_order
from rtmdet.core.tiled_detection import detect_tiled
from rtmdet.core.tiling import Tiling
from rtmdet.core.whole_file import sha256_of
from rtmdet.core.wording import shortened
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.samples import EvaluationSamples
from rtmdet.deploy.exported import nms_inside
from rtmdet.deploy.views import choose_views, detect_in_views
from rtmdet.detector import Detector
from rtmdet.evaluation.coco import BOXES_PER_OBJECT, CocoEvaluator, CocoMetrics, crowded_images, format_metrics
from rtmdet.evaluation.intervals import LEAST_IMAGES, Interval, interval
from rtmdet.evaluation.matches import ClassMatches
from rtmdet.evaluation.mistakes import Mistakes

NOTHING, FEW = 0.01, 5  # AP of a class that is never found, and the objects that it takes to tell


@dataclass(frozen=True, slots=True)
class Loading:
    """How images are loaded, and which library computes the metrics. Raises InputError for numbers out of range."""

    batch_size: int = 8
    workers: int = 2
    backend: str | None = None  # None: the stored one, or the default of the evaluation

    def __post_init__(self) -> None:
        if self.backend not in (None, *EVALUATION_BACKENDS):
            raise InputError(f"backend {self.backend!r}: expected one of {', '.join(EVALUATION_BACKENDS)}")
        if self.batch_size < 1 or self.workers < 0:
            raise InputError(
                f"batch size {self.batch_size}, workers {self.workers}: expected at least 1 image and 0 processes"
            )


def detect_all(
    backend: Backend, dataset: CocoDataset, loader: Iterable[Batch], settings: EvaluationConfig
) -> CocoEvaluator:
    """Run the network over every image of the loader; returns an evaluator with the detections of this process."""
    evaluator = CocoEvaluator(dataset.coco, dataset.category_ids, settings.backend)
    limits = DetectionLimits.of(settings, dataset)
    selection = limits.selection(settings)
    for batch in progress(loader, "validating"):
        found = detect(backend, batch.images, letterboxes_of(batch), selection)
        evaluator.add(batch.metas, [limits.cut(*pair) for pair in zip(batch.metas, found, strict=True)])
    return evaluator


def detect_all_tiled(
    backend: Backend,
    input_size: tuple[int, int],
    dataset: CocoDataset,
    tiling: Tiling,
    settings: EvaluationConfig,
    *,
    batch_size: int,
    indices: Sequence[int] | None = None,
) -> CocoEvaluator:
    """Run the network over windows and the whole of every image, or of those at `indices`, at an input of (H, W)."""

    def detect_image(image: np.ndarray, selection: Selection) -> Detections:
        return detect_tiled(backend, input_size, image, tiling, selection, batch_size=batch_size)

    return detect_each(detect_image, dataset, settings, range(len(dataset)) if indices is None else indices)


def detect_each(
    detect_image: Callable[[np.ndarray, Selection], Detections],
    dataset: CocoDataset,
    settings: EvaluationConfig,
    indices: Sequence[int],
) -> CocoEvaluator:
    """An evaluator with the detections of the images at `indices`, one after the other, in the images' own pixels.

    The next image is decoded meanwhile.
    """
    evaluator = CocoEvaluator(dataset.coco, dataset.category_ids, settings.backend)
    limits = DetectionLimits.of(settings, dataset)
    selection = limits.selection(settings)
    samples = in_order(dataset.load, indices, threads=1, ahead=2)
    for _, sample in zip(progress(indices, "validating"), samples, strict=True):
        evaluator.add([sample.meta], [limits.cut(sample.meta, detect_image(sample.image, selection))])
    return evaluator


@dataclass(frozen=True, slots=True)
class DetectionLimits:
    """How many detections of each image count: more in images with more objects of a class than COCO counts.

    Differs from mmdet: 300 boxes of 1,000 objects say nothing about the best score threshold. AP counts the best 100
    of a class anyway.
    """

    usual: int
    crowded: Mapping[int, int]  # by the image's id

    @classmethod
    def of(cls, settings: EvaluationConfig, dataset: CocoDataset) -> "DetectionLimits":
        """The limits for the images of a data set."""
        usual, objects = settings.max_detections, crowded_images(dataset.coco, dataset.category_ids)
        return cls(usual, {image: max(usual, BOXES_PER_OBJECT * count) for image, count in objects.items()})

    def selection(self, settings: EvaluationConfig) -> Selection:
        """Which predictions count, as many as in the image with the most."""
        return replace(settings.selection, max_detections=max([self.usual, *self.crowded.values()]))

    def cut(self, meta: ImageMeta, found: Detections) -> Detections:
        """The best detections of an image, as many as count."""
        return found[: self.crowded.get(meta.image_id, self.usual)]


def run_detector(
    detector: Detector,
    dataset: CocoDataset,
    settings: EvaluationConfig,
    loading: Loading,
    tiling: Tiling | None = None,
    *,
    augmented: bool = False,
) -> CocoEvaluator:
    """Run a detector over every image of a data set, at its own input size.

    With `tiling` it also looks at windows. `augmented`, without them, it looks at each image in several sizes, also
    mirrored.
    """
    backend, size, batch_size = detector.backend, detector.input_size, loading.batch_size
    if augmented:
        views = choose_views(size, augmented=True)

        def detect_image(image: np.ndarray, selection: Selection) -> Detections:
            shown = [view.show(image) for view in views]
            return detect_in_views(backend, views, [shown], [image.shape[1]], selection)[0]

        return detect_each(detect_image, dataset, settings, range(len(dataset)))
    if tiling is not None:
        return detect_all_tiled(backend, size, dataset, tiling, settings, batch_size=batch_size)
    samples = EvaluationSamples(dataset, input_size=size)
    loader = EvaluationLoader(samples, batch_size=batch_size, workers=loading.workers)
    return detect_all(backend, dataset, loader, settings)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A detector measured on annotated images; `print` shows the 12 COCO metrics and one row per class."""

    metrics: CocoMetrics
    matches: tuple[ClassMatches, ...]  # by class, for intervals
    evaluator: CocoEvaluator  # holds the detections
    dataset: CocoDataset
    settings: EvaluationConfig
    origin: str  # of the settings
    detector: Detector
    tiling: Tiling | None  # the windows it looked at, too
    augmented: bool  # whether it looked at several views of each image

    @property
    def ap(self) -> float:
        """AP over IoU 0.50:0.95; -1 if the images have no objects."""
        return self.metrics.ap

    @cached_property
    def interval(self) -> Interval | None:
        """The 95 % interval of AP, by bootstrap over the images; None with too few images."""
        return interval(self.matches)

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.dataset)

    @property
    def remarks(self) -> list[str]:
        """A line if the class names of the weights seem to be in the wrong order."""
        never = any(0 <= row.ap < NOTHING and row.objects >= FEW for row in self.metrics.classes)
        pairs = [f"{truth} as {name}" for truth, name in self.mistakes.exchanged] if never else []
        text = (
            f"objects of one class are detected as another ({shortened(pairs, 3)}): if the class names of the "
            "weights are in the wrong order, give them in the right one with --class-names"
        )
        return [text] if pairs else []

    @cached_property
    def mistakes(self) -> Mistakes:
        """What is missed, false or confused at the score thresholds."""
        return self.evaluator.mistakes(self.detector.thresholds())

    def to_dict(self, *, interval: bool = True) -> dict[str, object]:
        """All numbers as for JSON; with `interval` also the 95 % interval of AP, which takes seconds."""
        return {
            "version": __version__,
            **identify_file(self.detector.path),
            "input_size": list(self.detector.input_size),
            "tile": None if self.tiling is None else self.tiling.side,
            "tta": self.augmented,
            "images": self.images,
            "detections": self.evaluator.detection_count,
            "settings": asdict(self.settings),
            "metrics": self.metrics.to_dict(),
            "interval": asdict(self.interval) if interval and self.interval is not None else None,
            "classes": [row.to_dict() for row in self.metrics.classes],
        }

    def __str__(self) -> str:
        return format_metrics(self.metrics)

    __repr__ = __str__  # in a notebook


def evaluate_detector(
    detector: Detector,
    dataset: CocoDataset,
    *,
    name: str,
    loading: Loading,
    tiling: Tiling | None = None,
    augmented: bool = False,
) -> Evaluation:
    """Run a detector over the images of a data set and compare with its boxes. Raises InputError.

    `name` names the weights in messages. Score and NMS thresholds are those stored in the weights, else the defaults.
    With `tiling`, every image is also cut into windows; `augmented` as in `run_detector`.
    """
    settings, origin = settings_of(detector, name, tiling)
    settings = replace(settings, backend=loading.backend or settings.backend)
    evaluator = run_detector(detector, dataset, settings, loading, tiling, augmented=augmented)
    metrics, matches = evaluator.evaluate_with_matches()
    return Evaluation(
        metrics, tuple(matches), evaluator, dataset, settings, origin, detector, tiling, augmented=augmented
    )


def identify_file(weights: Path | None) -> dict[str, str | None]:
    """The path of a file of weights or detections, and its SHA-256; None without a file."""
    digest = sha256_of(weights) if weights is not None and weights.is_file() else None
    return {"weights": None if weights is None else str(weights), "sha256": digest}


def letterboxes_of(batch: Batch) -> list[Letterbox]:
    """Where each image of a batch of `EvaluationSamples` lies in the input."""
    letterboxes = [meta.letterbox for meta in batch.metas if meta.letterbox is not None]
    assert len(letterboxes) == len(batch.metas), "a training batch has none"
    return letterboxes


def describe_settings(settings: EvaluationConfig) -> str:
    """Thresholds, limits and backend of an evaluation as one line."""
    return (
        f"score above {settings.score_threshold:g}, NMS {settings.nms}, at most {settings.nms_pre} "
        f"candidates per level and {settings.max_detections} detections per image, computed by {settings.backend}"
    )


def settings_of(detector: Detector, weights: str, tiling: Tiling | None) -> tuple[EvaluationConfig, str]:
    """The evaluation settings of a detector, with its own rule for boxes that overlap; and where they come from.

    Those of the run that trained it; the defaults if they are not stored or not readable. With windows (`tiling`)
    there is no box voting, and NMS in a file has dropped boxes of low scores already.
    """
    stored = None
    try:
        if detector.config:
            stored = parse_config(detector.config, f"settings stored in {weights}").evaluation
    except InputError as error:
        warn(f"using the default evaluation settings: {error}")
    settings = replace(stored or EvaluationConfig(), **asdict(detector.facts.nms))
    if tiling is not None:
        settings = replace(settings, box_voting=False)
    if (inside := nms_inside(detector.backend)) is not None:
        settings = replace(settings, score_threshold=max(settings.score_threshold, inside.score))
    return settings, "as in the training run" if stored else "defaults"


def describe_interval(metrics: CocoMetrics, matches: Sequence[ClassMatches]) -> str:
    """One line: the 95 % confidence interval of AP for other images of the same kind."""
    spread = interval(matches)
    if spread is None:
        return f"no confidence interval of AP: it needs at least {LEAST_IMAGES} images with objects"
    if spread.low == spread.high:
        return f"no confidence interval of AP {metrics.ap:.3f}: all resamples of the images give the same AP"
    images = len(matches[0].objects)
    return (
        f"95 % confidence interval of AP {metrics.ap:.3f}: {spread} "
        f"(bootstrap, {spread.resamples} resamples of the {images} images)"
    )
