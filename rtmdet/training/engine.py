"""The training loop. It receives built objects and builds nothing. Paper: section 4.1.

One step: batch -> model -> criterion -> gradients -> optimiser -> EMA. Validation and checkpoints use the
averaged weights. Samples are pure functions of the epoch, so a run goes on where its checkpoint stands.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from rtmdet.checkpoint import CheckpointMeta, TrainingState, read_training_checkpoint, save_checkpoint
from rtmdet.evaluation import CocoMetrics
from rtmdet.structures import Batch, InputError, Losses
from rtmdet.training.criterion import Criterion
from rtmdet.training.ema import ExponentialMovingAverage
from rtmdet.training.records import Observer, StepRecord, ValidationRecord


@dataclass(frozen=True, slots=True)
class Plan:
    """How long a run goes and when it is measured."""

    epochs: int
    validate_every: int
    dense_validation: int  # last epochs that are validated every time
    clip_gradient: float | None

    def is_validated(self, epoch: int) -> bool:
        """Whether the epoch, counted from 1, ends with a validation; the last one always does."""
        dense = epoch > self.epochs - self.dense_validation
        return dense or epoch % self.validate_every == 0 or epoch == self.epochs


class EpochLoader(Protocol):
    """Batches of one epoch after the other."""

    def __len__(self) -> int:
        """Batches an epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0."""

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the chosen epoch."""


class Trainer:
    """Trains `model` in place. `learning_rates` has one value a step of the whole run.

    `frozen` modules keep their batch norms in evaluation mode. `evaluate` measures a model on the validation
    images. Checkpoints: last.pth after every epoch, best.pth after the best validation, both in `folder`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        learning_rates: np.ndarray,
        ema: ExponentialMovingAverage,
        loader: EpochLoader,
        evaluate: Callable[[nn.Module], CocoMetrics],
        plan: Plan,
        folder: Path,
        meta: CheckpointMeta,
        device: torch.device,
        frozen: Sequence[nn.Module] = (),
        observers: Sequence[Observer] = (),
    ) -> None:
        self.model = model
        self.criterion = criterion
        self.optimizer = optimizer
        self.learning_rates = learning_rates
        self.ema = ema
        self.loader = loader
        self.evaluate = evaluate
        self.plan = plan
        self.folder = folder
        self.meta = meta
        self.device = device
        self.frozen = frozen
        self.observers = observers
        self.epoch = 0  # finished epochs
        self.iteration = 0  # finished iterations
        self.best_ap = -math.inf  # below the -1 of a validation without objects

    def run(self) -> None:
        """Train until the plan's last epoch."""
        while self.epoch < self.plan.epochs:
            self.train_epoch()
            self.epoch += 1
            if self.plan.is_validated(self.epoch):
                self.validate()
            self.save("last.pth", whole=True)
            for observer in self.observers:
                observer.on_epoch_end(self.epoch)

    def train_epoch(self) -> None:
        """One pass over the training images."""
        self.loader.set_epoch(self.epoch)
        self.model.train()
        for module in self.frozen:
            module.eval()
        began = time.perf_counter()
        for batch in self.loader:
            waited = time.perf_counter() - began
            record = self.step(batch.to(self.device))
            record = replace(record, seconds=time.perf_counter() - began, data_seconds=waited)
            for observer in self.observers:
                observer.on_step(record)
            began = time.perf_counter()

    def step(self, batch: Batch) -> StepRecord:
        """One optimiser step. Raises InputError where the loss is not a finite number."""
        rate = float(self.learning_rates[self.iteration])
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self.criterion(self.model(batch.images), batch.targets)
        self._check_finite(losses, batch)
        self.optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip_gradient or math.inf)
        self.optimizer.step()
        self.ema.update(self.model)
        self.iteration += 1
        return StepRecord(
            epoch=self.epoch + 1,
            iteration=self.iteration,
            learning_rate=rate,
            loss_classification=losses.classification.item(),
            loss_box=losses.box.item(),
            gradient_norm=norm.item(),
            positives=losses.positives,
            memory_mb=_memory_mb(self.device),
            seconds=0.0,
            data_seconds=0.0,
        )

    def validate(self) -> None:
        """Measure the averaged weights; the best so far are kept as best.pth."""
        metrics = self.evaluate(self.ema.model)
        best = metrics.ap > self.best_ap
        if best:
            self.best_ap = metrics.ap
            self.save("best.pth", whole=False)
        record = ValidationRecord(self.epoch, self.iteration, metrics, best)
        for observer in self.observers:
            observer.on_validation(record)

    def save(self, name: str, *, whole: bool) -> None:
        """Write a checkpoint: the averaged weights, and with `whole` all that a resumed run needs."""
        state = None
        if whole:
            state = TrainingState(
                model=self.model.state_dict(),
                optimizer=self.optimizer.state_dict(),
                ema_updates=self.ema.updates,
                iteration=self.iteration,
                epoch=self.epoch,
                best_ap=self.best_ap,
                torch_rng=torch.get_rng_state(),
            )
        meta = replace(self.meta, epoch=self.epoch, iteration=self.iteration)
        weights = self.ema.model.state_dict()
        save_checkpoint(self.folder / name, model_state=weights, meta=meta, training=state)

    def resume(self, path: Path) -> None:
        """Take up the run that wrote `path`. Raises InputError where the checkpoint is of another kind of run."""
        averaged, meta, state = read_training_checkpoint(path)
        if state.iteration != state.epoch * len(self.loader):
            raise InputError(
                f"{path}: holds {state.iteration} iterations of {state.epoch} epochs, but an epoch has "
                f"{len(self.loader)} here: resume with the data and batch size it was made with"
            )
        theirs, ours = _kind(meta), _kind(self.meta)
        if theirs != ours:
            raise InputError(f"{path}: is of {theirs}, this run is of {ours}: give the run a new train.output")
        try:
            self.ema.model.load_state_dict(averaged)
            self.model.load_state_dict(state.model)
            self.optimizer.load_state_dict(state.optimizer)
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: does not fit this run ({reason}): give the run a new train.output") from error
        torch.set_rng_state(state.torch_rng)
        self.ema.updates, self.iteration = state.ema_updates, state.iteration
        self.epoch, self.best_ap = state.epoch, state.best_ap

    def _check_finite(self, losses: Losses, batch: Batch) -> None:
        if torch.isfinite(losses.total):
            return
        ids = ", ".join(str(meta.image_id) for meta in batch.metas)
        kept = f"{self.folder / 'last.pth'} holds epoch {self.epoch}" if self.epoch else "nothing was saved yet"
        raise InputError(
            f"the loss is not finite in epoch {self.epoch + 1}, iteration {self.iteration + 1}: classification "
            f"{losses.classification.item():g}, box {losses.box.item():g}, image ids {ids}; {kept}: lower "
            "train.learning_rate or set train.clip_gradient"
        )


def _kind(meta: CheckpointMeta) -> str:
    """What a resumed run must have in common with its checkpoint."""
    height, width = meta.input_size
    return f"size {meta.size} for {', '.join(meta.classes)} at {height} x {width} pixels"


def _memory_mb(device: torch.device) -> float:
    """Largest memory so far: allocated on the GPU, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource  # absent on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
