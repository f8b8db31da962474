"""What is known of a run before its first step, for its warnings: length, frozen parts, boxes of each class.

Dimension legend: N ground truths of all training images.
"""

from __future__ import annotations

import torch

from rtmdet.config.recipe import Start, usual_passes
from rtmdet.config.schema import Config, ModelConfig
from rtmdet.core.letterbox import Letterbox
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.training.causes import ClassBoxes, RunFacts
from rtmdet.training.preflight import without_prior
from rtmdet.weights.load import LoadedWeights, new_classes


def collect_facts(
    config: Config, dataset: CocoDataset, weights: LoadedWeights | None, *, steps: int, learning_rate: float
) -> RunFacts:
    """Facts from the configuration, the training data and the initial weights.

    `steps` per epoch; `learning_rate`: the highest of the run.
    """
    train = config.train
    start = start_of(weights, config.model)
    new = new_classes(weights, dataset.classes) if start == "detector" and weights is not None else ()
    return RunFacts(
        epochs=train.epochs,
        steps=steps,
        warmup=train.warmup_iterations,
        stage2_start=max(train.epochs - config.augmentation.stage2_epochs, 0),
        images=len(dataset),
        input_size=config.data.input_size,
        learning_rate=learning_rate,
        clip_gradient=train.clip_gradient,
        from_scratch=start != "detector",
        usual_passes=usual_passes(start, len(new)),
        frozen_random=frozen_random(config),
        classes=count_boxes(dataset, config.data.input_size),
    )


def frozen_random(config: Config) -> str | None:
    """The setting that freezes randomly initialized layers; None if there is none."""
    model = config.model
    if model.backbone_is_trained:
        return None  # a frozen neck or head that starts from scratch was refused before
    if model.frozen_stages >= 0:
        return "model.frozen_stages"
    return "model.freeze" if model.freeze else None


def start_of(weights: LoadedWeights | None, settings: ModelConfig) -> Start:
    """What the initial weights hold; `weights` are those of model.weights, None if there are none."""
    if weights is not None and not weights.backbone_only:
        return "detector"
    return "backbone" if settings.backbone_is_trained else "nothing"


def count_boxes(dataset: CocoDataset, input_size: tuple[int, int]) -> dict[str, ClassBoxes]:
    """The training boxes of each class, and how many are too small to be matched at this input size."""
    boxes, labels = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.long)]
    for index in range(len(dataset)):
        meta, truth = dataset.truth(index)
        place = Letterbox.fit(meta.original_size, input_size)
        boxes.append(place.to_input(torch.from_numpy(truth.boxes)))
        labels.append(torch.from_numpy(truth.labels))
    fitted, label = torch.cat(boxes), torch.cat(labels)  # (N, 4), (N,)
    counts = {}
    for number, name in enumerate(dataset.classes):
        of_class = fitted[label == number]
        counts[name] = ClassBoxes(len(of_class), without_prior(of_class, input_size))
    return counts
