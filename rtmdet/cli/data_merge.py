"""`rtmdet data merge`: several COCO files to one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoFile, read_and_repair
from rtmdet.data.coco.layout import find_images
from rtmdet.data.coco.merging import merge_coco
from rtmdet.data.image_names import place_images
from rtmdet.data.json_file import write_json


def run(arguments: argparse.Namespace) -> int:
    """Merge, write and count; the images stay where they are.

    Raises InputError for a file that cannot be read, images that are not found, and files that disagree.
    """
    paths, given = arguments.annotations, arguments.images
    if given and len(given) != len(paths):
        raise InputError(f"--images: expected a folder for each of {len(paths)} files, found {len(given)}; name all")
    files = [read(path) for path in paths]
    folders = given or [find_images(path, file) for path, file in zip(paths, files, strict=True)]
    for path, file, folder in zip(paths, files, folders, strict=True):
        for remark in place_images(path, file, folder):
            print(remark)
    folders = [Path(os.path.abspath(folder)) for folder in folders]  # links keep their place
    common = Path(os.path.commonpath(folders))
    places = [folder.relative_to(common).as_posix() for folder in folders]
    merged = merge_coco(files, places, similar=arguments.merge_similar)
    write_json(arguments.out, merged)
    names = ", ".join(category["name"] for category in merged["categories"])
    print(
        f"{len(merged['images'])} images, {len(merged['annotations'])} objects, classes: {names} -> {arguments.out}"
    )
    print(f"images: {common}")
    return 0


def read(path: Path) -> CocoFile:
    """A COCO file, with a line about what had to be mended."""
    file, remarks = read_and_repair(path)
    for remark in remarks:
        print(remark)
    return file
