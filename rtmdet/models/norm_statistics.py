"""Batch-norm statistics of initial weights: whether there are any, whether they fit these images, measured again.

Fine-tuning starts in training mode, where a batch norm normalizes with its batch. If the batches differ much from
the original training data, the network in training mode no longer behaves like the one that was loaded.
Dimension legend: B batch, C channels, H, W height and width.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rtmdet.models.freezing import batch_norms, set_training

BLANK = 2e-3  # distance of a variance from 1; no measured norm is this near in all channels
Maps = Callable[[Tensor], Sequence[Tensor]]  # images -> feature maps (B, C, H, W)


def tracking_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms that keep running statistics."""
    return [layer for layer in batch_norms(model) if layer.running_mean is not None]


def lack_statistics(model: nn.Module) -> bool:
    """Whether all norms have mean 0 and variance 1: never measured, or folded away by an export."""
    norms = tracking_norms(model)
    return bool(norms) and all(is_blank(*_statistics(layer)) for layer in norms)


def is_blank(mean: Tensor, variance: Tensor) -> bool:
    """Whether means are 0 and variances 1, except for an epsilon that exporters add to the variance."""
    return bool((mean == 0).all()) and bool(((variance - 1).abs() < BLANK).all())


@torch.no_grad()
def agreement(model: nn.Module, maps: Maps, batches: Iterable[Tensor], *, frozen: Sequence[nn.Module] = ()) -> float:
    """Correlation of the feature maps in training and in evaluation mode, at most 1.

    `maps` computes them with `model`. Each channel is centered, so that constant offsets do not count.
    `frozen` modules stay in evaluation mode. Buffers and mode of the model are restored.
    """
    product = squares = others = torch.zeros((), dtype=torch.float64)
    with unchanged(model):
        for images in batches:
            model.eval()
            expected = [_centered(level) for level in maps(images)]
            set_training(model, frozen)
            for a, b in zip(expected, [_centered(level) for level in maps(images)], strict=True):
                product = product + (a * b).sum().cpu().double()
                squares = squares + a.square().sum().cpu().double()
                others = others + b.square().sum().cpu().double()
    return float(product / (squares * others).sqrt().clamp(min=1e-12))


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Set the norms' statistics to those of these images, in place; returns the number of norms.

    Scales and shifts compensate, so the outputs in evaluation mode stay the same, and training mode starts from the
    same function. Norms without scale and shift are unchanged.
    """
    norms = [layer for layer in tracking_norms(model) if layer.affine]
    sums: dict[_BatchNorm, tuple[int, Tensor, Tensor]] = {}

    def collect(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, _BatchNorm)
        x = inputs[0].detach()  # (B, C, H, W)
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = (value.cpu().double() for value in torch.var_mean(x, (0, 2, 3), correction=0))  # (C,)
        size = x.numel() // x.shape[1]
        count, total, squares = sums.get(layer, (0, torch.zeros_like(mean), torch.zeros_like(mean)))
        sums[layer] = (count + size, total + size * mean, squares + size * (variance + mean.square()))

    hooks = [layer.register_forward_pre_hook(collect) for layer in norms]
    try:
        with unchanged(model):
            model.eval()
            for images in batches:
                model(images)
    finally:
        for hook in hooks:
            hook.remove()
    for layer, (count, total, squares) in sums.items():
        mean = total / count
        _replace_statistics(layer, mean, (squares / count - mean.square()).clamp(min=0))
    return len(sums)


def _replace_statistics(layer: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Set mean and variance (C,); scale and shift change so that the layer computes the same in evaluation mode."""
    old_mean, old_variance = _statistics(layer)
    old_deviation = (old_variance.cpu().double() + layer.eps).sqrt()
    slope = layer.weight.cpu().double() / old_deviation  # the factor on an input
    layer.bias.copy_(layer.bias.cpu().double() + slope * (mean - old_mean.cpu().double()))
    layer.weight.copy_(slope * (variance + layer.eps).sqrt())
    old_mean.copy_(mean)
    old_variance.copy_(variance)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Restore the buffers and the mode of every module, whatever happens inside."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for buffer, before in buffers:
            buffer.copy_(before)
        for module, training in modes:
            module.training = training


def _centered(level: Tensor) -> Tensor:
    level = level.float()
    return level - level.mean((0, 2, 3), keepdim=True)


def _statistics(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    """The running mean and variance (C,) of a norm that keeps them."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return layer.running_mean, layer.running_var
