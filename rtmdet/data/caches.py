"""Caches: of values in one process, and of samples in memory that all loader processes share.

Legend: H, W height and width of a sample's image, N its boxes.
"""

import ctypes
import json
import multiprocessing
from collections import OrderedDict
from collections.abc import Callable
from multiprocessing.sharedctypes import RawArray
from typing import Generic, TypeVar

import numpy as np

from rtmdet.core.memory_file import MemoryFile
from rtmdet.core.structures import ImageMeta, Instances, Sample

Value = TypeVar("Value")

_HEADER = 5  # int64 numbers: key + 1, H, W, N, bytes of the text
_BOX = 24  # bytes of a box with its label
# Each is a file descriptor on macOS, which allows 256. A prime: processes at the same place of their batches, often
# of 16 or 32, then need different ones.
_LOCKS = 31


class LruCache(Generic[Value]):
    """Keeps the `capacity` most recently used values. Unlike functools.lru_cache it can be pickled."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: OrderedDict[int, Value] = OrderedDict()

    def get(self, key: int, make: Callable[[int], Value]) -> Value:
        """The value of a key, made by `make(key)` if it is not cached."""
        if key in self._held:
            self._held.move_to_end(key)
            return self._held[key]
        value = make(key)
        self._held[key] = value
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)
        return value


class SharedSamples:
    """Keeps samples in `slots` slots of `size` bytes each; the sample of key k is in slot k modulo `slots`.

    Each slot has a lock, which it shares with few others, held while its sample is made, written or copied: processes
    that need the same sample wait for the one that makes it, and none sees a sample half written. All processes must
    be started after it is built.
    """

    def __init__(self, slots: int, size: int) -> None:
        self._slots = slots
        self._locks = [multiprocessing.Lock() for _ in range(min(slots, _LOCKS))]
        self._size = -(-size // 8) * 8  # keeps the numbers aligned
        try:
            self._memory: MemoryFile | ctypes.Array = MemoryFile(slots * self._size)
        except OSError:  # Python then takes the disk where /dev/shm has no room
            self._memory = RawArray("B", slots * self._size)

    def get(self, key: int, make: Callable[[int], Sample]) -> Sample:
        """The sample of a key in memory of its own, made by `make(key)` if its slot does not hold it.

        A sample larger than a slot is returned, but not kept. `make` must not ask for another key of this cache.
        """
        number = key % self._slots
        with self._locks[number % len(self._locks)]:
            memory = self._memory.bytes if isinstance(self._memory, MemoryFile) else memoryview(self._memory)
            slot = np.frombuffer(memory, np.uint8, self._size, number * self._size)
            if slot[:8].view(np.int64)[0] == key + 1:
                return _unpack(slot)
            sample = make(key)
            _pack(key, sample, slot)
            return sample


def slot_size(image: tuple[int, int], boxes: int, meta: ImageMeta) -> int:
    """Bytes of a slot for an image of (H, W) with a number of boxes and an origin."""
    return 8 * _HEADER + _BOX * boxes + 3 * image[0] * image[1] + len(_text(meta))


def _text(meta: ImageMeta) -> bytes:
    assert meta.letterbox is None, "training samples are not letterboxed"
    return json.dumps([meta.image_id, meta.path, meta.original_size]).encode()


def _pack(key: int, sample: Sample, slot: np.ndarray) -> None:
    """Write a sample to a slot (size,) uint8, if it is large enough."""
    image, instances, text = sample.image, sample.instances, _text(sample.meta)
    header = np.array([key + 1, *image.shape[:2], len(instances), len(text)], np.int64)
    parts = (header, instances.labels, instances.boxes, image, np.frombuffer(text, np.uint8))
    if sum(part.nbytes for part in parts) > len(slot):
        return
    end = 0
    for part in parts:
        start, end = end, end + part.nbytes
        slot[start:end] = np.ascontiguousarray(part).reshape(-1).view(np.uint8)


def _unpack(slot: np.ndarray) -> Sample:
    """The sample in a slot (size,) uint8, in memory of its own."""
    _, height, width, count, text = slot[: 8 * _HEADER].view(np.int64).tolist()
    data = bytearray(slot[: 8 * _HEADER + _BOX * count + 3 * height * width + text])
    labels = np.frombuffer(data, np.int64, count, 8 * _HEADER)
    boxes = np.frombuffer(data, np.float32, 4 * count, 8 * (_HEADER + count)).reshape(count, 4)
    image = np.frombuffer(data, np.uint8, 3 * height * width, 8 * _HEADER + _BOX * count)
    image_id, path, size = json.loads(data[len(data) - text :])
    meta = ImageMeta(image_id, path, (size[0], size[1]))
    return Sample(image.reshape(height, width, 3), Instances(boxes, labels), meta)
