"""Merges annotation files: classes are matched by name, images by file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from rtmdet.core.errors import InputError
from rtmdet.data.class_names import name_key
from rtmdet.data.coco.file import CocoCategory, CocoFile, CocoImage


def merge_coco(files: Sequence[CocoFile], folders: Sequence[str], *, similar: bool = False) -> CocoFile:
    """One file with the images, objects and classes of all.

    `folders` has the image folder of each file, relative to a common folder to which the new file names are relative,
    so equal names in different folders stay different images. An image of several files gets the objects of all, but
    equal boxes of a class only once. Classes keep the ids of the first file, further ones get the next free ids;
    images and annotations are numbered from 1. With `similar`, classes whose names differ only in letter case, spaces
    or Unicode form are merged under the first name. Inputs are not changed.

    Raises InputError where files disagree about the size of an image.
    """
    categories: dict[str, CocoCategory] = {}
    images: dict[str, CocoImage] = {}
    merged: CocoFile = {"images": [], "annotations": [], "categories": []}
    seen: set[tuple[object, ...]] = set()
    for file, folder in zip(files, folders, strict=True):
        category_ids = {one["id"]: _join_category(categories, one, similar=similar) for one in file["categories"]}
        image_ids = {entry["id"]: _join_image(images, entry, folder) for entry in file["images"]}
        of_this_file: set[tuple[object, ...]] = set()
        for annotation in file["annotations"]:
            image, category = image_ids[annotation["image_id"]], category_ids[annotation["category_id"]]
            key = (image, category, *annotation["bbox"], annotation["iscrowd"])
            of_this_file.add(key)
            if key not in seen:
                number = len(merged["annotations"]) + 1
                merged["annotations"].append({**annotation, "id": number, "image_id": image, "category_id": category})
        seen |= of_this_file  # boxes repeated within one file are kept
    merged["images"], merged["categories"] = list(images.values()), list(categories.values())
    return merged


def _join_category(categories: dict[str, CocoCategory], entry: CocoCategory, *, similar: bool) -> int:
    """The merged id of a class, added if new."""
    key = name_key(entry["name"]) if similar else entry["name"]
    if key not in categories:
        taken = {category["id"] for category in categories.values()}
        free = entry["id"] if entry["id"] not in taken else max(taken) + 1
        categories[key] = {**entry, "id": free}
    return categories[key]["id"]


def _join_image(images: dict[str, CocoImage], entry: CocoImage, folder: str) -> int:
    """The merged id of an image, added if new."""
    name = (PurePosixPath(folder) / entry["file_name"].replace("\\", "/")).as_posix()
    image = images.setdefault(name, {**entry, "id": len(images) + 1, "file_name": name})
    if (image["width"], image["height"]) != (entry["width"], entry["height"]):
        raise InputError(
            f"image {name!r} has {image['width']} x {image['height']} pixels in one file and "
            f"{entry['width']} x {entry['height']} in another; correct the wrong one"
        )
    return image["id"]
