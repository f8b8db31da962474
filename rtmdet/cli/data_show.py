"""`rtmdet data show`: a picture of a data set's images, and one of its annotations."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import hotcoco
import numpy as np

from rtmdet.core.class_colors import class_colors
from rtmdet.core.draw import draw_boxes, draw_polygons, save_image
from rtmdet.core.errors import InputError
from rtmdet.core.files import spread
from rtmdet.data.coco.dataset import read_annotated_image
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage, by_image
from rtmdet.data.coco.layout import place_images
from rtmdet.data.formats.open import find_dataset
from rtmdet.viz.grid import fit_image, grid

CELL = (300, 400)  # (H, W) pixels of each image in the picture
COLUMNS = 4


def run(arguments: argparse.Namespace) -> int:
    """Draw both pictures and count the objects of each class."""
    if arguments.count < 1:
        raise InputError(f"--count: expected at least 1, found {arguments.count}; give the number of images to show")
    found = find_dataset(arguments.data, arguments.images)
    split = found.read_one(arguments.split or found.names[0])
    path, coco = split.annotations or arguments.data, split.coco
    for remark in (*found.remarks, *split.remarks, *place_images(path, coco, split.images)):
        print(remark)
    chosen = spread(coco["images"], arguments.count)
    plain = [
        fit_image(read_annotated_image(split.images / image["file_name"], image, path), CELL) for image in chosen
    ]
    annotated = _draw_annotations(coco, chosen, plain)
    titles = [Path(image["file_name"]).name for image in chosen]
    for name, images in (("images.png", plain), ("annotations.png", annotated)):
        save_image(arguments.out / name, grid(images, COLUMNS, CELL, titles))
        print(arguments.out / name)
    _print_counts(coco)
    return 0


def _draw_annotations(
    coco: CocoFile, chosen: Sequence[CocoImage], pictures: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Each picture with the outlines, boxes and names of its objects."""
    categories = sorted(coco["categories"], key=lambda category: category["id"])
    names = {category["id"]: category["name"] for category in categories}
    colors = dict(zip(names, class_colors(list(names.values())), strict=True))
    of_image = by_image(coco["annotations"])
    drawn = []
    for image, picture in zip(chosen, pictures, strict=True):
        annotations, size = of_image[image["id"]], (image["height"], image["width"])
        scale = np.array([picture.shape[1] / size[1], picture.shape[0] / size[0]])  # (x, y)
        outlines = [
            (annotation["category_id"], polygon * scale)
            for annotation in annotations
            for polygon in _outlines(annotation, size)
        ]
        filled = draw_polygons(picture, [polygon for _, polygon in outlines], [colors[key] for key, _ in outlines])
        corners = np.array([annotation["bbox"] for annotation in annotations], np.float64).reshape(-1, 2, 2)
        corners[:, 1] += corners[:, 0]  # xywh -> xyxy
        texts = [
            names[annotation["category_id"]] + (" (crowd)" if annotation["iscrowd"] else "")
            for annotation in annotations
        ]
        box_colors = [colors[annotation["category_id"]] for annotation in annotations]
        drawn.append(draw_boxes(filled, (corners * scale).reshape(-1, 4), texts, box_colors))
    return drawn


def _outlines(annotation: CocoAnnotation, size: tuple[int, int]) -> list[np.ndarray]:
    """The polygons (V, 2) of an object in an image of (H, W); none if its segmentation cannot be used."""
    segmentation = annotation.get("segmentation")
    try:
        if isinstance(segmentation, dict):  # by hotcoco, since pycocotools writes out of bounds for damaged counts
            mask = hotcoco.mask.decode({"counts": segmentation["counts"], "size": size})  # (H, W)
            contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            return [contour.reshape(-1, 2) + 0.5 for contour in contours]
        polygons = [np.array(flat, np.float64).reshape(-1, 2) for flat in segmentation or []]
    except Exception:  # the box alone is still useful: boxes are what training uses
        return []
    return [polygon for polygon in polygons if len(polygon) >= 3 and np.isfinite(polygon).all()]


def _print_counts(coco: CocoFile) -> None:
    images: dict[int, list[int]] = {category["id"]: [] for category in coco["categories"]}
    for entry in coco["annotations"]:
        images[entry["category_id"]].append(entry["image_id"])
    for category in coco["categories"]:
        found = images[category["id"]]
        print(f"{category['name']}: {len(found)} objects in {len(set(found))} of {len(coco['images'])} images")
