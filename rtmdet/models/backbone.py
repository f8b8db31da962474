"""CSPNeXt, the backbone: image -> feature maps of strides 8, 16 and 32. Paper: section 3.2; mmdet 3.3.0.

Dimension legend: B batch, C channels, H, W height and width of the input.
"""

from torch import Tensor, nn

from rtmdet.models.layers import ConvBNAct, CSPLayer, SPPBottleneck, initialize_convolutions, spatial_conv

STAGE_CHANNELS = (64, 128, 256, 512, 1024)  # stem and stages 1-4 of size l, before widening
STAGE_BLOCKS = (3, 6, 6, 3)  # before deepening


def scaled_channels(widen: float) -> list[int]:
    """Channels of the stem and of stages 1-4 for a width factor."""
    return [int(channels * widen) for channels in STAGE_CHANNELS]


class CSPNeXt(nn.Module):
    """Backbone of large depthwise kernels.

    `deepen` and `widen` scale blocks and channels (size l is 1, 1); `depthwise` makes every 3 x 3
    convolution after the stem depthwise separable (nano).
    """

    def __init__(self, deepen: float, widen: float, *, depthwise: bool = False) -> None:
        super().__init__()
        channels = scaled_channels(widen)
        stem = channels[0] // 2
        self.stem = nn.Sequential(
            ConvBNAct(3, stem, 3, stride=2), ConvBNAct(stem, stem, 3), ConvBNAct(stem, channels[0], 3)
        )
        blocks = [max(round(number * deepen), 1) for number in STAGE_BLOCKS]
        self.stage1 = _stage(channels[0], channels[1], blocks=blocks[0], last=False, depthwise=depthwise)
        self.stage2 = _stage(channels[1], channels[2], blocks=blocks[1], last=False, depthwise=depthwise)
        self.stage3 = _stage(channels[2], channels[3], blocks=blocks[2], last=False, depthwise=depthwise)
        self.stage4 = _stage(channels[3], channels[4], blocks=blocks[3], last=True, depthwise=depthwise)
        self.out_channels = tuple(channels[2:])
        initialize_convolutions(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) normalized BGR -> maps of strides 8, 16, 32 with `out_channels` channels."""
        stride4 = self.stage1(self.stem(x))
        stride8 = self.stage2(stride4)
        stride16 = self.stage3(stride8)
        return stride8, stride16, self.stage4(stride16)

    def freeze(self, stages: int) -> list[nn.Module]:
        """Freeze the stem and the first `stages` stages (0: only the stem, -1: nothing).

        Returns the frozen modules: keep their batch norms in evaluation mode while training.
        """
        frozen = [self.stem, self.stage1, self.stage2, self.stage3, self.stage4][: stages + 1]
        for module in frozen:
            module.requires_grad_(False)
        return list(frozen)


def _stage(in_channels: int, out_channels: int, *, blocks: int, last: bool, depthwise: bool) -> nn.Sequential:
    """Halve the resolution, then a CSP layer; the last stage has pyramid pooling and no residuals."""
    layers: list[nn.Module] = [spatial_conv(in_channels, out_channels, stride=2, depthwise=depthwise)]
    if last:
        layers.append(SPPBottleneck(out_channels))
    layers.append(
        CSPLayer(out_channels, out_channels, blocks=blocks, residual=not last, attention=True, depthwise=depthwise)
    )
    return nn.Sequential(*layers)
