"""Decodes image files strictly, for --decode: finds damaged pixels behind an intact header.

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

# A few extra bytes before the end marker are padding; many are data that a damaged file kept from being decoded.
_DAMAGE = re.compile(r"Corrupt JPEG data: (?!(?:\d|1[0-6]) extraneous bytes before marker 0xd9).*|libpng warning: .*")
_STDERR = 2  # the file descriptor


def decode_strictly(path: Path, data: bytes) -> np.ndarray:
    """The (H, W, 3) uint8 RGB pixels of an image file's bytes; messages name `path`.

    Raises InputError as `decode_image` does, and also where the decoder only prints a warning.
    """
    # After such a warning the damaged part is gray or striped, and training would learn from it.
    with _captured_stderr() as captured:
        image = decode_image(path, data)
    complaint = _DAMAGE.search(captured[0])
    if complaint:
        raise InputError(f"{path}: the pixels are damaged ({complaint[0]}); copy the file again or remove it")
    return image


@contextmanager
def _captured_stderr() -> Iterator[list[str]]:
    """Captures what C libraries write to standard error in the block; the list's one text is set afterwards."""
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
