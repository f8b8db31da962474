"""`rtmdet evaluate`: the 12 numbers, the results file, and the numbers of a known detector."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
import torch

import rtmdet
from rtmdet.cli.parser import EVALUATION_BACKENDS
from rtmdet.config.schema import EVALUATION_BACKENDS as CONFIGURED_BACKENDS
from rtmdet.core.backend import Selection
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.nms import NmsSettings
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.coco.file import read_coco
from rtmdet.data.formats.yolo import write_yolo
from rtmdet.evaluation.backends import BACKENDS
from rtmdet.evaluation.coco import NAMES, ClassMetrics
from rtmdet.evaluation.score_curve import ScoreCurve
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def words(checkpoint: Path, dataset: Path) -> list[object]:
    """The command on the validation scenes."""
    val = dataset / "val"
    options = ["--annotations", val / "annotations.json", "--images", val / "images", "--workers", 0]
    return ["evaluate", "--weights", checkpoint, "--device", "cpu", *options]


def numbers(result: CompletedProcess[str]) -> dict[str, float]:
    """The 12 computed by name."""
    rows = [line.split() for line in result.stdout.splitlines() if line[:2] in ("AP", "AR")]
    return {row[0]: -1.0 if row[1] == "-" else float(row[1]) for row in rows}


def test_prints_the_12_numbers_and_writes_results(words: list[object], tmp_path: Path, command: Command) -> None:
    out = tmp_path / "new" / "results.json"
    result = command(*words, "--out", out)
    assert result.returncode == 0, result.stderr
    assert list(numbers(result)) == list(NAMES)
    assert result.stdout.splitlines()[-1] == f"detections: {out}"
    results = json.loads(out.read_text())
    settings = "score above 0.001, NMS IoU 0.65, at most 30000 candidates per level and 300 detections per image"
    first = f"3 images, {len(results)} detections: {settings}, computed by pycocotools (defaults)"
    assert result.stdout.splitlines()[1] == first
    assert {entry["image_id"] for entry in results} == {1, 2, 3}
    assert {entry["category_id"] for entry in results} == {1}
    for entry in results:
        assert set(entry) == {"image_id", "category_id", "bbox", "score"}
        assert len(entry["bbox"]) == 4
        assert min(entry["bbox"][2:]) > 0
        assert 0 <= entry["score"] <= 1


def test_all_numbers_as_json(words: list[object], checkpoint: Path, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "numbers.json"
    for more in ([], ["--no-interval"]):  # the second replaces the file of the first
        result = command(*words, "--json", path, *more)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.splitlines()[-1] == f"numbers: {path}"
    found = json.loads(path.read_text())
    assert {name: round(value, 3) for name, value in found["metrics"].items()} == numbers(result)
    assert found["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert (found["weights"], found["version"]) == (str(checkpoint), rtmdet.__version__)
    assert (found["images"], found["input_size"], found["interval"]) == (3, [64, 64], None)
    assert f", {found['detections']} detections:" in result.stdout
    assert found["settings"]["nms_pre"] == 30000
    assert (found["tta"], found["tile"]) == (False, None)
    assert command(*words, "--tile", 48, "--no-interval", "--json", path).returncode == 0
    assert json.loads(path.read_text())["tile"] == 48
    (row,) = found["classes"]
    assert list(row) == ["name", "objects", "ap", "ap50", "threshold", "precision", "recall", "best_f1"]
    assert row["ap"] == found["metrics"]["AP"]
    path.write_text("{}")
    assert "holds something else" in command(*words, "--json", path).stderr


def test_numbers_of_a_class_are_those_of_the_table() -> None:
    curve = ScoreCurve((0.25,) * 999, (0.75,) * 999, threshold=0.4)
    expected = {"threshold": 0.4, "precision": 0.25, "recall": 0.75, "best_f1": 0.375}
    assert ClassMetrics("cat", 7, 0.5, 0.6, curve).to_dict() == {
        "name": "cat", "objects": 7, "ap": 0.5, "ap50": 0.6, **expected
    }  # fmt: skip
    assert ClassMetrics("cat", 0, -1, -1).to_dict().keys() >= expected.keys()


@pytest.mark.parametrize(("least", "code"), [("0", 0), ("1", 1), ("1.5", 2), ("nan", 2)])
def test_too_low_an_ap_has_an_exit_code(words: list[object], command: Command, least: str, code: int) -> None:
    result = command(*words, "--no-interval", "--min-ap", least)
    assert result.returncode == code
    if code == 1:
        assert re.fullmatch(r"AP \d\.\d{3} is below --min-ap 1\n", result.stderr)
    if code == 2:
        assert result.stderr == f"error: --min-ap {least}: expected a number from 0 to 1\n"


def find_everything(monkeypatch: pytest.MonkeyPatch, split: Path, *, lost: int = 0) -> None:
    """Let the detector find all boxes of a split in place of its own, but for the last `lost` of each image."""
    data = CocoDataset(split / "annotations.json", split / "images", training=False)
    truth = iter([data.load(number).instances.boxes for number in range(len(data))])

    def find(*_: object, letterboxes: list[Letterbox], **_settings: object) -> list[Detections]:
        found = [place.to_image(torch.from_numpy(next(truth)) * 64 / 96) for place in letterboxes]
        kept = [boxes[: len(boxes) - lost] for boxes in found]
        return [Detections(box, torch.ones(len(box)), torch.zeros(len(box), dtype=torch.int64)) for box in kept]

    monkeypatch.setattr("rtmdet.deploy.torch_backend.postprocess", find)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_detector_that_finds_everything_has_1(
    words: list[object], dataset: Path, monkeypatch: pytest.MonkeyPatch, command: Command, batch: int
) -> None:
    """Boxes reach the evaluator in the image's pixels and with the image's id, whatever the batch size.

    Every image has 96 x 96 pixels, the network's input 64 x 64.
    """
    find_everything(monkeypatch, dataset / "val")
    result = command(*words, "--batch", batch)
    assert numbers(result)["AP"] == 1
    assert numbers(result)["AR100"] == 1


def test_numbers_do_not_depend_on_batch_and_processes(words: list[object], tmp_path: Path, command: Command) -> None:
    found = []
    for number, options in enumerate((["--batch", 1], ["--batch", 3, "--workers", 1])):
        assert command(*words, *options, "--out", tmp_path / f"{number}.json").returncode == 0
        found.append(json.loads((tmp_path / f"{number}.json").read_text()))
    assert len(found[0]) == len(found[1])
    scores = [sum(entry["score"] for entry in results) for results in found]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_images_without_objects_count_too(
    words: list[object], dataset: Path, tmp_path: Path, command: Command
) -> None:
    path = dataset / "val" / "annotations.json"
    content = json.loads(path.read_text())
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != 2]
    (tmp_path / "fewer.json").write_text(json.dumps(content))
    words[words.index(path)] = tmp_path / "fewer.json"
    result = command(*words, "--out", tmp_path / "results.json")
    assert result.stdout.splitlines()[1].startswith("3 images, ")
    assert 2 in {entry["image_id"] for entry in json.loads((tmp_path / "results.json").read_text())}


@pytest.mark.parametrize("option", [["--batch", 0], ["--workers", -1], ["--input", 65], ["--input", 0]])
def test_refuses_numbers_out_of_range(words: list[object], command: Command, option: list[object]) -> None:
    result = command(*words, *option)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert str(option[1]) in result.stderr


def test_each_backend_prints_the_same_numbers(
    words: list[object], monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    assert EVALUATION_BACKENDS == CONFIGURED_BACKENDS == tuple(BACKENDS)
    answers = []
    for backend in EVALUATION_BACKENDS:
        with monkeypatch.context() as patch:
            for other in {*BACKENDS} - {backend}:
                patch.delitem(BACKENDS, other)
            result = command(*words, "--backend", backend)
        _, first, *lines = result.stdout.splitlines()
        assert f"computed by {backend} " in first
        assert len(numbers(result)) == 12
        answers.append(lines)
    assert answers[0] == answers[1]


def checkpoint_with(path: Path, config: str) -> Path:
    """The nano detector of the tests, with the text of a configuration."""
    torch.manual_seed(0)
    meta = CheckpointMeta(
        ModelFacts(("balloon",), (64, 64), size="nano", config=config, nms=NmsSettings(0.5, box_voting=True))
    )
    save_checkpoint(path, model_state=build_rtmdet("nano", 1).state_dict(), meta=meta)
    return path


def test_uses_the_settings_of_the_training_run(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    stored = {"score_threshold": 0.005, "nms_pre": 40, "max_detections": 7}
    split = {"annotations": "elsewhere.json", "images": "elsewhere"}
    text = json.dumps({"data": {"train": split, "val": split}, "evaluation": {**stored, "backend": "hotcoco"}})
    words[words.index("--weights") + 1] = checkpoint_with(tmp_path / "ours.pth", text)
    used: list[Selection] = []

    def find_nothing(_: object, selection: Selection, **_places: object) -> list[Detections]:
        used.append(selection)
        return [Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))] * 3

    monkeypatch.setattr("rtmdet.deploy.torch_backend.postprocess", find_nothing)
    result = command(*words)
    assert set(used) == {Selection(**stored, nms=NmsSettings(0.5, box_voting=True))}
    limits = "at most 40 candidates per level and 7 detections per image"
    settings = f"score above 0.005, NMS IoU 0.5 with box voting, {limits}"
    first = f"3 images, 0 detections: {settings}, computed by hotcoco (as in the training run)"
    assert result.stdout.splitlines()[1] == first
    assert "default" not in result.stderr


@pytest.mark.parametrize("text", ["data: [", "no mapping", "evaluation: {score_thresold: 0.1}"])
def test_says_that_stored_settings_cannot_be_read(
    words: list[object], tmp_path: Path, command: Command, text: str
) -> None:
    path = checkpoint_with(tmp_path / "ours.pth", text)
    words[words.index("--weights") + 1] = path
    result = command(*words)
    assert result.returncode == 0
    assert "score above 0.001" in result.stdout
    assert "(defaults)" in result.stdout
    assert result.stderr.startswith(f"using the default evaluation settings: settings stored in {path}")
    assert result.stderr.count("\n") == 1  # no progress bar where nobody watches


def test_interval_of_ap_comes_last_and_can_be_left_out(
    words: list[object], dataset: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("annotations.json", "images"):
        words[words.index(dataset / "val" / part)] = dataset / "train" / part
    find_everything(monkeypatch, dataset / "train", lost=1)
    with_interval = command(*words).stdout
    find_everything(monkeypatch, dataset / "train", lost=1)
    without = command(*words, "--no-interval").stdout
    line = with_interval.splitlines()[-1]
    assert with_interval == f"{without}\n{line}\n"
    match = re.fullmatch(
        r"95 % confidence interval of AP (0\.\d+): (0\.\d+) \.\. (0\.\d+) "
        r"\(bootstrap, 1000 resamples of the 6 images\)",
        line,
    )
    assert match is not None
    ap, low, high = map(float, match.groups())
    assert low <= ap <= high
    find_everything(monkeypatch, dataset / "train")
    said = "no confidence interval of AP 1.000: all resamples of the images give the same AP"
    assert command(*words).stdout.splitlines()[-1] == said


def test_few_images_have_no_interval(words: list[object], command: Command) -> None:
    line = command(*words).stdout.splitlines()[-1]
    assert line == "no confidence interval of AP: it needs at least 5 images with objects"


def test_a_file_without_some_of_the_classes_is_measured(
    words: list[object], dataset: Path, tmp_path: Path, command: Command
) -> None:
    """Classes of the detector that the file lacks have no number, those that the detector lacks are left out."""
    two = tmp_path / "two.pth"
    torch.manual_seed(0)
    meta = CheckpointMeta(ModelFacts(("kite", "balloon"), (64, 64), size="nano"))
    save_checkpoint(two, model_state=build_rtmdet("nano", 2).state_dict(), meta=meta)
    words[words.index("--weights") + 1] = two
    path = dataset / "val" / "annotations.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 5, "name": "cow"})
    (tmp_path / "cow.json").write_text(json.dumps(content))
    words[words.index(path)] = tmp_path / "cow.json"
    result = command(*words, "--out", tmp_path / "found.json")
    assert result.returncode == 0, result.stderr
    assert f"{tmp_path}/cow.json: not in this file, so not measured: 'kite'" in result.stdout
    assert f"{tmp_path}/cow.json: not among the classes, so skipped: 'cow'" in result.stdout
    assert {entry["category_id"] for entry in json.loads((tmp_path / "found.json").read_text())} == {1}
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line[:4] in ("kite", "ball")}
    assert rows["kite"][:3] == ["0", "-", "-"]
    assert int(rows["balloon"][0]) > 0


def test_draws_f1_where_asked(words: list[object], tmp_path: Path, command: Command) -> None:
    result = command(*words, "--f1", tmp_path / "new" / "f1.png")
    assert result.stdout.splitlines()[-1] == f"F1, precision and recall: {tmp_path / 'new' / 'f1.png'}"
    assert (tmp_path / "new" / "f1.png").stat().st_size > 5000


def test_classes_without_names_are_asked_for(words: list[object], tmp_path: Path, command: Command) -> None:
    torch.save(build_rtmdet("nano", 80).state_dict(), tmp_path / "bare.pth")
    result = command(*words, "--weights", tmp_path / "bare.pth")
    assert result.returncode == 2
    assert f"{tmp_path}/bare.pth stores no names for its 80 classes" in result.stderr
    assert "give them in order, --class-names a,b,c" in result.stderr
    assert len(result.stderr) < 500


def test_nothing_to_measure_is_said_before_anything_is_downloaded(command: Command) -> None:
    result = command("evaluate")
    assert result.returncode == 2
    assert "expected the folder of a run, or --data, found neither" in result.stderr


def test_a_photo_is_not_replaced_by_curves(words: list[object], dataset: Path, command: Command) -> None:
    photo = next((dataset / "val" / "images").iterdir())
    before = photo.read_bytes()
    result = command(*words, "--f1", photo)
    assert (result.returncode, "would be overwritten" in result.stderr) == (2, True)
    assert photo.read_bytes() == before


def test_a_run_and_other_weights_exclude_each_other(checkpoint: Path, command: Command) -> None:
    result = command("evaluate", checkpoint, "--weights", checkpoint)
    assert result.returncode == 2
    assert "expected one of them" in result.stderr


def test_a_wrong_picture_is_refused_before_the_work(words: list[object], tmp_path: Path, command: Command) -> None:
    results = tmp_path / "results.json"
    result = command(*words, "--f1", tmp_path / "f1.xyz", "--out", results)
    assert result.returncode == 2
    assert "f1.xyz: expected a name that ends in .png, .pdf, .svg" in result.stderr
    assert not result.stdout


def test_a_run_that_was_moved_finds_its_own_data(command: Command, dataset: Path, tmp_path: Path) -> None:
    """Its converted annotations are in its folder, and it is given as that folder; so are those of a copy."""
    write_yolo_of(dataset, tmp_path / "yolo")
    settings = ["model.size=nano", "data.input_size=64", "train.epochs=1", f"train.output={tmp_path / 'run'}"]
    options = [word for setting in settings for word in ("--set", setting)]
    trained = command("train", "--data", tmp_path / "yolo", "--weights", "none", *options)
    assert trained.returncode == 0, trained.stderr
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    resumed = command("train", "--resume", tmp_path / "copy", "--epochs", 2)
    assert resumed.returncode == 0, resumed.stderr
    (tmp_path / "run").rename(tmp_path / "moved")
    copied = command("evaluate", tmp_path / "copy", "--device", "cpu", "--no-interval")
    assert copied.returncode == 0, copied.stderr
    measured = command("evaluate", tmp_path / "moved", "--device", "cpu", "--no-interval")
    assert measured.returncode == 0, measured.stderr
    (tmp_path / "yolo").rename(tmp_path / "elsewhere")
    lost = command("evaluate", tmp_path / "moved", "--device", "cpu")
    assert lost.returncode == 2
    assert "yolo/images/val, which no longer exists: give --data with its new place" in lost.stderr


def write_yolo_of(dataset: Path, folder: Path) -> None:
    for split in ("train", "val"):
        write_yolo(read_coco(dataset / split / "annotations.json"), dataset / split / "images", folder, split)


def test_other_json_is_not_replaced_by_detections(words: list[object], tmp_path: Path, command: Command) -> None:
    """Whether they are named on the command line or not: any JSON but detections stays."""
    labels = tmp_path / "labels.json"
    for text in ('{"images": [], "annotations": [], "categories": []}', '[{"id": 1, "data": {}}]', "[3]", "not JSON"):
        labels.write_text(text)
        result = command(*words, "--out", labels)
        assert result.returncode == 2
        assert result.stderr == f"error: {labels} holds something else, which would be lost; give another name\n"
        assert labels.read_text() == text
    labels.write_bytes(b"")
    for _ in range(2):
        assert command(*words, "--out", labels).returncode == 0


def test_mistakes_are_counted_and_drawn(words: list[object], tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "wrong"
    result = command(*words, "--no-interval", "--mistakes", folder)
    assert result.returncode == 0, result.stderr
    *_, counts, matrix, where = result.stdout.splitlines()
    assert re.fullmatch(r"of \d+ objects at the score thresholds, IoU 0.5: 0 found, .* \d+ false boxes", counts)
    assert where == f"3 images with mistakes: {folder}"
    assert matrix == f"confusion matrix: {folder / 'confusion_matrix.png'}"
    assert cv2.imread(str(folder / "confusion_matrix.png")) is not None
    pictures = sorted(folder.glob("*.jpg"))
    assert {path.name[3:] for path in pictures} == {"_000000.jpg", "_000001.jpg", "_000002.jpg"}
    assert cv2.imread(str(pictures[0])).shape[0] > 96, "a caption below the scene"
    again = command(*words, "--mistakes", folder)
    assert again.returncode == 2
    assert again.stderr.startswith(f"error: --mistakes {folder}: expected a new or empty folder, found other files")


def test_measures_what_infer_detects_with_tta(
    words: list[object], dataset: Path, checkpoint: Path, tmp_path: Path, command: Command
) -> None:
    measured = command(*words, "--tta", "--out", tmp_path / "measured.json")
    assert measured.returncode == 0, measured.stderr
    photos = ["infer", dataset / "val" / "images", "--weights", checkpoint, "--out", tmp_path, "--device", "cpu"]
    shown = command(*photos, "--tta", "--score", 0.001, "--max-boxes", 300, "--save", "coco", "--no-pictures")
    assert shown.returncode == 0, shown.stderr
    in_both = [
        sorted((row["score"], *row["bbox"]) for row in json.loads((tmp_path / name).read_text()))
        for name in ("measured.json", "coco/results.json")
    ]
    assert len(in_both[0]) > 10
    measured_rows, shown_rows = map(np.array, in_both)
    assert measured_rows[:, 0] == pytest.approx(shown_rows[:, 0], abs=0.01)
    assert measured_rows[:, 1:] == pytest.approx(shown_rows[:, 1:], abs=0.05)  # pixels; rounding differs by CPU
    plain = rtmdet.evaluate(checkpoint, dataset, split="val", workers=0)
    augmented = rtmdet.evaluate(checkpoint, dataset, split="val", workers=0, tta=True)
    assert augmented.evaluator.detection_count == len(in_both[0]) != plain.evaluator.detection_count
    with pytest.raises(InputError, match="expected one of them"):
        rtmdet.evaluate(checkpoint, dataset, tta=True, tile=64)
