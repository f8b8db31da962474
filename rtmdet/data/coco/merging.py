"""Joining annotation files into one: classes by their names, images by their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from rtmdet.core.errors import InputError
from rtmdet.data.class_names import name_key
from rtmdet.data.coco.file import CocoCategory, CocoFile, CocoImage


def merge_coco(files: Sequence[CocoFile], folders: Sequence[str], *, similar: bool = False) -> CocoFile:
    """One file with the images, objects and classes of all.

    `folders` says for each file where its images lie, relative to one folder: file names are relative to that folder
    then, so equal names in different folders stay apart. An image that several files have gets the objects of all of
    them, equal boxes of a class once. Classes keep the ids of the first file, those that it lacks get the next ones;
    images and annotations are numbered from 1. With `similar`, classes whose names differ in letter case, spaces or
    Unicode form only are one, of the first name. Inputs are not changed.

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
        seen |= of_this_file  # a box that stands twice in one file is that file's own affair
    merged["images"], merged["categories"] = list(images.values()), list(categories.values())
    return merged


def _join_category(categories: dict[str, CocoCategory], entry: CocoCategory, *, similar: bool) -> int:
    """The id of the class among all."""
    key = name_key(entry["name"]) if similar else entry["name"]
    if key not in categories:
        taken = {category["id"] for category in categories.values()}
        free = entry["id"] if entry["id"] not in taken else max(taken) + 1
        categories[key] = {**entry, "id": free}
    return categories[key]["id"]


def _join_image(images: dict[str, CocoImage], entry: CocoImage, folder: str) -> int:
    """The id of the image among all."""
    name = (PurePosixPath(folder) / entry["file_name"].replace("\\", "/")).as_posix()
    image = images.setdefault(name, {**entry, "id": len(images) + 1, "file_name": name})
    if (image["width"], image["height"]) != (entry["width"], entry["height"]):
        raise InputError(
            f"image {name!r} stands with {image['width']} x {image['height']} pixels in one file and with "
            f"{entry['width']} x {entry['height']} in another; correct the wrong one"
        )
    return image["id"]
