"""CSPPAFPN, the neck: mixes the backbone's three maps top-down, then bottom-up. Paper: section 3.2; mmdet 3.3.0.

Dimension legend: B batch, C channels, H, W height and width of a feature map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rtmdet.models.layers import ConvBNAct, CSPLayer, initialize_convolutions, spatial_conv


class CSPPAFPN(nn.Module):
    """Path aggregation feature pyramid of CSP layers: three maps in, three maps of `out_channels` channels out."""

    def __init__(
        self, in_channels: Sequence[int], out_channels: int, *, blocks: int, depthwise: bool = False
    ) -> None:
        super().__init__()
        small, middle, large = in_channels  # channels of strides 8, 16, 32

        def csp(channels_in: int, channels_out: int) -> CSPLayer:
            return CSPLayer(
                channels_in, channels_out, blocks=blocks, residual=False, attention=False, depthwise=depthwise
            )

        self.reduce_layers = nn.ModuleList([ConvBNAct(large, middle, 1), ConvBNAct(middle, small, 1)])
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.top_down_blocks = nn.ModuleList([csp(2 * middle, middle), csp(2 * small, small)])
        self.downsamples = nn.ModuleList(
            spatial_conv(channels, channels, stride=2, depthwise=depthwise) for channels in (small, middle)
        )
        self.bottom_up_blocks = nn.ModuleList([csp(2 * small, middle), csp(2 * middle, large)])
        self.out_convs = nn.ModuleList(
            spatial_conv(channels, out_channels, depthwise=depthwise) for channels in in_channels
        )
        initialize_convolutions(self)

    def forward(self, maps: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of strides 8, 16, 32 -> maps of the same sizes, all with the same number of channels."""
        stride8, stride16, stride32 = maps
        top = self.reduce_layers[0](stride32)
        middle = self.top_down_blocks[0](torch.cat([self.upsample(top), stride16], dim=1))
        middle = self.reduce_layers[1](middle)
        bottom = self.top_down_blocks[1](torch.cat([self.upsample(middle), stride8], dim=1))
        middle = self.bottom_up_blocks[0](torch.cat([self.downsamples[0](bottom), middle], dim=1))
        top = self.bottom_up_blocks[1](torch.cat([self.downsamples[1](middle), top], dim=1))
        return self.out_convs[0](bottom), self.out_convs[1](middle), self.out_convs[2](top)
