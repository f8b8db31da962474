"""COCO -> LabelMe, one image at a time. The reader is in labelme.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rtmdet.data.coco.file import CocoAnnotation, CocoImage

VERSION = "5.5.0"  # of LabelMe, whose files look like this


def labelme_document(
    image: CocoImage, annotations: Sequence[CocoAnnotation], names: Mapping[int, str], image_path: str
) -> dict[str, object]:
    """The JSON of one image: a rectangle for each box. `image_path` is relative to the JSON file."""
    shapes: list[dict[str, object]] = []
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        shapes.append(
            {
                "label": names[annotation["category_id"]],
                "points": [[x, y], [x + width, y + height]],
                "group_id": None,
                "description": "",
                "shape_type": "rectangle",
                "flags": {},
            }
        )
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": image["height"],
        "imageWidth": image["width"],
    }
