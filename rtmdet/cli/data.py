"""`rtmdet data` convert, export, split, merge and synthesize."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from rtmdet.api.datasets import convert_data, count_objects, export_data, merge_data, split_data
from rtmdet.cli.command import split_names
from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import read_coco
from rtmdet.data.synthetic import write_dataset


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action; returns 0."""
    if arguments.action == "convert":
        convert_data(
            arguments.annotations,
            arguments.out,
            format=arguments.format,
            images=arguments.images,
            classes=split_names(arguments.classes),
            split=arguments.split,
            class_name=arguments.class_name,
            class_key=arguments.class_key,
        )
    elif arguments.action == "export":
        export_data(arguments.data, arguments.images, arguments.out, format=arguments.format, split=arguments.split)
    elif arguments.action == "split":
        split_data(arguments.data, arguments.out, images=arguments.images, val=arguments.val, seed=arguments.seed)
    elif arguments.action == "merge":
        merge_data(
            arguments.annotations,
            arguments.out,
            images=arguments.images,
            split=arguments.split,
            rename=new_names(arguments.rename or []),
            merge_similar=arguments.merge_similar,
            replace=arguments.replace,
        )
    else:
        height, width = arguments.size
        synthesize(arguments.out, train=arguments.train, val=arguments.val, size=(height, width), seed=arguments.seed)
    return 0


def new_names(pairs: Iterable[str]) -> dict[str, str]:
    """The new names of `--rename OLD=NEW` by the old ones."""
    names: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not equals or not old.strip() or old.strip() in names:
            raise InputError(f"--rename {pair}: expected OLD=NEW, two class names, each old one once")
        names[old.strip()] = new.strip()
    return names


def synthesize(out: Path, *, train: int, val: int, size: tuple[int, int], seed: int) -> None:
    """Write OUT/train and OUT/val, balloon scenes of `size` (H, W), each with images/ and annotations.json."""
    for option, least, found in (("train", 1, train), ("val", 1, val), ("seed", 0, seed)):
        if found < least:
            raise InputError(f"--{option}: expected at least {least}, found {found}; give a larger number")
    # Two split seeds for each seed of the user: no scene is in two splits, whatever seeds are chosen.
    for name, count, split_seed in (("train", train, 2 * seed), ("val", val, 2 * seed + 1)):
        path = write_dataset(out / name, count=count, seed=split_seed, size=size)
        print(f"{path}: {count_objects(read_coco(path))}")
