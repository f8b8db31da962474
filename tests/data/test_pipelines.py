"""Training and evaluation samples: pure functions of their place, boxes stay on their objects, two stages.

Dimension legend: N boxes of one image.
"""

import json
import multiprocessing
import shutil
from collections import Counter
from collections.abc import Callable, Iterable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import rtmdet.data.samples as pipelines
from rtmdet.core.structures import Batch, ImageMeta, Instances, Sample
from rtmdet.data.caches import SharedSamples, slot_size
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import TrainingLoader
from rtmdet.data.samples import EvaluationSamples, TrainingSamples

SIZES = [(64, 64), (50, 90), (120, 70), (200, 200), (33, 47), (96, 128), (75, 75)]  # (H, W)
INPUT = (64, 96)
STILL = {"hsv": (0, 0, 0), "flip_probability": 0.0}


def draw_dataset(
    folder: Path, rectangles: list[list[tuple[int, int, int, int]]], *, keep_empty: bool = False
) -> CocoDataset:
    """Black images with white rectangles (x1, y1, x2, y2), which are the boxes; class 5 is `a`, class 9 is `b`."""
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, (size, boxes) in enumerate(zip(SIZES, rectangles, strict=False), start=1):
        picture = np.zeros((*size, 3), np.uint8)
        for x1, y1, x2, y2 in boxes:
            picture[y1:y2, x1:x2] = 255
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": 9 if number % 2 else 5}
            annotations.append({**entry, "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0, "area": 1})
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": size[1], "height": size[0]})
    categories = [{"id": 5, "name": "a"}, {"id": 9, "name": "b"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(content))
    return CocoDataset(folder / "annotations.json", folder, training=True, keep_empty=keep_empty)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    """Seven images of different sizes, one object in the middle of each."""
    middle = [[(w // 4, h // 3, w // 4 + w // 2, h // 3 + h // 2)] for h, w in SIZES]
    return draw_dataset(tmp_path_factory.mktemp("images"), middle)


def build(dataset: CocoDataset, **options: object) -> TrainingSamples:
    defaults: dict[str, object] = {"input_size": INPUT, "seed": 3, "stage2_start": 3}
    return TrainingSamples(dataset, **(defaults | options))  # type: ignore[arg-type]


def assert_same(a: Sample, b: Sample) -> None:
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.instances.boxes, b.instances.boxes)
    np.testing.assert_array_equal(a.instances.labels, b.instances.labels)
    assert a.meta == b.meta


def all_keys(dataset: CocoDataset, epochs: int) -> list[tuple[int, int]]:
    return [(epoch, position) for epoch in range(epochs) for position in range(len(dataset))]


@pytest.mark.parametrize("options", [{}, {"extra": [("Rotate", {"p": 0.7, "limit": 20})]}], ids=["own", "extra"])
def test_sample_does_not_depend_on_earlier_samples(dataset: CocoDataset, options: dict[str, object]) -> None:
    keys = all_keys(dataset, 4)
    options = {"mosaic_cache": 3, "mixup_cache": 2, **options}  # small caches, so that entries are dropped
    samples = build(dataset, **options)
    in_order = {key: samples[key] for key in keys}
    other = build(dataset, **options)
    for number in np.random.default_rng(0).permutation(len(keys)):
        assert_same(other[keys[number]], in_order[keys[number]])
    for key in [(1, 2), (1, 2), (3, 6), (1, 2)]:
        assert_same(build(dataset, **options)[key], in_order[key])


def test_batches_do_not_depend_on_the_number_of_processes(dataset: CocoDataset) -> None:
    loaders = [TrainingLoader(build(dataset), batch_size=3, workers=workers) for workers in (0, 2)]
    for epoch in (1, 3):
        for loader in loaders:
            loader.set_epoch(epoch)
        for alone, together in zip(*loaders, strict=True):
            np.testing.assert_array_equal(alone.images.numpy(), together.images.numpy())
            assert alone.metas == together.metas
            for a, b in zip(alone.targets, together.targets, strict=True):
                np.testing.assert_array_equal(a.boxes.numpy(), b.boxes.numpy())
                np.testing.assert_array_equal(a.labels.numpy(), b.labels.numpy())


def test_epochs_and_seeds_differ(dataset: CocoDataset) -> None:
    def pictures(samples: TrainingSamples, epoch: int) -> bytes:
        return b"".join(samples[epoch, position].image.tobytes() for position in range(len(dataset)))

    samples, other = build(dataset), build(dataset, seed=4)
    assert len({pictures(samples, 0), pictures(samples, 1), pictures(samples, 3), pictures(other, 1)}) == 4


def test_every_epoch_shows_every_image_once_in_another_order(dataset: CocoDataset) -> None:
    samples = build(dataset, keep_empty=True)  # otherwise a crop without objects shows another image
    orders = [[samples[epoch, p].meta.image_id for p in range(len(dataset))] for epoch in range(5)]
    for order in orders:
        assert sorted(order) == sorted(dataset.image_ids)
    assert len(set(map(tuple, orders))) == 5


def test_second_stage_has_neither_mosaic_nor_mixup(dataset: CocoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def spy(name: str) -> Callable[..., Sample]:
        original = getattr(pipelines, name)

        def counted(*arguments: object, **named: object) -> Sample:
            calls[name] += 1
            return original(*arguments, **named)

        return counted

    for name in ("mosaic", "mixup"):
        monkeypatch.setattr(pipelines, name, spy(name))
    samples = build(dataset, stage2_start=2)
    counts = []
    for epoch in range(4):
        calls.clear()
        for position in range(len(dataset)):
            samples[epoch, position]
        counts.append((calls["mosaic"] > 0, calls["mixup"] > 0))
    assert counts == [(True, True), (True, True), (False, False), (False, False)]


@pytest.mark.parametrize(
    ("options", "unwanted"), [({"use_mosaic": False}, "mosaic"), ({"mixup_probability": 0.0}, "mixup")]
)
def test_each_can_be_switched_off(
    dataset: CocoDataset, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], unwanted: str
) -> None:
    monkeypatch.setattr(pipelines, unwanted, None)  # calling it would fail
    samples = build(dataset, **options)
    for key in all_keys(dataset, 2):
        samples[key]


def test_form_of_a_sample(dataset: CocoDataset) -> None:
    samples = build(dataset)
    for key in all_keys(dataset, 5):
        sample = samples[key]
        assert (sample.image.shape, sample.image.dtype) == ((*INPUT, 3), np.uint8)
        assert (sample.instances.boxes.dtype, sample.instances.labels.dtype) == (np.float32, np.int64)
        assert sample.instances.boxes.shape == (len(sample.instances.labels), 4)
        assert len(sample.instances.labels) > 0
        assert (sample.instances.boxes >= 0).all()
        assert (sample.instances.boxes[:, 2:] <= [INPUT[1], INPUT[0]]).all()
        assert (sample.instances.boxes[:, 2:] > sample.instances.boxes[:, :2]).all()
        assert set(sample.instances.labels.tolist()) <= {0, 1}


def bright_bounds(image: np.ndarray, box: np.ndarray, threshold: int) -> np.ndarray:
    """The xyxy bounds of the bright pixels within 3 pixels of a box."""
    left, top = np.maximum(np.floor(box[:2]).astype(int) - 3, 0)
    right, bottom = np.ceil(box[2:]).astype(int) + 3
    rows, columns = np.nonzero(image[top:bottom, left:right].min(axis=2) > threshold)
    return np.array([columns.min() + left, rows.min() + top, columns.max() + left + 1, rows.max() + top + 1])


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_second_stage_keeps_the_box_on_its_object(dataset: CocoDataset, flip: float) -> None:
    samples = build(dataset, stage2_start=0, hsv=(0, 0, 0), flip_probability=flip)
    for key in all_keys(dataset, 6):
        sample = samples[key]
        assert len(sample.instances.boxes) == 1
        bounds = bright_bounds(sample.image, sample.instances.boxes[0], 200)
        np.testing.assert_allclose(sample.instances.boxes[0], bounds, atol=2, err_msg=str(key))
        assert sample.instances.labels[0] == sample.meta.image_id % 2
        rows, columns = np.nonzero(sample.image.min(axis=2) > 200)  # no bright pixel lies elsewhere
        assert (columns.min() >= bounds[0]) & (columns.max() < bounds[2])
        assert (rows.min() >= bounds[1]) & (rows.max() < bounds[3])


def uncovered(sample: Sample, threshold: int) -> int:
    """Number of bright pixels at least 2 pixels outside every box."""
    bright = sample.image.min(axis=2) > threshold
    for x1, y1, x2, y2 in sample.instances.boxes:
        bright[max(int(y1) - 2, 0) : int(np.ceil(y2)) + 2, max(int(x1) - 2, 0) : int(np.ceil(x2)) + 2] = False
    return int(bright.sum())


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_mosaic_keeps_the_boxes_on_their_objects(dataset: CocoDataset, flip: float) -> None:
    samples = build(dataset, hsv=(0, 0, 0), flip_probability=flip, mixup_probability=0.0)
    several = 0
    for key in all_keys(dataset, 3)[4:]:
        sample = samples[key]
        assert uncovered(sample, 200) == 0
        for x1, y1, x2, y2 in sample.instances.boxes:
            inside = sample.image[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
            assert inside.max() > 120 or min(x2 - x1, y2 - y1) < 2  # a sliver at the border may be blurred away
        several += len(sample.instances.boxes) > 1
    assert several > 5


def test_mixup_keeps_the_boxes_of_both_images(dataset: CocoDataset) -> None:
    mixed = build(dataset, use_mosaic=False, mixup_probability=1.0, mixup_cache=7, **STILL)
    for key in all_keys(dataset, 3)[1:]:
        sample = mixed[key]
        assert len(sample.instances.boxes) == 2
        assert uncovered(sample, 120) == 0  # an object over black: 127, over padding: 184; padding alone: 114


def test_partners_are_images_before_never_the_own(dataset: CocoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of N holds the own image and N - 1 before it; mmdet's draw leaves out its newest entry, the own."""
    seen: list[list[int]] = []

    def spy(name: str) -> None:
        original = getattr(pipelines, name)

        def watched(first: Any, second: Any, *rest: Any, **named: Any) -> object:
            seen.append([sample.meta.image_id for sample in (first if name == "mosaic" else (first, second))])
            return original(first, second, *rest, **named)

        monkeypatch.setattr(pipelines, name, watched)

    spy("mosaic")
    spy("mixup")
    ages = {"mosaic": set[int](), "mixup": set[int]()}
    for kind, use_mosaic in (("mosaic", True), ("mixup", False)):
        samples = build(dataset, mosaic_cache=4, mixup_cache=3, use_mosaic=use_mosaic, keep_empty=True,
                        mixup_probability=0.0 if use_mosaic else 1.0)  # fmt: skip
        order = [dataset.image_ids[samples.order.index(index)] for index in range(2 * len(dataset))]
        for index in range(4, len(order)):  # the cache reaches into the epoch before
            seen.clear()
            samples[divmod(index, len(dataset))]
            (own, *partners) = seen[-1]
            assert own == order[index]
            found = [index - [i for i in range(index + 1) if order[i] == partner][-1] for partner in partners]
            ages[kind].update(found)
    assert ages == {"mosaic": {1, 2, 3}, "mixup": {1, 2}}


def test_crop_without_objects_is_drawn_again_unless_empty_images_are_kept(tmp_path: Path) -> None:
    corners = [[(w - 6, h - 6, w, h)] for h, w in SIZES]
    data = draw_dataset(tmp_path, corners)
    zoomed = {"stage2_start": 0, "resize_range": (2.0, 2.0)}
    found = [len(build(data, **zoomed)[key].instances.labels) for key in all_keys(data, 3)]
    assert min(found) == 1
    with_empty = [len(build(data, keep_empty=True, **zoomed)[key].instances.labels) for key in all_keys(data, 3)]
    assert 0 < sum(with_empty) < len(with_empty)


@pytest.mark.parametrize("stage2_start", [0, 3])
def test_pixels_are_made_once_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage2_start: int) -> None:
    """Crops without objects are rejected before pixels are made."""
    counts: Counter[str] = Counter()

    def spy(name: str) -> Callable[..., object]:
        original = getattr(pipelines, name)

        def counted(*arguments: object) -> object:
            counts[name] += 1
            return original(*arguments)

        return counted

    for name in ("crop", "render"):
        monkeypatch.setattr(pipelines, name, spy(name))
    data = draw_dataset(tmp_path, [[(w - 6, h - 6, w, h)] for h, w in SIZES])
    samples = build(data, stage2_start=stage2_start, resize_range=(2.0, 2.0), mixup_probability=0.0)
    for key in all_keys(data, 3):
        samples[key]
    assert counts["render"] == 3 * len(data) < counts["crop"]


def test_images_without_objects_are_kept_on_request(tmp_path: Path) -> None:
    boxes = [[(4, 4, 60, 60)], [], [(4, 4, 60, 60)]]
    assert draw_dataset(tmp_path, boxes).image_ids == (1, 3)
    data = draw_dataset(tmp_path, boxes, keep_empty=True)
    assert data.image_ids == (1, 2, 3)
    samples = build(data, keep_empty=True, stage2_start=0)
    empty = next(samples[0, p] for p in range(3) if samples[0, p].meta.image_id == 2)
    assert (empty.instances.boxes.shape, empty.instances.boxes.dtype) == ((0, 4), np.float32)
    assert (empty.instances.labels.shape, empty.instances.labels.dtype) == ((0,), np.int64)
    for key in all_keys(data, 3):
        build(data, keep_empty=True)[key]  # mosaic and mixup take empty images, too


def test_extra_transforms_follow_the_box_and_keep_the_size(dataset: CocoDataset) -> None:
    turned = [("Transpose", {"p": 1})]  # a wide image becomes a high one, cropped and padded to the input again
    samples = build(dataset, stage2_start=0, extra=turned, keep_empty=True, **STILL)
    for position in range(len(dataset)):
        sample = samples[0, position]
        assert sample.image.shape == (*INPUT, 3)
        for box in sample.instances.boxes:
            np.testing.assert_allclose(box, bright_bounds(sample.image, box, 200), atol=2)


def test_evaluation_samples_come_in_order_and_map_back(dataset: CocoDataset) -> None:
    samples = EvaluationSamples(dataset, input_size=INPUT)
    assert len(samples) == len(dataset)
    for number in range(len(samples)):
        sample, original = samples[number], dataset.load(number)
        meta = sample.meta
        assert meta.image_id == dataset.image_ids[number]
        assert meta.original_size == original.image.shape[:2]
        assert sample.image.shape == (*INPUT, 3)
        assert meta.letterbox is not None
        scale = meta.letterbox.scale
        np.testing.assert_allclose(sample.instances.boxes / np.array(scale * 2), original.instances.boxes, rtol=1e-5)
        np.testing.assert_allclose(
            sample.instances.boxes[0], bright_bounds(sample.image, sample.instances.boxes[0], 200), atol=2
        )
        height, width = meta.letterbox.content
        assert height == INPUT[0] or width == INPUT[1]
        assert (sample.image[height:] == 114).all()
        assert (sample.image[:, width:] == 114).all()
        assert (sample.image[:height, :width] != 114).any(axis=2).mean() > 0.9
        np.testing.assert_allclose(scale, (width / original.image.shape[1], height / original.image.shape[0]))


class CountingDataset(CocoDataset):
    """Counts how often an image is decoded, in all loader processes together."""

    decoded: "Synchronized[int]"

    def load(self, index: int) -> Sample:
        with self.decoded.get_lock():
            self.decoded.value += 1
        return super().load(index)


def counting(dataset: CocoDataset) -> CountingDataset:
    data = object.__new__(CountingDataset)
    vars(data).update(vars(dataset), decoded=multiprocessing.Value("q", 0))
    return data


def same_batches(first: Iterable[Batch], second: Iterable[Batch]) -> bool:
    pairs = list(zip(first, second, strict=True))
    return all(
        torch.equal(a.images, b.images)
        and a.metas == b.metas
        and all(torch.equal(x.boxes, y.boxes) for x, y in zip(a.targets, b.targets, strict=True))
        and all(torch.equal(x.labels, y.labels) for x, y in zip(a.targets, b.targets, strict=True))
        for a, b in pairs
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> CocoDataset:
    """Ten copies of the seven images."""
    folder = tmp_path_factory.mktemp("many")
    draw_dataset(folder, [[(w // 4, h // 3, w // 2, h // 2)] for h, w in SIZES])
    content = json.loads((folder / "annotations.json").read_text())
    for name in ("images", "annotations"):
        content[name] = [
            entry | {key: entry[key] + 100 * copy for key in ("id", "image_id") if key in entry}
            for copy in range(10)
            for entry in content[name]
        ]
    for image in content["images"]:
        path = folder / image["file_name"]
        image["file_name"] = f"copy_{image['id']}{path.suffix}"
        shutil.copy(path, folder / image["file_name"])
    (folder / "annotations.json").write_text(json.dumps(content))
    return CocoDataset(folder / "annotations.json", folder, training=True)


TILE = 3 * INPUT[0] * INPUT[1]  # bytes


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize(
    ("method", "workers", "memory", "most"),
    [
        ("fork", 2, 100 * TILE, 74),  # all tiles are kept; the first four images are also shown without a mosaic
        ("fork", 2, 60 * TILE, 144),  # the tiles of the last places are kept: one decode per place
        ("fork", 4, 60 * TILE, 144),
        ("fork", 2, 0, 280),  # too few to share them all
        pytest.param("spawn", 2, 60 * TILE, 144, marks=pytest.mark.slow),  # starts two interpreters
    ],
)
def test_loader_processes_share_the_decoded_images(
    many: CocoDataset, monkeypatch: pytest.MonkeyPatch, method: str, workers: int, memory: int, most: int
) -> None:
    """Two epochs of 70 places are those of one process, and decode no more than it does."""
    monkeypatch.setattr(pipelines, "CACHE_MEMORY", memory)
    default = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    try:
        data = counting(many)
        options = {"keep_empty": True, "mosaic_cache": 10, "mixup_cache": 5}  # no crop draws another image
        alone = TrainingLoader(build(many, **options), batch_size=3, workers=0)
        together = TrainingLoader(build(data, **options), batch_size=3, workers=workers)
        for epoch in (0, 1):
            for loader in (alone, together):
                loader.set_epoch(epoch)
            assert same_batches(alone, together)
        assert 70 <= data.decoded.value <= most
    finally:
        multiprocessing.set_start_method(default, force=True)


def test_a_shared_cache_returns_the_sample_of_its_key() -> None:
    """Also where the slot held another one, or is too small for it."""

    def make(key: int) -> Sample:
        made.append(key)
        boxes = np.full((key, 4), key, np.float32)
        truth = Instances(boxes, np.arange(key))
        return Sample(np.full((key + 1, 2, 3), key, np.uint8), truth, ImageMeta(key, f"bild_{key}_ä.png", (key, 7)))

    made: list[int] = []
    cache = SharedSamples(3, slot_size((5, 2), 4, make(4).meta))
    made.clear()
    for key in (0, 1, 4, 1, 1, 4, 5, 5):
        assert_same(cache.get(key, make), make(key))
        made.pop()
    assert made == [0, 1, 4, 1, 4, 5, 5]
    found = cache.get(4, make)
    found.image[:] = 0
    assert_same(cache.get(4, make), make(4))


def test_a_large_shared_cache_has_few_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a file descriptor on macOS, which allows 256; slots that share one hold their own samples."""
    made: list[int] = []
    new_lock, locks = multiprocessing.Lock, []
    monkeypatch.setattr(multiprocessing, "Lock", lambda: locks.append(new_lock()) or locks[-1])

    def make(key: int) -> Sample:
        made.append(key)
        return Sample(
            np.full((1, 2, 3), key, np.uint8),
            Instances(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)),
            ImageMeta(key, "a.png", (1, 2)),
        )

    cache = SharedSamples(200, slot_size((1, 2), 0, ImageMeta(100, "a.png", (1, 2))))
    keys = [*range(200)]
    assert [int(cache.get(key, make).image[0, 0, 0]) for key in (*keys, *keys)] == keys + keys
    assert made == keys
    assert len(locks) < 100
