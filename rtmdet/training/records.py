"""The records of a training run, and the callbacks that receive them."""

from dataclasses import dataclass

from torch import nn

from rtmdet.core.errors import InputError
from rtmdet.evaluation.coco import CocoMetrics


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One optimizer step. Epochs and iterations count from 1."""

    epoch: int
    iteration: int
    learning_rate: float
    loss_classification: float
    loss_box: float
    gradient_norm: float  # before clipping; 0 if fp16 overflowed and the step was skipped
    positives: int  # priors matched to an object
    positives_per_object: float  # matched priors per ground truth of the step; 0 without any
    unassigned: float  # share of the ground truths without a matched prior
    memory_mb: float  # peak so far: of the GPU if there is one, else of the process
    seconds: float  # of the whole step
    data_seconds: float  # the part spent waiting for the batch


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """One validation of the averaged weights."""

    epoch: int
    iteration: int
    metrics: CocoMetrics
    best: bool  # the best AP of the run so far
    input_size: tuple[int, int]  # (H, W) in pixels, at which it was measured


class Callback:
    """Receives the events of a run, e.g. for an experiment tracker. Override the methods you need.

    `end_run` = True ends it well: after the epoch, or the validation, with the last validation, everything saved.
    """

    end_run = False

    def __init_subclass__(cls) -> None:
        """Raise InputError for a method of an event that there is not, which would never be called."""
        super().__init_subclass__()
        for name, value in vars(cls).items():
            if name.startswith("on_") and callable(value) and not hasattr(Callback, name):
                known = [event for event in vars(Callback) if event.startswith("on_")]
                raise InputError(f"{cls.__name__}.{name}: there is no such event: expected {', '.join(known)}")

    def on_start(self, model: nn.Module, averaged: nn.Module) -> None:
        """Before the first step, also of a resumed run: the model that is trained and the one that is saved.

        Both stay the same objects until the run ends, for a look at weights and gradients at later events.
        """

    def on_step(self, record: StepRecord) -> None:
        """After every optimizer step."""

    def on_validation(self, record: ValidationRecord) -> None:
        """After every validation."""

    def on_epoch_end(self, epoch: int) -> None:
        """After an epoch, counted from 1, was validated (if due) and saved."""

    def on_save(self) -> None:
        """Before a checkpoint is written; a resumed run does not repeat earlier events."""

    def on_new_length(self, epochs: int) -> None:
        """After the number of epochs of the run was changed; the epoch in which stage 2 begins stays the same."""

    def close(self) -> None:
        """After the run ends, normally or early."""
