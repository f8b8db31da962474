"""COCO -> CVAT for images 1.1, one image at a time, for one XML file. The reader is in cvat.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from rtmdet.data.coco.file import CocoAnnotation, CocoImage

CVAT_END = "</annotations>\n"


def cvat_begin(names: Sequence[str]) -> str:
    """The beginning of the file, with the class names as the labels of its task."""
    meta = Element("meta")
    labels = SubElement(SubElement(meta, "task"), "labels")
    for name in names:
        SubElement(SubElement(labels, "label"), "name").text = name
    indent(meta)
    text = tostring(meta, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n{text}\n'


def cvat_image(image: CocoImage, annotations: Sequence[CocoAnnotation], names: Mapping[int, str]) -> str:
    """The entry of one image, with its boxes."""
    sides = {"width": str(image["width"]), "height": str(image["height"])}
    entry = Element("image", {"id": str(image["id"] - 1), "name": image["file_name"], **sides})
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        corners = zip(("xtl", "ytl", "xbr", "ybr"), (x, y, x + width, y + height), strict=True)
        box = {"label": names[annotation["category_id"]], "source": "auto", "occluded": "0", "z_order": "0"}
        SubElement(entry, "box", {**box, **{key: f"{value:.2f}" for key, value in corners}})
    indent(entry)
    return tostring(entry, encoding="unicode") + "\n"
