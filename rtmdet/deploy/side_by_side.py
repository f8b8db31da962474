"""A batch on the CPU, its images side by side: each part of the batch has cores of its own.

Cores that share one image wait for each other after each of some hundred operations, and most of all those of small
networks, whose operations are short. Dimension legend: B images, H, W height and width of the input.
"""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from rtmdet.core.structures import DenseOutputs

MOST_PARTS = 4  # more were not measured
_making = threading.Lock()  # meanwhile torch gives new threads a wrong number of theirs


def forward_side_by_side(network: Callable[[Tensor], DenseOutputs], images: Tensor) -> DenseOutputs:
    """The dense outputs of a network in evaluation mode for B images on the CPU, (B, 3, H, W), without gradients.

    The batch is cut into as many parts as there are threads (`torch.set_num_threads`) or images, at most MOST_PARTS.
    Several threads call the network at the same time.
    """

    def forward(part: Tensor) -> DenseOutputs:
        with torch.inference_mode():  # a thread has its own
            return network(part)

    with _making:
        threads = torch.get_num_threads()
        parts = min(len(images), threads, MOST_PARTS)
        pool = _pool(threads, parts) if parts > 1 else None
    if pool is None:
        return forward(images)
    outputs = pool.map(forward, images.tensor_split(parts))
    logits, distances = (
        tuple(torch.cat(level) for level in zip(*levels, strict=True)) for levels in zip(*outputs, strict=True)
    )
    return DenseOutputs(logits, distances)


@functools.cache
def _pool(threads: int, parts: int) -> ThreadPoolExecutor:
    """Threads of the process that stay, as many as parts, which share `threads` of torch's."""
    with ThreadPoolExecutor(1) as new:  # in which torch has the number for all new threads
        usual = new.submit(torch.get_num_threads).result()
    shares = iter([threads // parts + (part < threads % parts) for part in range(parts)])
    pool = ThreadPoolExecutor(parts, initializer=_take_threads, initargs=(shares,))
    everyone = threading.Barrier(parts)
    list(pool.map(lambda _: everyone.wait(), range(parts)))  # all of them are there
    with ThreadPoolExecutor(1) as new:  # torch.set_num_threads is for this thread and for new ones
        new.submit(torch.set_num_threads, usual).result()
    return pool


def _take_threads(shares: Iterator[int]) -> None:
    torch.set_num_threads(next(shares))
    torch.get_num_threads()  # from now on the number of this thread stays


def _forget() -> None:
    """Make new threads in a forked process: those of the other do not survive a fork."""
    global _making
    _making = threading.Lock()
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
