"""A batch on the CPU, its images side by side: each part of the batch has cores of its own.

Cores that share one image wait for each other after each of some hundred operations, and most of all those of small
networks, whose operations are short. Dimension legend: B images, H, W height and width of the input.
"""

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from rtmdet.core.structures import DenseOutputs

MOST_PARTS = 4  # more were not measured; each holds the memory of its own images


def forward_side_by_side(network: Callable[[Tensor], DenseOutputs], images: Tensor) -> DenseOutputs:
    """The dense outputs of a network in evaluation mode for B images on the CPU, (B, 3, H, W), without gradients.

    The batch is cut into as many parts as there are threads (`torch.set_num_threads`) or images, at most MOST_PARTS.
    """
    threads = torch.get_num_threads()
    parts = min(len(images), threads, MOST_PARTS)
    if parts < 2:
        return network(images)

    def forward(part: Tensor) -> DenseOutputs:
        with torch.inference_mode():  # a thread has its own
            return network(part)

    outputs = _pool(threads, parts).map(forward, images.tensor_split(parts))
    logits, distances = (
        tuple(torch.cat(level) for level in zip(*levels, strict=True)) for levels in zip(*outputs, strict=True)
    )
    return DenseOutputs(logits, distances)


@functools.cache
def _pool(threads: int, parts: int) -> ThreadPoolExecutor:
    """Threads of the process that stay, as many as parts, which share `threads` cores."""
    pool = ThreadPoolExecutor(parts, initializer=_take_threads, initargs=(threads // parts,))
    everyone = threading.Barrier(parts)
    list(pool.map(lambda _: everyone.wait(), range(parts)))  # all of them are there
    torch.set_num_threads(threads)  # of threads to come: torch.set_num_threads is for them, too
    return pool


def _take_threads(number: int) -> None:
    torch.set_num_threads(number)
    torch.get_num_threads()  # from now on the number of this thread stays


if hasattr(os, "register_at_fork"):  # threads do not survive a fork
    os.register_at_fork(after_in_child=_pool.cache_clear)
