"""Torch on the CPU in processes that are forked from one that has used it, as gunicorn --preload does."""

import functools
import os

import torch


@functools.cache
def use_one_thread_in_forks() -> None:
    """From now on, torch calculates in one thread in every process that is forked from this one.

    The threads of OpenMP do not survive a fork, and the child would wait for them forever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))
