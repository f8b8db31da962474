"""`rtmdet data convert`: annotations of another format to one COCO file."""

from __future__ import annotations

import argparse

from rtmdet.data.formats.via import convert_via
from rtmdet.data.json_file import write_json


def run(arguments: argparse.Namespace) -> int:
    """Convert, write and count."""
    coco = convert_via(
        arguments.annotations,
        arguments.images or arguments.annotations.parent,
        class_name=arguments.class_name,
        class_key=arguments.class_key,
    )
    write_json(arguments.out, coco)
    names = [category["name"] for category in coco["categories"]]
    counts = f"{len(coco['images'])} images, {len(coco['annotations'])} objects"
    print(f"{counts}, {len(names)} class{'' if len(names) == 1 else 'es'} ({', '.join(names)}) -> {arguments.out}")
    return 0
