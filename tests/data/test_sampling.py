"""The order of an epoch and repeat factors: computed by hand, unbiased, pure functions of seed and epoch."""

import json
import pickle
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

import rtmdet.data.samples as pipelines
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import TrainingLoader
from rtmdet.data.order import EpochOrder, repeat_factors
from rtmdet.data.samples import TrainingSamples

COMMON, RARE, UNWANTED = 3, 7, 8  # category ids


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    """Ten images with the common class; of the rare one the first has two, the others a crowd or a line at most."""
    images = [{"id": 20 + i, "file_name": f"{i}.png", "width": 40, "height": 40} for i in range(10)]
    for image in images:
        cv2.imwrite(str(tmp_path / image["file_name"]), np.zeros((40, 40, 3), np.uint8))
    entries = [(20 + i, COMMON, 0) for i in range(10)]
    entries += [(20, RARE, 0), (20, RARE, 0), (21, RARE, 1), (22, UNWANTED, 0)]
    shape = {"bbox": [5, 5, 20, 20], "area": 400}
    annotations = [
        {"id": 1 + i, "image_id": image, "category_id": category, "iscrowd": crowd, **shape}
        for i, (image, category, crowd) in enumerate(entries)
    ]
    narrow = {"bbox": [5, 5, 0.5, 20], "area": 10}  # no box to learn from
    annotations.append({"id": 99, "image_id": 23, "category_id": RARE, "iscrowd": 0, **narrow})
    categories = [{"id": COMMON, "name": "common"}, {"id": RARE, "name": "rare"}, {"id": UNWANTED, "name": "other"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return CocoDataset(tmp_path / "annotations.json", tmp_path, classes=["common", "rare"], training=True)


def samples(dataset: CocoDataset, threshold: float) -> TrainingSamples:
    return TrainingSamples(dataset, input_size=(32, 32), seed=1, stage2_start=1, repeat_threshold=threshold)


def epoch_of(order: EpochOrder, epoch: int) -> list[int]:
    return [order.index(epoch * len(order) + position) for position in range(len(order))]


def test_classes_of_images_are_those_of_usable_boxes(dataset: CocoDataset) -> None:
    assert dataset.image_classes == [{0, 1}, *[{0}] * 9]


def test_factors_by_hand() -> None:
    """Fractions: a 1, b 1/2, c 1/4; with threshold 0.64, sqrt(0.64 / fraction) is 0.8, 1.131 and 1.6."""
    classes = [["a", "b", "b"], ["a", "b", "c"], ["a"], ["a"]]
    index = {"a": 0, "b": 1, "c": 2}
    labels = [[index[name] for name in image] for image in classes]
    np.testing.assert_allclose(repeat_factors(labels, 0.64), [1.28**0.5, 1.6, 1, 1])
    np.testing.assert_array_equal(repeat_factors(labels, 0.2), [1, 1, 1, 1])
    np.testing.assert_allclose(repeat_factors([[], [0], [], []], 1), [1, 2, 1, 1])  # images without objects


@pytest.mark.parametrize("count", [1, 7, 100])
def test_without_factors_an_epoch_is_the_permutation_of_seed_and_epoch(count: int) -> None:
    for seed, epoch in [(0, 0), (0, 5), (9, 1)]:
        expected = np.random.default_rng([seed, epoch]).permutation(count)
        np.testing.assert_array_equal(epoch_of(EpochOrder(count, seed), epoch), expected)


def test_each_image_is_shown_by_its_factor_rounded_and_exactly_on_average() -> None:
    factors = np.array([1.0, 2.7, 1.0, 1.45, 3.2, 1.0, 1.3])
    order = EpochOrder(len(factors), seed=0, factors=factors)
    assert len(order) == 11  # of 11.65
    share = factors * 11 / factors.sum()
    epochs = 2000
    counts = np.array([np.bincount(epoch_of(order, epoch), minlength=len(factors)) for epoch in range(epochs)])
    assert (counts >= np.floor(share)).all()
    assert (counts <= np.ceil(share)).all()
    np.testing.assert_allclose(counts.mean(0), share, atol=4 * 0.5 / epochs**0.5)


def test_order_with_factors_is_mixed_and_a_pure_function_of_seed_and_epoch() -> None:
    factors = np.linspace(1, 3, 50)
    order, other = (EpochOrder(50, seed, factors) for seed in (4, 5))
    epochs = [epoch_of(order, epoch) for epoch in range(8)]  # more epochs than the order caches
    again = pickle.loads(pickle.dumps(EpochOrder(50, 4, factors)))  # as it reaches a loader process
    for epoch in (6, 0, 3):
        assert epoch_of(again, epoch) == epoch_of(order, epoch) == epochs[epoch]
    assert len({tuple(images) for images in [*epochs, epoch_of(other, 0)]}) == 9
    assert all(np.corrcoef(images, range(len(order)))[0, 1] < 0.5 for images in epochs)  # not in the data set's order


@pytest.mark.parametrize("start", [0.0, np.nextafter(1, 0)])
def test_extreme_starts_of_the_systematic_sample(monkeypatch: pytest.MonkeyPatch, start: float) -> None:
    """No index lies outside the data set."""

    class Fixed:
        def random(self) -> float:
            return start

        def permutation(self, images: np.ndarray) -> np.ndarray:
            return images

    monkeypatch.setattr(np.random, "default_rng", lambda _: Fixed())
    for factors in ([1.0] * 12, [1.1] * 30, [1.0, 1.9, 1.4]):
        order = EpochOrder(len(factors), 0, np.array(factors))
        counts = Counter(epoch_of(order, 0))
        assert set(counts) <= set(range(len(factors)))
        assert sum(counts.values()) == int(sum(factors) + 1e-9)
    if start == 0:  # the steps hit every edge
        assert epoch_of(EpochOrder(12, 0, np.ones(12)), 0) == list(range(12))


def test_samples_come_as_often_as_their_factors(dataset: CocoDataset) -> None:
    plain, repeated = samples(dataset, 0.0), samples(dataset, 0.9)
    assert len(plain) == 10
    assert len(repeated) == len(TrainingLoader(repeated, batch_size=1, workers=0)) == 12  # 9 + sqrt(0.9 / 0.1)
    for epoch in range(1, 6):
        shown = Counter(repeated[epoch, position].meta.image_id for position in range(12))
        assert shown[20] == 3
        assert sorted(shown) == list(dataset.image_ids)


def test_second_stage_begins_with_its_epoch_also_in_longer_epochs(
    dataset: CocoDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "mosaic", None)  # calling it fails
    repeated = samples(dataset, 0.9)
    repeated[1, 0]
    with pytest.raises(TypeError):
        repeated[0, 11]
