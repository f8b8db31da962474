"""Findings about the image files that an annotation file names; each is read once."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below, sorted_paths, spread
from rtmdet.core.pictures import to_8_bits
from rtmdet.data.coco.file import CocoImage
from rtmdet.data.copies import digest, fingerprints
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.decoding import decode_strictly, in_decoding_processes
from rtmdet.data.doctor.finding import Finding, Item
from rtmdet.data.image_names import ImageNames
from rtmdet.images.depth import DEEP_SUFFIXES, LOOKED_AT, SCALE, fitting_range, is_flat, range_of, used_range
from rtmdet.images.reading import IMAGE_SUFFIXES, ValueRange, read_header, read_image_bytes, size_remedy

REPLACE = "copy the files again, or remove them from the annotation file"
FOLLOW = "do what each line says, or remove them from the annotation file"


@dataclass(frozen=True, slots=True, eq=False)
class InspectedImage:
    """What is known about one image file."""

    fault: str = ""  # code of a finding: missing-image, unreadable-image, broken-pixels
    reason: str = ""  # why, for the user
    size: tuple[int, int] | None = None  # (H, W) after EXIF rotation
    turned: bool = False  # EXIF asks for a rotation or a flip
    digest: bytes = b""  # hash of the file; equal for identical files
    fingerprints: np.ndarray | None = None  # (2, 256) bool, see copies.fingerprints
    used: ValueRange | None = None  # values that a 16-bit image uses


def inspect_images(file: AnnotationFile, images: Iterable[CocoImage], *, decode: bool) -> dict[int, InspectedImage]:
    """What is known about each image file, by id, with `decode` about its pixels too, else about values of a few.

    `images` are those of the file, from an iterator that shows progress.
    """
    entries, folder = list(file.images.values()), file.source.images
    if decode:
        found = in_decoding_processes(partial(inspect_image, folder, decode=True), entries)
    else:
        few = {entry["id"] for entry in spread(entries, LOOKED_AT)}
        found = (inspect_image(folder, entry, values=entry["id"] in few) for entry in entries)
    return {image["id"]: one for image, one in zip(images, found, strict=True)}


def inspect_image(folder: Path, entry: CocoImage, *, decode: bool = False, values: bool = False) -> InspectedImage:
    """Read the image file of an entry, with `decode` its pixels too, with `values` those of 16 bits.

    Faults are returned, not raised.
    """
    name = entry["file_name"]
    path = folder / name
    if not ImageNames(folder).has(name):
        return InspectedImage("missing-image", name)
    try:
        data = read_image_bytes(path)
        header = read_header(path, data)
    except InputError as error:
        return InspectedImage("unreadable-image", str(error))
    content = digest(data)
    try:
        pixels = decode_strictly(path, data) if decode else None
    except InputError as error:
        return InspectedImage("broken-pixels", str(error), header.size, header.orientation > 1, content)
    found = InspectedImage(size=header.size, turned=header.orientation > 1, digest=content)
    if pixels is None:
        return replace(found, used=used_range(data)) if values and path.suffix.lower() in DEEP_SUFFIXES else found
    gray = cv2.cvtColor(to_8_bits(pixels, None), cv2.COLOR_RGB2GRAY)
    return replace(found, fingerprints=fingerprints(gray), used=range_of(pixels))


def find_broken_images(file: AnnotationFile, inspected: Mapping[int, InspectedImage]) -> Iterator[Finding]:
    """Unusable files, sizes that differ from the entries, and rotated images; `inspected` is by image id."""
    for code, message, advice in (
        ("missing-image", f"image files that are not in {file.source.images}", REPLACE),
        ("unreadable-image", "image files that cannot be read", FOLLOW),
        ("broken-pixels", "image files whose pixels cannot be read", FOLLOW),
    ):
        items = [Item(one.reason, image_id) for image_id, one in inspected.items() if one.fault == code]
        yield file.finding("error", code, message, advice, items)
    yield _find_wrong_sizes(file, inspected)
    yield _find_flat(file, inspected)
    turned = [key for key, one in inspected.items() if one.turned and _size_of(file.images[key]) == one.size]
    advice = "check with rtmdet data show that the boxes fit: some tools ignore EXIF rotation"
    yield file.finding("hint", "turned-image", "images rotated by EXIF", advice, map(file.image_item, turned))


def _find_flat(file: AnnotationFile, inspected: Mapping[int, InspectedImage]) -> Finding:
    """16-bit images that use so small a part of the value range that they have little contrast."""
    deep = {key: one.used for key, one in inspected.items() if one.used is not None}
    flat = {key: used for key, used in deep.items() if is_flat(used)}
    items = [file.image_item(key, f"{low} .. {high} of 65535") for key, (low, high) in flat.items()]
    decoded = any(image.fingerprints is not None for image in inspected.values())
    of = "" if decoded or len(inspected) <= LOOKED_AT else f" (of {LOOKED_AT} that were looked at)"
    fitting = fitting_range([*deep.values()])
    advice = f"data.value_range=[{fitting[0]}, {fitting[1]}] scales them" if fitting else SCALE
    return file.finding("warning", "flat-image", f"16-bit images with little contrast{of}", advice, items)


def of_wrong_size(file: AnnotationFile, inspected: Mapping[int, InspectedImage]) -> set[int]:
    """The ids of images whose files differ in size from their entries."""
    return {key for key, one in inspected.items() if one.size not in (None, _size_of(file.images[key]))}


def _find_wrong_sizes(file: AnnotationFile, inspected: Mapping[int, InspectedImage]) -> Finding:
    items, remedies = [], dict[str, None]()
    for image_id in sorted(of_wrong_size(file, inspected)):
        one, given = inspected[image_id], _size_of(file.images[image_id])
        assert one.size is not None, "it was compared"
        why = ", before EXIF rotation" if one.turned and one.size == given[::-1] else ""
        text = f"{one.size[1]} x {one.size[0]}, the annotation file has {given[1]} x {given[0]}{why}"
        items.append(file.image_item(image_id, text))
        remedies[size_remedy(one.size, given, turned=one.turned)] = None
    advice = f"boxes would be misplaced: {'; '.join(remedies)}"
    message = "images whose size differs from the annotation file"
    return file.finding("error", "wrong-size", message, advice, items)


def real_paths(paths: Iterable[Path]) -> set[str]:
    """The real paths of the files that there are; a name in an annotation file may be one that no file can have."""
    return {os.path.realpath(path) for path in paths if os.path.isfile(path)}


def find_unnamed_files(files: list[AnnotationFile], others: Collection[str]) -> Iterator[Finding]:
    """Image files beside the images of the files that neither one of them nor `others`, real paths, name."""
    named = (file.path(image_id) for file in files for image_id in file.images)
    seen = real_paths(named) | {*others}
    for file in files:
        inside = [path for folder in _folders_of_images(file) for path in files_below(folder, IMAGE_SUFFIXES)]
        real = {os.path.realpath(path): path for path in inside}
        found = [path for target, path in real.items() if target not in seen]
        seen.update(real)
        items = [Item(os.path.relpath(path, file.source.images), files=(path,)) for path in found]
        message = "image files in the folder but not in the annotation file"
        advice = "they are not used: annotate them, or leave them"
        yield file.finding("hint", "unnamed-file", message, advice, items)


def _folders_of_images(file: AnnotationFile) -> list[Path]:
    """The outermost folders with named images: above those of merged data sets there may be all of a disk."""
    folders = {file.path(image_id).parent for image_id in file.images} or {file.source.images}
    return [folder for folder in sorted_paths(folders) if folders.isdisjoint(folder.parents)]


def _size_of(entry: CocoImage) -> tuple[int, int]:
    return entry["height"], entry["width"]
