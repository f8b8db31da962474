"""Intervals: each draw equals pycocotools on a file that really repeats the drawn images under new ids."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from test_evaluation import CATEGORY_IDS, detections, hard_run, index, meta, perfect, random_run

from rtmdet.core.detections import Detections
from rtmdet.evaluation import intervals as bootstrap
from rtmdet.evaluation.backends import BACKENDS
from rtmdet.evaluation.coco import CocoEvaluator
from rtmdet.evaluation.intervals import Interval, average_precisions, draw, interval, paired_interval
from rtmdet.evaluation.matches import COCO_IOUS, ClassMatches, match_detections

both_backends = pytest.mark.parametrize("backend", BACKENDS)


def evaluator(coco: COCO, found: dict[int, Detections], backend: str = "pycocotools") -> CocoEvaluator:
    """With the detections of all images."""
    result = CocoEvaluator(coco, CATEGORY_IDS, backend)
    result.add([meta(image) for image in found], list(found.values()))
    return result


def matches_of(coco: COCO, found: dict[int, Detections], backend: str = "pycocotools") -> tuple[ClassMatches, ...]:
    return evaluator(coco, found, backend).evaluate_with_matches()[1]


def repeated_ap(coco: COCO, results: Sequence[dict[str, object]], weights: Sequence[int]) -> float:
    """AP by pycocotools alone of a new file that holds each image as often as its weight says."""
    images, annotations, repeated = [], [], []
    for image, weight in zip(sorted(coco.imgs), weights, strict=True):
        for _ in range(weight):
            images.append({"id": 1000 + len(images)})
            same = {"image_id": images[-1]["id"]}
            for entry in coco.imgToAnns[image]:
                annotations.append({**entry, **same, "id": len(annotations) + 1})
            repeated += [{**entry, **same} for entry in results if entry["image_id"] == image]
    copy = COCO()
    copy.dataset = {"images": images, "annotations": annotations, "categories": coco.dataset["categories"]}
    with contextlib.redirect_stdout(io.StringIO()):
        copy.createIndex()
        direct = COCOeval(copy, copy.loadRes(repeated), "bbox")
        direct.params.catIds = list(CATEGORY_IDS)
        direct.evaluate()
        direct.accumulate()
        direct.summarize()
    return float(direct.stats[0])


@both_backends
@pytest.mark.parametrize("seed", [0, 1])
def test_a_draw_equals_a_file_with_repeated_images(backend: str, seed: int) -> None:
    coco, found = random_run(seed)
    measured = evaluator(coco, found, backend)
    weights = np.random.default_rng(seed).multinomial(len(coco.imgs), [1 / len(coco.imgs)] * len(coco.imgs), size=8)
    assert weights.max() > 1
    drawn = average_precisions(measured.evaluate_with_matches()[1], weights)
    direct = [repeated_ap(coco, measured.results, row) for row in weights.tolist()]
    assert drawn == pytest.approx(direct, abs=1e-12)
    assert drawn.std() > 0.01


@both_backends
@pytest.mark.parametrize("seed", range(6))
def test_each_image_once_is_the_plain_ap(backend: str, seed: int) -> None:
    """On the data with crowds, ties, more than 100 boxes, sparse ids and images without detections."""
    coco, found = hard_run(seed)
    metrics, matches = evaluator(coco, found, backend).evaluate_with_matches()
    once = np.ones((1, len(coco.imgs)), np.int64)
    assert average_precisions(matches, once) == pytest.approx([metrics.ap], abs=1e-12)


@pytest.mark.parametrize("most", [7, 100, 300])
@pytest.mark.parametrize("seed", range(4))
def test_matches_equal_those_of_cocoeval(seed: int, most: int) -> None:
    """On the same data, with areas that COCO does not count."""
    coco, found = hard_run(seed)
    for entry in [*coco.anns.values()][::9]:
        entry["area"] *= -1
    one = evaluator(coco, found)
    matches = match_detections(coco, CATEGORY_IDS, one.rows, COCO_IOUS, most=most)
    with contextlib.redirect_stdout(io.StringIO()):
        direct = COCOeval(coco, coco.loadRes(one.results), "bbox")
        direct.params.catIds, direct.params.maxDets = list(CATEGORY_IDS), [most]
        direct.params.areaRng, direct.params.areaRngLbl = [[0, 1e10]], ["all"]
        direct.evaluate()
    ignored = 0
    for category, result in zip(CATEGORY_IDS, matches, strict=True):
        for place, image in enumerate(sorted(coco.imgs)):
            entries = [
                one for one in direct.evalImgs if one and (one["category_id"], one["image_id"]) == (category, image)
            ]
            here = result.images == place
            if not entries:
                assert not here.any()
                assert not result.objects[place]
                continue
            (entry,) = entries
            assert result.scores[here].tolist() == entry["dtScores"]
            np.testing.assert_array_equal(result.ignored[:, here], entry["dtIgnore"])
            np.testing.assert_array_equal(result.found[:, here], (entry["dtMatches"] > 0) & ~entry["dtIgnore"])
            assert result.objects[place] == np.count_nonzero(np.array(entry["gtIgnore"]) == 0)
        ignored += result.ignored.sum()
        assert 0 < result.found.sum() < result.found.size
        assert (np.diff(result.scores) <= 0).all()
    assert ignored


def test_of_equal_overlaps_the_last_object_is_taken() -> None:
    """As by COCOeval: the surer box is as near to both objects, the other one only to the one that is then taken."""
    coco = index({1: [(0, 0, 12, 10, 4, 0), (4, 0, 12, 10, 4, 0)]})
    found = detections([(2, 0, 14, 10, 0.9, 0), (5, 0, 17, 10, 0.8, 0)])
    assert matches_of(coco, {1: found})[0].found[0].tolist() == [True, False]


def test_a_class_that_is_not_drawn_is_left_out_of_the_mean() -> None:
    coco = index({1: [(0, 0, 9, 9, 4, 0)], 2: [(0, 0, 9, 9, 90, 0)], 3: []})
    found = {1: detections([(0, 0, 9, 9, 0.9, 0)]), 2: detections([])}
    matches = matches_of(coco, found)
    drawn = average_precisions(matches, np.array([[3, 0, 0], [0, 2, 1], [1, 1, 1], [0, 0, 3]]))
    np.testing.assert_allclose(drawn, [1, 0, 0.5, np.nan])


def test_interval_holds_the_middle_95_percent_and_is_the_same_again() -> None:
    coco, found = random_run(0)
    metrics, matches = evaluator(coco, found).evaluate_with_matches()
    result = interval(matches)
    assert result is not None
    assert result == interval(matches)
    assert result != interval(matches, seed=1)
    assert result.resamples == 1000
    assert result.low < metrics.ap < result.high
    weights = draw(matches, seed=0)
    assert weights is not None
    values = average_precisions(matches, weights)
    inside = [result.low <= ap - values.mean() + metrics.ap <= result.high for ap in values]
    assert 0.945 <= np.mean(inside) <= 0.955


def test_intervals_of_samples_cover_the_mean_of_samples() -> None:
    """60 samples of 30 images of a world of 240: most of their intervals hold the mean AP of such samples."""
    worlds = [random_run(seed) for seed in range(20)]
    boxes: dict[int, list[tuple[float, ...]]] = {}
    found = {}
    for world, (coco, detected) in enumerate(worlds):
        for image, one in detected.items():
            found[world * 12 + image] = one
            boxes[world * 12 + image] = [
                (*entry["bbox"], entry["category_id"], entry["iscrowd"]) for entry in coco.imgToAnns[image]
            ]
    matches = matches_of(index(boxes), found)
    rng = np.random.default_rng(0)
    samples = [rng.choice(240, 30, replace=False) for _ in range(60)]
    counts = np.stack([np.bincount(sample, minlength=240) for sample in samples])
    mean = average_precisions(matches, counts).mean()
    intervals = [interval([part_of(one, sample) for one in matches]) for sample in samples]
    assert np.mean([one is not None and one.low <= mean <= one.high for one in intervals]) >= 0.85


def part_of(matches: ClassMatches, images: np.ndarray) -> ClassMatches:
    """The matches of some images alone."""
    kept = np.isin(matches.images, images)
    places = np.full(len(matches.objects), -1)
    places[images] = np.arange(len(images))
    return ClassMatches(
        places[matches.images[kept]],
        matches.scores[kept],
        matches.found[:, kept],
        matches.ignored[:, kept],
        matches.objects[images],
    )


def test_draws_take_as_many_images_as_there_are() -> None:
    matches = matches_of(*random_run(0))
    weights = draw(matches, seed=0)
    assert weights is not None
    assert weights.shape == (1000, 12)
    assert (weights.sum(1) == 12).all()
    assert weights.mean(0) == pytest.approx(np.ones(12), abs=0.15)


def test_few_images_with_objects_have_no_interval() -> None:
    box = (0, 0, 9, 9, 4, 0)
    assert interval(matches_of(index({1: [box]}), {1: perfect([box])})) is None
    assert interval(matches_of(index({1: [], 2: []}), {})) is None
    four = {image: [box] for image in range(1, 5)}
    found = {image: perfect([box]) for image in four}
    assert interval(matches_of(index(four | {9: [], 10: []}), found)) is None
    assert interval(matches_of(index(four | {9: [box]}), found)) is not None


def test_a_class_of_one_image_does_not_decide() -> None:
    """Two runs that differ in one box, of a class that a third of the draws miss."""
    common, rare = (0, 0, 9, 9, 4, 0), (20, 20, 9, 9, 90, 0)
    coco = index({image: [common] for image in range(1, 13)} | {13: [common, rare]})
    hits = {image: perfect([common]) for image in range(1, 14)}
    first, second = matches_of(coco, hits), matches_of(coco, hits | {13: perfect([common, rare])})
    result = paired_interval(first, second)
    assert result is not None
    assert (result.low, result.high, result.sign) == (0.0, 0.5, 0)


def test_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    matches = matches_of(*random_run(0))
    monkeypatch.setattr(bootstrap, "WORK", 200_000)
    shorter = interval(matches)
    assert shorter is not None
    assert 100 < shorter.resamples < 1000
    monkeypatch.setattr(bootstrap, "WORK", 1)
    assert interval(matches).resamples == 100  # type: ignore[union-attr]


def test_memory_is_bounded_without_a_trace_in_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    matches = matches_of(*random_run(0))
    whole = interval(matches)
    monkeypatch.setattr(bootstrap, "CHUNK", 1000)
    assert interval(matches) == whole


def test_paired_difference_equals_a_direct_calculation() -> None:
    """Each drawn file is really written twice, evaluated by pycocotools for both runs, and the APs subtracted."""
    coco, found = random_run(0)
    shifted = {image: Detections(one.boxes + 1, one.scores, one.labels) for image, one in found.items()}
    first, second = evaluator(coco, found), evaluator(coco, shifted)
    (_, a), (_, b) = first.evaluate_with_matches(), second.evaluate_with_matches()
    weights = draw([*a, *b], seed=3)
    assert weights is not None
    few = weights[:6]
    differences = average_precisions(b, few) - average_precisions(a, few)
    direct = [repeated_ap(coco, second.results, row) - repeated_ap(coco, first.results, row) for row in few.tolist()]
    assert differences == pytest.approx(direct, abs=1e-12)
    result = paired_interval(a, b, seed=3)
    assert result is not None
    everything = average_precisions(b, weights) - average_precisions(a, weights)
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(everything, [0.025, 0.975])))


def test_a_run_and_itself_cannot_be_told_apart() -> None:
    matches = matches_of(*random_run(0))
    result = paired_interval(matches, matches)
    assert result == Interval(0.0, 0.0, 1000)
    assert result.sign == 0


@pytest.mark.parametrize(("low", "high", "sign"), [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.2, 0)])
def test_sign_of_an_interval(low: float, high: float, sign: int) -> None:
    assert Interval(low, high, 10).sign == sign
