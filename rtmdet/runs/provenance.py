"""What made a run: programs, machine, date and first weights, as a line for its checkpoints."""

import platform
from datetime import UTC, datetime

import numpy as np
import torch

from rtmdet import __version__
from rtmdet.config.schema import Config
from rtmdet.core.distributed import world_size
from rtmdet.core.whole_file import sha256_of
from rtmdet.weights.download import resolve

RESUMED = "; resumed with "


def describe_maker(config: Config, device: torch.device) -> str:
    """The line of a new run. Raises InputError if the first weights are gone."""
    name = config.model.weights
    digest = "" if name is None else sha256_of(resolve(name))
    weights = "random weights" if name is None else f"weights with SHA-256 {digest}"
    return f"{_describe_machine(device)}, from {weights}"


def describe_resumed(before: str, device: torch.device) -> str:
    """The line of a run after it is resumed: its first one, and the last change."""
    return before.partition(RESUMED)[0] + RESUMED + _describe_machine(device)


def _describe_machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    python = platform.python_version()
    return (
        f"rtmdet {__version__}, torch {torch.__version__}, numpy {np.__version__}, Python {python}, {name}, "
        f"processes: {world_size()}, threads of each: {torch.get_num_threads()}, "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    )
