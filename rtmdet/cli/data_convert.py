"""`rtmdet data convert`: annotations of another format to one COCO file."""

from __future__ import annotations

import argparse
from pathlib import Path

from rtmdet.data.coco_file import CocoFile
from rtmdet.data.formats.via import convert_via
from rtmdet.data.formats.yolo import convert_yolo
from rtmdet.data.json_file import write_json


def run(arguments: argparse.Namespace) -> int:
    """Convert, write and count."""
    coco, images = convert(arguments)
    write_json(arguments.out, coco)
    names = [category["name"] for category in coco["categories"]]
    counts = f"{len(coco['images'])} images, {len(coco['annotations'])} objects"
    print(f"{counts}, {len(names)} class{'' if len(names) == 1 else 'es'} ({', '.join(names)}) -> {arguments.out}")
    print(f"images: {images}")
    return 0


def convert(arguments: argparse.Namespace) -> tuple[CocoFile, Path]:
    """The COCO file, and the folder that its file names are relative to."""
    if arguments.format == "yolo":
        split = convert_yolo(arguments.data, arguments.split)
        return split.coco, split.images
    folder = arguments.images or arguments.annotations.parent
    coco = convert_via(arguments.annotations, folder, class_name=arguments.class_name, class_key=arguments.class_key)
    return coco, folder
