"""The files of an export: their names say whether they were verified."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lively import CLASSES, SIZE, lively_model
from PIL import Image

import rtmdet
import rtmdet.exporting.verified_export
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.deploy.export import Tracer, write_network
from rtmdet.detector import Detector
from rtmdet.exporting.int8 import _Inputs
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint

NAMES = {"best-openmmlab.pth", "best-openmmlab.py"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "best.pth"
    save_checkpoint(
        path, model_state=lively_model().state_dict(), meta=CheckpointMeta(ModelFacts(CLASSES, SIZE, size="nano"))
    )
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def test_a_verified_file(weights: Path, photos: Path, tmp_path: Path) -> None:
    exports = rtmdet.export(weights, ["openmmlab"], out=tmp_path, images=photos)
    (file,) = exports.files
    assert file.verified
    assert file.agreement.boxes > 3
    assert {path.name for path in tmp_path.iterdir()} == NAMES | {"best.check.json"}
    assert json.loads((tmp_path / "best.check.json").read_text())["files"]["best-openmmlab.pth"]["verified"]


@pytest.mark.parametrize("option", [{"size": "nano"}, {"classes": ["a", "b", "c"]}, {"input_size": 128}])
def test_an_open_detector_has_its_size_classes_and_input(
    weights: Path, photos: Path, tmp_path: Path, option: dict[str, object]
) -> None:
    opened = rtmdet.Detector(weights, fold=False, device="cpu")
    with pytest.raises(rtmdet.InputError, match=f"^{next(iter(option))}: the detector is open already"):
        rtmdet.export(opened, ["safetensors"], out=tmp_path, images=photos, **option)
    with pytest.raises(rtmdet.InputError, match=r"^split: a folder of images has none: give data, too"):
        rtmdet.export(weights, ["safetensors"], out=tmp_path, images=photos, split="val")
    assert not list(tmp_path.glob("best*"))


def write_others(tracer: Tracer, path: Path, format: str, *, half: bool, source: Path | None) -> None:
    torch.manual_seed(1)
    write_network(Tracer(rtmdet.build_rtmdet("nano", 3), tracer.facts), path, format, half=half, source=source)


def test_both_files_of_one_that_differs_are_named_unverified(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtmdet.exporting.verified_export, "write_network", write_others)
    (file,) = rtmdet.export(weights, ["openmmlab"], out=tmp_path, images=photos).files
    assert not file.verified
    assert file.path.name == "best-openmmlab.unverified.pth"
    assert {path.name for path in tmp_path.iterdir()} == {
        "best-openmmlab.unverified.pth", "best-openmmlab.unverified.py", "best.check.json",
    }  # fmt: skip


def test_a_verified_file_stays_until_another_one_is(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = rtmdet.export(weights, ["safetensors"], out=tmp_path, images=photos).files
    content = file.path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(rtmdet.exporting.verified_export, "write_network", write_others)
        (other,) = rtmdet.export(weights, ["safetensors"], out=tmp_path, images=photos).files
    assert (file.verified, other.verified) == (True, False)
    assert file.path.read_bytes() == content
    assert other.path.name == "best.unverified.safetensors"
    known = json.loads((tmp_path / "best.check.json").read_text())["files"]
    assert {name: row["verified"] for name, row in known.items()} == {file.path.name: True, other.path.name: False}
    rtmdet.export(weights, ["safetensors"], out=tmp_path, images=photos)
    assert not other.path.exists()
    assert [*json.loads((tmp_path / "best.check.json").read_text())["files"]] == [file.path.name]


def test_a_format_that_cannot_be_written_leaves_nothing_and_the_one_before_its_result(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(tracer: Tracer, path: Path, format: str, *, half: bool, source: Path | None) -> None:
        if format == "safetensors":
            return write_network(tracer, path, format, half=half, source=source)
        path.write_bytes(b"-")
        path.with_suffix(".py").write_bytes(b"-")
        raise InputError("the disk is full")

    monkeypatch.setattr(rtmdet.exporting.verified_export, "write_network", fill)
    with pytest.raises(InputError, match="the disk is full"):
        rtmdet.export(weights, ["safetensors", "openmmlab"], out=tmp_path, images=photos)
    assert {path.name for path in tmp_path.iterdir()} == {"best.safetensors", "best.check.json"}
    assert json.loads((tmp_path / "best.check.json").read_text())["files"]["best.safetensors"]["verified"]


def test_weights_are_not_replaced(weights: Path, photos: Path, tmp_path: Path) -> None:
    rtmdet.export(weights, ["safetensors"], out=tmp_path, images=photos)
    made = tmp_path / "best.safetensors"
    before = made.read_bytes()
    with pytest.raises(InputError, match=r"best\.safetensors: the exported file would replace the weights: choose"):
        rtmdet.export(made, ["openmmlab", "safetensors"], out=tmp_path, images=photos)
    assert made.read_bytes() == before
    rtmdet.export(made, ["safetensors"], out=tmp_path / "other", images=photos)


def test_files_of_other_weights_are_not_replaced(weights: Path, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "run" / "best.pth"
    other.parent.mkdir()
    other.write_bytes(weights.read_bytes())
    for _ in range(2):  # the same ones are
        rtmdet.export(weights, ["safetensors"], out=tmp_path, images=photos)
    with pytest.raises(InputError, match=rf"best\.safetensors is a file of {weights}, and would be replaced: choose"):
        rtmdet.export(other, ["safetensors"], out=tmp_path, images=photos)
    results = json.loads((tmp_path / "best.check.json").read_text())
    results["files"]["best.safetensors"]["weights"] = "moved/best.pth"
    (tmp_path / "best.check.json").write_text(json.dumps(results))
    rtmdet.export(other, ["safetensors"], out=tmp_path, images=photos)
    rtmdet.export(weights, ["openmmlab"], out=tmp_path, images=photos)  # whose results are the newest ones
    with pytest.raises(InputError, match=rf"best\.safetensors is a file of {other}, and would be replaced: choose"):
        rtmdet.export(weights, ["safetensors"], out=tmp_path, images=photos)


def test_nothing_is_written_before_the_images_are_there(weights: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path / "no.png", tmp_path / "a.mp4"):
        if wrong.suffix == ".mp4":
            wrong.write_bytes(b"-")
        with pytest.raises(InputError, match=wrong.name):
            rtmdet.export(weights, out=tmp_path / "out", images=wrong)
    assert not (tmp_path / "out").exists()


def test_int8_is_calibrated_on_batches_of_the_file(weights: Path, photos: Path) -> None:
    paths = 3 * (next(photos.iterdir()),)
    inputs = _Inputs(Detector(weights, device="cpu"), paths, 2)
    first, second = inputs
    assert (len(inputs), first.shape, second.shape) == (2, (2, 3, *SIZE), (2, 3, *SIZE))
    np.testing.assert_array_equal(second[1], first[0])


def test_options_that_a_format_cannot_have_fail_before_the_work(weights: Path, photos: Path, tmp_path: Path) -> None:
    for options, words in (
        ({"formats": ["onnx", "safetensors"], "nms": True}, "safetensors holds the weights alone"),
        ({"fixed": 0}, "a fixed batch of 0 images"),
        ({"max_drop": 0.1}, "max_drop: it is for files with int8: add int8"),
        ({"calibrate": photos}, "calibrate: it is for files with int8: add int8"),
    ):
        with pytest.raises(InputError, match=words):
            rtmdet.export(weights, images=photos, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["model.onnx", "model.ONNX", "a.b.xml", "last.pth"])
def test_out_is_a_folder(weights: Path, photos: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"^out .*: expected a folder, found the name of a file"):
        rtmdet.export(weights, ["safetensors"], out=tmp_path / name, images=photos)
    assert not list(tmp_path.iterdir())
    (tmp_path / name).mkdir()  # if it is one
    rtmdet.export(weights, ["safetensors"], out=tmp_path / name, images=photos)


def test_the_folder_is_made_before_anything_is_measured(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtmdet.exporting.verified_export, "write_network", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/out: the folder cannot be written \("):
        rtmdet.export(weights, ["safetensors"], out=tmp_path / "file" / "out", images=photos)


def test_a_format_that_is_named_twice_is_written_once(weights: Path, photos: Path, tmp_path: Path) -> None:
    assert len(rtmdet.export(weights, ["safetensors"] * 2, out=tmp_path, images=photos).files) == 1


def test_options_of_nms_need_nms(weights: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="add nms"):
        rtmdet.export(weights, out=tmp_path, images=photos, nms_iou=0.5)
