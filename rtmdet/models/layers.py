"""The building blocks of CSPNeXt and its neck. Paper: section 3.2, figure 3; mmdet 3.3.0.

Attribute names are those of OpenMMLab's state_dict, so that published weights load by name.
Dimension legend: B batch, C channels, H, W height and width of the feature map.
"""

import math

import torch
from torch import Tensor, nn


class ConvBNAct(nn.Module):
    """Convolution without bias, batch norm (eps 1e-5, momentum 0.1), SiLU: (B, C, H, W) -> (B, C', H', W')."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class DepthwiseSeparableConv(nn.Module):
    """A k x k depthwise convolution, then a 1 x 1 convolution over channels, each with BN and SiLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise_conv = ConvBNAct(in_channels, in_channels, kernel_size, stride=stride, groups=in_channels)
        self.pointwise_conv = ConvBNAct(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


def spatial_conv(
    in_channels: int, out_channels: int, *, stride: int = 1, depthwise: bool
) -> ConvBNAct | DepthwiseSeparableConv:
    """The 3 x 3 convolution of a model: plain, or depthwise separable in the nano size."""
    conv = DepthwiseSeparableConv if depthwise else ConvBNAct
    return conv(in_channels, out_channels, 3, stride=stride)


class ChannelAttention(nn.Module):
    """Multiply each channel by a gate 0 .. 1 computed from the channel means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = nn.functional.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))  # (B, C, 1, 1)
        return x * gate


class SPPBottleneck(nn.Module):
    """Spatial pyramid pooling: the map and its max pools of 5, 9 and 13 pixels, mixed by a 1 x 1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(channels, channels // 2, 1)
        self.pools = nn.ModuleList(nn.MaxPool2d(size, stride=1, padding=size // 2) for size in (5, 9, 13))
        self.conv2 = ConvBNAct(channels // 2 * 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.conv2(torch.cat([x, *(pool(x) for pool in self.pools)], dim=1))


class CSPNeXtBlock(nn.Module):
    """3 x 3 convolution, then a 5 x 5 depthwise separable one; the input is added if `residual`."""

    def __init__(self, channels: int, *, residual: bool, depthwise: bool) -> None:
        super().__init__()
        self.conv1 = spatial_conv(channels, channels, depthwise=depthwise)
        self.conv2 = DepthwiseSeparableConv(channels, channels, 5)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(self.conv1(x))
        return x + out if self.residual else out


class CSPLayer(nn.Module):
    """Cross stage partial layer: half of the channels pass `blocks`, half bypass them, a 1 x 1 conv joins both."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        blocks: int,
        residual: bool,
        attention: bool,
        depthwise: bool,
    ) -> None:
        super().__init__()
        middle = out_channels // 2
        self.main_conv = ConvBNAct(in_channels, middle, 1)
        self.short_conv = ConvBNAct(in_channels, middle, 1)
        self.final_conv = ConvBNAct(2 * middle, out_channels, 1)
        self.blocks = nn.Sequential(
            *(CSPNeXtBlock(middle, residual=residual, depthwise=depthwise) for _ in range(blocks))
        )
        self.attention = ChannelAttention(2 * middle) if attention else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([self.blocks(self.main_conv(x)), self.short_conv(x)], dim=1)  # (B, 2 * middle, H, W)
        return self.final_conv(self.attention(joined))


def initialize_convolutions(module: nn.Module) -> None:
    """Weights of every convolution below `module` uniform in +-1 / sqrt(fan in), biases 0.

    The reference's initialization of backbone and neck (Kaiming uniform with a = sqrt(5)).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
