"""`rtmdet data` convert, export, split, merge and synthesize."""

import argparse
from pathlib import Path

from rtmdet.api.datasets import convert_data, count_objects, export_data, merge_data, split_data
from rtmdet.cli.command import split_names
from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import read_coco
from rtmdet.data.synthetic import write_dataset


def run(given: argparse.Namespace) -> int:
    """Run the chosen action; returns 0."""
    if given.action == "convert":
        convert_data(
            given.annotations,
            given.out,
            format=given.format,
            images=given.images,
            classes=split_names(given.classes),
            split=given.split,
            class_name=given.class_name,
            class_key=given.class_key,
        )
    elif given.action == "export":
        export_data(given.annotations, given.images, given.out, format=given.format, split=given.split)
    elif given.action == "split":
        split_data(given.data, given.out, images=given.images, val=given.val, seed=given.seed)
    elif given.action == "merge":
        merge_data(given.annotations, given.out, images=given.images, merge_similar=given.merge_similar)
    else:
        height, width = given.size
        synthesize(given.out, train=given.train, val=given.val, size=(height, width), seed=given.seed)
    return 0


def synthesize(out: Path, *, train: int, val: int, size: tuple[int, int], seed: int) -> None:
    """Write OUT/train and OUT/val, balloon scenes of `size` (H, W), each with images/ and annotations.json."""
    for option, least, found in (("train", 1, train), ("val", 1, val), ("seed", 0, seed)):
        if found < least:
            raise InputError(f"--{option}: expected at least {least}, found {found}; give a larger number")
    # Two split seeds for each seed of the user: no scene is in two splits, whatever seeds are chosen.
    for name, count, split_seed in (("train", train, 2 * seed), ("val", val, 2 * seed + 1)):
        path = write_dataset(out / name, count=count, seed=split_seed, size=size)
        print(f"{path}: {count_objects(read_coco(path))}")
