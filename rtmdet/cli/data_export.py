"""`rtmdet data export`: a COCO file and its images in another format."""

from __future__ import annotations

import argparse

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import read_and_repair
from rtmdet.data.formats.voc_writer import write_voc
from rtmdet.data.formats.yolo_writer import write_yolo
from rtmdet.data.image_names import place_images

WRITERS = {"yolo": write_yolo, "voc": write_voc}


def run(arguments: argparse.Namespace) -> int:
    """Write the split and count. Raises InputError for a file that cannot be read, and a split that is there."""
    if not arguments.split.isidentifier():
        raise InputError(f"--split {arguments.split}: expected a word such as train, val or test; give another name")
    file, remarks = read_and_repair(arguments.annotations)
    for remark in [*remarks, *place_images(arguments.annotations, file, arguments.images)]:
        print(remark)
    losses = WRITERS[arguments.format](file, arguments.images, arguments.out, arguments.split)
    print(f"{len(file['images'])} images, {len(file['annotations'])} objects -> {arguments.out}")
    for loss in losses:
        print(loss)
    return 0
