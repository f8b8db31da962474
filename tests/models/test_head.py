"""The head: what it shares, how it starts, and how raw numbers become distances.

Dimension legend: B batch, K classes, C channels, H, W of a level.
"""

import math
from itertools import chain

import pytest
import torch
from torch import Tensor, nn

from rtmdet.core.structures import Target
from rtmdet.models.head import RTMDetHead
from rtmdet.models.layers import ConvBNAct, DepthwiseSeparableConv
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.training.criterion import Criterion

PRIOR_BIAS = -4.59512  # log(0.01 / 0.99)
START_LOSS = 1.005e-6  # quality focal loss of a score of 0.01 where there is nothing: -log(0.99) * 0.01^2


def maps(channels: int, batch: int = 2) -> tuple[Tensor, ...]:
    """Three levels of random features (B, C, H, W)."""
    return tuple(torch.randn(batch, channels, size, 2 * size) for size in (4, 2, 1))


def convolutions(tower: nn.Module) -> list[Tensor]:
    """The convolution weights of one level's tower, in order."""
    return [layer.conv.weight for layer in tower.modules() if isinstance(layer, ConvBNAct)]


def norms(tower: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in tower.modules() if isinstance(layer, nn.BatchNorm2d)]


@pytest.mark.parametrize("depthwise", [False, True])
def test_levels_share_convolutions_but_not_norms(depthwise: bool) -> None:
    head = RTMDetHead(8, 3, exponential=False, shared=True, depthwise=depthwise)
    for branch in (head.cls_convs, head.reg_convs):
        first, *others = (convolutions(tower) for tower in branch)
        assert len(first) == (4 if depthwise else 2)
        for other in others:
            assert all(a is b for a, b in zip(first, other, strict=True))
        assert len({id(weight) for weight in first}) == len(first), "within a level nothing is shared"
        all_norms = [norm for tower in branch for norm in norms(tower)]
        assert len({id(norm) for norm in all_norms}) == 3 * len(first)
    assert not {id(w) for w in convolutions(head.cls_convs[0])} & {id(w) for w in convolutions(head.reg_convs[0])}
    assert len({id(layer.weight) for layer in chain(head.rtm_cls, head.rtm_reg)}) == 6


def test_sharing_survives_a_step_and_loading() -> None:
    head = RTMDetHead(8, 3, exponential=False)
    outputs = head(maps(8))
    torch.cat([level.flatten() for level in outputs.logits]).sum().backward()
    torch.optim.SGD(head.parameters(), lr=0.1).step()
    other = RTMDetHead(8, 3, exponential=False)
    other.load_state_dict(head.state_dict())
    weights = [convolutions(tower)[0] for tower in other.cls_convs]
    assert weights[0] is weights[2]
    assert torch.equal(weights[0], convolutions(head.cls_convs[1])[0])


def test_nano_shares_nothing() -> None:
    head = build_rtmdet("nano", 1).bbox_head
    assert all(isinstance(layer, DepthwiseSeparableConv) for tower in head.cls_convs for layer in tower.children())
    weights = [id(weight) for tower in chain(head.cls_convs, head.reg_convs) for weight in convolutions(tower)]
    assert len(set(weights)) == len(weights) == 24


def test_fresh_weights() -> None:
    head = RTMDetHead(64, 80, exponential=True)
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(0.01, rel=0.15)
            assert abs(layer.weight.mean().item()) < 0.003
        if isinstance(layer, nn.BatchNorm2d):
            assert (layer.weight == 1).all()
            assert not layer.bias.any()
    for classes, boxes in zip(head.rtm_cls, head.rtm_reg, strict=True):
        torch.testing.assert_close(classes.bias, torch.full((80,), PRIOR_BIAS))
        assert not boxes.bias.any()  # type: ignore[operator]


def test_new_classes_leave_the_rest_of_the_head_alone() -> None:
    head = RTMDetHead(64, 5, exponential=False)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(7)
    head.initialize_class_branch()
    for name, parameter in head.named_parameters():
        if name.startswith("rtm_cls") and name.endswith("bias"):
            torch.testing.assert_close(parameter, torch.full((5,), PRIOR_BIAS))
        elif name.startswith("rtm_cls"):
            assert parameter.std().item() == pytest.approx(0.01, rel=0.3)
        else:
            assert (parameter == 7).all(), name


@pytest.mark.parametrize("exponential", [False, True])
def test_distances_are_raw_numbers_times_the_stride(exponential: bool) -> None:
    head = RTMDetHead(8, 3, exponential=exponential).eval()
    for layer in head.rtm_reg:
        nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        nn.init.constant_(layer.bias, -0.5)  # type: ignore[arg-type]
    outputs = head(maps(8))
    assert [tuple(level.shape) for level in outputs.logits] == [(2, 3, 4, 8), (2, 3, 2, 4), (2, 3, 1, 2)]
    assert [tuple(level.shape) for level in outputs.distances] == [(2, 4, 4, 8), (2, 4, 2, 4), (2, 4, 1, 2)]
    factor = math.exp(-0.5) if exponential else -0.5
    for level, stride in zip(outputs.distances, (8, 16, 32), strict=True):
        torch.testing.assert_close(level, torch.full_like(level, factor * stride))


def test_each_level_has_its_own_predictors() -> None:
    head = RTMDetHead(8, 2, exponential=False).eval()
    for level, layer in enumerate(head.rtm_cls):
        nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
        nn.init.constant_(layer.bias, level)  # type: ignore[arg-type]
    assert [logits.unique().item() for logits in head(maps(8)).logits] == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_distances_of_a_half_precision_head_do_not_overflow(dtype: torch.dtype) -> None:
    """exp(12) = 162755 is beyond fp16's 65504."""
    head = RTMDetHead(8, 3, exponential=True).eval()
    for layer in head.rtm_reg:
        nn.init.constant_(layer.bias, 12)  # type: ignore[arg-type]
    outputs = head.to(dtype)(tuple(level.to(dtype) for level in maps(8)))
    assert {level.dtype for level in outputs.logits} == {dtype}
    assert {level.dtype for level in outputs.distances} == {torch.float32}
    assert all(level.isfinite().all() and (level > 65504).all() for level in outputs.distances)


def test_distances_of_a_double_head_stay_double() -> None:
    outputs = RTMDetHead(8, 3, exponential=True).double().eval()(tuple(level.double() for level in maps(8)))
    assert {level.dtype for level in outputs.distances} == {torch.float64}


@pytest.mark.parametrize("exponential", [False, True])
def test_first_loss_is_what_the_prior_bias_implies(exponential: bool) -> None:
    """Without it a port of this model started at 196,000."""
    torch.manual_seed(0)
    model = build_rtmdet("m" if exponential else "tiny", 80).train()
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    outputs = model(images)
    empty = Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    priors = 2 * (12 * 12 + 6 * 6 + 3 * 3)
    start = Criterion(80)(outputs, [empty, empty])
    assert start.classification.item() == pytest.approx(priors * 80 * START_LOSS, rel=0.5)
    assert start.box.item() == 0

    one = Target(torch.tensor([[20.0, 20.0, 60.0, 70.0]]), torch.tensor([7]))
    losses = Criterion(80)(outputs, [one, empty])
    assert losses.positives >= 1
    highest = -math.log(0.01) + priors * 80 * START_LOSS  # quality <= 1, times the cross entropy of a score of 0.01
    assert 0 < losses.classification.item() < 1.2 * highest
    assert 0 <= losses.box.item() <= 4  # 2 x a GIoU loss of at most 2
