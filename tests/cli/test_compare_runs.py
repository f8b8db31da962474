"""`rtmdet compare`: runs, checkpoints and results files on the same images, and what is refused."""

import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

from rtmdet.core.facts import ModelFacts
from rtmdet.core.nms import NmsSettings
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint

Command = Callable[..., CompletedProcess[str]]
Finished = tuple[Path, CompletedProcess[str]]
NUMBER = r"[-+]?\d\.\d{3}"


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    """20 images without files, two objects each, of sparse category ids."""
    path = tmp_path / "truth.json"
    images = [{"id": 10 + k, "file_name": f"{k}.jpg", "width": 100, "height": 100} for k in range(20)]
    boxes = [(image["id"], [x, 10, 30, 40]) for image in images for x in (5, 60)]
    annotations = [
        {"id": k + 1, "image_id": image, "category_id": 7, "bbox": box} for k, (image, box) in enumerate(boxes)
    ]
    categories = [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def write_results(path: Path, truth: Path, shift: float) -> Path:
    """Each object found, `shift` pixels beside its place."""
    found = [
        {
            "image_id": one["image_id"],
            "category_id": 7,
            "bbox": [one["bbox"][0] + shift, *one["bbox"][1:]],
            "score": 0.9 - one["id"] / 100,
        }
        for one in json.loads(truth.read_text())["annotations"]
    ]
    path.write_text(json.dumps(found))
    return path


@pytest.mark.parametrize(
    ("shifts", "verdict"),
    [
        ((5, 0), "B is better"),
        ((0, 5), "B is worse"),
        ((1, 1), "no difference"),
    ],
)
def test_results_files_need_no_images(
    truth: Path, tmp_path: Path, command: Command, shifts: tuple[float, float], verdict: str
) -> None:
    a, b = (write_results(tmp_path / f"{n}.json", truth, shift) for n, shift in enumerate(shifts))
    numbers = tmp_path / "numbers.json"
    result = command("compare", a, b, "--annotations", truth, "--json", numbers)
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == f"20 images of {truth}, classes: cat, dog"
    ap = [float(line.split()[2]) for line in lines[1:3]]
    by_shift = {0: 1.0, 1: 0.9, 5: 0.5}  # IoU 1, 29 / 31 and 25 / 35
    assert ap == pytest.approx([by_shift[int(shift)] for shift in shifts])
    match = re.fullmatch(
        rf"B - A  AP ({NUMBER})   95 % confidence interval ({NUMBER}) \.\. ({NUMBER}) "
        r"\(paired bootstrap, 1000 resamples\)", lines[3],
    )  # fmt: skip
    assert match is not None
    difference, low, high = map(float, match.groups())
    assert difference == pytest.approx(ap[1] - ap[0], abs=0.0011)
    assert low - 0.001 <= difference <= high + 0.001
    assert lines[4] == f"verdict: {verdict}"
    found = json.loads(numbers.read_text())
    assert (found["verdict"], found["images"], found["a"]["weights"]) == (verdict, 20, str(a))
    assert found["b"]["metrics"]["AP"] - found["a"]["metrics"]["AP"] == pytest.approx(found["difference"])
    assert round(found["interval"]["low"], 3) == low
    assert len(found["a"]["classes"]) == 2
    refused = command("compare", a, b, "--annotations", truth, "--json", a)
    assert refused.stderr == f"error: {a} holds something else, which would be lost; give another name\n"


def test_what_files_of_detections_lack_and_what_is_repaired_is_said(
    truth: Path, tmp_path: Path, command: Command
) -> None:
    content = json.loads(truth.read_text())
    content["annotations"].append({"id": 99, "image_id": 10, "category_id": 9, "bbox": [90, 10, 30, 40]})
    content["annotations"].append({"id": 98, "image_id": 10, "category_id": 4, "bbox": [9, 9, 9, 9], "iscrowd": 1})
    content["categories"].append({"id": 4, "name": "herd"})  # crowds alone: not counted at all
    truth.write_text(json.dumps(content))
    a = write_results(tmp_path / "a.json", truth, 0)
    found = [one | {"category_id": 7} for one in json.loads(a.read_text())]
    a.write_text(json.dumps(found))
    result = command("compare", a, a, "--annotations", truth)
    assert result.returncode == 0, result.stderr
    assert f"{a}: no detections of dog: counted as AP 0" in result.stdout
    assert "boxes beyond the edge" in result.stdout
    for option in ("--input=64", f"--images={tmp_path}"):
        result = command("compare", a, a, "--annotations", truth, option)
        assert result.returncode == 2
        assert f"{option.partition('=')[0]}: both are files of detections, for which it does nothing" in result.stderr


def test_a_run_and_the_results_that_it_wrote_are_equal(
    finished: Finished, dataset: Path, tmp_path: Path, command: Command
) -> None:
    """The run says its validation images; all three kinds of sides measure the same."""
    folder = finished[0] / "run"
    val = dataset / "val"
    options = ["--annotations", val / "annotations.json", "--images", val / "images", "--workers", 0]
    results = tmp_path / "results.json"
    evaluated = command("evaluate", "--weights", folder / "last.pth", *options, "--out", results, "--device", "cpu")
    assert evaluated.returncode == 0
    for a, b in ((folder, folder / "last.pth"), (results, folder)):
        result = command("compare", a, b, "--workers", 0, "--device", "cpu")
        assert result.returncode == 0, result.stderr
        assert "AP +0.000   no interval: it needs at least 5 images with objects" in result.stdout
        assert result.stdout.splitlines()[-1] == "verdict: inconclusive with 3 images"


def test_each_side_has_its_own_rule_for_overlaps(dataset: Path, tmp_path: Path, command: Command) -> None:
    torch.manual_seed(0)
    model_state = build_rtmdet("nano", 1).state_dict()
    rules = {"plain.pth": NmsSettings(0.65), "voting.pth": NmsSettings(0.6, box_voting=True)}
    for name, rule in rules.items():
        meta = CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano", nms=rule))
        save_checkpoint(tmp_path / name, model_state=model_state, meta=meta)
    options = ["--annotations", dataset / "val" / "annotations.json", "--images", dataset / "val" / "images"]
    result = command("compare", *(tmp_path / name for name in rules), *options, "--workers", 0, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    said = result.stdout + result.stderr
    assert f"{tmp_path / 'plain.pth'}: score above 0.001, NMS IoU 0.65, at most" in said
    assert f"{tmp_path / 'voting.pth'}: score above 0.001, NMS IoU 0.6 with box voting, at most" in said


def refused(result: CompletedProcess[str], *parts: str) -> None:
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def test_refuses_what_is_no_run(tmp_path: Path, checkpoint: Path, truth: Path, command: Command) -> None:
    results = write_results(tmp_path / "a.json", truth, 0)
    refused(command("compare", tmp_path, results), f"{tmp_path}: expected the folder of a run, found no last.pth")
    refused(
        command("compare", results, results),
        "the runs do not store which images they were validated on: give --annotations",
    )
    refused(command("compare", checkpoint, results, "--annotations", truth), "give --annotations and --images")
    refused(command("compare", tmp_path / "no.json", results, "--annotations", truth), "no.json: no such file")
    refused(command("compare", results, results, "--batch", 0), "batch size 0, workers 2: expected at least 1 image")


def test_refuses_detectors_of_other_classes(tmp_path: Path, checkpoint: Path, command: Command) -> None:
    other = tmp_path / "other.pth"
    torch.manual_seed(0)
    meta = CheckpointMeta(ModelFacts(("cat", "dog"), (64, 64), size="nano"))
    save_checkpoint(other, model_state=build_rtmdet("nano", 2).state_dict(), meta=meta)
    result = command("compare", checkpoint, other)
    refused(result, f"{checkpoint} finds balloon, but {other} finds cat, dog: compare the same classes")


def test_refuses_runs_that_name_different_images(finished: Finished, tmp_path: Path, command: Command) -> None:
    config = json.dumps({"data": {split: {"annotations": "a.json", "images": "b"} for split in ("train", "val")}})
    other = tmp_path / "other.pth"
    meta = CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano", config=config))
    save_checkpoint(other, model_state=build_rtmdet("nano", 1).state_dict(), meta=meta)
    run = finished[0] / "run"
    refused(command("compare", run, other), "a.json: no such file", "give --annotations and --images")
    Path(tmp_path / "a.json").write_text("{}")
    config = config.replace('"a.json"', json.dumps(str(tmp_path / "a.json")))
    meta = CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano", config=config))
    save_checkpoint(other, model_state=build_rtmdet("nano", 1).state_dict(), meta=meta)
    refused(command("compare", run, other), f"{run / 'last.pth'} and {other} were validated on different images")


def test_runs_with_files_of_their_own_that_say_the_same(
    finished: Finished, dataset: Path, tmp_path: Path, command: Command
) -> None:
    """As those of two runs on data that is not COCO; and training images among the measured ones are told."""
    copied = tmp_path / "val.json"
    copied.write_text((dataset / "val" / "annotations.json").read_text())
    config = (finished[0] / "run" / "config.yaml").read_text().replace(f"{dataset}/val/annotations.json", str(copied))
    config = config.replace(f"{dataset}/train", f"{dataset}/val")
    other = tmp_path / "other.pth"
    torch.manual_seed(0)
    meta = CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano", config=config))
    save_checkpoint(other, model_state=build_rtmdet("nano", 1).state_dict(), meta=meta)
    result = command("compare", finished[0] / "run", other, "--workers", 0, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert f"{other}: trained on 3 of the 3 images: its AP is too optimistic" in result.stdout
    assert "last.pth: trained on" not in result.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 3}, "detection 0: image_id 3 is not in the annotation file"),
        ({"category_id": [7]}, "detection 0: category_id [7] is not in the annotation file"),
        ({"bbox": [1, 2, -3, 4]}, "detection 0: expected x, y, width and height for 'bbox', found [1, 2, -3, 4]"),
        ({"bbox": "box"}, "found 'box'"),
        ({"score": None}, "detection 0: expected a number for 'score', found None"),
        ({"score": float("nan")}, "detection 0: expected a number for 'score', found nan"),
    ],
)
def test_refuses_damaged_results(
    truth: Path, tmp_path: Path, command: Command, change: dict[str, object], message: str
) -> None:
    path = write_results(tmp_path / "a.json", truth, 0)
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([{**entries[0], **change}, *entries[1:]]))
    refused(command("compare", path, path, "--annotations", truth), f"{path}: ", message)


@pytest.mark.parametrize("content", [{"images": []}, [3]])
def test_refuses_another_file_in_place_of_results(
    truth: Path, tmp_path: Path, command: Command, content: object
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    refused(command("compare", path, path, "--annotations", truth), f"{path}: ", "expected a")


def test_results_of_mmdet_in_other_formats_get_the_format_to_give(
    truth: Path, tmp_path: Path, command: Command
) -> None:
    path, pickled = tmp_path / "photo.json", tmp_path / "results.pkl"
    path.write_text(json.dumps({"labels": [0], "scores": [0.5], "bboxes": [[0, 0, 9, 9]]}))
    pickled.write_bytes(pickle.dumps([{"pred_instances": {"bboxes": torch.zeros(1, 4)}}], protocol=2))
    expected = "the *.bbox.json that "
    refused(command("compare", path, path, "--annotations", truth), f"{path}: detections in one image, ", expected)
    refused(command("compare", pickled, path, "--annotations", truth), f"{pickled}: asks for ", expected)


def test_the_input_may_be_given_for_both(finished: Finished, command: Command) -> None:
    run = finished[0] / "run"
    own, given = (command("compare", run, run, *more) for more in ((), ("--input", 96)))
    assert f"{run / 'last.pth'} at 64 x 64 pixels" in own.stdout, own.stderr
    assert given.stdout.count(f"{run / 'last.pth'} at 96 x 96 pixels") == 2, given.stderr
