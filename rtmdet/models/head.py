"""RTMDet head: feature maps -> class logits and box distances at every prior. Paper: section 3.2; mmdet 3.3.0.

The three levels share convolutions but not batch norms (RTMDetSepBNHead); nano shares neither.
Dimension legend: B batch, K classes, C channels, L levels, H, W height and width of a level's map.
"""

import math

import torch
from torch import Tensor, nn

from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import DenseOutputs
from rtmdet.models.layers import ConvBNAct, DepthwiseSeparableConv, spatial_conv

PRIOR_PROBABILITY = 0.01  # score of every class before training, or the first loss explodes
PRIOR_LOGIT = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)  # -4.595, the bias of the class layers
STACKED_CONVS = 2


class RTMDetHead(nn.Module):
    """Anchor-free head.

    `exponential`: the box branch predicts the logarithm of the distances (sizes m, l, x); otherwise distances
    are linear and can be negative. The nano size has `shared=False, depthwise=True`.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        exponential: bool,
        shared: bool = True,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.exponential = exponential
        self.cls_convs = _level_towers(channels, shared=shared, depthwise=depthwise)
        self.reg_convs = _level_towers(channels, shared=shared, depthwise=depthwise)
        self.rtm_cls = nn.ModuleList(nn.Conv2d(channels, num_classes, 1) for _ in STRIDES)
        self.rtm_reg = nn.ModuleList(nn.Conv2d(channels, 4, 1) for _ in STRIDES)
        self.initialize()

    def forward(self, maps: tuple[Tensor, ...]) -> DenseOutputs:
        """L maps (B, C, H, W) -> logits (B, K, H, W) and distances (B, 4, H, W) in input pixels per level."""
        logits, distances = [], []
        for level, (x, stride) in enumerate(zip(maps, STRIDES, strict=True)):
            logits.append(self.rtm_cls[level](self.cls_convs[level](x)))
            raw = self.rtm_reg[level](self.reg_convs[level](x))
            raw = raw.to(torch.promote_types(raw.dtype, torch.float32))  # exp and stride overflow fp16
            distances.append((raw.exp() if self.exponential else raw) * stride)
        return DenseOutputs(tuple(logits), tuple(distances))

    def initialize(self) -> None:
        """Initialize all weights: normal with deviation 0.01, biases 0, and the prior bias for the classes."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        self.initialize_class_branch()

    def initialize_class_branch(self) -> None:
        """Initialize the class layers, e.g. for other classes: every score starts at 0.01."""
        for conv in self.rtm_cls:
            assert isinstance(conv, nn.Conv2d)
            assert conv.bias is not None
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.constant_(conv.bias, PRIOR_LOGIT)


def _level_towers(channels: int, *, shared: bool, depthwise: bool) -> nn.ModuleList:
    """A tower of two 3 x 3 convolutions per level; `shared`: all levels use the weights of the first."""
    towers = [[spatial_conv(channels, channels, depthwise=depthwise) for _ in range(STACKED_CONVS)] for _ in STRIDES]
    if shared:
        for tower in towers[1:]:
            for layer, first in zip(tower, towers[0], strict=True):
                _share_convolution(layer, first)
    return nn.ModuleList(nn.Sequential(*tower) for tower in towers)


def _share_convolution(layer: ConvBNAct | DepthwiseSeparableConv, source: ConvBNAct | DepthwiseSeparableConv) -> None:
    """Let `layer` use the convolutions of `source` but keep its own batch norms."""
    if isinstance(layer, DepthwiseSeparableConv) and isinstance(source, DepthwiseSeparableConv):
        layer.depthwise_conv.conv = source.depthwise_conv.conv
        layer.pointwise_conv.conv = source.pointwise_conv.conv
    elif isinstance(layer, ConvBNAct) and isinstance(source, ConvBNAct):
        layer.conv = source.conv
