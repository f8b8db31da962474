"""torch's random states of all processes, so that a resumed run draws the same numbers.

Samples do not depend on them (they are pure functions of seed, epoch and position); dropout in a backbone does.
"""

import torch
from torch import Tensor

from rtmdet.core.distributed import rank
from rtmdet.weights.checkpoint import TrainingState


def random_states(device: torch.device) -> tuple[Tensor, Tensor]:
    """The random states of this process: of the CPU and of its GPU (empty without one), (n,) uint8 each."""
    none = torch.empty(0, dtype=torch.uint8)
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else none


def restore_random_states(state: TrainingState, device: torch.device) -> None:
    """Set this process's random states; with more processes than before, some share a state."""
    number = rank() % len(state.torch_rng)
    torch.set_rng_state(state.torch_rng[number].clone())
    if device.type == "cuda" and state.cuda_rng[number].numel():
        torch.cuda.set_rng_state(state.cuda_rng[number].clone(), device)
