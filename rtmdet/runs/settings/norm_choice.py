"""Batch-norm statistics of the initial weights: whether they fit the training images, and measuring them again."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from rtmdet.config.recipe import Choice
from rtmdet.config.schema import Config
from rtmdet.core.console import say
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.models.norm_statistics import agreement, lack_statistics, recalibrate
from rtmdet.models.rtmdet import RTMDet
from rtmdet.runs.settings.plain_images import plain_images

RECALIBRATION_IMAGES = 64  # enough: each image contributes hundreds of positions
RECALIBRATION_BATCH = 8
AGREEMENT_IMAGES = 16
MODES = "correlation of the feature maps in training and evaluation mode"
LEAST_AGREEMENT = 0.3  # of training and evaluation mode; below it, training mode destroys what was learned


def choose_norm_statistics(
    model: RTMDet, dataset: CocoDataset, input_size: tuple[int, int], batch_size: int, device: torch.device
) -> Choice:
    """How to treat the statistics of a trained detector, from how well training and evaluation mode agree.

    May replace the statistics of this model.
    """
    batch_size = min(batch_size, AGREEMENT_IMAGES)

    def images() -> Iterable[Tensor]:
        return plain_images(dataset, input_size, AGREEMENT_IMAGES, batch_size=batch_size, device=device)

    found = norm_agreement(model, images())
    if lack_statistics(model):
        why = f"the file has no batch-norm statistics (some exports drop them): {MODES} {found:.2f}"
    elif found >= LEAST_AGREEMENT:
        why = f"the batch-norm statistics fit these images: {MODES} {found:.2f}"
        return Choice("model.norm_statistics", "keep", why)
    else:
        why = f"the batch-norm statistics do not fit these images: {MODES} {found:.2f}"
    recalibrate(model, images())
    after = norm_agreement(model, images())
    why += f", {after:.2f} with statistics measured on these images"
    if after < LEAST_AGREEMENT:
        return Choice("model.norm_statistics", "freeze", f"{why}, still too low with batches of {batch_size}")
    return Choice("model.norm_statistics", "recalibrate", why)


def report_norms(
    model: RTMDet, config: Config, dataset: CocoDataset, device: torch.device, *, frozen: Sequence[nn.Module]
) -> None:
    """Print a line if the statistics of trained weights do not fit these images and are kept.

    `frozen` modules stay in evaluation mode.
    """
    if config.model.norm_statistics != "keep":
        return
    batch_size = min(config.data.batch_size, AGREEMENT_IMAGES)
    images = plain_images(dataset, config.data.input_size, AGREEMENT_IMAGES, batch_size=batch_size, device=device)
    lacking = lack_statistics(model)
    found = norm_agreement(model, images, frozen=frozen)
    if found < LEAST_AGREEMENT or lacking:
        what = "have no running statistics" if lacking else "have statistics that do not fit these images"
        say(
            f"the batch norms of the weights {what} ({MODES} {found:.2f}): to measure them on the training images, "
            "--set model.norm_statistics=recalibrate"
        )


def recalibrate_norms(model: RTMDet, config: Config, dataset: CocoDataset, device: torch.device) -> None:
    """Measure the statistics on training images, if configured; predictions stay the same."""
    if config.model.norm_statistics != "recalibrate":
        return
    size = config.data.input_size
    images = plain_images(dataset, size, RECALIBRATION_IMAGES, batch_size=RECALIBRATION_BATCH, device=device)
    norms = recalibrate(model, images)
    say(f"batch norms: statistics of {norms} layers measured again on the training images; predictions unchanged")


def norm_agreement(model: RTMDet, images: Iterable[Tensor], *, frozen: Sequence[nn.Module] = ()) -> float:
    """Correlation of the neck's feature maps in training and evaluation mode, at most 1."""

    def maps(batch: Tensor) -> Sequence[Tensor]:
        return model.neck(model.backbone(model.normalize(batch)))

    return agreement(model, maps, images, frozen=frozen)
