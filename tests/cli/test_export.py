"""`rtmdet export`: files that are compared with the network, and a name that warns where one differs."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

import rtmdet
from rtmdet.core.facts import ModelFacts
from rtmdet.deploy.export import Tracer
from rtmdet.detector import Detector
from rtmdet.exporting import verified_export as exporting
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import read_checkpoint

Command = Callable[..., CompletedProcess[str]]
EXPORTED = exporting.write_network


@pytest.fixture
def words(checkpoint: Path, dataset: Path, tmp_path: Path) -> list[object]:
    """The command on the validation scenes, into a new folder."""
    return ["export", checkpoint, "--data", dataset / "val" / "annotations.json", "--out", tmp_path / "out"]


def write_other(change: float) -> Callable[..., None]:
    """In place of the export: a network whose class scores are off by a factor."""

    def write(tracer: Tracer, *words: object, **options: object) -> None:
        with torch.no_grad():
            for layer in tracer.model.bbox_head.rtm_cls:
                layer.bias += change
        EXPORTED(tracer, *words, **options)

    return write


def test_safetensors(words: list[object], checkpoint: Path, tmp_path: Path, command: Command) -> None:
    result = command(*words, "--format", "safetensors")
    assert result.returncode == 0, result.stderr
    file = tmp_path / "out" / "nano.safetensors"
    assert f"{file}: verified" in result.stdout.splitlines()
    assert "compared on 3 images of" in result.stdout
    here, there = (Detector(path, device="cpu", fold=False) for path in (checkpoint, file))
    assert there.facts == here.facts
    for name, tensor in here.model.state_dict().items():
        assert torch.equal(there.model.state_dict()[name], tensor), name
    assert "RTMDet-nano" in command("info", file).stdout


def test_results_of_several_exports_stay_together(words: list[object], tmp_path: Path, command: Command) -> None:
    results = tmp_path / "out" / "nano.check.json"
    results.parent.mkdir()
    results.write_text('{"files": {"nano.xml": {"verified": true}}}')
    command(*words, "--format", "safetensors")
    content = json.loads(results.read_text())
    assert content["files"]["nano.xml"] == {"verified": True}
    found = content["files"]["nano.safetensors"]
    assert found["verified"] is True
    assert (found["images"], found["matched"], found["faults"]) == (3, 1.0, [])
    assert found["ap"]["torch"] == found["ap"]["file"]


def write_checkpoint(folder: Path, source: Path, *, bias: float, score_threshold: float) -> Path:
    """A copy of a checkpoint with another score threshold and another bias of the class scores."""
    meta = CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano", score_thresholds=(score_threshold,)))
    tensors = read_checkpoint(source).tensors
    for name in tensors:
        if "rtm_cls" in name and name.endswith("bias"):
            tensors[name] = torch.full_like(tensors[name], bias)
    save_checkpoint(folder / "nano.pth", model_state=tensors, meta=meta)
    return folder / "nano.pth"


@pytest.mark.shared
def test_a_file_that_differs_is_named_unverified(
    shared: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "write_network", write_other(0.5))
    weights = shared / "weights" / "rtmdet_nano_person_bn.pth"
    photos = shared / "data" / "balloon" / "val"
    words = ("export", weights, "--images", photos, "--check-images", 2, "--out", tmp_path, "--input", 192)
    result = command(*words, "--format", "safetensors")
    assert result.returncode == 1
    file = tmp_path / "rtmdet_nano_person_bn.unverified.safetensors"
    assert file.is_file()
    assert not (tmp_path / "rtmdet_nano_person_bn.safetensors").exists()
    last = result.stdout.splitlines()[-1]
    assert last.startswith(f"{file}: NOT verified: ")
    assert "scores differ by up to 0." in last


@pytest.mark.shared
@pytest.mark.slow
def test_onnx_and_openvino(shared: Path, tmp_path: Path, command: Command) -> None:
    weights = shared / "weights" / "rtmdet_nano_person_bn.pth"
    photos = shared / "data" / "balloon" / "val"
    words = ("export", weights, "--images", photos, "--check-images", 3, "--out", tmp_path, "--input", 192, "--fixed")
    result = command(*words, "--format", "onnx", "openvino")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count(": verified") == 2
    found = json.loads((tmp_path / "rtmdet_nano_person_bn.check.json").read_text())["files"]
    for name in ("rtmdet_nano_person_bn.onnx", "rtmdet_nano_person_bn.xml"):
        row = found[name]
        assert row["boxes"] > 5
        assert row["matched"] == 1
        assert row["box_difference"] < 0.1
        assert row["score_difference"] < 1e-4
        assert row["ap"] is None


def test_where_no_images_are_known(checkpoint: Path, command: Command) -> None:
    result = command("export", checkpoint)
    assert result.returncode == 2
    assert "every exported file is compared on real images: give --images FOLDER, or --data" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--format", "safetensors", "--nms"), "safetensors holds the weights alone, without NMS"),
        (("--format", "safetensors", "--check-images", "0"), "--check-images 0: expected at least 1"),
        (("--format", "safetensors", "--split", "val"), "expected the split val, found only train"),
        (("--format", "onnx", "--fixed", "0"), "a fixed batch of 0 images: expected at least 1"),
        (("--format", "onnx", "--nms", "--nms-iou", "7"), "NMS with IoU 7.0: expected 0 .. 1"),
        (("--format", "onnx", "--nms", "--nms-score", "-1"), "NMS with a score of -1.0: expected 0 .. 1"),
    ],
)
def test_unusable_options(words: list[object], options: tuple[str, ...], message: str, command: Command) -> None:
    result = command(*words, *options)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_comparison_of_nothing_verifies_nothing(
    checkpoint: Path, dataset: Path, tmp_path: Path, command: Command
) -> None:
    path = write_checkpoint(tmp_path, checkpoint, bias=-100.0, score_threshold=0.5)
    words = ("--format", "safetensors", "--out", tmp_path)
    result = command("export", path, "--images", dataset / "val" / "images", *words)
    assert result.returncode == 1
    assert "NOT verified: no boxes above the score thresholds to compare: give images" in result.stdout


def test_from_python(checkpoint: Path, dataset: Path, tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, checkpoint, bias=-4.0, score_threshold=0.001)
    detector = rtmdet.Detector(path, device="cpu", fold=False)
    files = detector.export(["safetensors"], images=dataset / "val" / "images", out=tmp_path).files
    assert [file.path for file in files] == [tmp_path / "nano.safetensors"]
    assert files[0].verified
    assert files[0].ap is None
    merged = rtmdet.Detector(checkpoint, device="cpu")
    with pytest.raises(rtmdet.InputError, match="batch norms of this detector are merged: open it with fold=False"):
        merged.export(["safetensors"], images=dataset / "val" / "images", out=tmp_path / "merged")
    model, facts = build_rtmdet("nano", 1, backbone="timm/resnet18"), ModelFacts(("a",), (64, 64), size="nano")
    rtmdet.Detector.from_model(model, replace(facts, backbone="timm/resnet18"), "cpu").save(tmp_path / "timm.pth")
    with pytest.raises(rtmdet.InputError, match="batch norms of this detector are merged: open it with fold=False"):
        rtmdet.Detector(tmp_path / "timm.pth", device="cpu").export(
            ["safetensors"], images=dataset / "val" / "images", out=tmp_path
        )
    with pytest.raises(rtmdet.InputError, match=r"expected some of onnx, openvino, .* found tflite"):
        merged.export(["tflite"], images=dataset / "val" / "images", out=tmp_path)


def test_files_of_a_published_name_are_not_for_the_folder_of_downloads(
    checkpoint: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    downloads = tmp_path / "hub" / "checkpoints"
    downloads.mkdir(parents=True)
    shutil.copy(checkpoint, downloads)
    published = rtmdet.Detector(downloads / checkpoint.name, device="cpu", fold=False)
    files = rtmdet.export(published, ["safetensors"], images=dataset / "val" / "images").files
    assert [file.path for file in files] == [Path("nano.safetensors")]
    assert [file.name for file in downloads.iterdir()] == [checkpoint.name]


@pytest.mark.parametrize(("ids", "said"), [((7, 3), True), ((3, 7), False)])
def test_a_file_for_mmdet_says_the_order_of_the_classes(
    ids: tuple[int, int], said: bool, dataset: Path, tmp_path: Path
) -> None:
    """mmdet numbers classes as the data's JSON file lists them: usually by rising ids."""
    facts = ModelFacts(("cat", "ant"), (64, 64), category_ids=ids, size="nano")
    detector = Detector.from_model(build_rtmdet("nano", 2), facts, "cpu")
    made = rtmdet.export(detector, ["openmmlab"], images=dataset / "val" / "images", out=tmp_path / "out")
    assert ("as the JSON lists its categories: let it list cat, ant" in str(made)) == said


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_missing_packages_are_said_before_any_work(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    for module in ("onnx_file", "onnx_backend", "openvino_backend"):  # as if they were never imported
        monkeypatch.delitem(sys.modules, f"rtmdet.deploy.{module}", raising=False)
        monkeypatch.delattr(f"rtmdet.deploy.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "onnxscript", None)  # an import of it fails
    result = command("export", tmp_path / "never_opened.pth", "--format", format)
    assert result.returncode == 2
    assert result.stderr.startswith("error: the export to ONNX needs the packages onnx and onnxscript: pip install")
