"""Likely causes of a run that does not learn, each with its remedy, chosen from the facts and losses of the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rtmdet.config.recipe import usual_images_seen
from rtmdet.config.schema import Config
from rtmdet.core.wording import shortened, size_text
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.runs.checks.label_check import boxes_in_input, without_prior
from rtmdet.runs.checks.loss_trend import Trend
from rtmdet.runs.weights_file import start_of
from rtmdet.weights.load import LoadedWeights, new_classes

MANY_UNMATCHED = 0.5  # share of the objects; from scratch a fifth is usual
MUCH_HIGHER = 1.25  # factor between two losses
CLEARLY_LOWER = 0.8
HUGE_GRADIENT = 300.0  # total norm; 1 to 30 is usual, 100 at the start from scratch
NO_BOX_LOSS = 1e-3
FEW_BOXES = 20  # of a class


@dataclass(frozen=True, slots=True)
class ClassBoxes:
    """The training boxes of one class."""

    count: int
    too_small: int  # boxes too small to be matched at the network's input size


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known of a run before its first step."""

    epochs: int
    steps: int  # per epoch
    warmup: int  # steps
    stage2_start: int  # finished epochs before mosaic and mixup end
    images: int  # per epoch
    input_size: tuple[int, int]  # (H, W)
    learning_rate: float  # the setting, before scaling and schedule
    clip_gradient: float | None
    from_scratch: bool  # neck and head start from random weights
    usual_images_seen: int  # least number in the recipe for small data sets
    frozen_random: str | None  # the setting that freezes randomly initialized layers
    classes: Mapping[str, ClassBoxes]

    @property
    def images_seen(self) -> int:
        """Training images seen in the whole run."""
        return self.epochs * self.images


def collect_facts(config: Config, dataset: CocoDataset, weights: LoadedWeights | None, *, steps: int) -> RunFacts:
    """Facts from the configuration, the training data and the initial weights; `steps` per epoch."""
    train = config.train
    start = start_of(weights, config.model)
    new = () if weights is None else new_classes(weights, dataset.classes)
    return RunFacts(
        epochs=train.epochs,
        steps=steps,
        warmup=train.warmup_iterations,
        stage2_start=config.stage2_start,
        images=len(dataset),
        input_size=config.data.input_size,
        learning_rate=train.learning_rate,
        clip_gradient=train.clip_gradient,
        from_scratch=start != "detector",
        usual_images_seen=usual_images_seen(start, len(new)),
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


def count_boxes(dataset: CocoDataset, input_size: tuple[int, int]) -> dict[str, ClassBoxes]:
    """The training boxes of each class, and how many are too small to be matched at this input size."""
    boxes, labels = boxes_in_input(dataset, input_size)
    of_class = {name: boxes[labels == label] for label, name in enumerate(dataset.classes)}
    return {name: ClassBoxes(len(found), without_prior(found, input_size)) for name, found in of_class.items()}


def cause_of_low_ap(facts: RunFacts, trend: Trend) -> str:
    """Why hardly anything is found on the validation images."""
    known = _cause_for_certain(facts, trend)
    if known is not None:
        return known
    if trend.iteration <= facts.warmup:
        return (
            f"the learning rate is still warming up (step {trend.iteration} of {facts.warmup}): lower "
            "train.warmup_iterations, or train longer"
        )
    if facts.images_seen < facts.usual_images_seen:
        return _few_images_seen(facts)
    if trend.loss < CLEARLY_LOWER * trend.highest_loss:
        return (
            "the training loss falls, so the validation annotations probably differ from the training ones (ids or "
            "order of the classes, boxes, other kinds of images): look at both with rtmdet data show, and run "
            "rtmdet data check"
        )
    return _no_fit(facts)


def cause_of_flat_loss(facts: RunFacts, trend: Trend) -> str:
    """Why the loss does not fall."""
    return _cause_for_certain(facts, trend) or _no_fit(facts)


def cause_of_no_box_loss(facts: RunFacts) -> str:
    """Why no predicted box overlaps an object."""
    if facts.frozen_random is not None:
        return _frozen_random(facts.frozen_random)
    if facts.from_scratch:
        return (
            "the layers that predict boxes start from scratch and predict points: start from trained weights "
            "(model.weights), or lower train.learning_rate"
        )
    return f"the weights do not fit these images, or the learning rate is too high: {_lower_rate(facts)}"


def cause_of_no_match(facts: RunFacts, trend: Trend) -> str:
    """Why no prior is matched to any object."""
    if trend.unmatched > 0:
        return _too_small(facts, trend.unmatched)
    return "the training samples contain no objects: look at them with rtmdet data show"


def causes_of_missing_classes(facts: RunFacts, names: Sequence[str]) -> str:
    """Why these classes are never found, one cause per group of them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_cause_of_missing_class(facts, facts.classes[name]), []).append(name)
    return "; ".join(f"{shortened(group)}: {cause}" for cause, group in groups.items())


def _cause_of_missing_class(facts: RunFacts, boxes: ClassBoxes) -> str:
    if boxes.count == 0:
        return "no training boxes: add some, or remove the class from data.classes"
    if 2 * boxes.too_small >= boxes.count:
        return f"most boxes are too small at {size_text(facts.input_size)}: raise data.input_size"
    if boxes.count < FEW_BOXES:
        return "too few boxes: label more, or show their images more often (data.repeat_threshold)"
    if facts.images_seen < facts.usual_images_seen:
        return _few_images_seen(facts)
    return (
        "labeled differently in training and validation, or confused with another class (look with rtmdet data "
        "show); otherwise train longer (--epochs)"
    )


def _cause_for_certain(facts: RunFacts, trend: Trend) -> str | None:
    """The causes that the records prove, most certain first."""
    if facts.frozen_random is not None:
        return _frozen_random(facts.frozen_random)
    if not trend.ever_matched:
        return cause_of_no_match(facts, trend)
    # From scratch the loss starts near 0 and rises at first: boxes without area have no loss. In the warm-up the
    # first gradients of new layers are large, too.
    huge = trend.gradient_norm > HUGE_GRADIENT and trend.iteration > facts.warmup
    rises = trend.loss >= MUCH_HIGHER * trend.first_loss > 0
    if (not facts.from_scratch and rises) or huge:
        at_first = f" {trend.first_loss:.2g} at first," if trend.first_loss else ""
        return (
            f"the learning rate is too high (loss{at_first} {trend.loss:.2g} now, gradient norm "
            f"{trend.gradient_norm:.2g}): {_lower_rate(facts)}"
        )
    if trend.unmatched > MANY_UNMATCHED:
        return _too_small(facts, trend.unmatched)
    if trend.box_loss < NO_BOX_LOSS:
        return "no predicted box overlaps an object (box loss 0); " + cause_of_no_box_loss(facts)
    return None


def _frozen_random(setting: str) -> str:
    return (
        f"{setting} freezes layers or batch norms that start from random weights: remove the setting, or start from "
        "trained weights (model.weights)"
    )


def _too_small(facts: RunFacts, share: float) -> str:
    return (
        f"{share:.0%} of the objects are too small to be matched at {size_text(facts.input_size)}: raise "
        "data.input_size (rtmdet data check suggests one), or train with windows of large pictures (data.tile)"
    )


def _few_images_seen(facts: RunFacts) -> str:
    epochs = -(-facts.usual_images_seen // facts.images)
    start = "from scratch" if facts.from_scratch else "from trained weights"
    return (
        f"{facts.images_seen} training images shown in the whole run are few, {facts.usual_images_seen} are usual "
        f"{start}: train longer, --epochs {epochs} or more"
    )


def _no_fit(facts: RunFacts) -> str:
    return (
        "labels that do not match the images (look with rtmdet data show), or a learning rate that does not fit "
        f"(train.learning_rate is {facts.learning_rate:g}: try a third of it, then three times as much)"
    )


def _lower_rate(facts: RunFacts) -> str:
    clip = "" if facts.clip_gradient is not None else ", or set train.clip_gradient to 35"
    return f"lower train.learning_rate from {facts.learning_rate:g} to {facts.learning_rate / 4:.2g}{clip}"
