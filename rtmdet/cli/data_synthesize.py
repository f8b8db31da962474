"""`rtmdet data synthesize`: generate the training and the validation split of balloon scenes."""

from __future__ import annotations

import argparse
import json

from rtmdet.core.errors import InputError
from rtmdet.data.synthetic import write_dataset


def run(arguments: argparse.Namespace) -> int:
    """Write OUT/train and OUT/val, each with images/ and annotations.json, and print one line a split.

    Raises InputError for a count below 1, a negative seed, sides too small, and a folder that cannot be written.
    """
    for option, least in (("train", 1), ("val", 1), ("seed", 0)):
        found = getattr(arguments, option)
        if found < least:
            raise InputError(f"--{option}: expected at least {least}, found {found}; give a larger number")
    # Two split seeds for each seed of the user: no scene is in two splits, whatever seeds are chosen.
    splits = (("train", arguments.train, 2 * arguments.seed), ("val", arguments.val, 2 * arguments.seed + 1))
    for split, count, seed in splits:
        path = write_dataset(
            arguments.out / split,
            count=count,
            seed=seed,
            size=tuple(arguments.size),
        )
        content = json.loads(path.read_text())
        print(f"{path}: {len(content['images'])} images, {len(content['annotations'])} objects")
    return 0
