"""Validation during training, and the choice of the input size at which the trained detector works best.

Training with random resizing shows objects larger than detection does at the same input size: factors of 0.5 to 2 are
1.25 on average. So the trained weights are often better at a larger input size; how much larger
depends on the data. The effect is known as the train-test resolution discrepancy (Touvron et al., 2019,
arXiv:1906.06423). Training images are many, but memorized; validation images show the objects that are to be found,
but are few: their mean AP ranks the sizes better than either (docs/small-data.md).
"""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import fmean

import torch
from torch import nn

from rtmdet.config.schema import Config
from rtmdet.core.console import write_above_bar
from rtmdet.core.distributed import rank, world_size
from rtmdet.core.facts import LARGEST_SIDE
from rtmdet.core.files import spread
from rtmdet.core.strides import STRIDES
from rtmdet.core.wording import size_text
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.samples import EvaluationSamples
from rtmdet.deploy.torch_backend import TorchBackend
from rtmdet.evaluation.coco import CocoMetrics, metric_text
from rtmdet.measuring.measure import detect_all, detect_all_tiled

STEP = 1.25  # from one size to the next
LARGEST = 2.0  # times the training size
LEAST_GAIN = 0.003  # of mean AP, to justify the cost of a larger size
LARGEST_LOSS = 0.02  # share of the best mean AP: at a larger loss no further size is tried
CHOICE_IMAGES = 64  # training images, and as many of the validation
LEAST_LEARNED = 0.1  # AP on training images; below it they are not learned either
FAR = 2.0  # times the AP on validation images: 1.0 - 1.6 were seen where both are of one kind, 2.7 where they are not
LONG_MOSAIC = 0.13  # share of the epochs without mosaic that was better there (docs/small-data.md)
# Cost of trying sizes, in images of the training size: 1 + 1.3² + 1.6² for three, + 2² for a fourth, which takes as
# long as the metrics of the three.
USUAL_CHOICE = 9.0
LARGER_VALIDATION = 1.0  # extra cost of the last validation at the chosen size, in validations, roughly

Size = tuple[int, int]  # (H, W)


class Validation:
    """Measures a model on the validation images at `input_size`, each process on its share of them."""

    def __init__(self, config: Config, dataset: CocoDataset, device: torch.device) -> None:
        self.input_size = detection_size(config)
        self._config = config
        self._dataset = dataset
        self._device = device
        self._loader = build_validation_loader(config, dataset, self.input_size)
        self._training_ap: float | None = None  # AP on training images, once the input size is chosen

    def __call__(self, model: nn.Module) -> CocoMetrics:
        """The metrics of all images, the same on every process; remarks once if training images are far easier."""
        metrics = self._measure(model)
        if self._training_ap is not None and (remark := gap_remark(self._training_ap, metrics.ap, self._config)):
            write_above_bar(remark)
        self._training_ap = None
        return metrics

    def _measure(self, model: nn.Module) -> CocoMetrics:
        settings, data = self._config.evaluation, self._config.data
        backend = TorchBackend(model, self._device)
        if data.tiling is None:
            return detect_all(backend, self._dataset, self._loader, settings).evaluate()
        share = range(rank(), len(self._dataset), world_size())
        return detect_all_tiled(
            backend, self.input_size, self._dataset, data.tiling, settings, batch_size=data.batch_size, indices=share
        ).evaluate()

    def choose_input_size(self, model: nn.Module, train_data: CocoDataset) -> tuple[int, int]:
        """Validate from now on at the size with the best AP on training and validation images; returns it.

        With a tiling on training windows alone: AP of whole pictures is another, and takes many inputs each.
        """
        parts = {"training": _some(train_data.without_reduced())}
        if self._config.data.tiling is None:
            parts["validation"] = _some(self._dataset)
        measure = partial(self.measure_parts, model, list(parts.values()))
        self.input_size, measured = best_size(self._config.data.input_size, measure, limit=LARGEST_SIDE)
        if self._config.data.tiling is None:
            self._training_ap = measured[self.input_size][0]
        self._loader = build_validation_loader(self._config, self._dataset, self.input_size)
        images = " and ".join(f"{len(part)} {name}" for name, part in parts.items())
        found = ", ".join(
            f"{' and '.join(map(metric_text, aps))} at {height} x {width}"
            for (height, width), aps in measured.items()
        )
        write_above_bar(
            f"input size for detection: {size_text(self.input_size)} (AP on {images} images: {found}; "
            f"a larger size must gain {LEAST_GAIN}{' in the mean' if len(parts) > 1 else ''})"
        )
        return self.input_size

    def measure_parts(self, model: nn.Module, parts: Sequence[CocoDataset], size: Size) -> list[float]:
        """AP on the images of each part, without augmentation, at an input of `size`."""
        backend = TorchBackend(model, self._device)
        loaders = [build_validation_loader(self._config, part, size) for part in parts]
        return [
            detect_all(backend, part, loader, self._config.evaluation).evaluate().ap
            for part, loader in zip(parts, loaders, strict=True)
        ]


def _some(dataset: CocoDataset) -> CocoDataset:
    """CHOICE_IMAGES of the images, evenly spread."""
    return dataset.part(spread(range(len(dataset)), CHOICE_IMAGES))


def gap_remark(training: float, validation: float, config: Config) -> str:
    """What AP on training images says about that on validation images: where it is FAR times as high, a warning."""
    if training < LEAST_LEARNED or not 0 <= validation * FAR < training:
        return ""
    text = (
        f"warning: AP is {training:.3f} on training images and {validation:.3f} on validation images. Likely cause: "
        "the validation images are of another kind, or the training images are too few: label more images like those "
        "of the validation"
    )
    plain = max(round(LONG_MOSAIC * config.train.epochs), 1)
    if not config.augmentation.mosaic or config.augmentation.stage2_epochs <= plain:
        return text
    return f"{text}; --set augmentation.stage2_epochs={plain} (mosaic for longer) may help, too"


def detection_size(config: Config) -> tuple[int, int]:
    """The input size (H, W) of validation and detection, before a larger one is chosen."""
    return config.evaluation.input_size or config.data.input_size


def chooses_input_size(config: Config) -> bool:
    """Whether the size is chosen before the last validation; not if the user sets one."""
    return config.evaluation.choose_input_size and config.evaluation.input_size is None


def inputs_per_image(config: Config, dataset: CocoDataset) -> float:
    """How many inputs of the network an image takes in validation, on average: 1 without a tiling."""
    tiling = config.data.tiling
    if tiling is None:
        return 1.0
    sizes = [dataset.truth(index)[0].original_size for index in range(len(dataset))]
    return sum(len(tiling.views(size)) for size in sizes) / len(sizes)


def choice_cost(config: Config, *, train: int, val: int) -> float:
    """The cost of the choice and of the larger last validation, in validations without metrics and pictures.

    `train` and `val`: the numbers of images.
    """
    if not chooses_input_size(config):
        return 0.0
    images = min(CHOICE_IMAGES, train) + (min(CHOICE_IMAGES, val) if config.data.tiling is None else 0)
    return USUAL_CHOICE * images / val + LARGER_VALIDATION


def build_validation_loader(config: Config, dataset: CocoDataset, input_size: tuple[int, int]) -> EvaluationLoader:
    """All images of a data set at an input size (H, W), this process's share of them."""
    return EvaluationLoader(
        EvaluationSamples(dataset, input_size=input_size),
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        rank=rank(),
        world_size=world_size(),
    )


def larger(size: Size) -> Size:
    """The next size: each side about STEP times as long."""
    coarsest = STRIDES[-1]
    height, width = (max(int(side * STEP / coarsest + 0.5) * coarsest, side + coarsest) for side in size)
    return height, width


def best_size(
    start: Size, measure: Callable[[Size], Sequence[float]], *, limit: int
) -> tuple[Size, dict[Size, Sequence[float]]]:
    """The smallest size from `start` on whose mean AP is the best, or LEAST_GAIN below; and the APs of those tried.

    `measure` gives the APs at a size. No side becomes longer than LARGEST times its length, nor than `limit`.
    """
    measured: dict[Size, Sequence[float]] = {}
    means: dict[Size, float] = {}
    size = start
    while max(size) <= limit and all(new <= LARGEST * old for new, old in zip(size, start, strict=True)):
        measured[size] = measure(size)
        means[size] = fmean([ap for ap in measured[size] if ap >= 0] or [0.0])  # -1: a part has no objects
        if means[size] < (1 - LARGEST_LOSS) * max(means.values()):
            break
        size = larger(size)
    return next(size for size in means if means[size] > max(means.values()) - LEAST_GAIN), measured
