"""The training loop. It receives built objects and builds nothing. Paper: section 4.1.

Steps, EMA, validations, checkpoints. Samples are pure functions of epoch and position and a checkpoint holds
every other state, so a run resumes after any interruption as if there had been none. All processes run
this loop; only the main one writes files.
"""

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtmdet.core.distributed import (
    StoppedByAnother,
    any_process,
    copy_from_main,
    gather,
    is_main_process,
    rank,
)
from rtmdet.core.errors import InputError
from rtmdet.core.processes import peak_memory
from rtmdet.core.structures import Batch
from rtmdet.core.whole_file import CONTINUE, remove_file
from rtmdet.core.wording import one_line
from rtmdet.data.loader import TrainingLoader
from rtmdet.evaluation.coco import CocoMetrics
from rtmdet.training.ema import ExponentialMovingAverage
from rtmdet.training.interruption import Interrupted, SignalWatch, WaitEnded
from rtmdet.training.records import Callback, StepRecord, ValidationRecord
from rtmdet.training.same_run import check_same_run
from rtmdet.training.step import NotFiniteError, StepLosses, Stepper
from rtmdet.weights.checkpoint import LAST, CheckpointMeta, TrainingState, read_training_checkpoint, save_checkpoint

_Group = tuple[list[Batch], InputError | None]  # the batches of a step, and the fault that ends them
CONFIGURED = ("weight_decay", "rate_factor")  # of parameter groups: from the configuration, also on resume


@dataclass(frozen=True, slots=True)
class Plan:
    """The length of a run, and when it is validated and saved."""

    epochs: int
    validate_every: int
    dense_validation: int = 0  # number of last epochs that are all validated
    accumulate: int = 1  # batches per step
    patience: int | None = None  # validations without a better AP that end the run
    save_every: int | None = None  # steps between checkpoints inside an epoch
    keep_epochs: int = 0  # validated epochs whose weights are kept

    def is_validated(self, epoch: int) -> bool:
        """Whether the epoch, counted from 1, ends with a validation; the last one always does."""
        dense = epoch > self.epochs - self.dense_validation
        return dense or epoch % self.validate_every == 0 or epoch == self.epochs


def kept_best(folder: Path, finished: CheckpointMeta) -> Path:
    """What best.pth of a finished run is called where a longer one begins to choose its own."""
    return folder / f"best_of_{finished.epoch}_epochs.pth"


@dataclass(eq=False, repr=False)
class Trainer:
    """Trains `model` in place.

    Checkpoints in `folder`: last.pth after every epoch and before each validation, previous.pth the one before it,
    best.pth after the best validation.
    """

    model: nn.Module
    _: KW_ONLY
    stepper: Stepper
    learning_rates: np.ndarray  # one value per step of the whole run
    ema: ExponentialMovingAverage | None  # None: the weights themselves are validated and saved
    loader: TrainingLoader
    evaluate: Callable[[nn.Module], CocoMetrics]  # measures a model on the validation images
    plan: Plan
    folder: Path
    meta: CheckpointMeta
    frozen: Sequence[nn.Module] = ()  # modules that keep their batch norms in evaluation mode
    callbacks: Sequence[Callback] = ()
    # Returns the size (H, W) at which the averaged model is validated last, and then used.
    choose_input_size: Callable[[nn.Module], tuple[int, int]] | None = None
    epoch: int = field(default=0, init=False)  # finished epochs
    step: int = field(default=0, init=False)  # finished steps of the current epoch
    iteration: int = field(default=0, init=False)  # finished steps of the whole run
    best_ap: float = field(default=-math.inf, init=False)  # below the -1 of a validation without objects
    validations_since_best: int = field(default=0, init=False)
    _measured: tuple[int, CocoMetrics] | None = field(default=None, init=False)  # iteration of the last validation
    _ending: bool = field(default=False, init=False)  # a callback asks for it
    _signals: SignalWatch = field(default_factory=SignalWatch, init=False)

    @property
    def steps(self) -> int:
        """Optimizer steps per epoch."""
        return -(-len(self.loader) // self.plan.accumulate)

    @property
    def averaged(self) -> nn.Module:
        """The model that is validated and saved."""
        return self.model if self.ema is None else self.ema.model

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to train."""
        return self.epoch >= self.plan.epochs or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        """Whether the plan's patience is used up, or a callback asked for the end."""
        return self._ending or self.out_of_patience

    @property
    def out_of_patience(self) -> bool:
        """Whether there was no better AP in as many validations as the plan allows."""
        return self.plan.patience is not None and self.validations_since_best >= self.plan.patience

    def run(self) -> None:
        """Train until the plan's last epoch.

        Raises Interrupted after SIGTERM or SIGINT, with everything saved; InputError if a loss is not finite,
        or for a fault of the data, with everything saved.
        """
        with self._signals.watching():
            for callback in self.callbacks:
                callback.on_start(self.model, self.averaged)
            while not self.finished:
                self.train_epoch()
                self.finish_epoch()

    def train_epoch(self) -> None:
        """The rest of an epoch over the training images."""
        self.loader.set_epoch(self.epoch, self.step * self.plan.accumulate)
        self.model.train()
        for module in self.frozen:
            module.eval()
        began = time.perf_counter()
        for batches, fault in _grouped(self.loader, self.plan.accumulate, self._signals):
            self._stop_if_requested(fault)
            waited = time.perf_counter() - began
            rate = float(self.learning_rates[self.iteration])
            losses = self._make_step(batches, rate)
            record = self._record(losses, rate, seconds=time.perf_counter() - began, data_seconds=waited)
            for callback in self.callbacks:
                callback.on_step(record)
            if self.step < self.steps and self.plan.save_every and self.iteration % self.plan.save_every == 0:
                self.save_state()
            began = time.perf_counter()

    def finish_epoch(self) -> None:
        """Validate, if planned or if it is the last epoch, and save."""
        self._ask_callbacks()
        if self.plan.is_validated(self.epoch + 1) or self._ending:
            self.save_state()  # an interrupted validation then repeats without its epoch
            self._stop_if_requested()
            last = self._ending or self.epoch + 1 == self.plan.epochs
            if last:
                self._choose_input_size()
            self.validate()
            self._ask_callbacks()
            if not last and self.stopped_early and self._choose_input_size():
                waited = self.validations_since_best  # counted at the training size
                self.validate()
                self.validations_since_best = waited
        self.epoch, self.step = self.epoch + 1, 0
        self.save_state()
        for callback in self.callbacks:
            callback.on_epoch_end(self.epoch)
        if self.epoch < self.plan.epochs:
            self._stop_if_requested()

    def _ask_callbacks(self) -> None:
        """Note whether a callback of any process asks for the end of the run."""
        self._ending = any_process(any(each.end_run for each in self.callbacks), self.stepper.device)

    def validate(self) -> None:
        """Validate the averaged weights; the best so far are saved as best.pth."""
        copy_from_main(self.averaged.buffers())  # statistics of batch norms, which differ without SyncBN
        with _resumable(self._signals), self._signals.ending():
            metrics = self.evaluate(self.averaged.eval())
        self._measured = self.iteration, metrics
        best = metrics.ap > self.best_ap
        self.validations_since_best = 0 if best else self.validations_since_best + 1
        if best:
            self.best_ap = metrics.ap
            self.save_weights("best.pth", metrics)
        if self.plan.keep_epochs:
            self.save_weights(f"epoch_{self.epoch + 1:04d}.pth", metrics)
            self._remove_old_weights()
        record = ValidationRecord(self.epoch + 1, self.iteration, metrics, best, self.meta.facts.input_size)
        for callback in self.callbacks:
            callback.on_validation(record)

    def _choose_input_size(self) -> bool:
        """Choose the size for detection, if planned; returns whether it is another one."""
        before = self.meta.facts.input_size
        if self.choose_input_size is not None:
            copy_from_main(self.averaged.buffers())
            with _resumable(self._signals), self._signals.ending():
                self._detect_at(self.choose_input_size(self.averaged.eval()))
        return self.meta.facts.input_size != before

    def _detect_at(self, input_size: tuple[int, int]) -> None:
        self.meta = replace(self.meta, facts=replace(self.meta.facts, input_size=input_size))

    def save_weights(self, name: str, metrics: CocoMetrics) -> None:
        """Write only the averaged weights, with the score thresholds of their validation."""
        if is_main_process():
            facts = replace(self.meta.facts, score_thresholds=metrics.score_thresholds)
            meta = replace(self.meta, facts=facts, epoch=self.epoch + 1, iteration=self.iteration)
            save_checkpoint(self.folder / name, model_state=self.averaged.state_dict(), meta=meta, in_run=True)

    def save_state(self) -> None:
        """Write last.pth with everything that a resumed run needs."""
        for callback in self.callbacks:
            callback.on_save()
        rng = gather(_random_states(self.stepper.device))
        if not is_main_process():
            return
        state = TrainingState(
            model=self.model.state_dict(),
            optimizer=self.stepper.optimizer.state_dict(),
            scaler=self.stepper.scaler.state_dict(),
            ema_updates=0 if self.ema is None else self.ema.updates,
            iteration=self.iteration,
            epoch=self.epoch,
            step=self.step,
            steps=self.steps,
            best_ap=self.best_ap,
            validations_since_best=self.validations_since_best,
            torch_rng=torch.stack([cpu for cpu, _ in rng]),
            cuda_rng=torch.stack([cuda for _, cuda in rng]),
        )
        meta = replace(self.meta, epoch=self.epoch, iteration=self.iteration)
        if self._measured is not None and self._measured[0] == self.iteration:
            thresholds = self._measured[1].score_thresholds
            meta = replace(meta, facts=replace(meta.facts, score_thresholds=thresholds))
        weights = self.averaged.state_dict()
        save_checkpoint(self.folder / LAST, model_state=weights, meta=meta, training=state, in_run=True)

    def resume(self, path: Path) -> CheckpointMeta:
        """Resume the run that wrote `path`; returns the metadata of the checkpoint.

        Raises InputError if the checkpoint is of a different run.
        """
        averaged, meta, state = read_training_checkpoint(path)
        check_same_run(path, self.meta, meta, state, self.steps)
        try:
            if self.ema is not None:
                self.ema.model.load_state_dict(averaged)
                self.ema.updates = state.ema_updates
            self.model.load_state_dict(state.model)
            groups = self.stepper.optimizer.param_groups
            if len(groups) != len(state.optimizer["param_groups"]):
                raise InputError(
                    f"{path}: saved by an earlier version or another optimizer, with other parameter groups: start "
                    "a new run from it, with --weights and another --output"
                )
            for group, theirs in zip(groups, state.optimizer["param_groups"], strict=True):
                if len(group["params"]) != len(theirs["params"]):
                    raise InputError(
                        f"{path}: other layers are frozen than before: leave model.freeze and model.frozen_stages as "
                        "they were, or choose another --output"
                    )
            configured = [{key: group[key] for key in CONFIGURED if key in group} for group in groups]
            self.stepper.optimizer.load_state_dict(state.optimizer)
            for group, settings in zip(self.stepper.optimizer.param_groups, configured, strict=True):
                group.update(settings)
            if self.stepper.scaler.is_enabled() and state.scaler:
                self.stepper.scaler.load_state_dict(state.scaler)
        except InputError:
            raise
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"{path}: does not fit this run ({one_line(error)}): choose another --output") from error
        _restore_random_states(state, self.stepper.device)
        self.epoch, self.step, self.iteration = state.epoch, state.step, state.iteration
        self.best_ap, self.validations_since_best = state.best_ap, state.validations_since_best
        if self.finished:
            self._detect_at(meta.facts.input_size)
        elif meta.facts.input_size != self.meta.facts.input_size:  # of a finished run: its AP is not comparable
            self.best_ap, self.validations_since_best = -math.inf, 0
            best, kept = self.folder / "best.pth", kept_best(self.folder, meta)
            if is_main_process() and best.exists() and not kept.exists():
                best.replace(kept)
        return meta

    def _make_step(self, batches: Sequence[Batch], rate: float) -> StepLosses:
        try:
            losses = self.stepper(batches, iteration=self.iteration, learning_rate=rate)
        except NotFiniteError as error:
            saved = (self.folder / LAST).exists()
            kept = f"{self.folder / LAST} holds the state that was saved last" if saved else "nothing was saved yet"
            raise InputError(
                f"epoch {self.epoch + 1}, iteration {self.iteration + 1}: {error}; {kept}: lower "
                "train.learning_rate or set train.clip_gradient"
            ) from error
        if self.ema is not None:
            self.ema.update(self.model)
        self.step, self.iteration = self.step + 1, self.iteration + 1
        return losses

    def _record(self, losses: StepLosses, rate: float, *, seconds: float, data_seconds: float) -> StepRecord:
        objects = max(losses.ground_truths, 1)
        return StepRecord(
            epoch=self.epoch + 1,
            iteration=self.iteration,
            learning_rate=rate,
            loss_classification=losses.classification,
            loss_box=losses.box,
            gradient_norm=losses.gradient_norm,
            positives=losses.positives,
            positives_per_object=losses.positives / objects,
            unassigned=losses.unassigned / objects,
            memory_mb=_memory_mb(self.stepper.device),
            seconds=seconds,
            data_seconds=data_seconds,
        )

    def _stop_if_requested(self, fault: InputError | None = None) -> None:
        """Save and stop all processes if any got a signal, which may cause a fault, or has a fault of the data."""
        if not any_process(self._signals.received > 0 or fault is not None, self.stepper.device):
            return
        if 0 < self.step < self.steps or not self.iteration:  # otherwise it is saved
            self.save_state()
        if not any(gather(self._signals.received)):
            raise fault or StoppedByAnother
        raise Interrupted(self._signals.received or signal.SIGTERM)

    def _remove_old_weights(self) -> None:
        if is_main_process():
            paths = [self.folder / f"epoch_{epoch:04d}.pth" for epoch in range(1, self.epoch + 2)]
            for path in [path for path in paths if path.exists()][: -self.plan.keep_epochs]:
                remove_file(path)


def _grouped(loader: Iterable[Batch], count: int, signals: SignalWatch) -> Iterator[_Group]:
    """Lists of `count` batches; the last may be shorter, or empty: after a signal, or with a fault."""
    batches = iter(loader)
    try:
        while True:
            with _resumable(), signals.ending_waits():
                group = list(islice(batches, count))
            if not group:
                return
            yield group, None
    except (InputError, WaitEnded) as error:
        yield [], error if isinstance(error, InputError) else None


@contextmanager
def _resumable(signals: SignalWatch | None = None) -> Iterator[None]:
    """Add to a fault of the data, met where the state is saved or will be, how the run continues."""
    try:
        yield
    except InputError as error:
        if signals is not None and signals.received:  # it also ends processes that are about to load images
            raise Interrupted(signals.received) from error
        raise InputError(f"{error}; the training so far is saved: {CONTINUE}") from error


def _random_states(device: torch.device) -> tuple[Tensor, Tensor]:
    """torch's random states of the CPU and of the GPU (empty without one), (n,) uint8 each.

    Samples do not depend on them (they are pure functions of seed, epoch and position); dropout in a backbone does.
    """
    none = torch.empty(0, dtype=torch.uint8)
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else none


def _restore_random_states(state: TrainingState, device: torch.device) -> None:
    """Set this process's random states; with more processes than before, some share a state."""
    number = rank() % len(state.torch_rng)
    torch.set_rng_state(state.torch_rng[number].clone())
    if device.type == "cuda" and state.cuda_rng[number].numel():
        torch.cuda.set_rng_state(state.cuda_rng[number].clone(), device)


def _memory_mb(device: torch.device) -> float:
    """Peak memory: allocated on the GPU, or resident in this process."""
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return peak / 2**20
