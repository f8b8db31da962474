"""What a file or folder is for, by its name: training, validation or test."""

from __future__ import annotations

import re
from pathlib import Path

SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def split_name(file: Path) -> str:
    """What the file's name, or else a folder above it, says: train, val, test or nothing."""
    for part in (file.stem, *reversed(file.parent.parts)):
        words = re.split(r"[^a-z]+", part.lower())
        if names := [SPLITS[word] for word in words if word in SPLITS]:
            return names[0]
    return ""
