"""What a run reports while it goes on, and the callbacks that hear it."""

from __future__ import annotations

from dataclasses import dataclass

from rtmdet.evaluation.coco import CocoMetrics


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One optimiser step. Epochs and iterations are counted from 1, as people do."""

    epoch: int
    iteration: int
    learning_rate: float
    loss_classification: float
    loss_box: float
    gradient_norm: float  # before clipping; 0 where fp16 overflowed and the step was passed over
    positives: int  # priors that learned a box
    positives_per_object: float  # of them, for each ground truth of the step; 0 where it has none
    unassigned: float  # share of the ground truths that no prior learned
    memory_mb: float  # largest so far: of the GPU where there is one, else of the process
    seconds: float  # of the whole step
    data_seconds: float  # of it, waiting for the batch


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """One validation of the averaged weights."""

    epoch: int
    iteration: int
    metrics: CocoMetrics
    best: bool  # the best AP of the run so far
    input_size: tuple[int, int]  # (H, W) in pixels, at which it was measured


class Callback:
    """Hears how a run goes: log files, the progress bar, an experiment tracker. Override what you need."""

    def on_step(self, record: StepRecord) -> None:
        """After every optimizer step."""

    def on_validation(self, record: ValidationRecord) -> None:
        """After every validation."""

    def on_epoch_end(self, epoch: int) -> None:
        """After an epoch, counted from 1, was validated (where due) and saved."""

    def on_save(self) -> None:
        """Before a checkpoint is written: a resumed run will not repeat what came before it."""

    def close(self) -> None:
        """After the run's end, also one that came early."""
