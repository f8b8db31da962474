"""One optimizer step: batches -> network -> criterion -> gradients -> optimizer, in the chosen precision.

Several batches (gradient accumulation) and several processes (DDP) make the same step as one process with all
images in one batch, except for batch norms, which see one batch of one process at a time.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rtmdet.core.distributed import StoppedByAnother, gather, rank, sum_over_processes, world_size
from rtmdet.core.errors import InputError
from rtmdet.core.structures import Batch, DenseOutputs, Losses
from rtmdet.training.criterion import Criterion, loss_normalizer

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class NotFiniteError(Exception):
    """A loss or a gradient is not finite; the weights are unchanged."""


@dataclass(frozen=True, slots=True)
class StepLosses:
    """Losses and counts of a step, over all its batches and processes."""

    classification: float
    box: float
    gradient_norm: float  # before clipping; 0 if fp16 overflowed and the step was skipped
    positives: int
    ground_truths: int
    unassigned: int  # ground truths without a matched prior


class Stepper:
    """Makes optimizer steps on `network`: the model, or its DDP or torch.compile wrapper.

    `precision` (float32, bf16 or fp16) applies to the network alone: decoding, assignment and losses stay in
    float32. `resize` brings a batch to the size of an iteration.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        precision: str = "float32",
        clip_gradient: float | None = None,
        resize: Callable[[Batch, int], Batch] | None = None,
    ) -> None:
        self.network = network
        self.criterion = criterion
        self.optimizer = optimizer
        self.device = device
        self.dtype = DTYPES[precision]
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.clip_gradient = clip_gradient
        self.resize = resize
        self.parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def __call__(self, batches: Sequence[Batch], *, iteration: int, learning_rate: float) -> StepLosses:
        """Make step number `iteration`, counted from 0, of one or more batches.

        Differs from mmdet: several batches have the gradient of one with all their images; there each has its own
        normalizer and the losses are averaged, and the average of the weights and the learning rate move with every
        batch.
        Raises NotFiniteError for a loss or gradient that is not finite; the weights are then unchanged.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("rate_factor", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        parts: list[Losses] = []
        for batch in batches:
            with self._exchange(last=len(parts) == len(batches) - 1):
                parts.append(self._backward(batch.to(self.device), iteration, parts))
        normalizer = loss_normalizer(torch.stack([part.quality for part in parts]).sum())
        self.scaler.unscale_(self.optimizer)
        if len(parts) > 1:
            gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
            torch._foreach_mul_(gradients, parts[0].normalizer / normalizer)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip_gradient or math.inf)
        # Read before the optimizer's step: a GPU makes the step while the next batch is prepared.
        made = self._read(parts, batches, normalizer, norm)
        if not self.scaler.is_enabled() and not math.isfinite(made.gradient_norm):  # the scaler skips such steps
            raise NotFiniteError(
                f"the gradient is not finite: its norm is {made.gradient_norm:g}, {_batch_losses(parts, batches)}"
            )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < 1:
            raise NotFiniteError(f"the gradient overflows fp16 at every scale: {_batch_losses(parts, batches)}")
        return made if math.isfinite(made.gradient_norm) else replace(made, gradient_norm=0.0)

    def _backward(self, batch: Batch, iteration: int, before: Sequence[Losses]) -> Losses:
        """Add a batch's gradients, scaled like those of the step's first batch."""
        if self.resize is not None:
            batch = self.resize(batch, iteration)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32):
            outputs = self._forward(batch)
        losses = self.criterion(outputs, batch.targets)
        weight = losses.normalizer / (before[0] if before else losses).normalizer  # 1 for the first
        self.scaler.scale(losses.total * weight).backward()
        return losses

    def _forward(self, batch: Batch) -> DenseOutputs:
        try:
            return self.network(batch.images)  # RTMDet.forward
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                f"a batch of {len(batch.images)} image(s) of {batch.images.shape[2]} x {batch.images.shape[3]} "
                "pixels gives a batch norm a single value: choose data.batch_size so that no batch has only one "
                "image, or a larger data.input_size"
            ) from error

    def _exchange(self, *, last: bool) -> AbstractContextManager[None]:
        """Let DDP average the gradients over the processes with the last batch of a step only."""
        if isinstance(self.network, DistributedDataParallel) and not last:
            return self.network.no_sync()
        return nullcontext()

    def _read(
        self, parts: Sequence[Losses], batches: Sequence[Batch], normalizer: Tensor, norm: Tensor
    ) -> StepLosses:
        """What a step found, over its batches and processes: a GPU is waited for here, and only once.

        Raises NotFiniteError for a loss that is not finite, StoppedByAnother for one of another process.
        """
        shares = [part.normalizer / normalizer / world_size() for part in parts]
        losses = [
            torch.stack([part.classification.detach(), part.box.detach()]) * share
            for part, share in zip(parts, shares, strict=True)
        ]
        broken = ~torch.stack([part.total.detach() for part in parts]).isfinite()  # (batches,) bool
        counts = [
            torch.stack([part.positives for part in parts]).sum(),
            torch.stack([part.unassigned for part in parts]).sum(),
            broken.sum().new_full((), sum(part.ground_truths for part in parts)),
            broken.sum(),
        ]
        both = torch.stack(losses).sum(0)  # (2,)
        totals = sum_over_processes(torch.cat([both, torch.stack(counts).to(both.dtype)]))
        found = torch.cat([totals, norm[None].to(both.dtype), broken.to(both.dtype)]).tolist()
        classification, box, positives, unassigned, ground_truths, broken_anywhere, gradient_norm, *own = found
        if broken_anywhere:
            if gather(any(own)).index(True) != rank():  # one tells
                raise StoppedByAnother
            losses_of = zip(own, parts, batches, strict=True)
            part, batch = next((part, batch) for is_broken, part, batch in losses_of if is_broken)
            raise NotFiniteError(f"the loss is not finite: {_batch_losses([part], [batch])}")
        return StepLosses(classification, box, gradient_norm, int(positives), int(ground_truths), int(unassigned))


def _batch_losses(parts: Sequence[Losses], batches: Sequence[Batch]) -> str:
    """The losses of each batch with the ids of its images."""
    return "; ".join(
        f"classification {losses.classification.item():g}, box {losses.box.item():g}, image ids "
        + ", ".join(str(meta.image_id) for meta in batch.metas)
        + " (mosaic and mixup may add others)"
        for losses, batch in zip(parts, batches, strict=True)
    )
