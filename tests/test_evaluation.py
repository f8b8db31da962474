"""Evaluation: known answers on a small file, and the same 12 numbers as COCOeval called by hand.

Dimension legend: D detections of one image.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtmdet.evaluation import NAMES, ClassMetrics, CocoEvaluator, CocoMetrics, format_metrics
from rtmdet.structures import Detections, ImageMeta, InputError

Rows = Sequence[tuple[float, ...]]
Boxes = Mapping[int, Rows]

CATEGORY_IDS = (4, 90)  # cat, dog: sparse, as in COCO itself
BOXES = {  # image: rows of x, y, width, height, category, iscrowd
    7: [(10, 10, 20, 20, 4, 0), (100, 50, 60, 60, 90, 0)],
    3: [(0, 0, 200, 150, 4, 0), (20, 30, 40, 50, 4, 0)],
    5: [],
}


def index(boxes: Boxes) -> COCO:
    """pycocotools' index of a file with these images and boxes."""
    annotations: list[dict[str, object]] = []
    for image, rows in boxes.items():
        for x, y, width, height, category, crowd in rows:
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": category, "iscrowd": crowd}
            annotations.append({**entry, "bbox": [x, y, width, height], "area": width * height})
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image, "file_name": f"{image}.jpg", "width": 320, "height": 240} for image in boxes],
        "annotations": annotations,
        "categories": [{"id": 90, "name": "dog"}, {"id": 4, "name": "cat"}, {"id": 50, "name": "emu"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def meta(image: int) -> ImageMeta:
    return ImageMeta(image, f"{image}.jpg", (240, 320))


def detections(rows: Rows) -> Detections:
    """Detections from rows x1, y1, x2, y2, score, label."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].long())


def perfect(rows: Rows) -> Detections:
    """Each ground truth of an image found with certainty."""
    found = [(x, y, x + w, y + h, 1.0, CATEGORY_IDS.index(int(c))) for x, y, w, h, c, crowd in rows if not crowd]
    return detections(found)


def evaluate_perfect(boxes: Boxes) -> CocoMetrics:
    evaluator = CocoEvaluator(index(boxes), CATEGORY_IDS)
    evaluator.add([meta(image) for image in boxes], [perfect(rows) for rows in boxes.values()])
    return evaluator.evaluate()


def test_perfect_detections() -> None:
    metrics = evaluate_perfect(BOXES)
    numbers = dict(zip(NAMES, metrics.numbers, strict=True))
    assert numbers["AP"] == pytest.approx(1)
    assert numbers["AP75"] == pytest.approx(1)
    assert numbers["AP_small"] == pytest.approx(1)
    assert numbers["AR100"] == pytest.approx(1)
    assert metrics.ap == numbers["AP"]
    assert [(row.name, row.objects) for row in metrics.classes] == [("cat", 3), ("dog", 1)]
    assert [row.ap for row in metrics.classes] == pytest.approx([1, 1])


def test_no_detections_are_zero_not_a_crash() -> None:
    evaluator = CocoEvaluator(index(BOXES), CATEGORY_IDS)
    evaluator.add([meta(image) for image in BOXES], [detections([])] * 3)
    metrics = evaluator.evaluate()
    assert metrics.numbers == (0.0,) * 12
    assert [row.ap50 for row in metrics.classes] == [0, 0]


def test_labels_become_the_category_ids_of_the_file() -> None:
    evaluator = CocoEvaluator(index(BOXES), CATEGORY_IDS)
    evaluator.add([meta(7)], [detections([(1, 2, 4, 8, 0.5, 1), (5, 5, 9, 9, 0.25, 0)])])
    assert evaluator.results == [
        {"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 6], "score": 0.5},
        {"image_id": 7, "category_id": 4, "bbox": [5, 5, 4, 4], "score": 0.25},
    ]


def test_known_answers_by_hand() -> None:
    """One object found at IoU 0.6, one missed, one false alarm of the least score."""
    boxes = {1: [(0, 0, 100, 100, 4, 0), (200, 100, 50, 50, 4, 0)]}
    evaluator = CocoEvaluator(index(boxes), (4,))
    evaluator.add([meta(1)], [detections([(0, 0, 60, 100, 0.9, 0), (0, 200, 20, 220, 0.1, 0)])])
    numbers = dict(zip(NAMES, evaluator.evaluate().numbers, strict=True))
    at_recall_half = 51 / 101  # COCO reads precision at 101 recalls: 0, 0.01 .. 1
    assert numbers["AP50"] == pytest.approx(at_recall_half)
    assert numbers["AP75"] == 0
    assert numbers["AP"] == pytest.approx(at_recall_half * 3 / 10)  # thresholds 0.50, 0.55 and 0.60
    assert numbers["AR100"] == pytest.approx(0.5 * 3 / 10)
    assert numbers["AP_small"] == -1


def test_false_alarm_in_an_image_without_objects_counts() -> None:
    evaluator = CocoEvaluator(index({1: [(0, 0, 50, 50, 4, 0)], 2: []}), (4,))
    evaluator.add([meta(1), meta(2)], [detections([(0, 0, 50, 50, 0.5, 0)]), detections([(0, 0, 50, 50, 0.9, 0)])])
    assert evaluator.evaluate().ap == pytest.approx(0.5)


def test_crowds_are_neither_objects_nor_false_alarms() -> None:
    boxes = {1: [(0, 0, 50, 50, 4, 0), (100, 100, 100, 100, 4, 1)]}
    evaluator = CocoEvaluator(index(boxes), (4,))
    evaluator.add([meta(1)], [detections([(0, 0, 50, 50, 0.5, 0), (110, 110, 150, 150, 0.9, 0)])])
    metrics = evaluator.evaluate()
    assert metrics.ap == pytest.approx(1)
    assert metrics.classes[0].objects == 1


def test_only_the_wanted_classes_count() -> None:
    evaluator = CocoEvaluator(index(BOXES), (90,))
    evaluator.add([meta(7)], [detections([(100, 50, 160, 110, 0.9, 0)])])
    metrics = evaluator.evaluate()
    assert metrics.ap == pytest.approx(1)
    assert [row.name for row in metrics.classes] == ["dog"]


def test_class_without_objects_is_undefined_and_leaves_the_mean_alone() -> None:
    evaluator = CocoEvaluator(index(BOXES), (4, 50))
    evaluator.add([meta(3)], [detections([(0, 0, 200, 150, 0.9, 0), (20, 30, 60, 80, 0.8, 0)])])
    cat, emu = evaluator.evaluate().classes
    assert emu == ClassMetrics("emu", 0, -1.0, -1.0)
    assert evaluator.evaluate().ap == pytest.approx(cat.ap)
    assert 0 < cat.ap < 1


def random_run(seed: int) -> tuple[COCO, dict[int, Detections]]:
    """Random ground truth, crowds among it, and detections that partly meet it."""
    rng = np.random.default_rng(seed)
    boxes: dict[int, Rows] = {}
    found = {}
    for image in range(1, 13):
        corners = rng.uniform(0, 200, (rng.integers(0, 6), 2))
        sides = np.exp(rng.uniform(2, 5, corners.shape))
        categories, crowds = rng.choice(CATEGORY_IDS, len(corners)), rng.random(len(corners)) < 0.15
        rows = np.column_stack([corners, sides, categories, crowds])
        boxes[image] = [(*row[:4], int(row[4]), int(row[5])) for row in rows.tolist()]
        exact = np.column_stack([corners, corners + sides]).repeat(3, axis=0)
        noisy = exact + rng.normal(0, 6, exact.shape)
        noisy[:, 2:] = np.maximum(noisy[:, 2:], noisy[:, :2] + 1)
        labels = np.array([CATEGORY_IDS.index(category) for category in categories.repeat(3)])
        scores = rng.random(len(noisy))
        found[image] = detections(np.column_stack([noisy, scores, labels.reshape(-1)]).tolist())
    return index(boxes), found


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_cocoeval_called_by_hand(seed: int) -> None:
    coco, found = random_run(seed)
    evaluator = CocoEvaluator(coco, CATEGORY_IDS)
    for image, one in found.items():
        evaluator.add([meta(image)], [one])
    rows = [
        {"image_id": image, "category_id": CATEGORY_IDS[label], "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
        for image, one in found.items()
        for (x1, y1, x2, y2), score, label in zip(
            one.boxes.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        direct = COCOeval(coco, coco.loadRes(rows), "bbox")
        direct.params.catIds = list(CATEGORY_IDS)
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
    metrics = evaluator.evaluate()
    np.testing.assert_allclose(metrics.numbers, direct.stats, atol=1e-6)
    assert 0.05 < metrics.ap < 0.95
    assert metrics.ap == pytest.approx(np.mean([row.ap for row in metrics.classes]))


def test_evaluating_prints_nothing_and_can_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    evaluator = CocoEvaluator(index(BOXES), CATEGORY_IDS)
    evaluator.add([meta(7)], [perfect(BOXES[7])])
    before = json.dumps(evaluator.results)
    first = evaluator.evaluate()
    assert evaluator.evaluate() == first
    assert json.dumps(evaluator.results) == before
    assert capsys.readouterr().out == ""


def test_results_file_is_read_by_pycocotools(tmp_path: Path) -> None:
    coco = index(BOXES)
    evaluator = CocoEvaluator(coco, CATEGORY_IDS)
    evaluator.add([meta(7), meta(5)], [perfect(BOXES[7]), detections([])])
    path = tmp_path / "new" / "results.json"
    evaluator.write_results(path)
    assert json.loads(path.read_text()) == evaluator.results
    with contextlib.redirect_stdout(io.StringIO()):
        assert len(coco.loadRes(str(path)).anns) == 2


def test_results_that_cannot_be_written_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "results.json"
    with pytest.raises(InputError, match="cannot be written") as caught:
        CocoEvaluator(index(BOXES), CATEGORY_IDS).write_results(path)
    assert str(path) in str(caught.value)


def test_text_of_the_numbers() -> None:
    numbers = tuple(k / 100 for k in range(11))
    rows = (ClassMetrics("a very long name", 12, 0.5, 0.75), ClassMetrics("b", 0, -1.0, -1.0))
    lines = format_metrics(CocoMetrics((*numbers, -1.0), rows)).splitlines()
    assert [line.split()[0] for line in lines[:12]] == list(NAMES)
    assert [float(line.split()[1]) for line in lines[:12]] == [*numbers, -1.0]
    assert lines[12] == ""
    assert lines[13].split() == ["class", "objects", "AP", "AP50"]
    assert lines[14].split() == ["a", "very", "long", "name", "12", "0.500", "0.750"]
    assert lines[15].split() == ["b", "0", "-1.000", "-1.000"]
    assert len({len(line) for line in lines[13:]}) == 1
