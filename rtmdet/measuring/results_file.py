"""COCO results files: detections written by `rtmdet evaluate --out` or by any other detector.

Dimension legend: D detections of one image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json
from rtmdet.core.wording import shown
from rtmdet.data.coco.file import is_number, whole_number

POOLED_ANNOTATIONS, POOLED_DETECTIONS = "pooled_annotations.json", "pooled_detections.json"  # of train --folds


def read_results(path: Path, coco: COCO, category_ids: Sequence[int]) -> dict[int, np.ndarray]:
    """Image id -> (D, 6) float64 rows of x, y, width, height, score, label, by falling score.

    Detections of categories that are not in `category_ids` are left out. Raises InputError at the first fault.
    """
    entries = read_json(path)
    if isinstance(entries, dict) and entries.keys() >= {"labels", "scores", "bboxes"}:
        raise InputError(
            f"{path}: detections in one image, as mmdet's DetInferencer writes them: expected those in all images as "
            "COCO results, the *.bbox.json that mmdet's CocoMetric writes with outfile_prefix"
        )
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of detections as evaluate --out writes, found {shown(entries)}")
    labels = {category: label for label, category in enumerate(category_ids)}
    rows: dict[int, list[tuple[float, ...]]] = {}
    for index, entry in enumerate(entries):
        _check(f"{path}: detection {index}", entry, coco)
        if entry["category_id"] in labels:
            row = (*entry["bbox"], entry["score"], labels[entry["category_id"]])
            rows.setdefault(entry["image_id"], []).append(row)
    return {image: np.array(sorted(found, key=lambda row: -row[4]), np.float64) for image, found in rows.items()}


def _check(where: str, entry: object, coco: COCO) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{where}: expected an object {{...}}, found {shown(entry)}: write the file again")
    _check_id(where, entry, "image_id", coco.imgs)
    _check_id(where, entry, "category_id", coco.cats)
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)) or min(box[2:]) < 0:
        raise InputError(f"{where}: expected x, y, width and height for 'bbox', found {shown(box)}: correct the box")
    if not is_number(entry.get("score")):
        raise InputError(f"{where}: expected a number for 'score', found {shown(entry.get('score'))}: correct it")


def _check_id(where: str, entry: dict[str, Any], key: str, known: Mapping[int, object]) -> None:
    value = whole_number(entry.get(key))
    if value is None or value not in known:
        joined = ", or an entry that was joined with another of the same image" if key == "image_id" else ""
        raise InputError(
            f"{where}: {key} {shown(entry.get(key))} is not in the annotation file{joined}: give the file that it "
            "was made for"
        )
    entry[key] = value
