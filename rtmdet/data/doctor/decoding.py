"""Pixels of an image file: damage that no header shows. For --decode.

Legend: H, W height and width of the image.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.data.images import decode_image

# A few bytes before the end marker are padding; many are what damage kept the decoder from reading.
_DAMAGE = re.compile(r"Corrupt JPEG data: (?!(?:\d|1[0-6]) extraneous bytes before marker 0xd9).*|libpng warning: .*")
_STDERR = 2  # the file descriptor


def decode_strictly(path: Path, data: bytes) -> np.ndarray:
    """The (H, W, 3) uint8 RGB pixels of an image file's bytes; `path` is what messages name.

    Raises InputError as `decode_image` does, and where the decoder only complains: it fills what is damaged with
    gray or stripes, and training would learn from that.
    """
    with _captured_stderr() as captured:
        image = decode_image(path, data)
    complaint = _DAMAGE.search(captured[0])
    if complaint:
        raise InputError(f"{path}: the pixels are damaged ({complaint[0]}); copy the file again or take it out")
    return image


@contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """What C libraries write to standard error while the block runs; the text stands in the list afterwards."""
    text = [""]
    with tempfile.TemporaryFile() as file:
        before = os.dup(_STDERR)
        os.dup2(file.fileno(), _STDERR)
        try:
            yield text
        finally:
            os.dup2(before, _STDERR)
            os.close(before)
            file.seek(0)
            text[0] = file.read().decode(errors="replace")
