"""Evaluation: known answers on a small file, the same 12 numbers as COCOeval called by hand, and the same by
hotcoco and over two processes.

Dimension legend: D detections of one image.
"""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.structures import ImageMeta
from rtmdet.evaluation.backends import BACKENDS
from rtmdet.evaluation.coco import NAMES, ClassMetrics, CocoEvaluator, CocoMetrics, format_metrics
from rtmdet.evaluation.score_curve import ScoreCurve

both_backends = pytest.mark.parametrize("backend", BACKENDS)
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


def evaluate(
    coco: COCO,
    found: Mapping[int, Detections],
    category_ids: Sequence[int] = CATEGORY_IDS,
    backend: str = "pycocotools",
) -> CocoMetrics:
    """The metrics of the detections of each image."""
    evaluator = CocoEvaluator(coco, category_ids, backend)
    evaluator.add([meta(image) for image in found], list(found.values()))
    return evaluator.evaluate()


@both_backends
def test_perfect_detections(backend: str) -> None:
    metrics = evaluate(index(BOXES), {image: perfect(rows) for image, rows in BOXES.items()}, backend=backend)
    numbers = dict(zip(NAMES, metrics.numbers, strict=True))
    assert numbers["AP"] == pytest.approx(1)
    assert numbers["AP75"] == pytest.approx(1)
    assert numbers["AP_small"] == pytest.approx(1)
    assert numbers["AR100"] == pytest.approx(1)
    assert metrics.ap == numbers["AP"]
    assert [(row.name, row.objects) for row in metrics.classes] == [("cat", 3), ("dog", 1)]
    assert [row.ap for row in metrics.classes] == pytest.approx([1, 1])


@both_backends
@pytest.mark.parametrize("images", [list(BOXES), []])
def test_no_detections_are_zero_not_a_crash(backend: str, images: list[int]) -> None:
    metrics = evaluate(index(BOXES), {image: detections([]) for image in images}, backend=backend)
    assert metrics.numbers == (0.0,) * 12
    assert [row.ap50 for row in metrics.classes] == [0, 0]


def test_an_image_is_added_once_and_stands_in_the_index() -> None:
    evaluator = CocoEvaluator(index(BOXES), CATEGORY_IDS)
    evaluator.add([meta(7)], [detections([])])
    with pytest.raises(InputError, match="image 7 is added twice: join its detections"):
        evaluator.add([meta(7)], [detections([])])
    with pytest.raises(InputError, match="image 8: expected an image id of the annotation file, such as 7"):
        evaluator.add([meta(8)], [detections([])])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(1, 2, 3, 4, 0.5, 0), (1, 2, 3, 4, 0.5, 2)], "image 7: expected labels from 0 to 1, found 2: labels count"),
        ([(1, 2, 3, 4, 0.5, -1)], "image 7: expected labels from 0 to 1, found -1: labels count"),
        ([(1, 2, 3, 4, 0.5, np.nan)], "image 7: expected labels from 0 to 1, found nan: labels count"),
        ((1, 2, 3, 4, 0.5, 0), r"image 7: expected rows of 6 numbers \(D, 6\), found the shape \(6,\)"),
    ],
)
def test_rows_that_cannot_be_measured_are_refused(rows: object, expected: str) -> None:
    evaluator = CocoEvaluator(index(BOXES), CATEGORY_IDS)
    with pytest.raises(InputError, match=f"^{expected}"):
        evaluator.add_rows(7, np.array(rows))
    assert evaluator.rows == {}
    evaluator.add_rows(7, [(1, 2, 3, 4, 0.5, 1)])  # type: ignore[arg-type]
    assert evaluator.results == [{"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "score": 0.5}]


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InputError, match=r"^backend 'torchmetrics': expected one of pycocotools, hotcoco$"):
        CocoEvaluator(index(BOXES), CATEGORY_IDS, "torchmetrics")


def test_labels_become_the_category_ids_of_the_file() -> None:
    evaluator = CocoEvaluator(index(BOXES), CATEGORY_IDS)
    evaluator.add([meta(7)], [detections([(1, 2, 4, 8, 0.5, 1), (5, 5, 9, 9, 0.25, 0)])])
    assert evaluator.results == [
        {"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 6], "score": 0.5},
        {"image_id": 7, "category_id": 4, "bbox": [5, 5, 4, 4], "score": 0.25},
    ]
    assert evaluator.detection_count == 2


@both_backends
def test_known_answers_by_hand(backend: str) -> None:
    """One object found at IoU 0.6, one missed, one false alarm of the least score."""
    boxes = {1: [(0, 0, 100, 100, 4, 0), (200, 100, 50, 50, 4, 0)]}
    found = {1: detections([(0, 0, 60, 100, 0.9, 0), (0, 200, 20, 220, 0.1, 0)])}
    numbers = dict(zip(NAMES, evaluate(index(boxes), found, (4,), backend).numbers, strict=True))
    at_recall_half = 51 / 101  # COCO reads precision at 101 recalls: 0, 0.01 .. 1
    assert numbers["AP50"] == pytest.approx(at_recall_half)
    assert numbers["AP75"] == 0
    assert numbers["AP"] == pytest.approx(at_recall_half * 3 / 10)  # thresholds 0.50, 0.55 and 0.60
    assert numbers["AR100"] == pytest.approx(0.5 * 3 / 10)
    assert numbers["AP_small"] == -1


@both_backends
def test_false_alarm_in_an_image_without_objects_counts(backend: str) -> None:
    found = {1: detections([(0, 0, 50, 50, 0.5, 0)]), 2: detections([(0, 0, 50, 50, 0.9, 0)])}
    boxes = {1: [(0, 0, 50, 50, 4, 0)], 2: []}
    assert evaluate(index(boxes), found, (4,), backend).ap == pytest.approx(0.5)


@both_backends
def test_crowds_are_neither_objects_nor_false_alarms(backend: str) -> None:
    boxes = {1: [(0, 0, 50, 50, 4, 0), (100, 100, 100, 100, 4, 1)]}
    found = {1: detections([(0, 0, 50, 50, 0.5, 0), (110, 110, 150, 150, 0.9, 0)])}
    metrics = evaluate(index(boxes), found, (4,), backend)
    assert metrics.ap == pytest.approx(1)
    assert metrics.classes[0].objects == 1


@both_backends
def test_only_the_wanted_classes_count(backend: str) -> None:
    metrics = evaluate(index(BOXES), {7: detections([(100, 50, 160, 110, 0.9, 0)])}, (90,), backend)
    assert metrics.ap == pytest.approx(1)
    assert [row.name for row in metrics.classes] == ["dog"]


@both_backends
def test_class_without_objects_is_undefined_and_leaves_the_mean_alone(backend: str) -> None:
    found = {3: detections([(0, 0, 200, 150, 0.9, 0), (20, 30, 60, 80, 0.8, 0)])}
    metrics = evaluate(index(BOXES), found, (4, 50), backend)
    cat, emu = metrics.classes
    assert emu == ClassMetrics("emu", 0, -1.0, -1.0)
    assert metrics.ap == pytest.approx(cat.ap)
    assert 0 < cat.ap < 1


@both_backends
def test_class_table_follows_the_labels_also_where_the_ids_fall(backend: str) -> None:
    found = {7: detections([(100, 50, 160, 110, 0.9, 0)])}  # the only dog, and no cat
    dog, cat = evaluate(index(BOXES), found, (90, 4), backend).classes
    assert (dog.name, dog.objects, cat.name, cat.objects) == ("dog", 1, "cat", 3)
    assert (dog.ap, cat.ap) == pytest.approx((1, 0))


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
    assert metrics.numbers == pytest.approx(direct.stats, abs=1e-12)
    assert 0.05 < metrics.ap < 0.95
    assert metrics.ap == pytest.approx(np.mean([row.ap for row in metrics.classes]))


def hard_run(seed: int) -> tuple[COCO, dict[int, Detections]]:
    """Random ground truth and detections with all that two implementations could disagree on.

    Crowds, a category that is not evaluated, doubled boxes, all sizes, ids too large for a float, images without
    objects or detections or never added, over 100 detections of a class, scores and overlaps that tie.
    """
    rng = np.random.default_rng(seed)
    boxes: dict[int, Rows] = {}
    found = {}
    for image in rng.permutation([*range(-9, 42, 3), 2**53, 2**53 + 1]).tolist():
        count = int(rng.choice([0, 1, 4, 9]))
        table = np.concatenate([rng.uniform(0, 250, (count, 2)), np.exp(rng.uniform(0.5, 5.5, (count, 2)))], axis=1)
        table = np.concatenate([table.round(), table[: count // 3].round()])
        categories, crowds = rng.choice([4, 90, 50], len(table)), rng.random(len(table)) < 0.15
        boxes[image] = np.column_stack([table, categories, crowds]).tolist()
        if rng.random() < 0.2:
            continue
        known = table[rng.integers(0, len(table), int(rng.choice([0, 5, 40, 260])))] if count else np.ones((3, 4))
        known = (known + known[:, [2, 3, 2, 3]] * rng.choice([0, 0.05, 0.2], (len(known), 1))).round()
        scores, labels = rng.random(len(known)).round(int(rng.integers(1, 5))), rng.integers(0, 2, len(known))
        found[image] = detections(
            np.column_stack([known[:, :2], known[:, :2] + known[:, 2:], scores, labels]).tolist()
        )
    coco = index(boxes)
    for entry in coco.anns.values():
        entry["area"] *= 0.7  # of an outline inside the box
    return coco, found


def write_files(folder: Path, coco: COCO, found: Mapping[int, Detections]) -> tuple[Path, Path]:
    """An annotation file and a results file, written without the evaluator."""
    rows = [
        {
            "image_id": image,
            "category_id": CATEGORY_IDS[int(label)],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": score,
        }
        for image, one in found.items()
        for x1, y1, x2, y2, score, label in np.column_stack([one.boxes, one.scores, one.labels]).tolist()
    ]
    annotations, results = folder / "annotations.json", folder / "results.json"
    annotations.write_text(json.dumps(coco.dataset))
    results.write_text(json.dumps(rows))
    return annotations, results


@both_backends
@pytest.mark.parametrize("seed", range(4))
def test_equals_pycocotools_on_odd_files(backend: str, seed: int, tmp_path: Path) -> None:
    """Crowds, sparse and huge ids, images without boxes, ties, more than 100 boxes: pycocotools alone reads files."""
    coco, found = hard_run(seed)
    assert max(map(len, found.values())) > 100
    annotations, results = write_files(tmp_path, coco, found)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        direct = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        direct.params.catIds = list(CATEGORY_IDS)
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
    assert evaluate(coco, found, CATEGORY_IDS, backend).numbers == pytest.approx(direct.stats, abs=1e-12)


def test_equals_pycocotools_where_an_image_has_over_100_objects(tmp_path: Path) -> None:
    """130 objects and as many right detections: the 30 least sure ones are cut off, so recall ends at 100 / 130."""
    corners = [(x * 20, y * 20) for x in range(13) for y in range(10)]
    coco = index({3: [(x, y, 15, 15, 4, 0) for x, y in corners]})
    found = {3: detections([(x, y, x + 15, y + 15, 0.9 - k / 200, 0) for k, (x, y) in enumerate(corners)])}
    annotations, results = write_files(tmp_path, coco, found)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        direct = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
    numbers = evaluate(coco, found, (4, 50)).numbers
    assert numbers == pytest.approx(direct.stats, abs=1e-12)
    assert numbers[8] == pytest.approx(100 / 130)


@pytest.mark.parametrize("seed", range(8))
def test_hotcoco_and_pycocotools_agree(seed: int) -> None:
    coco, found = hard_run(seed)
    reference, fast = (evaluate(coco, found, (90, 4), backend) for backend in ("pycocotools", "hotcoco"))
    assert fast.numbers == pytest.approx(reference.numbers, abs=1e-12)
    assert [(row.name, row.objects) for row in fast.classes] == [(row.name, row.objects) for row in reference.classes]
    for row, expected in zip(fast.classes, reference.classes, strict=True):
        assert (row.ap, row.ap50) == pytest.approx((expected.ap, expected.ap50), abs=1e-12)
    assert 0 < fast.ap < 1


def test_scores_that_hotcoco_cannot_sort_are_an_input_error() -> None:
    found = {7: detections([(0, 0, 5, 5, float("nan"), 0)])}
    with pytest.raises(InputError, match=r"hotcoco cannot evaluate .*NaN score") as caught:
        evaluate(index(BOXES), found, backend="hotcoco")
    assert "\n" not in str(caught.value)


def run_process(rank: int, folder: Path) -> None:
    """One of two processes: evaluates shares of a run, and writes what came out as JSON."""
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    coco, found = hard_run(0)
    images = list(found)
    shares = {"every second": images[rank::2], "the main process has none": images * rank}
    answers: dict[str, object] = {
        f"{name}, {backend}": asdict(evaluate(coco, {i: found[i] for i in share}, backend=backend))
        for name, share in shares.items()
        for backend in BACKENDS
    }
    try:
        evaluate(coco, {images[0]: found[images[0]]})
    except AssertionError as error:
        answers["added by both"] = str(error)
    (folder / f"{rank}.json").write_text(json.dumps(answers))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_get_the_numbers_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(run_process, (tmp_path,), nprocs=2, start_method="forkserver")
    coco, found = hard_run(0)
    alone = json.loads(json.dumps(asdict(evaluate(coco, found))))
    for rank in range(2):
        answers = json.loads((tmp_path / f"{rank}.json").read_text())
        assert answers.pop("added by both") == f"image {next(iter(found))} is added by two processes"
        assert len(answers) == 4
        for name, answer in answers.items():
            assert answer == alone, f"process {rank}, {name}"


@both_backends
def test_evaluating_prints_nothing_and_can_be_repeated(backend: str, capfd: pytest.CaptureFixture[str]) -> None:
    evaluator = CocoEvaluator(index(BOXES), CATEGORY_IDS, backend)
    evaluator.add([meta(7)], [perfect(BOXES[7])])
    before = json.dumps(evaluator.results)
    first = evaluator.evaluate()
    assert evaluator.evaluate() == first
    assert json.dumps(evaluator.results) == before
    assert capfd.readouterr() == ("", "")  # also of what is not Python


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
    for given in (path, str(path)):
        with pytest.raises(InputError, match="cannot be written") as caught:
            CocoEvaluator(index(BOXES), CATEGORY_IDS).write_results(given)
        assert str(path) in str(caught.value)


def test_text_of_the_numbers() -> None:
    numbers = tuple(k / 100 for k in range(11))
    rows = (
        ClassMetrics("a very long name", 12, 0.5, 0.75, ScoreCurve((0.75,) * 999, (0.25,) * 999, 0.41)),
        ClassMetrics("b", 0, -1.0, -1.0),
    )
    lines = format_metrics(CocoMetrics((*numbers, -1.0), rows)).splitlines()
    assert [line.split()[0] for line in lines[:12]] == list(NAMES)
    assert [line.split()[1] for line in lines[:12]] == [*(f"{number:.3f}" for number in numbers), "-"]
    assert lines[12] == ""
    assert lines[13].split() == ["class", "objects", "AP", "AP50", "best", "F1", "threshold", "precision", "recall"]
    numbers_of_a = ["12", "0.500", "0.750", "0.375", "0.410", "0.750", "0.250"]
    assert lines[14].split() == ["a", "very", "long", "name", *numbers_of_a]
    assert lines[15].split() == ["b", "0", "-", "-", "-", "-", "-", "-"]
    assert len({len(line) for line in lines[13:]}) == 1
