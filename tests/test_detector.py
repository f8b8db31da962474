"""Detector: weights in, boxes of each image's own pixels out, and one line where the weights do not say enough.

Dimension legend: B images.
"""

import copy
import gc
import io
import pickle
import re
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import get_overloads

import numpy as np
import pytest
import torch
from lively import CLASSES, SIZE, assert_close, lively_model
from PIL import Image
from torch import nn

import rtmdet
from rtmdet.core import backend as backend_module
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.letterbox import letterbox
from rtmdet.core.nms import NmsSettings
from rtmdet.core.tiling import Tiling
from rtmdet.deploy.torch_backend import choose_device
from rtmdet.detector import Detector
from rtmdet.evaluation.score_curve import DEFAULT_SCORE
from rtmdet.images.inputs import ImageInput
from rtmdet.images.reading import read_image
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.stream.detecting import DetectSettings, detect_frames
from rtmdet.stream.sources import find_sources
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import load_weights, read_checkpoint


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our checkpoint of the lively model."""
    path = tmp_path_factory.mktemp("weights") / "nano.pth"
    save_checkpoint(
        path, model_state=lively_model().state_dict(), meta=CheckpointMeta(ModelFacts(CLASSES, SIZE, size="nano"))
    )
    return path


@pytest.fixture(scope="module")
def detector(weights: Path) -> Detector:
    return Detector(weights, device="cpu")


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    """Noise of three sizes: of the input's shape, wide, high and odd."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((64, 96), (50, 200), (151, 33))]


def test_the_checkpoint_says_what_it_is(detector: Detector) -> None:
    assert (detector.classes, detector.input_size) == (CLASSES, SIZE)
    assert detector.device == torch.device("cpu")
    assert not detector.model.training
    assert rtmdet.Detector is Detector


def test_form_of_detections(detector: Detector, images: list[np.ndarray]) -> None:
    for image, found in zip(images, detector(images, score=0.2), strict=True):
        height, width = image.shape[:2]
        assert 0 < len(found) <= 100
        assert (found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (
            torch.float32, torch.float32, torch.int64,
        )  # fmt: skip
        assert (found.boxes >= 0).all()
        assert (found.boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
        assert found.scores.min() > 0.2
        assert (found.scores.diff() <= 0).all()
        assert set(found.labels.tolist()) <= {0, 1, 2}
        assert not found.scores.requires_grad


def test_boxes_are_those_of_the_input_in_the_images_own_pixels(detector: Detector) -> None:
    """An image of twice the size has boxes of twice the size."""
    small = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    large = small.repeat(2, axis=0).repeat(2, axis=1)  # (128, 192), which shrinks to `small` exactly
    found, twice = (detector([image], score=0.1)[0] for image in (small, large))
    assert len(found) > 3
    assert_close(Detections(found.boxes * 2, found.scores, found.labels), twice)


def test_together_equals_alone(detector: Detector, images: list[np.ndarray]) -> None:
    for image, together in zip(images, detector(images, score=0.1), strict=True):
        assert len(together) > 0
        assert_close(detector([image], score=0.1)[0], together)


def test_no_images(detector: Detector) -> None:
    assert detector([]) == []


@pytest.fixture
def folder(tmp_path: Path, images: list[np.ndarray]) -> Path:
    """The images as files b0.png, b1.png and b2.png, and others that are none or not for the eye."""
    (tmp_path / "deeper").mkdir()
    for place, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"b{place}.png")
    Image.fromarray(images[0]).save(tmp_path / "deeper" / "c.png")
    (tmp_path / "._b0.png").write_bytes(b"what a system keeps")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_one_in_one_out_and_many_in_many_out(
    detector: Detector, images: list[np.ndarray], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every kind the same boxes, by itself and among others, whatever the size of a batch."""
    expected = detector(images, score=0.1)
    files = [folder / f"b{place}.png" for place in range(3)]
    tensor = torch.from_numpy(images[2]).permute(2, 0, 1)
    mixed = [str(files[0]), Image.fromarray(images[1]), tensor]
    for many in (files, folder, str(folder), mixed, tuple(mixed), (image for image in mixed)):
        for found, other in zip(detector(many, score=0.1, batch_size=2), expected, strict=True):
            assert len(found) > 0
            assert_close(found, other)
    for one, other in zip(mixed, expected, strict=True):
        assert_close(detector(one, score=0.1), other)
    monkeypatch.setenv("HOME", str(folder))
    assert_close(detector("~/b0.png", score=0.1), expected[0])


def test_a_folder(detector: Detector, images: list[np.ndarray], folder: Path) -> None:
    """By a call and by name; types know the second one."""
    expected = detector([folder / f"b{place}.png" for place in range(3)], score=0.1, max_detections=1)
    called = detector(folder, score=0.1, max_detections=1)
    for found in (called, detector.folder(str(folder), score=0.1, max_detections=1, batch_size=2)):
        assert [one.path for one in found] == [one.path for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    for path, what in (("b0.png", "a file"), ("gone", "nothing there")):
        with pytest.raises(InputError, match=f"{path}: expected a folder with images, found {what}"):
            detector.folder(folder / path)


def test_types_of_a_call() -> None:
    """One image is typed as Detections, also by its path; several as a list."""
    found = {hint["images"]: hint["return"] for hint in (o.__annotations__ for o in get_overloads(Detector.__call__))}
    assert found == {ImageInput: Detections, Iterable[ImageInput]: list[Detections]}


def test_where_detections_come_from(detector: Detector, images: list[np.ndarray], folder: Path) -> None:
    found = detector.folder(folder, score=0.1)
    assert [one.path for one in found] == [folder / f"b{place}.png" for place in range(3)]
    assert [one.image_size for one in found] == [image.shape[:2] for image in images]
    assert {one.classes for one in found} == {CLASSES}
    in_memory = detector(images, score=0.1)
    for one, same, image in zip(found, in_memory, images, strict=True):
        np.testing.assert_array_equal(one.draw(), same.draw())
        assert (one.draw() != image).any()
        assert same.path is None
    again = pickle.loads(pickle.dumps(found[0]))
    np.testing.assert_array_equal(again.draw(), found[0].draw())
    in_memory[0].boxes.add_(1)  # as of any tensor; those of inference mode would refuse


def test_the_working_directory_may_change(
    detector: Detector, folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another photo of the same name is there, too."""
    monkeypatch.chdir(folder)
    found = detector("b0.png", score=0.1)
    expected = found.draw()
    other = tmp_path_factory.mktemp("other")
    (other / "b0.png").write_bytes((folder / "b1.png").read_bytes())
    monkeypatch.chdir(other)
    np.testing.assert_array_equal(found.draw(), expected)
    assert found.path == Path("b0.png")
    with pytest.raises(InputError, match="the picture would replace the photo itself"):
        found.save(folder / "b0.png")


@pytest.mark.parametrize("name", ["classes", "named", "category_ids", "score_thresholds", "config"])
def test_what_the_weights_say_cannot_be_set(detector: Detector, name: str) -> None:
    """It would be lost with the next input size, and when the detector is saved."""
    with pytest.raises(AttributeError):
        setattr(detector, name, ())


@pytest.mark.parametrize("size", [100, (0, 0), "320", (320,), (64, 64, 64)])
def test_an_input_size_that_cannot_be_used(detector: Detector, size: object) -> None:
    before = detector.input_size
    with pytest.raises(InputError, match=r"^input.size"):
        detector.input_size = size
    assert detector.input_size == before


def test_another_network_is_named(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(3), "fc.weight": torch.zeros(3)}, tmp_path / "resnet.pth")
    with pytest.raises(InputError, match=r"an RTMDet, .* found another network \(conv1\.weight, fc\.weight\)"):
        Detector(tmp_path / "resnet.pth", size="nano")


def test_an_input_size_may_be_set(detector: Detector, images: list[np.ndarray]) -> None:
    before = detector.input_size
    detector.input_size = 96
    assert detector.input_size == detector.facts.input_size == (96, 96)
    assert detector.preprocess(images[:1])[0].shape[2:] == (96, 96)
    detector.input_size = before


def test_bgr(detector: Detector, images: list[np.ndarray]) -> None:
    bgr = [image[..., ::-1] for image in images]
    for found, other in zip(detector(bgr, score=0.1, color="bgr"), detector(images, score=0.1), strict=True):
        assert_close(found, other)
        np.testing.assert_array_equal(found.draw(), other.draw())


def test_images_are_opened_a_batch_at_a_time(detector: Detector, images: list[np.ndarray]) -> None:
    """The next ones are asked for after the boxes of the former: so many are in memory, however many there are."""
    events: list[str] = []
    detect = detector._detect

    def stream() -> Iterator[np.ndarray]:
        for image in images * 2:
            events.append("image")
            yield image

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            detector, "_detect", lambda *words, **named: (events.append("boxes"), detect(*words, **named))[1]
        )
        assert len(detector(stream(), batch_size=4)) == 6
    assert events == ["image"] * 4 + ["boxes"] + ["image"] * 2 + ["boxes"]


def test_nothing_of_a_call_stays(detector: Detector) -> None:
    """Neither the picture nor its detections, once the caller lets go of them."""
    image = np.zeros((40, 40, 3), np.uint8)
    found = detector(image, score=0.0)
    references = [weakref.ref(image), weakref.ref(found.boxes)]
    del image, found
    gc.collect()
    assert [reference() for reference in references] == [None, None]


@pytest.mark.parametrize("training", [(), ("",), ("backbone", "neck.out_convs.1")])
def test_threads_share_a_detector(training: Sequence[str]) -> None:
    """Whatever part of its network is in training mode; that stays so, and no statistics move."""
    model = lively_model()
    detector = copy.deepcopy(Detector.from_model(model, ModelFacts(CLASSES, SIZE), "cpu"))
    for name in training:
        detector.model.get_submodule(name).train()
    modes = [module.training for module in detector.model.modules()]
    before = copy.deepcopy(detector.model.state_dict())
    rng = np.random.default_rng(2)
    many = [rng.integers(0, 256, (40, 60, 3), np.uint8) for _ in range(40)]
    expected = [Detector.from_model(model, detector.facts, "cpu")(image, score=0.1) for image in many]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: detector(image, score=0.1), many))
    for one, other in zip(found, expected, strict=True):
        assert len(one) > 0
        assert_close(one, other)
    assert [module.training for module in detector.model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.model.state_dict().items())


def test_a_detector_leaves_its_model_in_training_mode() -> None:
    model = lively_model().train()
    Detector.from_model(model, ModelFacts(CLASSES, SIZE), "cpu")(np.zeros((40, 40, 3), np.uint8))
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("score 'high': expected \"auto\", a number 0 .. 1 or one per class", {"score": "high"}),
        ("score None: expected 0 .. 1", {"score": None}),
        ("score {'a': 0.5}: expected \"auto\", a number 0 .. 1 or one per class", {"score": {"a": 0.5}}),
        ("score 1.5: expected 0 .. 1", {"score": 1.5}),
        ("score [0.1, nan, 0.1]: expected 0 .. 1", {"score": [0.1, float("nan"), 0.1]}),
        ("iou_threshold -1: expected 0 .. 1", {"iou_threshold": -1}),
        ("max_detections: expected at least 1, found 0", {"max_detections": 0}),
        ("batch_size: expected a whole number, found 2.5", {"batch_size": 2.5}),
        ("color 'gbr': expected rgb or bgr", {"color": "gbr"}),
        (f"classes: expected some of {', '.join(CLASSES)}, found 0", {"classes": 0}),
        (f"classes: expected some of {', '.join(CLASSES)}, found [0]", {"classes": [0]}),
    ],
)
def test_options_are_checked(
    detector: Detector, images: list[np.ndarray], words: str, options: dict[str, object]
) -> None:
    with pytest.raises(InputError) as caught:
        detector(images, **options)  # type: ignore[arg-type]
    assert str(caught.value) == words


def test_the_image_that_cannot_be_used_is_named(
    detector: Detector, images: list[np.ndarray], folder: Path, tmp_path: Path
) -> None:
    for given, name in (
        (images[0] / 255, "image"),
        ([*images, None], "images[3]"),
        (images[0].tolist(), "images[0]"),
        (b"bytes", "image"),
        (b"", "image"),
        ([images[0], io.BytesIO(b"-")], "images[1]"),
        (io.StringIO("text"), "image"),
        (5, "image"),
        (folder / "none.png", folder / "none.png"),
        ([images[0], str(folder / "deeper")], folder / "deeper"),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(str(name))}: ") as caught:
            detector(given)  # type: ignore[call-overload]
        assert "\n" not in str(caught.value)
    (folder / "deeper" / "c.png").unlink()
    with pytest.raises(InputError, match="deeper: expected a folder with images, found none in it"):
        detector(folder / "deeper")


@pytest.mark.parametrize("open_content", [bytes, bytearray, memoryview, io.BytesIO])
def test_the_content_of_a_file_is_an_image(
    detector: Detector, folder: Path, open_content: Callable[[bytes], object]
) -> None:
    path = folder / "b0.png"
    expected = detector(path, score=0.05)
    assert len(expected)
    given = open_content(path.read_bytes())
    found = detector(given, score=0.05)  # type: ignore[call-overload]
    assert_close(found, expected)
    assert found.path is None
    np.testing.assert_array_equal(found.draw(), expected.draw())
    with path.open("rb") as file:
        assert_close(detector([file], score=0.05)[0], expected)
        with pytest.raises(InputError, match=r"image: the open file has nothing to read.*: seek\(0\) first"):
            detector(file)
    with tempfile.NamedTemporaryFile() as file:
        file.write(path.read_bytes())
        file.seek(0)
        assert_close(detector(file, score=0.05), expected)
    assert rtmdet.draw_feature_maps(detector, path.read_bytes(), layers="neck").keys() == {"neck"}


def test_pickle_leaves_the_picture_in_memory_out(detector: Detector, folder: Path) -> None:
    found = detector(read_image(folder / "b0.png"), score=0.05)
    np.testing.assert_array_equal(deepcopy(found).draw(), found.draw())
    for other in (pickle.loads(pickle.dumps(found)), found.without_picture()):
        assert_close(other, found)
        with pytest.raises(InputError, match=r"store no image to draw on .*: give it, draw\(image\)"):
            other.draw()


def test_images_are_not_changed(detector: Detector, images: list[np.ndarray]) -> None:
    before = [image.copy() for image in images]
    detector(images)
    for image, old in zip(images, before, strict=True):
        np.testing.assert_array_equal(image, old)


def test_a_detector_has_its_own_rule_for_overlaps(detector: Detector, images: list[np.ndarray]) -> None:
    (plain,), (fewer,) = (detector.with_nms(NmsSettings(iou))(images[:1], score=0.05) for iou in (0.65, 0.1))
    assert_close(detector(images[:1], score=0.05)[0], plain)
    assert len(fewer) < len(plain)
    voting = detector.with_nms(NmsSettings(0.65, box_voting=True))
    (moved,) = voting(images[:1], score=0.05)
    assert torch.equal(moved.scores, plain.scores)
    assert (moved.boxes - plain.boxes).abs().max() > 0.1
    (as_strict,) = voting(images[:1], score=0.05, iou_threshold=0.1)  # still votes
    assert len(as_strict) < len(plain)
    assert (as_strict.boxes[0] - fewer.boxes[0]).abs().max() > 0.1


def test_windows(weights: Path, detector: Detector, images: list[np.ndarray], tmp_path: Path) -> None:
    facts = ModelFacts(CLASSES, SIZE, size="nano", tiling=Tiling(64))
    save_checkpoint(tmp_path / "tiled.pth", model_state=lively_model().state_dict(), meta=CheckpointMeta(facts))
    tiled = Detector(tmp_path / "tiled.pth", device="cpu")
    assert_close(tiled(images[1], score=0.2, tile=0), detector(images[1], score=0.2))
    for image, found in zip(images, tiled(images, score=0.2), strict=True):
        assert_close(found, detector(image, score=0.2, tile=64))
        assert isinstance(found.boxes, torch.Tensor)
        assert (found.classes, found.image_size) == (CLASSES, image.shape[:2])
    whole, windows = detector(images[1], score=0.2), tiled(images[1], score=0.2)
    assert {row.box for row in windows} - {row.box for row in whole}
    assert len(tiled(images[1], score=0.2, max_detections=3)) == 3
    parts = tiled.detect_in_windows(images[1], Tiling(64), tiled.selection([0.2] * 3, 100), 8)
    assert isinstance(parts.labels, np.ndarray), "rtmdet infer looks names up with them, also if there is one"
    for tile, fault in (
        (9, "tiles of 9 pixels: expected at least 32"),
        (6.5, "tile: expected a whole number or None, found 6.5"),
    ):
        with pytest.raises(InputError, match=fault):
            detector(images[1], tile=tile)  # type: ignore[call-overload]


def test_thresholds(detector: Detector, images: list[np.ndarray]) -> None:
    image = images[:1]
    many = detector(image, score=0.05)[0]
    assert_close(detector(image, score=0.5)[0], many.above(0.5))
    assert len(detector(image, score=0.05, max_detections=3)[0]) == 3
    assert len(detector(image, score=0.05, iou_threshold=0.1)[0]) < len(many)
    assert len(detector(image, score=1.0)[0]) == 0


def test_one_threshold_a_class(detector: Detector, images: list[np.ndarray]) -> None:
    thresholds = (0.3, 0.9, 0.1)
    found, many = (detector(images[:1], score=least, max_detections=3000)[0] for least in (thresholds, 0.1))
    assert_close(found, many.above(thresholds))
    for label, threshold in enumerate(thresholds):
        kept = many.scores[(many.labels == label) & (many.scores >= threshold)]
        torch.testing.assert_close(found.scores[found.labels == label], kept)
    assert 0 < len(found) < len(many)
    with pytest.raises(InputError, match="2 score thresholds for 3 classes"):
        detector(images, score=[0.1, 0.2])


def test_the_limit_counts_what_is_above_all_thresholds(detector: Detector, images: list[np.ndarray]) -> None:
    """Boxes of a class that is cut higher take no place from those of the others."""
    thresholds = (1.0, 1.0, 0.05)
    wanted = detector(images[0], score=thresholds, max_detections=3000)
    assert len(wanted) > 3
    assert len(detector(images[0], score=thresholds, max_detections=3)) == 3


def test_only_the_wanted_classes_are_looked_for(detector: Detector, images: list[np.ndarray], folder: Path) -> None:
    everything = detector(images[0], score=0.1, max_detections=3000)
    for classes in ("dog", ["dog"], ["emu", "dog"]):
        wanted = [CLASSES.index(name) for name in ([classes] if isinstance(classes, str) else classes)]
        found = detector(images[0], score=0.1, max_detections=3000, classes=classes)
        assert_close(found, everything[np.isin(everything.labels, wanted)])
    assert {*detector.folder(folder, score=0.1, classes="dog")[0].names} == {"dog"}
    for classes in ("lion", ["dog", "lion"], [], ""):
        with pytest.raises(InputError, match=r"^classes: expected some of cat, dog, emu, found "):
            detector(images[0], classes=classes)


def test_a_second_look_is_that_of_the_command(detector: Detector, images: list[np.ndarray], folder: Path) -> None:
    found = detector(images[0], score=0.3, tta=True)
    settings = DetectSettings(dict.fromkeys(CLASSES, 0.3), augmented=True)
    (result, *_) = detect_frames(detector, find_sources([str(folder / "b0.png")]).sources, settings)
    assert_close(found, result.found.to("cpu"))
    assert len(found) != len(detector(images[0], score=0.3))
    assert isinstance(found.boxes, torch.Tensor)
    with pytest.raises(InputError, match=r"^tta and tile: expected one of them"):
        detector(images[0], tta=True, tile=64)


@pytest.mark.parametrize("tta", [False, True])
def test_candidates_of_other_classes_take_no_place(
    detector: Detector, tta: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As few candidates as for one box, all of them of the class that is sure everywhere."""
    monkeypatch.setattr(backend_module, "CANDIDATES", 1)
    monkeypatch.setattr(backend_module, "LEAST_CANDIDATES", 1)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    everything = detector(image, score=0.0, max_detections=5000, tta=tta)
    rare = int(np.bincount(everything.labels[:300], minlength=3).argmin())
    (best,) = detector(image, score=0.0, classes=CLASSES[rare], max_detections=1, tta=tta)
    assert best.score == pytest.approx(float(everything.scores[everything.labels == rare].max()), abs=1e-6)


def test_the_folder_of_a_run_is_its_last_checkpoint(tmp_path: Path) -> None:
    """Not best.pth, which was chosen on the images that would measure it."""
    with pytest.raises(InputError, match=r"expected the folder of a run, found no last\.pth in it"):
        Detector(tmp_path, device="cpu")
    for name, classes in (("last", CLASSES), ("best", ("a", "b", "c"))):
        meta = CheckpointMeta(ModelFacts(classes, SIZE, size="nano"))
        save_checkpoint(tmp_path / f"{name}.pth", model_state=lively_model().state_dict(), meta=meta)
    found = Detector(tmp_path, device="cpu")
    assert (found.classes, found.path) == (CLASSES, tmp_path / "last.pth")


def test_score_thresholds_come_from_the_checkpoint(
    tmp_path: Path, detector: Detector, images: list[np.ndarray]
) -> None:
    meta = CheckpointMeta(ModelFacts(CLASSES, SIZE, size="nano", score_thresholds=(0.6, 0.7, 0.8)))
    save_checkpoint(tmp_path / "a.pth", model_state=lively_model().state_dict(), meta=meta)
    knowing = Detector(tmp_path / "a.pth", device="cpu")
    assert knowing.score_thresholds == (0.6, 0.7, 0.8)
    assert detector.score_thresholds == ()
    assert knowing.thresholds() == (0.6, 0.7, 0.8)
    assert detector.thresholds() == (DEFAULT_SCORE,) * len(detector.classes)
    for image in images:
        assert_close(knowing(image), detector(image, score=(0.6, 0.7, 0.8)))
        assert_close(detector(image), detector(image, score=DEFAULT_SCORE))
        assert 0 < len(knowing(image, max_detections=1000)) < len(detector(image, max_detections=1000))


def test_preprocessing_is_the_one_letterbox(detector: Detector, images: list[np.ndarray]) -> None:
    batch, places = detector.preprocess(images)
    assert (batch.shape, batch.dtype) == ((3, 3, *SIZE), np.uint8)
    for pixels, place, image in zip(batch, places, images, strict=True):
        canvas, expected = letterbox(image, SIZE)
        np.testing.assert_array_equal(pixels.transpose(1, 2, 0), canvas)
        assert place == expected


def test_folded_equals_unfolded(weights: Path, detector: Detector, images: list[np.ndarray]) -> None:
    whole = Detector(weights, device="cpu", fold=False)
    names = set(whole.model.state_dict())
    assert any("bn.running_mean" in name for name in names)
    assert len(detector.model.state_dict()) < len(names)
    for a, b in zip(*(one(images, score=0.1) for one in (whole, detector)), strict=True):
        assert len(a) > 0
        assert_close(a, b)


TIMM = "timm/tf_efficientnet_lite0"  # normalizes unlike RTMDet


def save(path: Path, model: RTMDet, *, backbone: str, size: str = "nano") -> Path:
    meta = CheckpointMeta(ModelFacts(CLASSES, SIZE, size=size, backbone=backbone))
    save_checkpoint(path, model_state=model.state_dict(), meta=meta)
    return path


def test_a_backbone_of_timm_comes_back_with_its_checkpoint(
    tmp_path: Path, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same model, folded or not, and nothing is fetched for it."""
    monkeypatch.delattr("timm.models._builder.load_pretrained")
    model = lively_model(backbone=TIMM)
    path = save(tmp_path / "a.pth", model, backbone=model.backbone_name)
    expected = Detector.from_model(model, ModelFacts(CLASSES, SIZE), torch.device("cpu"))
    for fold in (False, True):
        again = Detector(path, device="cpu", fold=fold)
        assert again.model.backbone_name == model.backbone_name
        for a, b in zip(*(one(images, score=0.1) for one in (again, expected)), strict=True):
            assert len(a) > 3
            assert_close(a, b)


def test_weights_of_another_backbone_are_refused_whole(weights: Path, tmp_path: Path) -> None:
    """Between CSPNeXt and timm, and between models of timm; the weights that a model began with do not matter."""
    resnet = build_rtmdet("nano", 3, backbone="timm/resnet18")
    before = {name: value.clone() for name, value in resnet.state_dict().items()}
    theirs = save(tmp_path / "timm.pth", build_rtmdet("nano", 3, backbone=TIMM), backbone=TIMM)
    for path, model, name, other in (
        (weights, resnet, "a CSPNeXt", "timm/resnet18"),
        (theirs, resnet, TIMM, "timm/resnet18"),
        (theirs, build_rtmdet("nano", 3), TIMM, "a CSPNeXt"),
    ):
        with pytest.raises(InputError) as caught:
            load_weights(model, read_checkpoint(path))
        assert str(caught.value) == (
            f"{path}: its backbone is {name}, the model's is {other}: give weights of the same backbone, or none"
        )
    assert all(torch.equal(value, before[name]) for name, value in resnet.state_dict().items())
    same = save(tmp_path / "same.pth", resnet, backbone="timm/resnet18.tv_in1k")
    assert load_weights(build_rtmdet("nano", 3, backbone="timm/resnet18"), read_checkpoint(same)).loaded > 100
    wider = save(
        tmp_path / "wider.pth", build_rtmdet("m", 3, backbone="timm/resnet18"), backbone="timm/resnet18", size="m"
    )
    with pytest.raises(InputError, match=r"does not fit the model \(the file's neck and head are of size m\)"):
        load_weights(resnet, read_checkpoint(wider))


def test_what_is_saved_is_opened_again(tmp_path: Path) -> None:
    fresh = Detector.from_model(build_rtmdet("nano", 2), ModelFacts(("a", "b"), (64, 64)), "cpu")
    fresh.save(tmp_path / "new" / "a.pth")
    assert Detector(tmp_path / "new" / "a.pth").classes == ("a", "b")
    for name in ("a.onnx", "new"):
        with pytest.raises(InputError, match=r"expected the name of a file that ends in \.pth"):
            fresh.save(tmp_path / name)
    torch.manual_seed(0)
    other = build_rtmdet("nano", 2, backbone="timm/resnet18")
    facts = ModelFacts(("a", "b"), (64, 64), size="nano", backbone="timm/resnet18")
    Detector.from_model(other, facts, "cpu").save(tmp_path / "t.pth")
    with pytest.raises(InputError, match="the batch norms of this detector are merged: open it with fold=False"):
        Detector(tmp_path / "t.pth").save(tmp_path / "u.pth")


def test_bare_tensors_of_a_backbone_of_timm_fit_by_their_names(tmp_path: Path) -> None:
    model = build_rtmdet("nano", 3, backbone="timm/resnet18")
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    again = build_rtmdet("nano", 3, backbone="timm/resnet18")
    assert load_weights(again, read_checkpoint(tmp_path / "bare.pth")).loaded == len(model.state_dict())
    with pytest.raises(InputError, match=r"does not fit the model: .* missing: backbone\.stem"):
        load_weights(build_rtmdet("nano", 3), read_checkpoint(tmp_path / "bare.pth"))


def test_what_the_user_says_goes_before_the_checkpoint(weights: Path) -> None:
    given = Detector(weights, classes=["x", "y", "z"], input_size=(32, 64), device="cpu")
    assert (given.classes, given.input_size) == (("x", "y", "z"), (32, 64))


@pytest.mark.parametrize("size", [64, (64, 64), [64, 64], np.array([64, 64]), np.int64(64)])
def test_an_input_size_may_be_the_side_of_a_square(weights: Path, size: object) -> None:
    found = Detector(weights, input_size=size, device="cpu").input_size  # type: ignore[arg-type]
    assert found == (64, 64)
    assert list(map(type, found)) == [int, int]


def test_bare_tensors_have_numbered_classes_and_the_default_input(tmp_path: Path) -> None:
    torch.save(lively_model(2).state_dict(), tmp_path / "bare.pth")
    bare = Detector(tmp_path / "bare.pth", device="cpu")
    assert (bare.classes, bare.input_size) == (("class 0", "class 1"), (640, 640))


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        Detector(path, device="cpu", **options)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_names_what_does_not_fit(weights: Path, tmp_path: Path) -> None:
    assert "the detector has 3 classes, found 2 names (a, b)" in refusal(weights, classes=["a", "b"])
    for side in (0, -32, 65):
        assert "multiple of 32" in refusal(weights, input_size=(64, side))
    said = refusal(weights, size="tiny")
    assert said == (
        f"{weights}: the file is of size nano, the model of size tiny: set model.size=nano (in "
        "commands without a configuration leave size out)"
    )
    assert "model size 'huge' does not exist" in refusal(weights, size="huge")
    assert str(tmp_path / "none.pth") in refusal(tmp_path / "none.pth")


def test_names_what_the_weights_do_not_say(tmp_path: Path) -> None:
    backbone = {name: value for name, value in lively_model().state_dict().items() if name.startswith("backbone.")}
    torch.save(backbone, tmp_path / "backbone.pth")
    assert "it is a backbone to start training from, not a detector" in refusal(tmp_path / "backbone.pth")
    torch.save({**backbone, "backbone.more": torch.zeros(1)}, tmp_path / "odd.pth")
    assert "other tensors than those of the published sizes, nano, " in refusal(tmp_path / "odd.pth")
    parts = {name: value for name, value in lively_model().state_dict().items() if not name.startswith("backbone.")}
    torch.save(parts, tmp_path / "other.pth")
    assert "stores no model size: give it with size" in refusal(tmp_path / "other.pth")


def test_a_device_is_text_or_of_torch(weights: Path) -> None:
    assert Detector(weights, device=torch.device("cpu")).device == torch.device("cpu")
    with pytest.raises(InputError, match=r"^device: expected text or a torch.device, found 0$"):
        Detector(weights, device=0)  # type: ignore[arg-type]


def test_choice_of_a_device() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for name in ("gpu", "cuda:99", ""):
        with pytest.raises(InputError, match="try cpu") as caught:
            choose_device(name)
        assert repr(name) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("", "'': expected the path of a file or folder"),
        ("https://a.b/c.jpg", "https://a.b/c.jpg: expected the path of an image, found an address"),
        (io.BytesIO(b"-"), "image: expected an image, found a file that cannot be decoded"),
        (io.StringIO("-"), 'image: expected a file of bytes, found one of text: open it with "rb"'),
        (np.array(["a.jpg", "b.jpg"]), r"image: expected pixels, found <U5 in an array: give list\(images\)"),
    ],
)
def test_what_is_no_image_is_named(detector: Detector, image: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        detector(image)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "pair",
    [300, "300,1320", (0,), (1320, 300), (float("nan"), 1), (-5, 10), (0, 70_000), (0.2, 0.9), np.zeros((2, 2))],
)
def test_a_value_range_is_two_rising_values(weights: Path, pair: object) -> None:
    detector = Detector(weights, device="cpu")
    with pytest.raises(InputError, match=r"^value_range: expected two whole numbers, 0 <= low < high <= 65535"):
        detector.value_range = pair  # type: ignore[assignment]
    deep = np.full((64, 96, 3), 900, np.uint16)
    with pytest.raises(InputError, match=r"found uint16: set detector\.value_range = \(low, high\)"):
        detector(deep)
    detector.value_range = np.array([300, 1320])  # type: ignore[assignment]
    assert detector.value_range == detector.facts.value_range == (300, 1320)
    assert detector.with_nms(NmsSettings(0.5)).value_range == (300, 1320)
    assert detector(deep).image_size == (64, 96)


def test_what_could_not_be_opened_again_is_not_saved(tmp_path: Path) -> None:
    """Facts of another run, and networks that no published size describes."""
    path, old = (
        tmp_path / "new.pth",
        ModelFacts(("cat",), SIZE, category_ids=(1,), score_thresholds=(0.5,), size="nano"),
    )
    model = build_rtmdet("nano", 2)
    with pytest.raises(InputError, match=r"^category_ids: expected one per class, 2, found 1: give as many, or none"):
        Detector.from_model(model, replace(old, classes=("a", "b")), "cpu")
    with pytest.raises(InputError, match=r"^score_thresholds: expected one per class, 2, found 1"):
        Detector.from_model(model, replace(old, classes=("a", "b"), category_ids=(1, 2)), "cpu")
    Detector.from_model(build_rtmdet("tiny", 1), old, "cpu").save(path)
    assert Detector(path, device="cpu").facts.size == "tiny", "not that of the facts"
    wider, other = build_rtmdet("nano", 1), build_rtmdet("tiny", 1)
    for network in (
        RTMDet(wider.backbone, other.neck, other.bbox_head),
        RTMDet(nn.Conv2d(3, 8, 1), wider.neck, wider.bbox_head),
    ):
        with pytest.raises(InputError, match=r"^this network is no RTMDet of the published sizes, nano, tiny"):
            Detector.from_model(network, old, "cpu").save(path)
