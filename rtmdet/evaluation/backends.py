"""What computes the 12 COCO metrics: pycocotools or hotcoco, whose numbers tests compare.

Dimension legend: D detections of one image, T IoU thresholds, K categories.
"""

import contextlib
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import hotcoco
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.wording import one_line
from rtmdet.evaluation.matches import detection_table


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The result of a backend. Classes are in the order of rising category ids, as in COCO."""

    numbers: tuple[float, ...]  # COCO's 12
    precision: np.ndarray  # (T, recall, K, area, detections per image)


def evaluate_with_pycocotools(coco: COCO, category_ids: Sequence[int], found: Mapping[int, np.ndarray]) -> Measured:
    """The 12 metrics by pycocotools, the reference for every other evaluator, with the table behind them.

    `found` maps image ids to (D, 6) float64 rows of x, y, width, height, score, label; `category_ids` gives
    the category of each label.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # COCOeval prints its progress
        evaluation = COCOeval(coco, _index_detections(category_ids, found), "bbox")
        evaluation.params.catIds = list(category_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return Measured(tuple(evaluation.stats.tolist()), evaluation.eval["precision"])


def _index_detections(category_ids: Sequence[int], found: Mapping[int, np.ndarray]) -> COCO:
    """The part of a detection index that COCOeval uses. pycocotools' own is slower and refuses an empty list."""
    numbers = itertools.count(1)  # from 1: COCOeval treats a match with detection id 0 as none
    index = COCO()
    for image, rows in found.items():
        for *box, score, label in rows.tolist():
            entry = {"id": next(numbers), "image_id": image, "category_id": category_ids[int(label)]}
            detection = {**entry, "bbox": box, "area": box[2] * box[3], "score": score}
            index.anns[entry["id"]] = detection
            index.imgToAnns[image].append(detection)
    return index


def evaluate_with_hotcoco(coco: COCO, category_ids: Sequence[int], found: Mapping[int, np.ndarray]) -> Measured:
    """The same numbers by hotcoco, much faster. Raises InputError for values that it cannot use, such as a NaN score.

    Ids are passed as positions 0, 1, 2 ... in sorted order, because hotcoco takes detections as one table of floats,
    which cannot represent every id.
    """
    images = {image: index for index, image in enumerate(sorted(coco.imgs))}
    categories = {category: index for index, category in enumerate(sorted(category_ids))}
    table = detection_table(images, [categories[category] for category in category_ids], found)
    try:
        truth = _ground_truth(coco, images, categories)
        detections = truth.load_res(table)
        evaluation = hotcoco.COCOeval(truth, detections, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summary_lines()  # computes `stats`, as summarize does, but prints nothing
    except Exception as error:
        blame_memory(error)
        raise InputError(
            f"hotcoco cannot evaluate the detections ({one_line(error)}): check the weights, or use pycocotools"
        ) from error
    tables = evaluation.eval
    assert tables is not None, "accumulate fills the tables"
    return Measured(tuple(map(float, evaluation.stats)), tables["precision"])


def _ground_truth(coco: COCO, images: Mapping[int, int], categories: Mapping[int, int]) -> hotcoco.COCO:
    """hotcoco's index of the annotations of these categories, without a dict per annotation."""
    objects = [entry for entry in coco.anns.values() if entry["category_id"] in categories]
    return hotcoco.COCO.from_arrays(
        [{"id": index} for index in images.values()],
        [{"id": index, "name": str(index)} for index in categories.values()],
        np.array([images[entry["image_id"]] for entry in objects], np.int64),
        np.array([categories[entry["category_id"]] for entry in objects], np.int64),
        np.array([entry["bbox"] for entry in objects], np.float64).reshape(-1, 4),
        area=np.array([entry["area"] for entry in objects], np.float64),
        iscrowd=np.array([entry["iscrowd"] for entry in objects], np.bool_),
    )


BACKENDS = {"pycocotools": evaluate_with_pycocotools, "hotcoco": evaluate_with_hotcoco}
