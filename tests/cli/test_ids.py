"""Ids of data sets as other tools write them: kept from the annotation file through training to the results JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from rtmdet.detector import Detector

Command = Callable[..., CompletedProcess[str]]

# The ids of balloon, and of kite, which no annotation has.
NUMBERINGS = [(0, 1), (1, 2), (90, 7)]


def write_numbered(source: Path, out: Path, ids: tuple[int, int], *, restart: bool) -> Path:
    """The file with other category ids, images from 0, and annotations that count anew in every image or do not."""
    document = json.loads(source.read_text())
    images = {image["id"]: number for number, image in enumerate(document["images"])}
    counts = dict.fromkeys(images, 0)
    document["categories"] = [{"id": ids[0], "name": "balloon"}, {"id": ids[1], "name": "kite"}]
    for image in document["images"]:
        image["id"] = images[image["id"]]
    for annotation in document["annotations"]:
        if restart:
            annotation["id"] = counts[annotation["image_id"]]
            counts[annotation["image_id"]] += 1
        annotation["image_id"] = images[annotation["image_id"]]
        annotation["category_id"] = ids[0]
    out.write_text(json.dumps(document))
    return out


@pytest.mark.parametrize("ids", NUMBERINGS, ids=["from 0", "from 1", "sparse, unsorted"])
def test_an_epoch_and_an_evaluation_with_any_ids(
    dataset: Path, config: Path, tmp_path: Path, command: Command, ids: tuple[int, int]
) -> None:
    files = {
        part: write_numbered(dataset / part / "annotations.json", tmp_path / f"{part}.json", ids, restart=True)
        for part in ("train", "val")
    }
    splits = [word for part, file in files.items() for word in ("--set", f"data.{part}.annotations={file}")]
    trained = command("train", "--config", config, *splits, "--set", "train.epochs=1")
    assert trained.returncode == 0, trained.stderr
    names = "balloon, kite" if ids[0] < ids[1] else "kite, balloon"
    said = trained.stdout + trained.stderr
    assert f"classes: {names}" in said
    assert f"{files['train']}: " in said
    assert said.count("; all are renumbered from 1") == 2

    results = tmp_path / "results.json"
    options = ["--annotations", files["val"], "--images", dataset / "val" / "images", "--workers", 0]
    weights = ["--weights", tmp_path / "run" / "best.pth", "--device", "cpu"]
    evaluated = command("evaluate", *weights, *options, "--out", results)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "repeated annotation ids" in evaluated.stdout
    found = json.loads(results.read_text())
    assert {entry["category_id"] for entry in found} == set(ids)
    assert {entry["image_id"] for entry in found} == {0, 1, 2}

    best = Detector(tmp_path / "run" / "best.pth", device="cpu")
    assert best.category_ids == tuple(sorted(ids))
    photo = sorted((dataset / "val" / "images").iterdir())[0]
    detected = command("infer", photo, *weights, "--score", "0", "--out", tmp_path / "out")
    assert detected.returncode == 0, detected.stderr
    objects = json.loads((tmp_path / "out" / "detections.json").read_text())["images"][0]["objects"]
    by_name = {"balloon": ids[0], "kite": ids[1]}
    assert objects
    assert all(item["category_id"] == by_name[item["class_name"]] for item in objects)


@pytest.mark.parametrize("ids", NUMBERINGS)
def test_the_numbers_do_not_depend_on_the_ids(
    dataset: Path, checkpoint: Path, tmp_path: Path, command: Command, ids: tuple[int, int]
) -> None:
    source = dataset / "val" / "annotations.json"
    options = ["--weights", checkpoint, "--device", "cpu", "--images", dataset / "val" / "images", "--workers", 0]
    said = []
    for restart in (False, True):
        file = write_numbered(source, tmp_path / "val.json", ids, restart=restart)
        result = command("evaluate", *options, "--annotations", file)
        assert result.returncode == 0, result.stderr
        said.append([line for line in result.stdout.splitlines() if line[:2] in ("AP", "AR")])
    plain = command("evaluate", *options, "--annotations", source)
    said.append([line for line in plain.stdout.splitlines() if line[:2] in ("AP", "AR")])
    assert len(said[0]) == 12
    assert said[0] == said[1] == said[2]
