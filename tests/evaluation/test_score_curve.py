"""F1 over the score: values by hand, the middle of a flat top, and when there is nothing to choose from."""

from collections.abc import Sequence

import numpy as np
import pytest
from test_evaluation import CATEGORY_IDS, detections, evaluate, hard_run, index

from rtmdet.config.schema import EvaluationConfig
from rtmdet.core.detections import Detections
from rtmdet.core.structures import ImageMeta
from rtmdet.evaluation.backends import BACKENDS
from rtmdet.evaluation.coco import CocoEvaluator, crowded_remark
from rtmdet.evaluation.matches import ClassMatches
from rtmdet.evaluation.score_curve import DEFAULT_SCORE, THRESHOLDS, score_curve
from rtmdet.measuring.measure import DetectionLimits


def matches(scores: Sequence[float], found: Sequence[int], objects: int, ignored: Sequence[int] = ()) -> ClassMatches:
    """Detections of one image, by falling score."""
    marks = np.isin(np.arange(len(scores)), ignored)[None]
    return ClassMatches(
        np.zeros(len(scores), np.int64), np.array(scores, float), np.array([found], bool) & ~marks, marks,
        np.array([objects]),
    )  # fmt: skip


def at(curve: np.ndarray | tuple[float, ...], threshold: float) -> float:
    return curve[THRESHOLDS.index(threshold)]


def test_values_by_hand() -> None:
    curve = score_curve(matches([0.9, 0.7, 0.5, 0.2], [1, 0, 1, 0], 4))
    assert curve is not None
    assert at(curve.f1, 0.95) == 0
    assert at(curve.f1, 0.9) == pytest.approx(2 / 5)  # one found of 1 detection and 4 objects
    assert at(curve.f1, 0.6) == pytest.approx(2 / 6)
    assert at(curve.f1, 0.5) == pytest.approx(4 / 7)
    assert at(curve.f1, 0.1) == pytest.approx(4 / 8)
    assert curve.best == pytest.approx(4 / 7)
    assert [at(curve.precision, score) for score in (0.95, 0.9, 0.6, 0.5, 0.1)] == pytest.approx(
        [1, 1, 1 / 2, 2 / 3, 1 / 2]
    )
    assert [at(curve.recall, score) for score in (0.95, 0.9, 0.6, 0.5, 0.1)] == pytest.approx(
        [0, 1 / 4, 1 / 4, 1 / 2, 1 / 2]
    )
    assert curve.threshold == 0.35
    assert curve.chosen == (2 / 3, 1 / 2)


def test_the_middle_of_the_flat_top() -> None:
    """40 objects found above 0.8, false alarms under 0.2: every threshold between them is as good."""
    curve = score_curve(matches([0.8] * 40 + [0.2] * 10, [1] * 40 + [0] * 10, 40))
    assert curve is not None
    assert curve.best == 1
    assert curve.threshold == pytest.approx(0.5, abs=0.001)


def test_a_peak_by_accident_does_not_move_the_threshold() -> None:
    """Above 0.85 a single false alarm is just passed over; the long flat part a hair below is the better choice."""
    scores = [0.9] * 39 + [0.85] + [0.3] * 40
    curve = score_curve(matches(scores, [1] * 39 + [0] * 41, 40))
    assert curve is not None
    assert at(curve.f1, 0.87) == curve.best > at(curve.f1, 0.6) > 0.95
    assert curve.threshold == pytest.approx(0.6, abs=0.001)


def test_a_class_that_is_hardly_found_is_cut_where_it_is_found() -> None:
    """Its best F1 is less than one object weighs, so that all thresholds would be as good."""
    curve = score_curve(matches([0.009, *[0.008] * 98, 0.002], [0] * 99 + [1], 13))
    assert curve is not None
    assert curve.best < 0.02
    assert at(curve.f1, curve.threshold) > 0


def test_crowds_count_neither_way() -> None:
    with_crowd = score_curve(matches([0.9, 0.8, 0.4], [1, 0, 1], 2, ignored=[1]))
    without = score_curve(matches([0.9, 0.4], [1, 1], 2))
    assert with_crowd == without
    assert without is not None
    assert without.best == 1


@pytest.mark.parametrize(
    "nothing",
    [
        matches([], [], 3),
        matches([0.5], [0], 3),
        matches([0.5], [0], 0),
        matches([0.0004], [1], 1),
    ],
)
def test_nothing_to_choose_from(nothing: ClassMatches) -> None:
    assert score_curve(nothing) is None


def test_each_label_has_its_threshold_or_the_default() -> None:
    coco = index({7: [(10, 10, 20, 20, 4, 0)], 3: [(100, 50, 60, 60, 90, 0), (0, 0, 9, 9, 4, 0)]})
    found = {7: detections([(10, 10, 30, 30, 0.6, 2), (0, 0, 5, 5, 0.2, 2)]), 3: detections([(0, 0, 9, 9, 0.7, 2)])}
    metrics = evaluate(coco, found, (90, 50, 4))  # a dog never found, no emu, two cats found
    assert metrics.score_thresholds[:2] == (DEFAULT_SCORE, DEFAULT_SCORE)
    assert 0.2 < metrics.score_thresholds[2] < 0.6


def test_where_no_class_has_a_curve_there_are_no_thresholds() -> None:
    assert evaluate(index({7: [(10, 10, 20, 20, 4, 0)]}), {}).score_thresholds == ()


@pytest.mark.parametrize("seed", range(3))
def test_backends_give_the_same_curves(seed: int) -> None:
    coco, found = hard_run(seed)
    reference, fast = (evaluate(coco, found, CATEGORY_IDS, backend) for backend in BACKENDS)
    assert [row.curve for row in reference.classes] == [row.curve for row in fast.classes]
    assert reference.score_thresholds


def test_f1_equals_evaluating_only_what_scores_higher() -> None:
    """The curve at a threshold is F1 of the detections that are left when the others are taken away."""
    coco, found = hard_run(0)
    curve = evaluate(coco, found).classes[0].curve
    assert curve is not None
    for threshold in (0.2, 0.5, 0.8):
        kept = {image: one.above(threshold) for image, one in found.items()}
        row = evaluate(coco, kept).classes[0].curve
        assert row is not None
        assert row.f1[0] == pytest.approx(at(curve.f1, threshold), abs=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_objects_of_a_crowd_count(backend: str) -> None:
    """144 cats, all found from 0.6 on; COCO's metrics count 100 of them. Of two dogs one is found."""
    cats = [(20 * column, 20 * row, 15, 15, CATEGORY_IDS[0], 0) for row in range(12) for column in range(12)]
    dogs = [(250, 10, 40, 40, CATEGORY_IDS[1], 0), (250, 100, 40, 40, CATEGORY_IDS[1], 0)]
    coco = index({1: [*cats, *dogs], 2: []})
    rows = [(x, y, w, h, 0.9 - 0.002 * place, 0.0) for place, (x, y, w, h, _, _) in enumerate(cats)]
    rows += [(250, 10, 40, 40, 0.5, 1.0), *((5, 150 + place, 9, 9, 0.3, 0.0) for place in range(9))]
    evaluator = CocoEvaluator(coco, CATEGORY_IDS, backend)
    evaluator.add_rows(1, np.array(rows))
    metrics = evaluator.evaluate()
    cat, dog = metrics.classes
    assert cat.ap50 == pytest.approx(0.69, abs=0.01)  # 100 of 144
    assert cat.curve is not None
    assert cat.curve.best == 1
    assert 0.3 < cat.curve.threshold < 0.62
    assert dog.curve is not None
    assert dog.curve.best == pytest.approx(2 / 3)
    assert crowded_remark(coco, CATEGORY_IDS)[0].startswith("images with more than 100 objects of a class: 1; ")
    assert crowded_remark(coco, CATEGORY_IDS[1:]) == []


def test_only_images_with_crowds_keep_more_detections() -> None:
    limits = DetectionLimits(usual=300, crowded={7: 432})
    assert limits.selection(EvaluationConfig()).max_detections == 432
    found = Detections(np.zeros((500, 4)), np.zeros(500), np.zeros(500, int))
    kept = {image: len(limits.cut(ImageMeta(image, "a.png", (9, 9)), found)) for image in (7, 8)}
    assert kept == {7: 432, 8: 300}
