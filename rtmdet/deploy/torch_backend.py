"""The network in torch, on any device; every H and W that is a multiple of 32, and every number of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rtmdet.core.structures import DenseOutputs


@dataclass(frozen=True, slots=True)
class TorchBackend:
    """A model that is on `device`, in evaluation mode, maps uint8 RGB (B, 3, H, W) to DenseOutputs."""

    model: nn.Module
    device: torch.device

    def __call__(self, images: Tensor) -> DenseOutputs:
        """Bring the images to the device and run the model."""
        with torch.inference_mode():
            return self.model(images.to(self.device))
