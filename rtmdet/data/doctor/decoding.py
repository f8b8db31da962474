"""Decodes image files strictly, for --decode: finds damaged pixels behind an intact header.

libjpeg and libpng report most damage only by a line on standard error, which neither OpenCV nor Pillow hands on. So
the files are decoded in processes of their own, whose standard error is a file. It is one before OpenCV is loaded,
which therefore is not imported here: on Windows OpenCV has a C runtime of its own, which keeps what it finds then.

Legend: H, W height and width of the image.
"""

import io
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from rtmdet.core.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

# A few extra bytes before the end marker are padding; many are data that a damaged file kept from being decoded.
_DAMAGE = re.compile(r"Corrupt JPEG data: (?!(?:\d|1[0-6]) extraneous bytes before marker 0xd9).*|libpng warning: .*")
_STDERR = 2  # the file descriptor
_SHARE = 32  # items that are worth a process
_MOST = 61  # processes of a pool on Windows
_printed: IO[bytes] = io.BytesIO()  # in the processes that decode: what they write to standard error


def in_decoding_processes(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results of all items, in their order, from processes on all cores, which may call `decode_strictly`.

    Raises InputError if one of them ends, as for lack of memory.
    """
    processes = min(os.cpu_count() or 1, 1 + len(items) // _SHARE, _MOST)
    try:
        with ProcessPoolExecutor(processes, initializer=_start_process) as pool:
            yield from pool.map(work, items, chunksize=_SHARE // 4)
    except BrokenProcessPool as error:
        raise InputError(
            "a process that decodes images ended, perhaps as the memory is full: close other programs, or check "
            "without decoding"
        ) from error


def _start_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one handles it
    global _printed
    _printed = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - until the process ends
    os.dup2(_printed.fileno(), _STDERR)
    import cv2

    cv2.setNumThreads(0)  # a forked process lacks OpenCV's threads


def decode_strictly(path: Path, data: bytes) -> np.ndarray:
    """The (H, W, 3) uint8 or uint16 RGB values of an image file's bytes; messages name `path`.

    Raises InputError as `decode_values` does, and in the processes above also where the decoder prints a warning.
    """
    from rtmdet.images.reading import decode_values

    # After such a warning the damaged part is gray or striped, and training would learn from it.
    begin = _printed.seek(0, os.SEEK_END)
    try:
        image = decode_values(path, data)
    except InputError:  # some are readable only as 8 bits, as in training
        image = decode_values(path, data, keep_16_bits=False)
    _printed.seek(begin)
    complaint = _DAMAGE.search(_printed.read().decode(errors="replace"))
    if complaint:
        raise InputError(f"{path}: the pixels are damaged ({complaint[0]}); copy the file again or remove it")
    return image
