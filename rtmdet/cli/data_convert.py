"""`rtmdet data convert`: annotations of another format to one COCO file."""

from __future__ import annotations

import argparse

from rtmdet.data.class_names import describe_similar
from rtmdet.data.coco.layout import find_folder
from rtmdet.data.formats.cvat import convert_cvat
from rtmdet.data.formats.labelled_image import ConvertedSet
from rtmdet.data.formats.labelme import convert_labelme
from rtmdet.data.formats.via import DEFAULT_CLASS, class_attribute, convert_via, via_file_names
from rtmdet.data.formats.voc import convert_voc
from rtmdet.data.formats.yolo import convert_yolo
from rtmdet.data.json_file import write_json


def run(arguments: argparse.Namespace) -> int:
    """Convert, write and count."""
    converted = convert(arguments)
    coco = converted.coco
    write_json(arguments.out, coco)
    names = [category["name"] for category in coco["categories"]]
    counts = f"{len(coco['images'])} images, {len(coco['annotations'])} objects"
    print(f"{counts}, {len(names)} class{'' if len(names) == 1 else 'es'} ({', '.join(names)}) -> {arguments.out}")
    for remark in [*converted.remarks, *describe_similar(names)]:
        print(remark)
    print(f"images: {converted.images}")
    return 0


def convert(arguments: argparse.Namespace) -> ConvertedSet:
    """Read the data set in the format that was named."""
    if arguments.format == "yolo":
        return convert_yolo(arguments.data, arguments.split)
    if arguments.format == "via":
        folder = arguments.images or find_folder(arguments.annotations, via_file_names(arguments.annotations))
        name, key = arguments.class_name, arguments.class_key
        if name is None and key is None:
            key = class_attribute(arguments.annotations)
        return convert_via(arguments.annotations, folder, class_name=name or DEFAULT_CLASS, class_key=key)
    names = None if arguments.classes is None else [name.strip() for name in arguments.classes.split(",")]
    if arguments.format == "labelme":
        return convert_labelme(arguments.annotations, arguments.images, names)
    if arguments.format == "cvat":
        return convert_cvat(arguments.annotations, arguments.images, names)
    return convert_voc(arguments.annotations, arguments.images, names, split=arguments.split)
