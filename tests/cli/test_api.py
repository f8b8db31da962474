"""The functions of Python: train, evaluate and compare, with what they return and refuse."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from subprocess import CompletedProcess
from typing import ClassVar

import albumentations
import numpy as np
import pytest
import torch

import rtmdet
import rtmdet.api.runs
from rtmdet.api.runs import TrainedRun
from rtmdet.data.augment.albumentations import ExtraTransforms
from rtmdet.evaluation.coco import NAMES
from rtmdet.runs.options import RunOptions

Command = Callable[..., CompletedProcess[str]]

QUICK: dict[str, object] = {
    "data.input_size": 64,
    "data.batch_size": 2,
    "data.workers": 0,
    "train.device": "cpu",
    "model.norm_statistics": "keep",
    "evaluation.choose_input_size": False,
}


class Heard(rtmdet.Callback):
    """Counts steps; the other calls fall on the class's own empty methods."""

    def __init__(self) -> None:
        self.steps = 0

    def on_step(self, record: object) -> None:
        self.steps += 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, dataset: Path, checkpoint: Path) -> tuple[TrainedRun, Heard]:
    """A run of one epoch on the six scenes."""
    heard, folder = Heard(), tmp_path_factory.mktemp("api") / "run"
    found = rtmdet.train(dataset, weights=checkpoint, epochs=1, output=folder, settings=QUICK, callbacks=[heard])
    return found, heard


def test_train_returns_the_run_and_calls_the_callbacks(run: tuple[TrainedRun, Heard]) -> None:
    found, heard = run
    assert found.last.is_file()
    assert found.best.is_file()
    assert list(found.metrics) == list(NAMES)
    assert heard.steps == 3


def test_evaluate_takes_a_detector_or_weights_and_any_split(run: tuple[TrainedRun, Heard], dataset: Path) -> None:
    last = run[0].last
    found = rtmdet.evaluate(last, dataset, split="val", workers=0)
    assert found.ap == run[0].metrics["AP"]
    assert found.images == 3
    assert str(found).splitlines()[0].startswith("AP ")
    assert rtmdet.Detector(run[0]).path == run[0].last
    assert rtmdet.evaluate(run[0], workers=0).metrics == found.metrics, "its own validation images"
    detector = rtmdet.Detector(last)
    before = rtmdet.evaluate(detector, dataset, split="train", workers=0)
    detector.input_size = 96
    assert before.images == 6
    assert before.to_dict(interval=False)["input_size"] == [64, 64], "at which it was measured"


def test_compare_gives_the_difference_and_a_verdict(run: tuple[TrainedRun, Heard]) -> None:
    found = rtmdet.compare(run[0], run[0].best, workers=0)
    assert found.difference == 0
    detector = rtmdet.Detector(run[0].last, device="cpu")
    other = rtmdet.compare(run[0], detector.with_nms(rtmdet.NmsSettings(iou_threshold=0.0)), workers=0)
    with pytest.raises(rtmdet.InputError, match="a Detector has its own input size: open it with this one"):
        rtmdet.compare(run[0], detector, input_size=128, workers=0)
    assert (other.metrics[0], other.paths) == (found.metrics[0], (run[0].last, run[0].last))
    assert found.verdict == "inconclusive with 3 images"
    assert str(found).splitlines()[-1] == "verdict: inconclusive with 3 images"


def test_check_data_reports_what_training_would_make_of_it(dataset: Path, tmp_path: Path) -> None:
    found = rtmdet.check_data(dataset, input_size=96)
    assert not found.harmful
    assert [summary.kept_images for summary in found.summaries] == [6, 3]
    assert str(found).splitlines()[-1].endswith("training would run well on these data")
    with pytest.raises(rtmdet.InputError, match="no such file"):
        rtmdet.check_data(tmp_path / "missing")


def test_settings_reach_the_configuration_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        rtmdet.api.runs, "run_training", lambda options, callbacks: asked.append(options) or Path("run")
    )
    rtmdet.train("data", output="runs/\U0001f388", settings={"train.patience": None, "data.classes": ["a", "b"]})
    assert asked[0].overrides == (
        "train.patience=null",
        'data.classes=["a", "b"]',
        'train.output="runs/\U0001f388"',
    )


def test_transforms_of_albumentations_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        rtmdet.api.runs, "run_training", lambda options, callbacks: asked.append(options) or Path("run")
    )
    transforms = [albumentations.VerticalFlip(p=0.25), albumentations.Rotate(limit=10, p=0.5)]
    rtmdet.train("data", settings={"augmentation.extra": transforms})
    name, _, text = asked[0].overrides[0].partition("=")
    assert name == "augmentation.extra"
    flip, turn = json.loads(text)
    assert flip == {"name": "VerticalFlip", "parameters": {"p": 0.25}}
    assert (turn["name"], turn["parameters"]["limit"]) == ("Rotate", [-10.0, 10.0])
    ExtraTransforms([(each["name"], each["parameters"]) for each in (flip, turn)])  # which makes them again
    for other in (albumentations.OneOf(transforms), albumentations.Lambda(image=abs, name="abs")):
        words = f"settings: expected single transforms of albumentations, found {type(other).__name__}: write those"
        with pytest.raises(rtmdet.InputError, match=words):
            rtmdet.train("data", settings={"augmentation.extra": [other]})


def test_what_cannot_be_used_is_one_clear_error(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(rtmdet.InputError, match="expected either data or config, found both or neither"):
        rtmdet.train()
    with pytest.raises(rtmdet.InputError, match=r"train\.epochs: expected a number, text, list or dict"):
        rtmdet.train(dataset, settings={"train.epochs": object()})
    with pytest.raises(rtmdet.InputError, match=r"^epochs and the setting train\.epochs are both given: give one"):
        rtmdet.train(dataset, epochs=3, settings={"train.epochs": 5})
    with pytest.raises(rtmdet.InputError, match="expected the split val, found only train"):
        rtmdet.evaluate(checkpoint, dataset / "train", split="val")
    with pytest.raises(rtmdet.InputError, match="does not store which images it was validated on"):
        rtmdet.evaluate(checkpoint)
    with pytest.raises(rtmdet.InputError, match="no such file or folder"):
        rtmdet.evaluate(checkpoint, tmp_path / "missing")


def test_numbers_of_numpy_are_numbers(run: tuple[TrainedRun, Heard], tmp_path: Path) -> None:
    detector = rtmdet.Detector(run[0].last, device="cpu", classes=np.array(["thing"]), input_size=np.int64(64))
    other = detector.with_nms(rtmdet.NmsSettings(np.float32(0.5), box_voting=np.True_))  # type: ignore[arg-type]
    assert json.loads(json.dumps(asdict(other.facts.nms))) == {"iou_threshold": 0.5, "box_voting": True}
    assert (other.classes, other.input_size) == (("thing",), (64, 64))


class Closing(rtmdet.Callback):
    """Counts its closing, and may fail at it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.closed = error, 0

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error


def test_all_callbacks_are_closed_even_if_one_fails(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    failing, last = Closing(OSError("tracker gone")), Closing()
    with pytest.raises(OSError, match="tracker gone"):
        rtmdet.train(
            dataset, weights=checkpoint, epochs=1, output=tmp_path, settings=QUICK, callbacks=[failing, last]
        )
    assert (failing.closed, last.closed) == (1, 1)


@pytest.mark.parametrize("value", [np.int64(64), np.array([64, 64]), (64, 64)])
def test_settings_may_be_numpy_s_and_torch_s(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    asked: list[RunOptions] = []
    monkeypatch.setattr(rtmdet.api.runs, "run_training", lambda options, _: asked.append(options) or Path())
    settings = {"data.input_size": value, "train.device": torch.device("cpu")}
    rtmdet.train("x", settings=settings, epochs=np.int64(3))  # type: ignore[arg-type]
    assert asked[0].given["train.device"] == "cpu"
    assert asked[0].given["data.input_size"] in ("64", "[64, 64]")
    assert asked[0].given["train.epochs"] == "3"


def test_data_sets_are_converted_split_merged_and_exported(dataset: Path, tmp_path: Path) -> None:
    coco, folder = dataset / "train/annotations.json", dataset / "train/images"
    train, val = rtmdet.split_data(coco, tmp_path, val=0.34)
    counts = [len(json.loads(path.read_text())["images"]) for path in (train, val)]
    assert counts == [4, 2]
    together = rtmdet.merge_data([train, val], tmp_path / "all.json", images=[folder, str(folder)])
    assert together == folder.absolute()
    rtmdet.export_data(tmp_path / "all.json", folder, tmp_path / "yolo", format="yolo")
    back = rtmdet.convert_data(tmp_path / "yolo", tmp_path / "back.json", format="yolo")
    before, after = (json.loads(path.read_text()) for path in (coco, back))
    assert [one["name"] for one in after["categories"]] == [one["name"] for one in before["categories"]]
    boxes = [np.sort([one["bbox"] for one in file["annotations"]], axis=0) for file in (before, after)]
    np.testing.assert_allclose(boxes[1], boxes[0], atol=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "csv"}, "format 'csv': expected one of via, yolo, voc, labelme, cvat"),
        ({"format": "yolo", "class_name": "a"}, "class_name: the format yolo has none; leave it out"),
        ({"format": "voc", "classes": "a"}, "classes: expected a list of texts or None, found 'a'"),
        ({"format": "voc", "classes": {"a"}}, "classes: expected a list of texts or None, found {'a'}"),
        (
            {"format": "via", "class_name": "a", "class_key": "b"},
            "class_name and class_key: expected one of them, found both; leave one out",
        ),
    ],
)
def test_refuses_options_that_a_format_does_not_have(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(rtmdet.InputError, match=f"^{re.escape(message)}$"):
        rtmdet.convert_data(tmp_path, tmp_path / "new.json", **options)  # type: ignore[arg-type]


def test_what_cannot_be_written_or_is_missing_is_one_line(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    coco, folder = dataset / "train/annotations.json", dataset / "train/images"
    (tmp_path / "file").touch()
    with pytest.raises(rtmdet.InputError, match=r"file/\w+.*: Not a directory: check the path"):
        rtmdet.export_data(coco, folder, tmp_path / "file", format="yolo")
    with pytest.raises(rtmdet.InputError, match=r"split 'names': expected one of train, val, test"):
        rtmdet.export_data(coco, folder, tmp_path / "new", format="yolo", split="names")
    with pytest.raises(rtmdet.InputError, match="annotations: expected data sets, found none"):
        rtmdet.merge_data([], tmp_path / "all.json")
    with pytest.raises(rtmdet.InputError, match="expected images, videos or folders, found none"):
        rtmdet.label(checkpoint, tmp_path.glob("*.bmp"), format="voc", out=tmp_path / "next")  # type: ignore[arg-type]
    with pytest.raises(rtmdet.InputError, match=r"expected the images of .*, found none of them; check images"):
        rtmdet.split_data(coco, tmp_path / "parts", images=tmp_path)
    with pytest.raises(TypeError, match="unexpected keyword argument 'fromat'"):
        rtmdet.convert_data(coco, tmp_path / "a.json", fromat="voc")  # type: ignore[call-arg]


def test_names_are_completed() -> None:
    assert {"Detector", "convert_data", "train"} <= set(dir(rtmdet))


def test_empty_names_and_options_of_other_files_are_refused(checkpoint: Path) -> None:
    with pytest.raises(rtmdet.InputError, match=r"the detector has 1 class, found 0 names"):
        rtmdet.Detector(checkpoint, classes=[])
    with pytest.raises(rtmdet.InputError, match="only exported files take threads"):
        rtmdet.Detector(checkpoint, threads=0)
    with pytest.raises(rtmdet.InputError, match="expected the path of a file or folder"):
        rtmdet.train("data", output="")


@pytest.fixture
def roboflow(dataset: Path, tmp_path: Path) -> Path:
    """A YOLO data set with train, val and test; that of test is val's. Each split's folder may be removed."""
    folder = tmp_path / "roboflow"
    for split, place in (("train", "train"), ("val", "val"), ("test", "val")):
        photos = dataset / place / "images"
        rtmdet.export_data(dataset / place / "annotations.json", photos, folder, format="yolo", split=split)
    return folder


def test_test_images_are_measured_when_asked_for(
    run: tuple[TrainedRun, Heard], roboflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def images(**options: str) -> int:
        return rtmdet.evaluate(run[0].last, roboflow, workers=0, **options).images  # type: ignore[arg-type]

    assert [images(split=split) for split in ("train", "val", "test")] == [6, 3, 3]
    assert images() == 3
    shutil.rmtree(roboflow / "images" / "val")  # which data.yaml still names
    assert images() == 3, "test, then"
    capsys.readouterr()
    shutil.rmtree(roboflow / "images" / "test")
    assert images() == 6, "train, then"
    assert "has no validation split: all of its images are measured" in capsys.readouterr().out
    with pytest.raises(rtmdet.InputError, match="the folder of 'test', images/test, does not exist"):
        images(split="test")


def test_exporting_nowhere_is_one_line(checkpoint: Path) -> None:
    with pytest.raises(rtmdet.InputError, match="images: expected text or a path, found None"):
        rtmdet.Detector(checkpoint).export(images=None)  # type: ignore[arg-type]


def test_test_images_are_in_no_one_elses_way(roboflow: Path, checkpoint: Path, tmp_path: Path) -> None:
    shutil.rmtree(roboflow / "images" / "test")  # which data.yaml still names
    assert [summary.split for summary in rtmdet.check_data(roboflow).summaries] == ["train", "val"]
    photos = roboflow / "images" / "val"
    with pytest.raises(rtmdet.InputError, match=r"all 3 photos are in .* already"):
        rtmdet.label(checkpoint, photos, format="voc", out=tmp_path / "next", skip=roboflow)
    with pytest.raises(rtmdet.InputError, match="expected one split, found train and val: it is split already"):
        rtmdet.split_data(roboflow, tmp_path / "parts")
    shutil.rmtree(photos)
    train, val = rtmdet.split_data(roboflow, tmp_path / "parts", val=0.34)
    assert [len(json.loads(path.read_text())["images"]) for path in (train, val)] == [4, 2]


def test_a_set_of_test_images_alone_is_checked_and_shown(dataset: Path, tmp_path: Path, command: Command) -> None:
    annotations, photos = dataset / "val/annotations.json", dataset / "val/images"
    folder = rtmdet.export_data(annotations, photos, tmp_path / "alone", format="yolo", split="test")
    found = rtmdet.check_data(folder)
    assert str(found).splitlines()[-1].endswith("evaluation would run well on these data")
    shown = command("data", "show", folder, "--out", tmp_path / "pictures")
    assert (shown.returncode, "of 3 images" in shown.stdout) == (0, True), shown.stderr


def test_the_images_of_a_split_are_found_by_the_ends_of_their_names(dataset: Path, tmp_path: Path) -> None:
    document = json.loads((dataset / "train/annotations.json").read_text())
    for image in document["images"]:
        image["file_name"] = f"/home/other/set/{image['file_name']}"
    (tmp_path / "far.json").write_text(json.dumps(document))
    train, val = rtmdet.split_data(
        tmp_path / "far.json", tmp_path / "parts", images=dataset / "train/images", val=0.34
    )
    assert train.is_file()
    assert val.is_file()


@pytest.mark.parametrize("words", [["split", "--val", "0.34", "--out", "parts"], ["check", "--input", "64"]])
def test_data_commands_need_no_torch(words: list[str], dataset: Path, tmp_path: Path) -> None:
    words = ["data", words[0], str(dataset / "train/annotations.json"), *words[1:]]
    code = f"import sys; from rtmdet.cli.main import main; main({words}); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert " images" in done.stdout


def test_a_misspelt_event_is_refused() -> None:
    with pytest.raises(rtmdet.InputError, match=r"^Misspelt.on_steps: there is no such event: expected on_start, "):
        type("Misspelt", (rtmdet.Callback,), {"on_steps": lambda *_: None})


def test_a_callback_may_have_other_bases_and_values() -> None:
    class Counted:
        classes: ClassVar[list[str]] = []

        def __init_subclass__(cls) -> None:
            Counted.classes.append(cls.__name__)

    class Both(rtmdet.Callback, Counted):
        on_gpu = True

    assert Counted.classes == ["Both"]
