"""Whatever runs the network on a batch of images."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from rtmdet.core.structures import DenseOutputs


class Backend(Protocol):
    """Maps letterboxed images (B, 3, H, W), uint8 RGB on any device, to what the network predicts at every prior."""

    def __call__(self, images: Tensor) -> DenseOutputs:
        """Run the network; without gradients."""
