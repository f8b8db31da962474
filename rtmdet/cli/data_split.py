"""`rtmdet data split`: one COCO file to a training and a validation file."""

from __future__ import annotations

import argparse

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoFile, read_and_repair
from rtmdet.data.coco.layout import find_images
from rtmdet.data.coco.splitting import split_coco
from rtmdet.data.copies import group_copies
from rtmdet.data.json_file import write_json


def run(arguments: argparse.Namespace) -> int:
    """Write OUT/train.json and OUT/val.json and print a line about each; the images stay where they are.

    Raises InputError for a file that cannot be read or split, and where it would be overwritten.
    """
    file, remarks = read_and_repair(arguments.annotations)
    paths = [arguments.out / "train.json", arguments.out / "val.json"]
    if any(path.exists() and path.samefile(arguments.annotations) for path in paths):
        raise InputError(f"{arguments.annotations} would be overwritten by its own part; give another --out")
    for remark in remarks:
        print(remark)
    together = find_copies(file, arguments)
    parts = split_coco(file, arguments.val, arguments.seed, together)
    for path, part, other in zip(paths, parts, reversed(parts), strict=True):
        write_json(path, part)
        alone = sorted(class_names(part) - class_names(other))
        print(
            f"{path}: {len(part['images'])} images, {len(part['annotations'])} objects"
            + (f"; only here: {', '.join(alone)}" if alone else "")
        )
    return 0


def find_copies(file: CocoFile, arguments: argparse.Namespace) -> list[set[int]]:
    """The images that show one photo, which stay on one side, with a line about them."""
    if arguments.images is not None and not arguments.images.is_dir():
        raise InputError(f"{arguments.images}: no such folder of images; check --images")
    try:
        folder = arguments.images or find_images(arguments.annotations, file)
    except InputError:
        print("the images are not found: copies may come to both sides; name their folder with --images")
        return []
    together, remark = group_copies(file, folder)
    if remark:
        print(remark)
    return together


def class_names(file: CocoFile) -> set[str]:
    """The classes of the file's objects."""
    used = {annotation["category_id"] for annotation in file["annotations"]}
    return {category["name"] for category in file["categories"] if category["id"] in used}
