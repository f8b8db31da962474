"""`rtmdet train --data`: from a path to a run whose configuration starts it again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from rtmdet.config.file import load_config
from rtmdet.core.errors import InputError
from rtmdet.runs.options import RunOptions
from rtmdet.runs.settings.own_data import MEASURED
from rtmdet.runs.settings.own_splits import open_own_data, print_remarks
from rtmdet.runs.time.limit import SAME_IN_FOLDS

Command = Callable[..., CompletedProcess[str]]
Finished = tuple[Path, CompletedProcess[str]]
QUICK = ("data.input_size=[64, 64]", "train.epochs=1", "data.workers=0", "train.device=cpu")


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> list[str]:
    """What follows the data on the command line of a short run in tmp_path."""
    monkeypatch.chdir(tmp_path)
    return ["--weights", str(checkpoint), *(word for setting in QUICK for word in ("--set", setting))]


def test_a_folder_is_enough_and_the_written_configuration_starts_the_same_run(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    result = command("train", "--data", dataset, *words)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"data: {dataset} is in COCO format, with train and val"
    assert any(line.startswith("  model.norm_statistics: ") for line in lines)
    assert any(line.startswith("  augmentation.resize_range: [0.") for line in lines)
    assert not any("data.input_size:" in line for line in lines), "given, not measured"
    assert not any("train.epochs:" in line for line in lines), "given, not chosen"
    run = tmp_path / "runs" / dataset.name
    config = load_config(run / "config.yaml")
    assert (config.model.size, config.train.epochs, config.model.norm_statistics) == ("nano", 1, "recalibrate")

    again = command("train", "--config", run / "config.yaml", "--epochs", 1, "--output", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert (run / "train.csv").read_text().split(",")[:4] == (tmp_path / "again/train.csv").read_text().split(",")[:4]
    assert (run / "val.csv").read_text() == (tmp_path / "again" / "val.csv").read_text()

    refused = command("train", "--data", dataset, *words)
    assert (refused.returncode, "already holds a run" in refused.stderr) == (2, True)
    resumed = command("train", "--data", dataset, *words, "--resume", "--set", "train.epochs=2")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after epoch 1 of 2" in resumed.stdout
    assert "not used:" not in resumed.stdout
    again = command("train", "--data", dataset, *words, "--resume", "--weights", "other.pth")
    assert "the weights other.pth are not used: the run was begun with" in again.stdout


def test_a_test_split_is_named(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, place in (("train", "train"), ("test", "val"), ("valid", "val")):
        shutil.copytree(dataset / place, tmp_path / "set" / split)
        open_own_data(tmp_path / "set")
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.endswith("format, with train")
    assert second.endswith("format, with train and test (not used in training)")
    assert third.endswith("format, with train, val and test (not used in training)")


def test_a_data_set_in_the_place_of_the_run_stays(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    shutil.copytree(dataset / "train" / "images", tmp_path / "data" / "images")
    labels = tmp_path / "data" / "train.json"
    shutil.copy(dataset / "train" / "annotations.json", labels)
    result = command("train", "--data", "data", *words, "--set", "train.output=.")
    assert result.returncode == 2
    assert "data/train.json: a run would replace this file, which no run has written" in result.stderr
    assert labels.read_bytes() == (dataset / "train" / "annotations.json").read_bytes()


def test_a_configuration_that_is_resumed_tells_of_changed_labels(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    shutil.copytree(dataset / "train", tmp_path / "set")
    assert command("train", "--data", "set", *words, "--set", "train.output=run").returncode == 0
    content = json.loads((tmp_path / "set" / "annotations.json").read_text())
    content["annotations"][0]["bbox"][2] -= 5
    (tmp_path / "set" / "annotations.json").write_text(json.dumps(content))
    resumed = command("train", "--config", "run/config.yaml", "--resume", "--set", "train.epochs=2")
    assert resumed.returncode == 0, resumed.stderr
    assert "has changed since the run started: images 1 with other objects" in resumed.stdout


def test_what_is_said_of_both_splits_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    print_remarks(["skipped: 1 x point", "skipped: 1 x point", "skipped: 2 x point"])
    assert capsys.readouterr().out.splitlines() == ["data: skipped: 1 x point", "data: skipped: 2 x point"]


def test_similar_names_are_said_once(command: Command, dataset: Path, words: list[str], tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "set")
    for split in ("train", "val"):
        path = tmp_path / "set" / split / "annotations.json"
        content = json.loads(path.read_text())
        content["categories"].append({"id": 7, "name": content["categories"][0]["name"].upper()})
        path.write_text(json.dumps(content))
    result = command("check", "--data", "set", *words)
    assert result.stdout.count("differ only in letter case") == 1, result.stderr


def test_misspelt_settings_fail_before_anything_is_read_or_downloaded(command: Command, tmp_path: Path) -> None:
    result = command("train", "--data", tmp_path / "none", "--set", "train.epohcs=3")
    assert (result.returncode, "did you mean train.epochs?" in result.stderr) == (2, True)


def test_without_a_validation_split_one_is_made_and_said(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    result = command("train", "--data", dataset / "train", *words)
    assert result.returncode == 0, result.stderr
    assert "no validation split: 1 of the 6 images are held out" in result.stdout
    files = [json.loads((tmp_path / "runs/train/data" / name).read_text()) for name in ("train.json", "val.json")]
    names = [{image["file_name"] for image in file["images"]} for file in files]
    assert [len(each) for each in names] == [5, 1]
    assert not names[0] & names[1]


def test_what_teaches_nothing_is_said(command: Command, dataset: Path, words: list[str]) -> None:
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    content["categories"].append({"id": 7, "name": "kite"})
    empty = content["images"][2]["id"]
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] != empty]
    content["annotations"][1]["id"] = content["annotations"][0]["id"]
    Path("kites.json").write_text(json.dumps(content))
    Path("images").symlink_to(dataset / "train" / "images")
    result = command("check", "--data", "kites.json", *words)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("kites.json: repeated annotation ids: 1") == 1, "of the file that was split"
    assert "no examples of kite: they cannot be learned; remove them from data.classes" in result.stdout
    assert "1 images without usable boxes skipped (data.keep_empty=true uses those without objects)" in result.stdout


def test_runs_have_names_of_their_own_and_go_on_with_their_data_only(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for split in ("train", "val"):
            source = [f"{dataset / split}/annotations.json", "--images", f"{dataset / split}/images"]
            export = [*source, "--split", split, "--out", tmp_path / name / "set"]
            assert command("data", "export", "yolo", *export).returncode == 0
    assert command("train", "--data", "a/set/data.yaml", *words).returncode == 0
    assert (tmp_path / "runs" / "set-data" / "last.pth").exists()
    refused = command("train", "--data", "b/set/data.yaml", "--resume", *words)
    assert refused.returncode == 2
    assert "runs/set-data holds a run on " in refused.stderr
    assert "not on b/set/data.yaml" in refused.stderr


def test_classes_of_the_validation_are_joined_by_name_and_learned_images_told(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    images = dataset / "train" / "images"
    both = [{"id": 1, "name": "balloon"}, {"id": 5, "name": "kite"}]
    content["annotations"][0]["category_id"] = 5
    Path("train.json").write_text(json.dumps(content | {"categories": both}))
    content["annotations"][0]["category_id"] = 1
    swapped = [{"id": 0, "name": "cow"}, {"id": 1, "name": "balloon"}]
    Path("val.json").write_text(json.dumps(content | {"categories": swapped}))
    Path("images").symlink_to(images)
    result = command("check", "--data", tmp_path, *words)
    assert result.returncode == 0, result.stderr
    assert f"{tmp_path}/val.json: not in this file, so not measured: 'kite'" in result.stdout
    assert f"{tmp_path}/val.json: not among the classes, so skipped: 'cow'" in result.stdout
    assert "6 of 6 validation images are copies of training images" in result.stdout


def test_images_of_another_size_are_refused_before_the_run(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    for split in ("train", "val"):
        content = json.loads((dataset / split / "annotations.json").read_text())
        if split == "val":
            content["images"][2]["width"] += 1
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
        (tmp_path / split).symlink_to(dataset / split / "images")
    result = command("check", "--data", tmp_path, *words)
    assert result.returncode == 2
    assert "expected 97 x 96 pixels" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words_of_error"),
    [
        (["--data", "nowhere"], "no such file or folder"),
        (["--data", "{data}", "--weights", "nothing.pth"], "nothing.pth"),
        (["--data", "{data}", "--config", "a.yaml"], "not allowed with"),
        ([], "expected --data FOLDER or --config FILE"),
    ],
)
def test_unusable_input_is_one_line(
    command: Command, dataset: Path, words: list[str], arguments: list[str], words_of_error: str
) -> None:
    result = command("train", *(word.format(data=dataset) for word in arguments))
    assert result.returncode == 2
    assert words_of_error in result.stderr
    assert "Traceback" not in result.stderr


def test_keep_classes_goes_on_with_the_old_ones_and_adds_the_new(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    for split in ("train", "val"):
        content = json.loads((dataset / split / "annotations.json").read_text())
        content["categories"] = [{"id": 4, "name": "apple"}, {"id": 9, "name": "balloon"}]
        for number, entry in enumerate(content["annotations"]):
            entry["category_id"] = (4, 9)[number % 2]
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / "two" / f"{split}.json").write_text(json.dumps(content))
        (tmp_path / "two" / split).symlink_to(dataset / split / "images")
    result = command("train", "--data", tmp_path / "two", "--keep-classes", *words)
    assert result.returncode == 0, result.stderr
    assert "classes: balloon known to the weights and kept, 1 new" in result.stdout
    assert load_config(tmp_path / "runs/two/config.yaml").data.classes == ("balloon", "apple")


def test_keep_classes_and_a_list_of_them_contradict(command: Command, dataset: Path, words: list[str]) -> None:
    result = command("train", "--data", dataset, "--keep-classes", "--set", "data.classes=[balloon]", *words)
    assert (result.returncode, result.stderr) == (
        2, "error: --keep-classes and --set data.classes: expected one of them\n",
    )  # fmt: skip


def test_keep_classes_wants_objects_of_every_old_class(command: Command, dataset: Path, words: list[str]) -> None:
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    content["categories"] = [{"id": 1, "name": "apple"}]
    Path("apples.json").write_text(json.dumps(content))
    Path("images").symlink_to(dataset / "train" / "images")
    result = command("train", "--data", "apples.json", "--keep-classes", *words)
    assert result.returncode == 2
    assert " knows balloon, but the training data has only " in result.stderr


@pytest.fixture
def scarce(dataset: Path, tmp_path: Path) -> Path:
    """The training scenes with a class of one object, which is the supercategory of the other class, too."""
    (tmp_path / "train").mkdir()
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    content["categories"][0]["supercategory"] = "toy"
    content["categories"].append({"id": 0, "name": "toy"})
    content["annotations"][-1]["category_id"] = 0
    (tmp_path / "train" / "annotations.json").write_text(json.dumps(content))
    (tmp_path / "train" / "images").symlink_to(dataset / "train" / "images")
    return tmp_path / "train"


def test_folds_measure_every_image_once(
    command: Command, dataset: Path, scarce: Path, words: list[str], tmp_path: Path
) -> None:
    result = command("train", "--data", scarce, "--folds", 3, *words)
    assert result.returncode == 0, result.stderr
    files = [json.loads((tmp_path / f"runs/train/fold_{k}/data/val.json").read_text()) for k in (1, 2, 3)]
    names = [image["file_name"] for file in files for image in file["images"]]
    assert sorted(names) == sorted({path.name for path in (dataset / "train" / "images").iterdir()})
    assert "all 6 images, each measured by the run that was not trained on it:" in result.stdout
    configs = [load_config(tmp_path / f"runs/train/fold_{k}/config.yaml") for k in (1, 2, 3)]
    assert {config.data.classes for config in configs} == {("toy", "balloon")}, "also where train has no toy"
    last, pooled = result.stdout.splitlines()[-2:]
    assert last.startswith("AP of the folds, each with its last.pth: ")
    run = Path("runs") / "train"
    assert pooled.startswith(f"pooled detections: {run / 'pooled_detections.json'}")
    truth = json.loads((run / "pooled_annotations.json").read_text())
    assert {image["file_name"] for image in truth["images"]} == set(names)
    compared = command("compare", run, run)
    assert compared.returncode == 0, compared.stderr
    assert compared.stdout.splitlines()[-1] == "verdict: no difference"

    before = (run / "fold_1" / "data" / "val.json").read_text()
    for arguments, found in (([], "already holds a run"), (["--resume"], "holds a run on other images")):
        refused = command("train", "--data", scarce, "--folds", 2, *arguments, *words)
        assert refused.returncode == 2
        assert f"{run / 'fold_1'} {found}" in refused.stderr
    assert (run / "fold_1" / "data" / "val.json").read_text() == before
    again = command("train", "--data", scarce, "--folds", 3, "--resume", *words)
    assert again.stdout.splitlines()[-2] == last
    assert "warning" not in again.stdout + again.stderr
    shutil.rmtree(run / "fold_3")  # as if the program had been killed before
    again = command("train", "--data", scarce, "--folds", 3, "--resume", *words)
    assert again.returncode == 0, again.stderr
    assert "holds no checkpoint" not in again.stdout
    assert load_config(run / "fold_3" / "config.yaml") == configs[2], "with what was chosen for the first"
    unknown = command("evaluate", run)
    assert f"it holds the runs of --folds: give one of them, such as {run / 'fold_1'}\n" in unknown.stderr
    refused = command("train", "--resume", run)
    assert "holds the runs of --folds: repeat their command with --resume\n" in refused.stderr
    too_long = "w" * 300  # for the name of a file
    again = command("train", "--data", scarce, "--folds", 3, "--resume", *words, "--weights", too_long)
    assert again.stdout.count(f"the weights {too_long} are not used: the run was begun with") == 3


def test_what_is_chosen_by_images_is_chosen_once_for_all_folds() -> None:
    """Folds of 23 and 24 images had batches of 4 and 8, and a resumed one another range of resizing."""
    assert {*MEASURED, "data.batch_size", "train.epochs"} <= {*SAME_IN_FOLDS}


def test_a_fold_without_objects_is_refused_before_the_first_run(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "few").mkdir()
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    labeled = {image["id"] for image in content["images"][:2]}
    content["annotations"] = [one for one in content["annotations"] if one["image_id"] in labeled]
    (tmp_path / "few" / "annotations.json").write_text(json.dumps(content))
    (tmp_path / "few" / "images").symlink_to(dataset / "train" / "images")
    result = command("train", "--data", tmp_path / "few", "--folds", 3, *words)
    assert result.returncode == 2
    assert "--folds 3: expected images with objects in each fold, found 2 in all" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_folds_do_not_go_into_a_run(finished: Finished, command: Command, dataset: Path, words: list[str]) -> None:
    run = finished[0] / "run"
    before = (run / "f1.png").read_bytes()
    result = command("train", "--data", dataset / "train", "--folds", 2, "--output", run, *words)
    assert result.returncode == 2
    assert f"{run} holds a run, whose" in result.stderr
    assert (run / "f1.png").read_bytes() == before


@pytest.mark.parametrize("folds", [0, 1, 7])
def test_folds_that_cannot_be_made_are_refused(command: Command, dataset: Path, words: list[str], folds: int) -> None:
    result = command("train", "--data", dataset / "train", "--folds", folds, *words)
    assert result.returncode == 2
    assert f"--folds {folds}: expected 2 to 6, one per image at most" in result.stderr


def test_other_images_than_those_of_the_run_are_refused(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    file, images = dataset / "train" / "annotations.json", dataset / "train" / "images"
    assert command("train", "--data", file, "--images", images, "--output", "run", *words).returncode == 0
    (tmp_path / "others").mkdir()
    again = ("train", "--data", file, "--output", "run", "--resume", *words)
    result = command(*again, "--images", tmp_path / "others")
    assert result.returncode == 2
    assert f"--images {tmp_path / 'others'}: the run in run was begun with {images}: leave it out" in result.stderr
    for same in ((), ("--images", images)):
        assert command(*again, *same).returncode == 0


def test_settings_in_quotes_mean_the_same() -> None:
    overrides = (
        'train.output="runs/x y"',
        "model.weights='none'",
        "train.epochs=3",
        "data.classes=[a, b]",
        "x=[",
        "y=",
    )
    assert RunOptions(overrides=overrides).given == {
        "train.output": "runs/x y",
        "model.weights": "none",
        "train.epochs": "3",
        "data.classes": "[a, b]",
        "x": "[",
        "y": "",
    }


def test_weights_are_given_once() -> None:
    with pytest.raises(InputError, match=r"^--weights a and --set model\.weights=b: expected one of them$"):
        RunOptions(weights="a", overrides=("model.weights=b",))


def test_no_weights_may_be_a_setting(command: Command, dataset: Path, tmp_path: Path) -> None:
    options = ["--set", "model.weights=none", "--set", "model.size=nano", "--set", "data.input_size=64"]
    result = command("check", "--data", dataset / "train", *options)
    assert result.returncode == 0, result.stderr
    assert "everything starts from scratch" in result.stdout


def test_a_misspelt_setting_is_told_before_the_run_that_is_there(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pth").touch()
    more = ("--set", f"train.output={tmp_path / 'run'}")
    assert "already holds a run" in command("train", "--data", dataset, *words, *more).stderr
    result = command("train", "--data", dataset, *words, *more, "--set", "train.epoch=1")
    assert (result.returncode, "did you mean train.epochs?" in result.stderr) == (2, True)
