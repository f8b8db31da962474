"""The Python examples of README and docs/, run as a reader would. Commands are run by .ci/readme.py."""

import json
import re
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import rtmdet
from rtmdet import Detector, InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.images.reading import read_image
from rtmdet.models import layers, zoo
from rtmdet.runs import build
from rtmdet.stream.video import VideoWriter
from rtmdet.training import assigner, criterion
from rtmdet.training.log import read_log
from rtmdet.viz.hooks import capture

ROOT = Path(__file__).resolve().parents[2]


def examples(file: str, section: str) -> str:
    """The Python blocks of one section."""
    found = re.search(rf"^##? {section}\n(.*?)(^## |\Z)", (ROOT / file).read_text(), re.S | re.M)
    assert found, f"{file} has no section {section}"
    blocks = re.findall(r"```python\n(.*?)```", found[1], re.S)
    assert blocks
    return "\n".join(blocks)


def run(code: str, replaced: dict[str, str]) -> dict[str, Any]:
    """Run code in which words are replaced by others; returns its names."""
    for word, other in replaced.items():
        assert word in code, f"the example has no {word} any more"
        code = code.replace(word, other)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(code, "example", "exec"), names)
    return names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.shared
def test_detection(shared: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = shared / "data" / "balloon" / "val" / "14898532020_ba6199dd22_k.jpg"  # many people in the evening
    (folder / "photos").mkdir()
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        shutil.copy(photo, folder / name)
    (folder / "runs" / "balloon").mkdir(parents=True)
    shutil.copy(shared / "weights" / "rtmdet_nano_person_bn.pth", folder / "runs" / "balloon" / "last.pth")
    supervision = ModuleType("supervision")
    supervision.Detections = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", supervision)
    assert len(run(examples("README.md", "From Python"), {})["detections"]) > 3
    names = run(examples("docs/python.md", "Detecting"), {})
    detections, sure = names["detections"], names["sure"]
    assert len(detections) > len(sure) > 3
    assert names["by_file"].keys() == {Path("photos/a.jpg"), Path("photos/b.jpg")}
    assert len(names["rows"]) == len(names["theirs"]["class_id"]) == len(sure)
    drawn = read_image(folder / "photo_with_boxes.jpg")
    assert drawn.shape == names["picture"].shape == (*detections.image_size, 3)


@pytest.mark.shared
def test_service(shared: Path, folder: Path) -> None:
    (folder / "runs" / "balloon").mkdir(parents=True)
    shutil.copy(shared / "weights" / "rtmdet_nano_person_bn.pth", folder / "runs" / "balloon" / "last.pth")
    photo = shared / "data" / "balloon" / "val" / "14898532020_ba6199dd22_k.jpg"
    started = {"8000": "0", "ThreadingHTTPServer((": "server = ThreadingHTTPServer((", ".serve_forever()": ""}
    server = run(examples("docs/python.md", "In a service"), started)["server"]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(address, photo.read_bytes()) as answer:
            assert len(json.load(answer)["objects"]) > 3
        with pytest.raises(urllib.error.HTTPError, match="400") as caught:
            urllib.request.urlopen(address, b"-")
        assert "found a file that cannot be decoded" in json.load(caught.value)["error"]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_tracking(checkpoint: Path, folder: Path) -> None:
    (folder / "runs" / "balloon").mkdir(parents=True)
    shutil.copy(checkpoint, folder / "runs" / "balloon" / "last.pth")
    writer = VideoWriter(folder / "clip.mp4", (64, 64), Fraction(25))
    for number in range(3):
        writer.add(np.full((64, 64, 3), 100, np.uint8), number / 25)
    writer.close()
    names = run(examples("docs/python.md", "Tracking"), {'"clip.mp4"': '"clip.mp4", score=0.001'})
    assert {round(seconds, 3) for _, seconds, _ in names["last_seen"].values()} == {0.08}
    assert names["picture"].shape == (64, 64, 3)


@pytest.mark.shared
def test_data_sets(shared: Path, folder: Path) -> None:
    (folder / "data" / "balloon").mkdir(parents=True)
    shutil.copytree(shared / "data" / "balloon" / "train", folder / "data" / "balloon" / "train")
    run(examples("docs/python.md", "Data sets"), {})
    assert len(list((folder / "outputs" / "yolo").rglob("*.txt"))) == 61


def test_training_and_measuring(dataset: Path, checkpoint: Path, folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "balloon").symlink_to(dataset)
    (folder / "runs" / "balloon").mkdir(parents=True)
    shutil.copy(checkpoint, folder / "runs" / "balloon" / "last.pth")
    quick = '"train.seed": 1, "data.input_size": 64, "data.workers": 0, "train.device": "cpu"'
    replaced = {"rtmdet-nano-person": str(checkpoint), "epochs=40": "epochs=1", '"train.seed": 1': quick}
    names = run(examples("docs/python.md", "Training and measuring"), replaced)
    assert names["found"].ap == names["run"].metrics["AP"]


@pytest.mark.shared
@pytest.mark.parametrize("classes", [("balloon",), ("left", "right", "person")])
def test_a_training_loop_of_your_own(shared: Path, dataset: Path, folder: Path, classes: tuple[str, ...]) -> None:
    (folder / "data" / "balloon").mkdir(parents=True)
    labels = json.loads((dataset / "train" / "annotations.json").read_text())
    labels["categories"] = [{"id": 7 + k, "name": name} for k, name in enumerate(classes)]
    for number, annotation in enumerate(labels["annotations"]):
        annotation["category_id"] = 7 + number % len(classes)
    (folder / "data" / "balloon" / "train.json").write_text(json.dumps(labels))
    (folder / "data" / "balloon" / "train").symlink_to(dataset / "train" / "images")
    weights = str(shared / "weights" / "rtmdet_nano_person_bn.pth")
    quick = {
        "rtmdet-nano-person": weights,
        "range(20)": "range(2)",
        "workers=2": "workers=0",
        "(320, 320)": "(64, 64)",
    }
    names = run(examples("docs/python.md", "A training loop of your own"), quick)
    opened, trained = Detector(folder / "balloon.pth", fold=False), names["trained"]
    assert opened.facts == ModelFacts(classes, (64, 64), category_ids=opened.category_ids, size="nano")
    assert opened.category_ids == tuple(range(7, 7 + len(classes)))
    assert all(map(torch.equal, opened.model.state_dict().values(), trained.model.state_dict().values()))
    with pytest.raises(InputError, match="the batch norms of this detector are merged: open it with fold=False"):
        Detector(folder / "balloon.pth").save(folder / "again.pth")


def test_images_of_another_program(folder: Path) -> None:
    samples = [(np.full((48, 64, 3), shade, np.uint8), [[8, 8, 40, 30 + shade]], [0]) for shade in range(3)]
    names: dict[str, Any] = {"samples": samples, "classes": ["ball"]}
    exec(examples("docs/python.md", "Images of your own program"), names)
    data = rtmdet.check_data(folder / "data" / "mine")
    assert (len(names["annotations"]), names["annotations"][2]["bbox"]) == (3, [8.0, 8.0, 32.0, 24.0])
    assert data is not None


@pytest.mark.shared
def test_looking_inside(shared: Path, folder: Path) -> None:
    shutil.copy(shared / "data" / "balloon" / "val" / "4838031651_3e7b5ea5c7_b.jpg", folder / "photo.jpg")
    (folder / "runs" / "b").mkdir(parents=True)
    shutil.copy(shared / "weights" / "rtmdet_nano_person_bn.pth", folder / "runs" / "b" / "last.pth")
    names = run("import rtmdet\n" + examples("docs/python.md", "Looking inside"), {})
    assert list(names["maps"]) == ["backbone", "neck"]
    assert list(names["heat"]) == ["neck.out_convs[0]", "neck.out_convs[2]", "mean"]
    photo = read_image(folder / "photo.jpg")
    assert {picture.shape[1] for picture in names["heat"].values()} == {photo.shape[1]}


@pytest.mark.shared
def test_notebook(shared: Path, folder: Path) -> None:
    shutil.copy(shared / "data" / "balloon" / "val" / "14898532020_ba6199dd22_k.jpg", folder / "photo.jpg")
    (folder / "runs" / "b").mkdir(parents=True)
    shutil.copy(shared / "weights" / "rtmdet_nano_person_bn.pth", folder / "runs" / "b" / "last.pth")
    names = run("import rtmdet\n" + examples("docs/python.md", "In a notebook"), {'"balloon"': '"person"'})
    assert len(names["balloons"]) > 3


@pytest.mark.slow
def test_exporting(dataset: Path, checkpoint: Path, folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "balloon").symlink_to(dataset)
    (folder / "runs" / "b").mkdir(parents=True)
    shutil.copy(checkpoint, folder / "runs" / "b" / "last.pth")
    shutil.copy(next((dataset / "val" / "images").iterdir()), folder / "photo.jpg")
    code = "import rtmdet\nfrom rtmdet import Detector\n" + examples("docs/python.md", "Exporting")
    names = run(code, {'["onnx"]': '["onnx"], fixed=1'})  # quicker to trace than for all sizes
    assert names["detector"].path == Path("runs/b/last.onnx")
    assert names["files"].files[0].verified


def test_labeling(dataset: Path, checkpoint: Path, folder: Path) -> None:
    (folder / "photos").symlink_to(dataset / "val" / "images")
    (folder / "runs" / "b").mkdir(parents=True)
    shutil.copy(checkpoint, folder / "runs" / "b" / "last.pth")
    names = run("import rtmdet\n" + examples("docs/python.md", "The next round of labels"), {})
    assert sorted(one.photo.path.name for one in names["chosen"].photos) == ["000000.jpg", "000001.jpg", "000002.jpg"]


def test_tracker(config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, float]] = []
    wandb = ModuleType("wandb")
    wandb.init = lambda project: None  # type: ignore[attr-defined]
    wandb.log = lambda numbers, step: logged.append(numbers)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    run(examples("docs/training.md", "Comparing runs"), {"configs/balloon_nano.yaml": str(config)})
    assert {key for numbers in logged for key in numbers} == {"box", "classification", "AP"}


@pytest.fixture
def restored() -> Iterator[None]:
    """Takes back what an example replaces in the package, where each name must have been before."""
    places = [vars(module) for module in (assigner, build, criterion, layers)] + [zoo.SIZES]
    before, forward = [dict(place) for place in places], layers.ConvBNAct.forward
    yield
    zoo.SIZES.pop("pico", None)
    after = [set(place) for place in places]
    for place, names in zip(places, before, strict=True):
        place.clear()
        place.update(names)
    layers.ConvBNAct.forward = forward  # type: ignore[method-assign]
    assert after == [set(names) for names in before]


QUICK = '{"train.epochs": 2, "train.log_every": 1, "data.input_size": 64, "data.workers": 0, "train.device": "cpu", '


@pytest.fixture
def balloons(dataset: Path, folder: Path) -> Path:
    (folder / "data").mkdir()
    (folder / "data" / "balloon").symlink_to(dataset)
    return folder


@pytest.mark.usefixtures("restored")
def test_training_otherwise(balloons: Path, checkpoint: Path) -> None:
    replaced = {"rtmdet-nano-person": str(checkpoint), 'settings = {"': f'settings = {QUICK}"'}
    names = run(examples("docs/changing-the-method.md", "Training otherwise"), replaced)
    run_folder = names["run"].folder
    state = torch.load(run_folder / "last.pth", weights_only=True)["training"]["optimizer"]
    assert {key for one in state["state"].values() for key in one} == {"momentum_buffer"}
    rates = [row["learning_rate"] for row in read_log(run_folder / "log.jsonl") if row["kind"] == "train"]
    assert rates == pytest.approx(np.linspace(0.01, 0, 4).tolist())
    assert "name: Stripes" in (run_folder / "config.yaml").read_text()


@pytest.mark.usefixtures("restored")
def test_another_network(balloons: Path) -> None:
    replaced = {'settings = {"': f'settings = {QUICK}"'}
    run(examples("docs/changing-the-method.md", "Another network"), replaced)
    model = Detector("runs/pico", fold=False).model
    assert (model.backbone_name, model.bbox_head.rtm_cls[0].in_channels) == ("timm/five_layers", 32)
    assert model.neck.top_down_blocks[0].blocks[0].conv2.depthwise_conv.conv.kernel_size == (7, 7)
    with capture(model, ["backbone"]) as maps:
        model(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))
    assert all(tensor.min() == 0 for tensor in maps["backbone"])
    del zoo.SIZES["pico"]
    with pytest.raises(InputError, match="model size 'pico' does not exist"):
        Detector("runs/pico")


def test_watching(dataset: Path, checkpoint: Path, folder: Path) -> None:
    (folder / "runs" / "balloon").mkdir(parents=True)
    shutil.copy(checkpoint, folder / "runs" / "balloon" / "last.pth")
    shutil.copy(next((dataset / "val" / "images").iterdir()), folder / "photo.jpg")
    (folder / "data").mkdir()
    (folder / "data" / "balloon").symlink_to(dataset)
    settings = QUICK.replace('"train.epochs": 2, ', "").rstrip(", ") + "}"
    replaced = {"rtmdet-nano-person": str(checkpoint), "epochs=1,": f"epochs=1, settings={settings},"}
    names = run(examples("docs/changing-the-method.md", "Watching it"), replaced)
    assert min(names["watch"].lengths) > 0
    maps = names["maps"]
    assert [tensor.shape[2:] for tensor in maps["backbone"]] == [(8, 8), (4, 4), (2, 2)]
    assert len(maps["neck.out_convs[0]"]) == 1
