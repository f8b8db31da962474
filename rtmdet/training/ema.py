"""Exponential moving average of the weights, to validate and save. Paper: section 4.1; mmdet 3.3.0."""

import copy
import math

import torch
from torch import Tensor, nn

MOMENTUM = 0.0002  # weight of the newest model after the first few thousand updates
GAMMA = 2000  # updates over which the average becomes slow


class ExponentialMovingAverage:
    """Keeps `model`, an average of the source's parameters and floating buffers (BN statistics included).

    The first update copies. Differs from mmdet: a parameter with three names (shared head convolutions)
    is averaged once per update; the original does so three times.
    """

    def __init__(self, source: nn.Module, *, momentum: float = MOMENTUM, gamma: float = GAMMA) -> None:
        self.model = copy.deepcopy(source).eval().requires_grad_(False)
        self.momentum = momentum
        self.gamma = gamma
        self.updates = 0

    def weight(self, update: int) -> float:
        """Weight of the source in update number `update`, counted from 0."""
        return (1 - self.momentum) * math.exp(-(1 + update) / self.gamma) + self.momentum

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Move the average toward the current weights of the source; call after each optimizer step."""
        weight = 1.0 if self.updates == 0 else self.weight(self.updates)
        averages, values = [], []
        for average, value in zip(_tensors(self.model), _tensors(source), strict=True):
            if value.is_floating_point():
                averages.append(average)
                values.append(value.detach())
            elif self.updates == 0:  # integers keep their first value, as in the original
                average.copy_(value)
        torch._foreach_lerp_(averages, values, weight)
        self.updates += 1


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
