"""`rtmdet data check`: exit codes, the table, JSON and pictures."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtmdet.api.datasets import check_data, export_data
from rtmdet.cli.data_check import view_box
from rtmdet.core.errors import InputError
from rtmdet.data.formats.open import open_dataset


@pytest.fixture
def scenes(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the scenes that a test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / "scenes"))


def options(folder: Path) -> list[str]:
    train, val = folder / "train", folder / "val"
    return [
        f"{train}/annotations.json", f"--images={train}/images", "--input=320",
        f"--val-annotations={val}/annotations.json", f"--val-images={val}/images",
    ]  # fmt: skip


def test_sound_scenes(scenes: Path, command, checkpoint: Path) -> None:
    done = command("data", "check", *options(scenes), "--decode", "--weights", checkpoint)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 images" in done.stdout
    assert "0 errors, 0 warnings" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("training would run well on these data")


def test_a_folder_and_a_configuration_name_both_splits(scenes: Path, command, config: Path) -> None:
    for words in ([scenes], ["--config", config]):
        done = command("data", "check", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        heads = [line for line in done.stdout.splitlines() if line.startswith(("train: ", "val: "))]
        assert [line.partition(": ")[0] for line in heads] == ["train", "val"]
    (scenes / "train" / "annotations.json").write_text(
        (scenes / "train" / "annotations.json").read_text().replace('"bbox": [', '"bbox": [-500, ', 1)
    )
    done = command("data", "check", scenes)
    assert done.returncode == 1
    assert "broken-entry" in done.stdout, "COCO files are taken with their faults"


@pytest.mark.parametrize("kind", ["coco", "yolo"])
def test_a_test_split_is_not_checked_which_is_printed(kind: str, scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes / "val", scenes / "test")
    found = scenes
    for split in ("train", "test") if kind == "yolo" else ():
        source = (scenes / split / "annotations.json", scenes / split / "images")
        found = export_data(*source, tmp_path / kind, format=kind, split=split)
    assert f"{found}: the test split is not checked, since training does not use it" in check_data(found).remarks


def test_other_formats_are_converted_first(scenes: Path, command, tmp_path: Path) -> None:
    for split in ("train", "val"):
        source = [f"{scenes / split}/annotations.json", "--images", f"{scenes / split}/images"]
        assert (
            command("data", "export", "yolo", *source, "--split", split, "--out", tmp_path / "yolo").returncode == 0
        )
    done = command("data", "check", tmp_path / "yolo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[:2] == [f"{tmp_path / 'yolo'}: YOLO format", f"train: {tmp_path / 'yolo'}"]
    objects = len(json.loads((scenes / "train" / "annotations.json").read_text())["annotations"])
    assert f"6 images, {objects} objects" in done.stdout


def test_nothing_to_check_is_one_line(command, tmp_path: Path) -> None:
    for words, expected in (([], "expected a data set, or --config alone"), ([tmp_path], "recognized none")):
        done = command("data", "check", *words)
        assert done.returncode == 2
        assert expected in done.stderr
        assert done.stderr.count("\n") == 1


def test_pictures_of_an_earlier_report_go(scenes: Path, command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for name in ("error_train_wrong-size.png", "my_own.png", "error_login_1.png"):
        (tmp_path / "out" / name).write_text("")
    assert command("data", "check", scenes, "--out", tmp_path / "out").returncode == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"my_own.png", "error_login_1.png"}


def test_findings_in_all_forms(scenes: Path, command, tmp_path: Path) -> None:
    images = sorted((scenes / "train" / "images").iterdir())
    shutil.copyfile(images[0], sorted((scenes / "val" / "images").iterdir())[1])
    images[2].unlink()
    path = scenes / "train" / "annotations.json"
    document = json.loads(path.read_text())
    document["annotations"][0]["bbox"] = [-60, 0, 30, 30]
    path.write_text(json.dumps(document))
    done = command("data", "check", *options(scenes), f"--json={tmp_path}/r.json", f"--out={tmp_path}/out")
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 0
    assert f"({'leak'})" in done.stdout
    assert "training would stop or learn from wrong data" in done.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["harmful"] is True
    assert [split["split"] for split in report["splits"]] == ["train", "val"]
    assert report["splits"][0]["annotations"] == str(path)
    assert report["splits"][1]["folder"] == str(scenes / "val" / "images")
    assert report["input_size"] == [320, 320]
    found = {finding["code"]: finding for finding in report["findings"]}
    assert found["outside-box"]["items"][0]["annotation_id"] == document["annotations"][0]["id"]
    assert found["outside-box"]["items"][0]["box"] == [-60, 0, -30, 30]
    assert (found["missing-image"]["count"], found["missing-image"]["severity"]) == (1, "error")
    for name in ("error_train_outside-box.png", "error_val_leak.png"):
        assert str(tmp_path / "out" / name) in done.stdout
        assert cv2.imread(str(tmp_path / "out" / name)) is not None
    assert not (tmp_path / "out" / "error_train_missing-image.png").exists()


def test_long_findings_are_cut(scenes: Path, command) -> None:
    for path in (scenes / "train" / "images").iterdir():
        path.unlink()
    done = command("data", "check", *options(scenes))
    assert "... and 3 more" in done.stdout
    assert done.stdout.count(".jpg") == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--input=100"], "--input: expected a multiple of 32, at least 64, found 100"),
        (["--images=nowhere"], "nowhere: no such folder of images"),
        (["--val-images=nowhere"], "nowhere: no such folder of images"),
        (["--val-annotations=nowhere.json"], "nowhere.json: no such file"),
        (["--weights=nowhere.pth"], "nowhere.pth: neither a file nor a published name"),
        (["--config=nowhere.yaml"], "nowhere.yaml: no such configuration"),
    ],
)
def test_unusable_input_ends_with_one_line(scenes: Path, command, change: list[str], words: str) -> None:
    done = command("data", "check", *options(scenes), *change)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_without_its_annotations(scenes: Path, command) -> None:
    done = command("data", "check", *options(scenes)[:2], "--val-images=x")
    assert (done.returncode, "expected both or neither" in done.stderr) == (2, True)


def test_a_configuration_says_what_the_data_are_for(scenes: Path, command, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    split = f"{{annotations: {scenes}/train/annotations.json, images: {scenes}/train/images}}"
    config.write_text(f"data: {{train: {split}, val: {split}, classes: [kite], input_size: [64, 96]}}\n")
    done = command("data", "check", *options(scenes)[:2], f"--config={config}")
    assert done.returncode == 1
    assert "at input size 64 x 96 " in done.stdout
    assert "(unknown-class)" in done.stdout
    assert (
        "at input size 128 x 128"
        in command("data", "check", *options(scenes)[:2], f"--config={config}", "--input=128").stdout
    )


@pytest.mark.parametrize(
    "box",
    [(10, 10, 40, 40), (-30, 10, 20, 60), (230, 10, 260, 40), (-9e9, 0, -8e9, 5), (0, 0, 0.1, 0.1), (0, 0, 9e9, 9)],
)
def test_every_box_can_be_viewed(box: tuple[float, float, float, float]) -> None:
    image = np.full((150, 200, 3), 50, np.uint8)
    cell = view_box(image, box)
    assert cell.shape[0] == 240 or cell.shape[1] == 320
    least = 0.25 if max(map(abs, box)) < 1e6 else 0.1
    assert (cell == 50).all(2).mean() > least  # of a box outside of it the image is shown, too
    frame = (
        (np.abs(cell.astype(int) - cell.mean(2, keepdims=True)) > 20).any(2).sum()
    )  # the image is gray, the frame is not
    assert frame > 12 if box[0] > -1e6 else frame == 0


CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_labels(folder: Path, kind: str) -> None:
    """Three images, and label files with a sound object and four faults."""
    for name in "abc":
        (folder / "images").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / "images" / f"{name}.png"), np.full((64, 80, 3), 9 * ord(name) % 256, np.uint8))
    labels = folder / ("labels" if kind == "yolo" else "annotations")
    labels.mkdir()
    box = "".join(f"<{key}>{value}</{key}>" for key, value in zip(CORNERS, (9, 9, 40, 40), strict=True))
    sound = {
        "yolo": "0 0.5 0.5 0.4 0.4",
        "voc": f"<object><name>dog</name><bndbox>{box}</bndbox></object>",
        "labelme": {"label": "dog", "shape_type": "rectangle", "points": [[9, 9], [40, 40]]},
    }[kind]
    if kind == "yolo":
        (labels / "a.txt").write_text(f"{sound}\n0 0.5 x 0.4 0.4\n7 0.5 0.5 0.4 0.4\n0 5 5 0.4 0.4\n{sound}\n")
        (labels / "b.txt").write_bytes(b"\xff\xfe\x00")
        (folder / "data.yaml").write_text("{train: images, names: [dog]}")
    elif kind == "voc":
        broken = sound.replace("9<", "nine<"), sound.replace("dog", ""), sound.replace("<xmin>9", "<xmin>90")
        (labels / "a.xml").write_text(f"<annotation>{sound}{''.join(broken)}{sound}</annotation>")
        (labels / "b.xml").write_text("<annotation>")
        (labels / "c.xml").write_text(f"<annotation>{sound}</annotation>")
    else:
        broken = [sound | {"label": 3}, sound | {"points": [[1, "2"]]}, 7]
        (labels / "a.json").write_text(json.dumps({"shapes": [sound, *broken, sound]}))
        (labels / "b.json").write_text("{")
        (labels / "c.json").write_text(json.dumps({"shapes": [sound]}))


@pytest.mark.parametrize("kind", ["yolo", "voc", "labelme"])
def test_every_fault_of_label_files_is_listed(tmp_path: Path, command, kind: str) -> None:
    """Training stops at the first one; mending 500 lines shall not take 500 runs."""
    folder = tmp_path / "set"
    folder.mkdir()
    write_labels(folder, kind)
    result = command("data", "check", folder, "--json", tmp_path / "report.json")
    assert result.returncode == 1, result.stderr
    findings = json.loads((tmp_path / "report.json").read_text())["findings"]
    (finding,) = [one for one in findings if one["code"] == "broken-label"]
    texts = [item["text"] for item in finding["items"]]
    assert len(texts) == 4, texts
    (folder / "mine.json").write_text('{"shapes": 3}')
    refused = command("data", "check", folder, "--json", folder / "mine.json")
    assert (refused.returncode, "which would be lost" in refused.stderr) == (2, True)
    (folder / "mine.json").write_text((tmp_path / "report.json").read_text())
    assert command("data", "check", folder, "--json", folder / "mine.json").returncode == 1, "that of a check"
    assert all(str(folder) in text for text in texts)
    assert ("error" in result.stdout, "4  unusable entries of label files" in result.stdout) == (
        True,
        True,
    )
    with pytest.raises(InputError) as caught:
        open_dataset(folder)
    assert str(caught.value).startswith(texts[0])


def test_faults_of_listed_voc_files_stand_once(tmp_path: Path, command) -> None:
    """Both splits read all XML files, for their classes; a listed file that cannot be read is no missing one."""
    folder = tmp_path / "set"
    folder.mkdir()
    write_labels(folder, "voc")
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    (lists / "val.txt").write_text("c\n")
    result = command("data", "check", folder, "--json", tmp_path / "report.json")
    assert result.returncode == 1, result.stderr
    findings = json.loads((tmp_path / "report.json").read_text())["findings"]
    assert [one["count"] for one in findings if one["code"] == "broken-label"] == [4]
