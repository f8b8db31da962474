"""Planted faults: each ends with code 2 and one line that names the item; nothing that was written before is lost."""

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from PIL import Image

from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.detector import Detector
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint

Command = Callable[..., CompletedProcess[str]]
Document = dict[str, list[dict[str, object]]]


def error_line(result: CompletedProcess[str]) -> str:
    """The one line of the error; progress bars before it have lines of their own."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stderr.splitlines()  # a bar that is drawn again begins with a carriage return
    assert [line for line in lines if "error: " in line] == [line for line in lines if line.startswith("error: ")]
    (line,) = (line for line in lines if line.startswith("error: "))
    return line


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def broken(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the training scenes that a test may damage: annotations.json and images/."""
    return Path(shutil.copytree(dataset / "train", tmp_path / "broken"))


def change(folder: Path, edit: Callable[[Document], object]) -> Path:
    """Change the annotation file of a split; returns its path."""
    path = folder / "annotations.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    return path


def settings(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.fixture
def train(
    finished: tuple[Path, CompletedProcess[str]], dataset: Path, tmp_path: Path, command: Command
) -> Callable[..., str]:
    """Resume a copy of a finished run on other data or with other settings; the line it ends with.

    Whatever happens, the run's checkpoints must stay as they were, and its logs may only have grown.
    """
    run = Path(shutil.copytree(finished[0] / "run", tmp_path / "run"))

    def resume(folder: Path | None = None, overrides: Sequence[str] = ()) -> str:
        folder = folder or dataset / "train"
        data = f"data.train={{annotations: {folder / 'annotations.json'}, images: {folder / 'images'}}}"
        before = contents(run)
        pairs = (f"train.output={run}", "train.epochs=3", data, *overrides)
        line = error_line(command("train", "--config", finished[0] / "config.yaml", "--resume", *settings(*pairs)))
        assert contents(run).keys() == before.keys()
        for path, old in before.items():
            new = path.read_bytes()
            if path.name != "config.yaml":  # where the fault shows on the way, it has the settings it showed with
                assert new.startswith(old) if path.suffix in (".csv", ".jsonl") else new == old, path
        return line

    return resume


def test_missing_image(broken: Path, train: Callable[..., str]) -> None:
    (broken / "images" / "000002.jpg").unlink()
    line = train(broken)
    assert "1 of 6 image files are not in" in line
    assert "000002.jpg" in line


@pytest.mark.parametrize("workers", [0, 2])
def test_truncated_image_in_the_midst_of_training(broken: Path, train: Callable[..., str], workers: int) -> None:
    image = broken / "images" / "000003.jpg"
    image.write_bytes(image.read_bytes()[:1500])
    assert f"{image}: the image is truncated" in train(broken, [f"data.workers={workers}"])


def test_malformed_json(broken: Path, train: Callable[..., str]) -> None:
    path = broken / "annotations.json"
    path.write_text(path.read_text()[:-40])
    line = train(broken)
    assert f"{path}: not JSON at line 1, column " in line


def test_unknown_category_id(broken: Path, train: Callable[..., str]) -> None:
    path = change(broken, lambda document: document["annotations"][4].update(category_id=17))
    assert f"{path}: annotation 5: unknown category_id 17 (the file has 1)" in train(broken)


def test_box_outside_its_image(broken: Path, train: Callable[..., str]) -> None:
    path = change(broken, lambda document: document["annotations"][2].update(bbox=[500, 10, 20, 20]))
    line = train(broken)
    assert f"{path}: annotation 3: box [500, 10, 20, 20]" in line
    assert "lies outside its image" in line


def test_no_annotations_at_all(broken: Path, train: Callable[..., str]) -> None:
    path = change(broken, lambda document: document["annotations"].clear())
    assert f"{path}: no usable box of 'balloon': the file has none" in train(broken)


def test_images_of_another_size_than_annotated(broken: Path, train: Callable[..., str]) -> None:
    path = change(broken, lambda document: [image.update(width=200, height=200) for image in document["images"]])
    line = train(broken)
    assert "expected 200 x 200 pixels" in line
    assert str(path) in line


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochz=3", "train.epochz is not a setting: did you mean train.epochs?"),
        ("train.learning_rate=fast", "train.learning_rate should be a number, found 'fast'"),
        ("data.input_size=[64, 50]", "data.input_size is [64, 50]: expected multiples of 32"),
        ("data.classes=[ballon]", "expected a category 'ballon'"),
        ("model.size=Nano", "model.size is 'Nano': expected one of nano, tiny, s, m, l, x; did you mean nano?"),
        ("train.device=gpu9", "device 'gpu9' cannot be used here"),
        ("augmentation.extra=[{name: Blurr}]", "albumentations has no transform named 'Blurr'; nearest names: Blur"),
        (
            "augmentation.extra=[{name: RandomCrop, parameters: {height: 500, width: 500, p: 1}}]",
            "augmentation.extra (RandomCrop) failed on",
        ),
        (
            "augmentation.extra=[{name: Resize, parameters: {height: 100, width: 900, p: 0.01}}]",
            "augmentation.extra (Resize) changes the size of images (257 x 331 pixels -> 100 x 900): expected",
        ),
    ],
)
def test_wrong_settings(train: Callable[..., str], override: str, expected: str) -> None:
    assert expected in train(overrides=[override])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("trian: {}\n", "line 1: trian is not a setting: did you mean train?"),
        ("train: {epochs: many}\n", "line 1: train.epochs should be a whole number, found 'many'"),
        ("train: [\n", "is not valid YAML"),
    ],
)
def test_wrong_configuration_files(tmp_path: Path, command: Command, text: str, expected: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    line = error_line(command("train", "--config", path))
    assert str(path) in line
    assert expected in line


def test_splits_without_a_class_in_common(broken: Path, train: Callable[..., str]) -> None:
    change(broken, lambda document: document["categories"][0].update(name="kite"))
    line = train(broken)
    assert "val/annotations.json: expected a category 'kite'" in line
    assert "found 'balloon'" in line


def test_output_is_a_file(config: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "file").write_text("kept")
    for output in (tmp_path / "file", tmp_path / "file" / "run"):
        line = error_line(command("train", "--config", config, *settings(f"train.output={output}")))
        assert f"{output}: the folder cannot be written" in line
    assert (tmp_path / "file").read_text() == "kept"


def test_infer_into_a_file(dataset: Path, checkpoint: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "file").write_text("kept")
    photos = dataset / "val" / "images"
    line = error_line(command("infer", photos, "--weights", checkpoint, "--out", tmp_path / "file"))
    assert str(tmp_path / "file") in line
    assert "cannot be written" in line
    assert (tmp_path / "file").read_text() == "kept"


def test_results_into_a_folder(dataset: Path, checkpoint: Path, tmp_path: Path, command: Command) -> None:
    split = ["--annotations", dataset / "val" / "annotations.json", "--images", dataset / "val" / "images"]
    line = error_line(command("evaluate", "--weights", checkpoint, *split, "--workers", 0, "--out", tmp_path))
    assert f"{tmp_path}: expected the name of a file, found a folder; give another one" in line


class Malicious:
    """Unpickling it the usual way would write a file."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, ...]:
        return exec, (f"open({str(self.sentinel)!r}, 'w').close()",)


def write_malicious(path: Path, sentinel: Path, *, form: str) -> None:
    content = {"state_dict": {"a": Malicious(sentinel)}, "meta": {}}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_malicious_weights_run_nothing(
    dataset: Path, config: Path, tmp_path: Path, command: Command, form: str
) -> None:
    path, sentinel = tmp_path / "weights.pth", tmp_path / "sentinel"
    write_malicious(path, sentinel, form=form)
    image, val = dataset / "val" / "images" / "000000.jpg", dataset / "val"
    for words in (
        ["infer", image, "--weights", path, "--out", tmp_path / "out"],
        ["visualize", image, "--weights", path, "--out", tmp_path / "out"],
        ["evaluate", "--annotations", val / "annotations.json", "--images", val / "images", "--weights", path],
        ["train", "--config", config, *settings(f"model.weights={path}")],
    ):
        assert str(path) in error_line(command(*words))
        assert not sentinel.exists()
    assert not (tmp_path / "out").exists()


def test_the_malicious_file_is_a_real_danger(tmp_path: Path) -> None:
    """Otherwise the test above would prove nothing."""
    path, sentinel = tmp_path / "weights.pth", tmp_path / "sentinel"
    write_malicious(path, sentinel, form="zip")
    torch.load(path, weights_only=False)
    assert sentinel.exists()


def test_malicious_checkpoint_to_resume_from(config: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "run").mkdir()
    write_malicious(tmp_path / "run" / "last.pth", tmp_path / "sentinel", form="zip")
    assert str(tmp_path / "run" / "last.pth") in error_line(command("train", "--config", config, "--resume"))
    assert not (tmp_path / "sentinel").exists()


def test_number_of_class_names_differs(dataset: Path, checkpoint: Path, tmp_path: Path, command: Command) -> None:
    photos = dataset / "val" / "images"
    words = ["infer", photos, "--weights", checkpoint, "--class-names", "a, b", "--out", tmp_path / "out"]
    assert "the detector has 1 class, found 2 names (a, b)" in error_line(command(*words))
    assert not (tmp_path / "out").exists()


def test_first_weights_that_are_not_there(config: Path, tmp_path: Path, command: Command) -> None:
    line = error_line(command("train", "--config", config, "--set", "model.weights=none.pth"))
    assert "none.pth: neither a file nor a published name" in line
    assert not (tmp_path / "run").exists()


def test_weights_of_another_size(config: Path, checkpoint: Path, command: Command) -> None:
    line = error_line(
        command("train", "--config", config, *settings("model.size=tiny", f"model.weights={checkpoint}"))
    )
    assert f"{checkpoint}: the file is of size nano, the model of size tiny: set model.size=nano" in line


def test_weights_with_nan(dataset: Path, config: Path, tmp_path: Path, command: Command) -> None:
    state = build_rtmdet("nano", 1).state_dict()
    state["neck.out_convs.1.depthwise_conv.conv.weight"][0, 0, 1, 1] = float("nan")
    path = tmp_path / "nan.pth"
    save_checkpoint(path, model_state=state, meta=CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano")))
    photo = dataset / "val" / "images" / "000000.jpg"
    train = command("train", "--config", config, "--set", f"model.weights={path}")
    for line in (error_line(train), error_line(command("infer", photo, "--weights", path))):
        assert f"{path}: " in line
        assert "1 with NaN or inf: neck.out_convs.1.depthwise_conv.conv.weight" in line


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half an archive"])
def test_weights_that_are_none(dataset: Path, tmp_path: Path, command: Command, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert str(path) in error_line(command("infer", dataset / "val" / "images", "--weights", path))


def test_checkpoint_cut_short(checkpoint: Path, dataset: Path, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(checkpoint.read_bytes()[:-5000])
    assert str(path) in error_line(command("infer", dataset / "val" / "images", "--weights", path))


@pytest.mark.parametrize("method", [[], ["--method", "eigencam"]])
def test_unknown_layer(dataset: Path, checkpoint: Path, tmp_path: Path, command: Command, method: list[str]) -> None:
    photo, out = dataset / "val" / "images" / "000000.jpg", tmp_path / "out"
    words = ["visualize", photo, "--weights", checkpoint, "--score", 0, "--layer", "neck.out_conv[0]", *method]
    line = error_line(command(*words, "--out", out))
    assert "layer 'neck.out_conv[0]' does not exist: did you mean neck.out_convs[0]" in line
    assert not out.exists()


def test_loss_that_is_no_number(config: Path, tmp_path: Path, command: Command) -> None:
    """A learning rate without measure: the last good checkpoint stays, and the line says which epoch it holds."""
    pairs = ["train.learning_rate=1e30", "train.epochs=5", "train.warmup_iterations=0", "train.validate_every=5"]
    line = error_line(command("train", "--config", config, *settings(*pairs)))
    assert "the loss is not finite: " in line or "the gradient is not finite: " in line
    assert "lower train.learning_rate" in line


@pytest.mark.parametrize("name", ["a" * 300, "none.jpg"])
def test_names_that_are_no_files(checkpoint: Path, dataset: Path, command: Command, name: str) -> None:
    assert name in error_line(command("infer", name, "--weights", checkpoint))
    assert name in error_line(command("infer", dataset / "val" / "images", "--weights", name))


@pytest.mark.parametrize(("name", "shown"), [("a\nb", "a\\nb"), ("a\rb", "a\\rb"), ("\u202ea", "\\u202ea")])
def test_a_name_that_would_break_the_line_is_shown_escaped(
    command: Command, tmp_path: Path, name: str, shown: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"train": {name: 1}}))
    assert f"train.{shown} is not a setting" in error_line(command("train", "--config", config))


def test_names_of_files_cannot_command_the_terminal(command: Command, checkpoint: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "\x1b[2Jred\x07.jpg")
    result = command("infer", tmp_path, "--weights", checkpoint, "--no-pictures", "--out", tmp_path / "out")
    assert r"\x1b[2Jred\x07.jpg: " in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("name", ["labels.json", "photo.jpg", "set/val.json", "nano.pth"])
def test_json_replaces_no_file_that_is_read_or_of_another_format(
    checkpoint: Path, tmp_path: Path, command: Command, name: str
) -> None:
    for path in ("labels.json", "photo.jpg", "set/val.json", "nano.pth"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("precious")
    data = tmp_path / ("set" if name == "set/val.json" else "labels.json")
    for words in (["evaluate", "--weights", checkpoint, "--data"], ["data", "merge"], ["data", "convert", "via"]):
        line = error_line(command(*words, data, "--out", tmp_path / name))
        refusals = ("would be lost; give another name", "would be overwritten; give another name", "ends in .json")
        assert any(part in line for part in refusals)
        assert (tmp_path / name).read_text() == "precious"


def test_names_with_line_breaks_stay_on_one_line(checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"^a\\nb\.jpg: no such image file"):
        Detector(checkpoint)("a\nb.jpg")
