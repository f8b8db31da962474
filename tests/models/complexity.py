"""Counts parameters, and multiply-adds per image as in the published tables.

The published counter adds the multiply-adds of convolutions, 2 x the outputs of batch norms, the inputs of the
attention's global pools and the outputs of upsamplings; activations and additions are not counted.
"""

import torch
from torch import Tensor, nn

from rtmdet.models.layers import ChannelAttention
from rtmdet.models.rtmdet import RTMDet


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_multiply_adds(model: RTMDet, image_size: tuple[int, int]) -> int:
    """Multiply-adds of one image of (H, W) pixels; the model is not changed."""
    total = 0

    def add_layer(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += _layer_cost(layer, inputs[0], output)

    counted = (nn.Conv2d, nn.BatchNorm2d, nn.Upsample, ChannelAttention)
    handles = [layer.register_forward_hook(add_layer) for layer in model.modules() if isinstance(layer, counted)]
    was_training = model.training
    try:
        with torch.no_grad():
            device = model.mean.device
            model.eval()(torch.zeros(1, 3, *image_size, dtype=torch.uint8, device=device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return total


def _layer_cost(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    if isinstance(layer, nn.Conv2d):
        return output.numel() * layer.weight[0].numel()
    if isinstance(layer, nn.BatchNorm2d):
        return 2 * output.numel()
    return x.numel() if isinstance(layer, ChannelAttention) else output.numel()
