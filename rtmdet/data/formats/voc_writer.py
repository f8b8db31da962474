"""COCO -> Pascal VOC folders: Annotations/, JPEGImages/, ImageSets/Main/SPLIT.txt. The reader is in voc.py.

Frame: VOC counts pixels from 1; xmax and ymax are the last pixels inside; boxes are rounded to whole pixels.
Not done with hotcoco, which drops the folders of the images and writes no lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage
from rtmdet.data.formats.image_folder import copy_image, label_names
from rtmdet.data.formats.voc import LISTS


def write_voc(file: CocoFile, images: Path, out: Path, split: str) -> list[str]:
    """Write one split of a VOC data set into the folder `out` and copy its images; returns remarks, a line each.

    Boxes are clipped to the image; crowd regions become difficult objects, which VOC's evaluation ignores, too.

    Raises InputError if the split or an XML file exists already, and for images that differ only in their suffix:
    they would share an XML file.
    """
    stems, names = label_names(file), {category["id"]: category["name"] for category in file["categories"]}
    taken = [path for path in (out / LISTS / f"{split}.txt", *(_path(out, stem) for stem in stems)) if path.exists()]
    if taken:
        raise InputError(f"{taken[0]} exists already; give another --out or --split")
    annotations_of: dict[int, list[CocoAnnotation]] = {image["id"]: [] for image in file["images"]}
    for annotation in file["annotations"]:
        annotations_of[annotation["image_id"]].append(annotation)
    for image, stem in zip(file["images"], stems, strict=True):
        _path(out, stem).parent.mkdir(parents=True, exist_ok=True)
        voc_document(image, annotations_of[image["id"]], names).write(_path(out, stem), encoding="utf-8")
        copy_image(images, image["file_name"], out / "JPEGImages")
    (out / LISTS).mkdir(parents=True, exist_ok=True)
    (out / LISTS / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    crowds = sum(annotation["iscrowd"] for annotation in file["annotations"])
    return [f"crowd regions: {crowds}, written as difficult objects"] if crowds else []


def voc_document(
    image: CocoImage, annotations: Sequence[CocoAnnotation], names: Mapping[int, str]
) -> ElementTree[Element]:
    """The XML of one image; `names` are those of the category ids."""
    root = _root(image)
    for annotation in annotations:
        _add_object(root, annotation, names[annotation["category_id"]], (image["width"], image["height"]))
    indent(root)
    return ElementTree(root)


def _path(out: Path, stem: str) -> Path:
    return out / "Annotations" / f"{stem}.xml"


def _root(image: CocoImage) -> Element:
    root = Element("annotation")
    SubElement(root, "folder").text = "JPEGImages"
    SubElement(root, "filename").text = image["file_name"].replace("\\", "/")
    size = SubElement(root, "size")
    for key, value in (("width", image["width"]), ("height", image["height"]), ("depth", 3)):
        SubElement(size, key).text = str(value)
    SubElement(root, "segmented").text = "0"
    return root


def _add_object(root: Element, annotation: CocoAnnotation, name: str, size: tuple[int, int]) -> None:
    """Add an object of an image of (W, H)."""
    found = SubElement(root, "object")
    for key, value in (("name", name), ("pose", "Unspecified"), ("truncated", "0")):
        SubElement(found, key).text = value
    SubElement(found, "difficult").text = str(annotation["iscrowd"])
    box = SubElement(found, "bndbox")
    first, last = zip(
        *(_pixels(annotation["bbox"][i], annotation["bbox"][i + 2], size[i]) for i in (0, 1)), strict=True
    )
    for key, number in zip(("xmin", "ymin", "xmax", "ymax"), (*first, *last), strict=True):
        SubElement(box, key).text = str(number)


def _pixels(start: float, length: float, size: int) -> tuple[int, int]:
    """The first and the last pixel of a side, in 1 .. size; at least one pixel."""
    first = min(max(round(start), 0), size - 1) + 1
    return first, max(min(round(start + length), size), first)
