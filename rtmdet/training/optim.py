"""AdamW with its parameter groups, and the learning rate of every step. Paper: section 4.1, table 1; mmdet 3.3.0."""

import math
from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, list[nn.Parameter] | float]]:
    """Two groups of trainable parameters: convolution weights decay, norms and biases do not.

    Parameters without gradient (frozen stages) are left out; shared ones are listed once.
    """
    decaying: dict[int, nn.Parameter] = {}
    other: dict[int, nn.Parameter] = {}
    for layer in model.modules():
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.requires_grad:
                group = decaying if name == "weight" and isinstance(layer, nn.Conv2d | nn.Linear) else other
                group[id(parameter)] = parameter
    return [
        {"params": list(decaying.values()), "weight_decay": weight_decay},
        {"params": list(other.values()), "weight_decay": 0.0},
    ]


def build_optimizer(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    faster: Iterable[nn.Parameter] = (),
    factor: float = 1.0,
) -> torch.optim.AdamW:
    """AdamW with betas 0.9 and 0.999 over the model's parameter groups; `faster` ones learn at `factor` x the rate.

    They always have separate groups, so that a resumed run may change the factor.
    """
    groups = parameter_groups(model, weight_decay)
    if apart := {id(parameter) for parameter in faster}:
        halves = []
        for group in groups:
            parameters = cast(list[nn.Parameter], group["params"])
            usual = [parameter for parameter in parameters if id(parameter) not in apart]
            other = [parameter for parameter in parameters if id(parameter) in apart]
            halves += [{**group, "params": usual}, {**group, "params": other, "rate_factor": factor}]
        groups = halves
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.999), fused=True)


def learning_rates(
    *,
    epochs: int,
    iterations: int,
    base: float,
    warmup: int = 1000,
    warmup_start: float = 1e-5,
    cosine_start: int | None = None,
    final_factor: float = 0.05,
) -> np.ndarray:
    """Learning rate (epochs * iterations,) of every step: linear warm-up, flat, cosine down to the final factor.

    `iterations` are per epoch, `warmup` counts iterations. The cosine begins at epoch `cosine_start`; None
    is the reference's: begin at half of the epochs (rounded down) and last as long, so that an odd number of epochs
    passes the minimum; a single epoch is all cosine. Warm-up and cosine each change the current rate step by step,
    so where they overlap the result is not their product.
    """
    begin = (epochs // 2 if cosine_start is None else cosine_start) * iterations
    length = (cosine_start is None and begin) or epochs * iterations - begin
    eta = base * final_factor
    rates = np.empty(epochs * iterations)
    rate = base * _warmup_factor(0, warmup, warmup_start)
    for t in range(len(rates)):
        if 0 < t < warmup:
            rate *= _warmup_factor(t, warmup, warmup_start) / _warmup_factor(t - 1, warmup, warmup_start)
        step = t - begin
        if step > 0 and length > 0:
            rate = _cosine_step(rate, step, length, base=base, eta=eta)
        rates[t] = rate
    return rates


def _cosine_step(rate: float, step: int, length: int, *, base: float, eta: float) -> float:
    """The rate at a step (1 ...) of the cosine from the previous step's; after its minimum it rises again."""
    if (step - 1) % (2 * length) == length:  # at the minimum the quotient below is undefined
        return rate + (base - eta) * (1 - math.cos(math.pi / length)) / 2
    fall = (1 + math.cos(math.pi * step / length)) / (1 + math.cos(math.pi * (step - 1) / length))
    return eta + (rate - eta) * fall


def _warmup_factor(t: int, warmup: int, start: float) -> float:
    """Differs from mmdet: a warm-up of one iteration is none; there the rate stays at its start until the cosine."""
    return start + (1 - start) * t / (warmup - 1) if warmup > 1 else 1.0
