"""Files in memory, for what processes share: /dev/shm, where Python and torch put that, has 64 MB in a container."""

import mmap
import os
import weakref
from multiprocessing import reduction, resource_sharer

import numpy as np


class MemoryFile:
    """Its `bytes`, (size,) uint8 and 0 at first, are the same in all processes that it is sent to, by fork or pickle.

    Those that got it cannot send it on. Raises OSError where the system has none, as all but Linux, or no more.
    """

    def __init__(self, size: int) -> None:
        if not hasattr(os, "memfd_create"):
            raise OSError("the system has no files in memory")
        self._file = os.memfd_create("rtmdet")
        weakref.finalize(self, os.close, self._file)
        os.ftruncate(self._file, size)
        self.bytes = _mapped(self._file)

    def __reduce__(self) -> tuple:
        return _received, (reduction.DupFd(self._file),)


def _received(handle: "resource_sharer.DupFd") -> "MemoryFile":
    memory = object.__new__(MemoryFile)
    file = handle.detach()
    try:
        memory.bytes = _mapped(file)
    finally:
        os.close(file)
    return memory


def _mapped(file: int) -> np.ndarray:
    return np.frombuffer(mmap.mmap(file, 0), np.uint8)
