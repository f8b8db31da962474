"""Multi-scale training: a random input size per step, for objects of very different sizes. Not in RTMDet's recipe.

Dimension legend: B batch, H, W height and width of the network's input.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import Batch, Target


@dataclass(frozen=True, slots=True)
class MultiScale:
    """Resizes the batches of a step by a random factor of the range `factors`; sides are multiples of 32.

    The size is a pure function of seed and iteration, the same for all processes and batches of a step.
    """

    input_size: tuple[int, int]  # (H, W)
    factors: tuple[float, float]
    seed: int

    def size(self, iteration: int) -> tuple[int, int]:
        """The (H, W) of a step, counted from 0."""
        factor = np.random.default_rng([self.seed, iteration]).uniform(*self.factors)
        coarsest = STRIDES[-1]
        height, width = (max(round(side * factor / coarsest), 1) * coarsest for side in self.input_size)
        return height, width

    def __call__(self, batch: Batch, iteration: int) -> Batch:
        """The batch in the size of a step: images bilinear and rounded to uint8, boxes scaled alike."""
        height, width = batch.images.shape[2:]
        size = self.size(iteration)
        if size == (height, width):
            return batch
        factor = torch.tensor([size[1] / width, size[0] / height] * 2, device=batch.images.device)
        targets = [Target(target.boxes * factor, target.labels) for target in batch.targets]
        images = F.interpolate(batch.images.float(), size, mode="bilinear", align_corners=False)  # float: for CUDA
        return replace(batch, images=images.round().to(torch.uint8), targets=targets)
