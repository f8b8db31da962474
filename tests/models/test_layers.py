"""The building blocks of backbone and neck, with hand-set weights: orders, sums and gates.

Dimension legend: B batch, C channels, H, W height and width of the feature map.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtmdet.models.backbone import CSPNeXt, scaled_channels
from rtmdet.models.layers import (
    ChannelAttention,
    ConvBNAct,
    CSPLayer,
    CSPNeXtBlock,
    DepthwiseSeparableConv,
    SPPBottleneck,
    initialize_convolutions,
    spatial_conv,
)


class Constant(nn.Module):
    """A map of one value, with the given number of channels and the input's height and width."""

    def __init__(self, value: float, channels: int) -> None:
        super().__init__()
        self.value = value
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return x.new_full((len(x), self.channels, *x.shape[2:]), self.value)


def csp_layer(*, attention: bool) -> CSPLayer:
    """A CSP layer of 8 channels whose halves are 1 (main) and 2 (short), and whose last convolution is absent."""
    layer = CSPLayer(8, 8, blocks=2, residual=True, attention=attention, depthwise=False)
    layer.main_conv, layer.short_conv = Constant(1, 4), Constant(2, 4)  # type: ignore[assignment]
    layer.blocks, layer.final_conv = nn.Identity(), nn.Identity()  # type: ignore[assignment]
    return layer


def test_convolution_then_norm_then_silu() -> None:
    layer = ConvBNAct(1, 1, 1).eval()
    nn.init.constant_(layer.conv.weight, 3)
    layer.bn.running_mean.fill_(1)  # type: ignore[union-attr]
    layer.bn.running_var.fill_(4)  # type: ignore[union-attr]
    value = (3 * 2 - 1) / math.sqrt(4 + 1e-5)
    found = layer(torch.full((1, 1, 1, 1), 2.0)).item()
    assert found == pytest.approx(value / (1 + math.exp(-value)))
    assert layer.conv.bias is None


@pytest.mark.parametrize(("kernel", "stride", "size"), [(1, 1, 8), (3, 1, 8), (3, 2, 4), (5, 1, 8)])
def test_padding_keeps_the_grid(kernel: int, stride: int, size: int) -> None:
    assert ConvBNAct(2, 3, kernel, stride=stride)(torch.zeros(2, 2, 8, 8)).shape == (2, 3, size, size)
    assert DepthwiseSeparableConv(2, 3, kernel, stride=stride)(torch.zeros(2, 2, 8, 8)).shape == (2, 3, size, size)


def test_depthwise_convolution_keeps_channels_apart() -> None:
    layer = DepthwiseSeparableConv(2, 3, 5).eval()
    x = torch.randn(1, 2, 6, 6)
    changed = x.clone()
    changed[:, 1] += 1
    before, after = layer.depthwise_conv(x), layer.depthwise_conv(changed)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.equal(before[:, 1], after[:, 1])
    assert layer.pointwise_conv.conv.kernel_size == (1, 1)


def test_depthwise_makes_3x3_convolutions_separable() -> None:
    assert isinstance(spatial_conv(4, 8, depthwise=False), ConvBNAct)
    assert isinstance(spatial_conv(4, 8, depthwise=True), DepthwiseSeparableConv)
    assert spatial_conv(4, 8, stride=2, depthwise=True)(torch.zeros(2, 4, 8, 8)).shape == (2, 8, 4, 4)
    assert isinstance(CSPNeXtBlock(4, residual=True, depthwise=True).conv1, DepthwiseSeparableConv)


def test_attention_by_hand() -> None:
    """Channel means 1 and 3; the convolution swaps them and adds 0.5: gates 3.5 / 6 + 0.5 -> 1 and 1.5 / 6 + 0.5."""
    layer = ChannelAttention(2)
    with torch.no_grad():
        layer.fc.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).view(2, 2, 1, 1))
        nn.init.constant_(layer.fc.bias, 0.5)  # type: ignore[arg-type]
    x = torch.tensor([[[[0.0, 2.0]], [[2.0, 4.0]]]])  # (1, 2, 1, 2)
    before = x.clone()
    torch.testing.assert_close(layer(x), torch.tensor([[[[0.0, 2.0]], [[1.5, 3.0]]]]))
    assert torch.equal(x, before)
    nn.init.constant_(layer.fc.bias, -7)  # type: ignore[arg-type]
    assert not layer(x).any(), "the gate closes at -3"


def test_pyramid_pools_the_same_map_with_5_9_and_13() -> None:
    """A peak in the middle of a map of zeros reaches 2, 4 and 6 pixels far."""
    layer = SPPBottleneck(2)
    layer.conv1 = layer.conv2 = nn.Identity()  # type: ignore[assignment]
    x = torch.zeros(1, 1, 15, 15)
    x[0, 0, 7, 7] = 1
    peak, *pools = layer(x)[0]  # 4 x (15, 15)
    assert torch.equal(peak, x[0, 0])
    for pool, reach in zip(pools, (2, 4, 6), strict=True):
        assert pool.sum() == (2 * reach + 1) ** 2
        assert pool[7 - reach, 7 + reach] == 1
    assert layer(torch.full((1, 1, 3, 3), -1.0)).unique().tolist() == [-1], "the padding is no zero"


def test_csp_layer_joins_main_before_short() -> None:
    joined = csp_layer(attention=False)(torch.zeros(2, 8, 3, 3))
    assert joined.shape == (2, 8, 3, 3)
    assert joined[0, :, 0, 0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2]


def test_csp_layer_gates_the_joined_halves() -> None:
    layer = csp_layer(attention=True)
    assert isinstance(layer.attention, ChannelAttention)
    nn.init.zeros_(layer.attention.fc.weight)
    nn.init.zeros_(layer.attention.fc.bias)  # type: ignore[arg-type]
    assert layer(torch.zeros(1, 8, 3, 3))[0, :, 0, 0].tolist() == [0.5] * 4 + [1.0] * 4


def test_blocks_add_their_input_where_residual() -> None:
    x = torch.randn(2, 4, 5, 5)
    block = CSPNeXtBlock(4, residual=True, depthwise=False).eval()
    with_input = block(x)
    block.residual = False
    torch.testing.assert_close(with_input, block(x) + x)
    assert block.conv2.depthwise_conv.conv.kernel_size == (5, 5)


def test_only_the_last_stage_and_the_neck_go_without_residuals() -> None:
    backbone = CSPNeXt(0.33, 0.25)
    stages = [backbone.stage1, backbone.stage2, backbone.stage3, backbone.stage4]
    residuals = [{m.residual for m in stage.modules() if isinstance(m, CSPNeXtBlock)} for stage in stages]
    assert residuals == [{True}, {True}, {True}, {False}]
    assert isinstance(backbone.stage4[1], SPPBottleneck)


@pytest.mark.parametrize(
    ("deepen", "blocks"), [(0.167, [1, 1, 1, 1]), (0.33, [1, 2, 2, 1]), (0.67, [2, 4, 4, 2]), (1.33, [4, 8, 8, 4])]
)
def test_depth_factor_rounds_the_blocks(deepen: float, blocks: list[int]) -> None:
    with torch.device("meta"):
        backbone = CSPNeXt(deepen, 0.25)
    layers = [layer for layer in backbone.modules() if isinstance(layer, CSPLayer)]
    assert [len(layer.blocks) for layer in layers] == blocks


def test_width_factor_scales_the_channels() -> None:
    assert scaled_channels(0.375) == [24, 48, 96, 192, 384]
    backbone = CSPNeXt(0.167, 0.25).eval()
    maps = backbone(torch.zeros(1, 3, 64, 96))
    assert [tuple(level.shape) for level in maps] == [(1, 64, 8, 12), (1, 128, 4, 6), (1, 256, 2, 3)]
    assert backbone.out_channels == (64, 128, 256)


def test_fresh_convolutions_are_uniform_in_the_inverse_root_of_their_fan_in() -> None:
    convolution, attention = nn.Conv2d(16, 64, 3), ChannelAttention(16)
    initialize_convolutions(nn.Sequential(convolution, attention))
    weight, bound = convolution.weight, 1 / math.sqrt(16 * 9)
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    for bias in (convolution.bias, attention.fc.bias):
        assert bias is not None
        assert not bias.any()


def test_activations_are_the_silu() -> None:
    x = torch.linspace(-4, 4, 9).view(1, 1, 3, 3)
    torch.testing.assert_close(ConvBNAct(1, 1, 1).act(x.clone()), F.silu(x))
