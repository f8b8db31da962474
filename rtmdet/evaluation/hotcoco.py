"""The 12 COCO metrics by hotcoco, a fast evaluator; no other module imports it to evaluate.

Tests compare its numbers with pycocotools'. Ids are passed as positions 0, 1, 2 ... in sorted order, because hotcoco
takes detections as one table of floats, which cannot represent every id.
Dimension legend: D detections, N ground truths, K categories, T IoU thresholds.
"""

from collections.abc import Mapping, Sequence

import hotcoco
import numpy as np
from pycocotools.coco import COCO

from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.wording import one_line
from rtmdet.evaluation.matches import Measured, detection_table


def evaluate_with_hotcoco(coco: COCO, category_ids: Sequence[int], found: Mapping[int, np.ndarray]) -> Measured:
    """The 12 metrics with the table behind them.

    `found` maps image ids to (D, 6) float64 rows of x, y, width, height, score, label; `category_ids` gives
    the category of each label. Raises InputError if hotcoco cannot use the values, for instance a NaN score.
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
