"""The average of the weights: the reference's series, and what is and is not averaged."""

import math

import numpy as np
import pytest
import torch
from golden import reference
from torch import Tensor, nn

from rtmdet.training.ema import ExponentialMovingAverage

GOLDEN = reference.load("schedules")


class Shared(nn.Module):
    """A convolution under three names, and a norm with its statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.levels = nn.ModuleList([nn.Conv2d(2, 2, 1)] * 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return torch.stack([level(x) for level in self.levels]).sum(0)


def fill(model: nn.Module, value: float) -> None:
    """Set every learned value."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def test_values_are_the_reference() -> None:
    """The source's weight at update s is sin(0.01 s) + 0.001 s."""
    source = nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(source)
    found = []
    for s in range(len(GOLDEN["ema_values"])):
        fill(source, math.sin(0.01 * s) + 0.001 * s)
        average.update(source)
        found.append(average.model.weight.item())  # type: ignore[operator]
    np.testing.assert_allclose(found, GOLDEN["ema_values"], rtol=1e-4, atol=1e-6)
    assert average.updates == len(found)


def test_momentum_is_the_reference() -> None:
    average = ExponentialMovingAverage(nn.Linear(1, 1))
    found = [average.weight(int(step)) for step in GOLDEN["ema_momentum_steps"]]
    np.testing.assert_allclose(found, GOLDEN["ema_momentum"], rtol=1e-12)


def test_first_update_copies() -> None:
    source = Shared()
    average = ExponentialMovingAverage(source)
    fill(source, 0.3)
    average.update(source)
    for a, b in zip(average.model.state_dict().values(), source.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_settings_by_hand() -> None:
    """Momentum 0.1 and a gamma of one update: the second weight is 0.9 e^-2 + 0.1."""
    source = nn.Linear(1, 1, bias=False)
    average = ExponentialMovingAverage(source, momentum=0.1, gamma=1)
    for value in (1.0, 2.0):
        fill(source, value)
        average.update(source)
    expected = 1 + 0.9 * math.exp(-2) + 0.1
    assert average.model.weight.item() == pytest.approx(expected)  # type: ignore[operator]


def test_shared_parameters_are_averaged_once_an_update() -> None:
    source = Shared()
    average = ExponentialMovingAverage(source)
    for value in (0.0, 1.0):
        fill(source, value)
        average.update(source)
    assert isinstance(average.model, Shared)
    weights = [level.weight for level in average.model.levels]
    assert weights[0] is weights[2], "the average shares what its source shares"
    assert weights[0].mean().item() == pytest.approx(average.weight(1))  # type: ignore[operator]


def test_statistics_are_averaged_and_counters_keep_their_first_value() -> None:
    source = Shared().train()
    average = ExponentialMovingAverage(source)
    means = []
    for _ in range(3):
        source(torch.randn(4, 2, 3, 3) + 5)
        average.update(source)
        means.append(source.norm.running_mean.clone())  # type: ignore[union-attr]
    second = means[0] + average.weight(1) * (means[1] - means[0])
    expected = second + average.weight(2) * (means[2] - second)
    assert isinstance(average.model, Shared)
    torch.testing.assert_close(average.model.norm.running_mean, expected)
    assert average.model.norm.num_batches_tracked == 1


def test_the_average_is_apart_from_its_source() -> None:
    source = Shared().train()
    average = ExponentialMovingAverage(source)
    before = {name: value.clone() for name, value in source.state_dict().items()}
    average.update(source)
    average.update(source)
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())
    assert source.training
    assert all(parameter.requires_grad for parameter in source.parameters())
    assert not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    fill(source, 9)
    assert all((parameter != 9).all() for parameter in average.model.parameters())
