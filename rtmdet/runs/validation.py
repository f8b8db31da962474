"""Validation during training, and the choice of the input size for detection."""

from __future__ import annotations

import torch
from torch import nn

from rtmdet.config.schema import LARGEST_SIDE, Config
from rtmdet.core.console import write_above_bar
from rtmdet.core.distributed import rank, world_size
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import EvaluationLoader
from rtmdet.data.samples import EvaluationSamples
from rtmdet.deploy.torch_backend import TorchBackend
from rtmdet.evaluation.coco import CocoMetrics, metric_text
from rtmdet.runs.measure import detect_all
from rtmdet.runs.plain_images import spread
from rtmdet.training.detection_size import LEAST_GAIN, best_size

CHOICE_IMAGES = 64  # training images
USUAL_CHOICE = (
    4.0  # cost of trying sizes, in images at the training size: 1 + 1.25² for two, 1 + 1.25² + 1.5² for three
)
LARGER_VALIDATION = 1.0  # extra cost of the last validation at the chosen size, in validations, roughly


class Validation:
    """Measures a model on the validation images at `input_size`, each process on its share of them."""

    def __init__(self, config: Config, dataset: CocoDataset, device: torch.device) -> None:
        self.input_size = detection_size(config)
        self._config = config
        self._dataset = dataset
        self._device = device
        self._loader = build_validation_loader(config, dataset, self.input_size)

    def __call__(self, model: nn.Module) -> CocoMetrics:
        """The metrics of all images, the same on every process."""
        settings = self._config.evaluation
        backend = TorchBackend(model, self._device)
        return detect_all(backend, self._dataset, self._loader, settings).evaluate()

    def choose_input_size(self, model: nn.Module, train_data: CocoDataset) -> tuple[int, int]:
        """Validate from now on at the size with the best AP on training images; returns it."""
        part = train_data.part(spread(range(len(train_data)), CHOICE_IMAGES))

        def precision(size: tuple[int, int]) -> float:
            return training_precision(model, self._config, part, size, self._device)

        self.input_size, measured = best_size(self._config.data.input_size, precision, limit=LARGEST_SIDE)
        self._loader = build_validation_loader(self._config, self._dataset, self.input_size)
        found = ", ".join(f"{metric_text(ap)} at {height} x {width}" for (height, width), ap in measured.items())
        height, width = self.input_size
        write_above_bar(
            f"input size for detection: {height} x {width} pixels (AP on {len(part)} training images: {found}; "
            f"a larger size must gain {LEAST_GAIN})"
        )
        return self.input_size


def detection_size(config: Config) -> tuple[int, int]:
    """The input size (H, W) of validation and detection, before a larger one is chosen."""
    return config.evaluation.input_size or config.data.input_size


def chooses_input_size(config: Config) -> bool:
    """Whether the size is chosen before the last validation; not if the user sets one."""
    return config.evaluation.choose_input_size and config.evaluation.input_size is None


def choice_cost(config: Config, *, train: int, val: int) -> float:
    """The cost of the choice and of the larger last validation, in validations without metrics and pictures.

    `train` and `val`: the numbers of images.
    """
    if not chooses_input_size(config):
        return 0.0
    return USUAL_CHOICE * min(CHOICE_IMAGES, train) / val + LARGER_VALIDATION


def build_validation_loader(config: Config, dataset: CocoDataset, input_size: tuple[int, int]) -> EvaluationLoader:
    """All images of a data set at an input size (H, W), this process's share of them."""
    return EvaluationLoader(
        EvaluationSamples(dataset, input_size=input_size),
        batch_size=config.data.batch_size,
        workers=config.data.workers,
        rank=rank(),
        world_size=world_size(),
    )


def training_precision(
    model: nn.Module,
    config: Config,
    part: CocoDataset,
    input_size: tuple[int, int],
    device: torch.device,
) -> float:
    """AP on training images without augmentation."""
    loader = build_validation_loader(config, part, input_size)
    return detect_all(TorchBackend(model, device), part, loader, config.evaluation).evaluate(curves=False).ap
