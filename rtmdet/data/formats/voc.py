"""Pascal VOC XML files -> COCO. Format: "The PASCAL Visual Object Classes Challenge 2012 Development Kit".

Frame: VOC counts pixels from 1; xmax and ymax are the last pixels inside. So a box in continuous pixels is
xmin - 1, ymin - 1, xmax, ymax, and a box from 1 to W is as wide as the image.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import is_number, shown
from rtmdet.data.files import files_below
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.formats.image_folder import (
    choose_image,
    image_folder,
    images_by_name,
    label_folder,
    named_like,
    without_suffix,
)
from rtmdet.data.formats.labeled_image import ConvertedSet, LabeledImage, LabeledObject, assemble, choose_classes
from rtmdet.data.formats.xml_file import read_xml

LISTS = Path("ImageSets", "Main")


def convert_voc(
    annotations: Path,
    images: Path | None = None,
    names: Sequence[str] | None = None,
    *,
    split: str | None = None,
    folders: Collection[Path] | None = None,
) -> ConvertedSet:
    """Convert a folder of VOC XML files, or a folder with Annotations/.

    An image has the name of its XML file, else the name in <filename>; it is in `images`, by default JPEGImages/
    beside Annotations/, images/ beside annotations/ or similar, else in the folder itself. `split` selects the images
    in ImageSets/Main/SPLIT.txt, None all with an XML file; `folders` selects XML files directly in one of them.
    Other XML files are skipped and counted. Classes are `names`, else those of all XML files, sorted, so that all
    splits have the same ids. A <robndbox> gets an axis-aligned box, and its corners as outline. Objects marked
    difficult become crowd regions: ignored in evaluation, as in VOC's own, and not used for training.

    Raises InputError for a folder, list, XML file, object or image that cannot be used.
    """
    folder = label_folder(annotations, ".xml")
    paths = [path for path in files_below(folder, (".xml",)) if folders is None or path.parent in folders]
    roots = {}
    for path in paths:
        with one_entry():
            roots[path] = read_xml(path)
    files = {without_suffix(path, folder): path for path, root in roots.items() if root.tag == "annotation"}
    unread = {without_suffix(path, folder) for path in paths if path not in roots}  # while faults are collected
    if not files:
        raise InputError(f"{folder}: expected VOC label files (<annotation> in *.xml), found none; check the path")
    images = images or image_folder(folder)
    file_names = images_by_name(images)
    everything = {}
    for stem, path in files.items():
        with one_entry():
            everything[stem] = _read_image(path, roots[path], named_like(stem, file_names))
    classes = choose_classes(list(everything.values()), names)
    chosen = list(everything.values())
    if split is not None:
        home = annotations if (annotations / LISTS).is_dir() else folder.parent
        stems = _listed(home / LISTS / f"{split}.txt", folder, files.keys() | unread)
        chosen = [everything[stem] for stem in stems if stem in everything]
    difficult = sum(found.crowd for image in chosen for found in image.objects)
    remarks = (
        [f"difficult objects: {difficult}, treated as crowd regions (not used for training)"] if difficult else []
    )
    if others := len(roots) - len(files):
        remarks.append(f"skipped: {others} x XML file of another kind")
    return assemble(folder, chosen, images, classes, remarks)


def _listed(path: Path, folder: Path, files: Container[str]) -> list[str]:
    """The image names of a split. Raises InputError if one has no XML file in the folder."""
    try:
        stems = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError as error:
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.txt"))) or "no lists"
        raise InputError(f"{path}: no such image list, the folder has {known}; choose another split") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a text file of image names, found {error}; write it again") from error
    if not stems:
        raise InputError(f"{path}: expected one image name per line, found none; fill the list")
    unknown = [stem for stem in stems if stem not in files]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} images have no XML file in {folder}, {shown(unknown[0])} first; add it"
        )
    return list(dict.fromkeys(stems))


def _read_image(path: Path, root: Element, file_names: Sequence[str]) -> LabeledImage:
    """One XML file; `file_names` are the images with its name."""
    name = choose_image(path, (root.findtext("filename") or "").strip(), file_names)
    objects = []
    for number, element in enumerate(root.findall("object"), start=1):
        with one_entry():
            objects.append(_read_object(f"{path}: object {number}", element))
    return LabeledImage(path, name, _size(path, root), objects)


def _size(path: Path, root: Element) -> tuple[int, int] | None:
    """(H, W) in the file; None if it is missing or 0, as some tools write it."""
    size = root.find("size")
    if size is None:
        return None
    height, width = (int(_number(f"{path}: <size>", size, key)) for key in ("height", "width"))
    return (height, width) if height or width else None


def _read_object(where: str, element: Element) -> LabeledObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise InputError(f"{where}: expected a class under <name>, found none; add it")
    difficult = (element.findtext("difficult") or "").strip() == "1"
    if (rotated := element.find("robndbox")) is not None:
        corners = _rotated_corners(where, rotated)
        (left, top), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
        return LabeledObject(where, name, (left, top, right, bottom), corners, crowd=difficult)
    box = element.find("bndbox")
    if box is None:
        raise InputError(f"{where}: expected a <bndbox>, found none; draw the box again")
    left, top, right, bottom = (_number(where, box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
    if right < left or bottom < top:
        raise InputError(
            f"{where}: expected xmin <= xmax and ymin <= ymax, found {left:g}, {top:g}, {right:g}, {bottom:g}; "
            "correct the box"
        )
    return LabeledObject(where, name, (left - 1, top - 1, right, bottom), crowd=difficult)


def _rotated_corners(where: str, box: Element) -> np.ndarray:
    """The corners (4, 2) of roLabelImg's <robndbox>: center, size, and the angle in radians from x to y."""
    x, y, width, height, angle = (_number(where, box, key) for key in ("cx", "cy", "w", "h", "angle"))
    if width < 0 or height < 0:
        raise InputError(f"{where}: expected <w> and <h> of at least 0, found {width:g}, {height:g}; correct the box")
    along = np.array([math.cos(angle), math.sin(angle)]) * width / 2
    across = np.array([-math.sin(angle), math.cos(angle)]) * height / 2
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    return np.array([x, y]) + np.array([one * along + other * across for one, other in signs])


def _number(where: str, element: Element, key: str) -> float:
    text = element.findtext(key)
    try:
        number = float(text or "")
    except ValueError:
        number = float("nan")
    if not is_number(number):
        raise InputError(f"{where}: expected a finite number for <{key}>, found {shown(text)}; correct it")
    return number
