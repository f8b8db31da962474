"""`rtmdet train`: what a run writes and prints, and how it is taken up again."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import pytest
import torch
import yaml
from forks import start_command
from training.small_run import Recorder

import rtmdet
from rtmdet.cli.train import without_lost_connections
from rtmdet.config.file import load_config
from rtmdet.core.errors import InputError
from rtmdet.evaluation.coco import NAMES, metric_text
from rtmdet.runs.folder import load_run
from rtmdet.runs.provenance import describe_maker
from rtmdet.runs.train import train_run
from rtmdet.training.interruption import Interrupted
from rtmdet.training.log import read_log
from rtmdet.training.records import StepRecord
from rtmdet.weights.checkpoint import read_training_checkpoint
from rtmdet.weights.load import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]

FILES = {"last.pth", "previous.pth", "best.pth", "config.yaml", "log.jsonl", "train.csv", "val.csv", "curves.png"} | {
    "f1.png",
    "samples.png",
    "warnings.txt",  # six steps find next to nothing
}
Command = Callable[..., CompletedProcess[str]]
Finished = tuple[Path, CompletedProcess[str]]


@pytest.fixture
def again(finished: Finished, tmp_path: Path) -> list[object]:
    """The words of a command on a copy of the finished run in tmp_path/run."""
    shutil.copytree(finished[0] / "run", tmp_path / "run")
    return ["train", "--config", finished[0] / "config.yaml", "--set", f"train.output={tmp_path / 'run'}"]


def test_run_writes_its_files_and_nothing_else(finished: Finished) -> None:
    folder, result = finished
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (folder / "run").iterdir()} == FILES
    for name in ("curves.png", "f1.png"):
        assert cv2.imread(str(folder / "run" / name)) is not None


def test_run_says_what_it_reads_and_prints_the_12_numbers(finished: Finished, dataset: Path) -> None:
    lines = finished[1].stdout.splitlines()
    boxes = len(json.loads((dataset / "train" / "annotations.json").read_text())["annotations"])
    assert lines[0] == f"train: 6 images, {boxes} boxes, classes: balloon"
    assert lines[1].startswith("val: 3 images, ")
    assert lines[2] == "weights: none, training starts from scratch"
    assert [line.split()[0] for line in lines[:-1] if line[:2] in ("AP", "AR")] == list(NAMES)
    last = read_log(finished[0] / "run" / "log.jsonl")[-1]["AP"]
    assert lines[-1].startswith(f"AP of the last epoch {last:.3f} ({finished[0] / 'run' / 'last.pth'}), ")
    assert finished[1].stderr == "", "no bar where standard error is no terminal"


def test_a_run_that_finds_nothing_warns_with_the_cause(finished: Finished) -> None:
    (line,) = [line for line in finished[1].stdout.splitlines() if line.startswith("warning: ")]
    assert line.startswith("warning: AP is 0.00")
    assert " after 1 of 2 epochs. Likely cause: " in line
    written = (finished[0] / "run" / "warnings.txt").read_text()
    assert written == line.replace("warning:", "[low-ap] epoch 1:") + "\n"


def test_checkpoints_say_what_they_are(finished: Finished) -> None:
    folder = finished[0] / "run"
    averaged, meta, state = read_training_checkpoint(folder / "last.pth")
    assert (meta.facts.classes, meta.facts.size, meta.facts.input_size) == (("balloon",), "nano", (64, 64))
    assert (meta.epoch, meta.iteration, state.epoch, state.iteration) == (2, 6, 2, 6)
    assert meta.facts.config == (folder / "config.yaml").read_text()
    assert all(torch.isfinite(value).all() for value in averaged.values())
    best = read_checkpoint(folder / "best.pth")
    assert best.classes == ("balloon",)
    assert best.path.stat().st_size < 0.5 * (folder / "last.pth").stat().st_size


def test_resolved_configuration_is_the_one_that_ran(finished: Finished) -> None:
    assert load_config(finished[0] / "run" / "config.yaml") == load_config(finished[0] / "config.yaml")


def test_log_has_every_step_once(finished: Finished) -> None:
    rows = read_log(finished[0] / "run" / "log.jsonl")
    assert [(row["kind"], row["epoch"], row["iteration"]) for row in rows if row["kind"] == "val"] == [
        ("val", 1, 3),
        ("val", 2, 6),
    ]
    assert sorted((row["epoch"], row["iteration"]) for row in rows if row["kind"] == "train") == [
        (1, 2),
        (1, 3),
        (2, 4),
        (2, 6),
    ]


def test_same_seed_same_losses(finished: Finished, config: Path, tmp_path: Path, command: Command) -> None:
    assert command("train", "--config", config).returncode == 0
    timeless = ("memory_mb", "seconds", "data_seconds")

    def losses(folder: Path) -> list[dict[str, object]]:
        rows = read_log(folder / "run" / "log.jsonl")
        return [{key: value for key, value in row.items() if key not in timeless} for row in rows]

    assert losses(tmp_path) == losses(finished[0])


def test_second_run_does_not_overwrite_the_first(again: list[object], tmp_path: Path, command: Command) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    result = command(*again, "--set", "train.epochs=1")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'run'} already holds a run")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_resumed_run_goes_on(again: list[object], tmp_path: Path, command: Command) -> None:
    result = command(*again, "--resume", "--set", "train.epochs=3")
    assert result.returncode == 0, result.stderr
    assert "resumed after epoch 2 of 3" in result.stdout
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert [row["epoch"] for row in rows if row["kind"] == "val"] == [1, 2, 3]
    assert max(int(row["iteration"]) for row in rows) == 9
    assert read_training_checkpoint(tmp_path / "run" / "last.pth")[1].epoch == 3
    assert load_config(tmp_path / "run" / "config.yaml").train.epochs == 3
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


def test_a_missing_tensorboard_is_said_before_any_work(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # an import of it fails
    result = command("train", "--config", config, "--set", "train.tensorboard=true")
    assert result.returncode == 2
    assert re.fullmatch(r"error: train.tensorboard: TensorBoard is not installed: .*\n", result.stderr)
    assert result.stdout == ""


def test_a_run_says_what_made_it(again: list[object], checkpoint: Path, tmp_path: Path, command: Command) -> None:
    """The first start and the last resumption, with the weights of the first."""

    def made_with() -> str:
        shown = command("info", tmp_path / "run" / "last.pth").stdout
        return shown.partition("\nmade with")[2].partition("\n")[0].strip()

    machine = (
        rf"rtmdet {re.escape(rtmdet.__version__)}, torch {re.escape(torch.__version__)}, numpy [\d.]+, "
        r"Python [\d.]+, cpu, processes: 1, threads of each: \d+, \d{4}-\d\d-\d\d \d\d:\d\d UTC"
    )
    assert re.fullmatch(rf"{machine}, from random weights", first := made_with())
    for epochs in (3, 4):
        assert command(*again, "--resume", "--set", f"train.epochs={epochs}").returncode == 0
    assert re.fullmatch(rf"{re.escape(first)}; resumed with {machine}", made_with())
    config = load_config(tmp_path / "run" / "config.yaml", [f"model.weights={checkpoint}"])
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert describe_maker(config, torch.device("cpu")).endswith(f"from weights with SHA-256 {digest}")


def test_resuming_a_finished_run_leaves_it_as_it_is(again: list[object], tmp_path: Path, command: Command) -> None:
    run = tmp_path / "run"
    before = {name: (run / name).read_bytes() for name in ("last.pth", "best.pth", "log.jsonl", "val.csv")}
    result = command(*again, "--resume")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("AP of the last epoch ")
    assert {name: (run / name).read_bytes() for name in before} == before


def test_settings_for_a_finished_run_are_not_applied_and_what_it_lacks_is_written(
    again: list[object], tmp_path: Path, command: Command
) -> None:
    run = tmp_path / "run"
    before = (run / "config.yaml").read_bytes()
    (run / "curves.png").unlink()
    result = command(*again, "--resume", "--set", "evaluation.box_voting=true")
    assert result.returncode == 0, result.stderr
    assert f"{run}: the run is complete after 2 epochs, so nothing is trained; not applied: " in result.stdout
    assert "evaluation.box_voting" in result.stdout
    assert (run / "config.yaml").read_bytes() == before
    assert (run / "curves.png").is_file()
    (run / "config.yaml").unlink()
    assert command(*again, "--resume").returncode == 0
    assert load_config(run / "config.yaml").train.epochs == 2
    before = (run / "config.yaml").read_bytes()
    result = command(*again, "--resume", "--set", "train.epochs=1")
    assert result.returncode == 2
    assert result.stderr == f"error: {run}: 2 epochs are finished, --epochs is 1: leave it out, or raise it\n"
    assert (run / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.size=tiny", "is of another run (the size is tiny here, nano there): choose another --output"),
        (
            "data.batch_size=3",
            "resume with the data, data.batch_size, train.accumulate and the number of processes it was made with",
        ),
    ],
)
def test_resuming_as_another_run_is_refused_and_changes_nothing(
    again: list[object], tmp_path: Path, command: Command, override: str, expected: str
) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    result = command(*again, "--resume", "--set", override)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert expected in line
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_without_a_checkpoint_a_resumed_run_begins(
    config: Path, finished: Finished, tmp_path: Path, command: Command
) -> None:
    """A run that was killed before its first checkpoint is started again by the same command."""
    result = command("train", "--config", config, "--resume")
    assert result.returncode == 0, result.stderr
    assert f"{tmp_path / 'run'} holds no checkpoint to resume from: the run starts at the beginning" in result.stdout
    assert same_weights(tmp_path / "run", finished[0] / "run")


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs ended with equal weights and averages, bit by bit."""
    (a, _, a_state), (b, _, b_state) = (read_training_checkpoint(folder / "last.pth") for folder in (one, other))
    pairs = [(a, b), (a_state.model, b_state.model)]
    return all(list(x) == list(y) and all(torch.equal(x[name], y[name]) for name in x) for x, y in pairs)


@pytest.mark.parametrize("iteration", [1, 2, 3, 5])
def test_a_signal_saves_and_a_resumed_run_ends_as_if_there_was_none(
    finished: Finished,
    config: Path,
    tmp_path: Path,
    command: Command,
    iteration: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The real samples, model and loop; stage 2 begins in the second epoch."""

    class Signal(Recorder):
        def on_step(self, record: StepRecord) -> None:
            if record.iteration == iteration:
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        train_run(load_config(config), callbacks=[Signal()])
    assert f"after iteration {iteration}; state saved" in capsys.readouterr().out
    assert read_training_checkpoint(tmp_path / "run" / "last.pth")[1].iteration == iteration
    result = command("train", "--config", config, "--resume")
    assert result.returncode == 0, result.stderr
    assert same_weights(tmp_path / "run", finished[0] / "run")
    logs = [read_log(folder / "run" / "log.jsonl") for folder in (tmp_path, finished[0])]
    first, second = ([row for row in log if row["kind"] == "val"] for log in logs)
    assert first == second
    iterations = [row["iteration"] for row in logs[0] if row["kind"] == "train"]
    assert iterations == sorted({2, 3, 4, 6, iteration}), "no row twice, none missing"


def test_a_run_whose_images_were_lost_is_saved_and_resumed(
    finished: Finished, config: Path, dataset: Path, tmp_path: Path, command: Command
) -> None:
    """As where a network drive goes away in the midst of an epoch."""
    images = tmp_path / "images"
    shutil.copytree(dataset / "train" / "images", images)

    class Loss(Recorder):
        def on_step(self, record: StepRecord) -> None:
            if record.iteration == 4:
                images.rename(tmp_path / "lost")

    settings = f"data.train={{annotations: {dataset / 'train' / 'annotations.json'}, images: {images}}}"
    message = r"\.jpg: no such image file; check the path; the training so far is saved: repair that, then --resume"
    with pytest.raises(InputError, match=message):
        train_run(load_config(config, [settings]), callbacks=[Loss()])
    assert read_training_checkpoint(tmp_path / "run" / "last.pth")[1].iteration == 4
    (tmp_path / "lost").rename(images)
    result = command("train", "--config", config, "--set", settings, "--resume")
    assert result.returncode == 0, result.stderr
    assert same_weights(tmp_path / "run", finished[0] / "run")


def test_a_stopped_command_says_how_to_go_on(config: Path, tmp_path: Path) -> None:
    """As from a shell: one SIGTERM, exit code 128 + 15, no traceback."""
    words = [sys.executable, "train.py", "--config", str(config), "--set", "train.epochs=500"]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 120
    while not read_log(log) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "state saved" in out
    assert out.splitlines()[-1] == "to continue, run the same command with --resume"
    assert "Traceback" not in err
    assert read_training_checkpoint(tmp_path / "run" / "last.pth")[1].iteration >= 1


def test_a_damaged_newest_checkpoint_is_named(again: list[object], tmp_path: Path, command: Command) -> None:
    last = tmp_path / "run" / "last.pth"
    last.write_bytes(last.read_bytes()[:5000])
    result = command(*again, "--resume")
    assert result.returncode == 0, result.stderr
    assert f"{last}: not a checkpoint, or a damaged one" in result.stdout
    assert "continuing from the previous checkpoint" in result.stdout


def test_a_full_disk_keeps_the_checkpoint_before(
    config: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device /dev/full refuses every byte, as a full disk does."""

    class Full(Recorder):
        def on_epoch_end(self, epoch: int) -> None:
            (tmp_path / "run" / "last.pth.part").symlink_to("/dev/full")

    full = r"last\.pth: the checkpoint cannot be written \(No space left .*, the previous file is kept; repair that"
    with pytest.raises(InputError, match=full):
        train_run(load_config(config), callbacks=[Full()])
    assert read_training_checkpoint(tmp_path / "run" / "last.pth")[1].epoch == 1


def test_a_resumed_run_needs_its_first_weights_no_more(again: list[object], command: Command) -> None:
    result = command(*again, "--resume", "--set", "model.weights=gone.pth")
    assert result.returncode == 0, result.stderr
    assert "weights:" not in result.stdout


def test_changed_settings_of_a_resumed_run_are_said(again: list[object], command: Command) -> None:
    result = command(*again, "--resume", "--set", "train.epochs=3")
    assert "settings that differ from the checkpoint's: train.epochs 2 -> 3, train.output " in result.stdout


@pytest.mark.parametrize(
    "overrides",
    [
        ["train.accumulate=2", "train.ema=false", "train.keep_epochs=1"],
        ["train.precision=bf16", "augmentation.multi_scale=[1,1.5]"],
        ["model.freeze=[backbone.stem.*]", "data.repeat_threshold=0.5", "evaluation.backend=hotcoco"],
        ["model.backbone=timm/resnet18", "model.backbone_pretrained=false", "train.tensorboard=true"],
    ],
    ids=["accumulate", "bf16", "freeze", "timm"],
)
def test_recipes_run_and_their_checkpoints_detect(
    config: Path, dataset: Path, tmp_path: Path, command: Command, overrides: list[str]
) -> None:
    words = [word for override in overrides for word in ("--set", override)]
    result = command("train", "--config", config, *words)
    assert result.returncode == 0, result.stderr
    image = next((dataset / "val" / "images").iterdir())
    weights = tmp_path / "run" / "best.pth"
    result = command("infer", image, "--weights", weights, "--score", 0.001, "--out", tmp_path / "found")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "found" / "detections.json").is_file()


def test_frozen_statistics_stay_while_scales_and_shifts_learn(config: Path, checkpoint: Path, tmp_path: Path) -> None:
    train_run(load_config(config, ["model.norm_statistics=freeze", f"model.weights={checkpoint}"]))
    _, _, state = read_training_checkpoint(tmp_path / "run" / "last.pth")
    first = read_checkpoint(checkpoint).tensors
    means = [name for name in state.model if name.endswith("running_mean")]
    assert means
    assert all(torch.equal(state.model[name], first[name]) for name in means)
    shifts = [value for name, value in state.model.items() if name.endswith(".bn.bias")]
    assert any(shift.any() for shift in shifts)


def start_two(config: Path, *settings: str) -> subprocess.Popen[str]:
    """Two processes of a run, by torchrun."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["train.py", "--config", str(config), *(word for pair in settings for word in ("--set", pair))]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_stop_together_at_a_signal(config: Path, tmp_path: Path) -> None:
    settings = ["data.batch_size=1", "data.workers=1", "train.epochs=500", "train.validate_every=500"]
    process = start_two(config, *settings)
    deadline = time.monotonic() + 120
    while not read_log(tmp_path / "run" / "log.jsonl") and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert out.count("state saved") == 1
    assert out.count("to continue, run") == 1
    assert "[rank" not in err, "no traceback of ours"
    assert read_training_checkpoint(tmp_path / "run" / "last.pth")[1].iteration >= 1


@pytest.mark.parametrize(("error", "printed"), [(ConnectionResetError, False), (ValueError, True)])
def test_a_loader_process_that_ends_while_it_starts_prints_nothing(
    capsys: pytest.CaptureFixture[str], error: type[Exception], printed: bool
) -> None:
    """multiprocessing's thread calls the hook, as a signal to all processes may end it at any moment."""

    def serve() -> None:
        try:
            raise error("gone")
        except error:
            sys.excepthook(*sys.exc_info())

    before = sys.excepthook
    with without_lost_connections():
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
    assert ("gone" in capsys.readouterr().err) == printed
    assert sys.excepthook is before


@pytest.mark.slow
def test_the_fault_of_one_process_is_one_line(config: Path, dataset: Path, tmp_path: Path) -> None:
    """The other one ends without a word."""
    shutil.copytree(dataset / "train", tmp_path / "train")
    image = sorted((tmp_path / "train" / "images").iterdir())[2]
    image.write_bytes(image.read_bytes()[:900])
    split = f"{{annotations: {tmp_path / 'train' / 'annotations.json'}, images: {tmp_path / 'train' / 'images'}}}"
    process = start_two(config, "data.batch_size=1", f"data.train={split}")
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert err.count("error: ") == err.count(f"error: {image}: the image is truncated") == 1
    assert "[rank" not in err


def run_two(config: Path, folder: Path, *settings: str) -> str:
    """Two processes as torchrun would start them; returns what both wrote."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    words = ["train", "--config", str(config), *(word for pair in settings for word in ("--set", pair))]
    folders = [folder / rank for rank in "01"]
    for each in folders:
        each.mkdir()
    ranks = [{**shared, "RANK": each.name, "LOCAL_RANK": each.name} for each in folders]
    processes = [start_command(words, each, rank) for each, rank in zip(folders, ranks, strict=True)]
    for process, each in zip(processes, folders, strict=True):
        process.join(300)
        assert process.exitcode == 0, (each / "err").read_text()
    return "".join((each / "out").read_text() for each in folders)


@pytest.mark.slow
def test_two_processes_write_one_run(config: Path, dataset: Path, tmp_path: Path, command: Command) -> None:
    """Each line once, each validation image once, and the same 12 numbers as measured by one process."""
    out = run_two(config, tmp_path, "data.batch_size=1", "train.learning_rate=0.01")
    assert out.count("weights: none, training starts from scratch") == 1
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert [(row["epoch"], row["iteration"]) for row in rows if row["kind"] == "val"] == [(1, 3), (2, 6)]
    numbers = [row[name] for row in rows[-1:] for name in NAMES]
    val = dataset / "val"
    measured = command(
        "evaluate", "--weights", tmp_path / "run" / "last.pth", "--annotations", val / "annotations.json",
        "--images", val / "images", "--device", "cpu",
    )  # fmt: skip
    assert measured.returncode == 0, measured.stderr
    words = [line.split() for line in measured.stdout.splitlines()]
    found = {line[0]: line[1] for line in words if line and line[0] in NAMES}
    assert found == {name: metric_text(float(number)) for name, number in zip(NAMES, numbers, strict=True)}


def test_starts_from_weights_of_other_classes(
    config: Path, checkpoint: Path, dataset: Path, tmp_path: Path, command: Command
) -> None:
    """The class that the weights know is kept, the other one starts from scratch, and the user is told so."""
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    content["categories"].append({"id": 7, "name": "kite"})
    (tmp_path / "two.json").write_text(json.dumps(content))
    split = f"{{annotations: {tmp_path / 'two.json'}, images: {dataset / 'train' / 'images'}}}"
    words = [f"data.train={split}", f"data.val={split}", f"model.weights={checkpoint}", "train.epochs=1"]
    result = command("train", "--config", config, *(word for pair in words for word in ("--set", pair)))
    assert result.returncode == 0, result.stderr
    assert " tensors): 2 classes instead of 1\n" in result.stdout
    assert "\nclasses: balloon known to the weights and kept, 1 new\n" in result.stdout
    assert "start from scratch" not in result.stdout
    assert read_checkpoint(tmp_path / "run" / "best.pth").classes == ("balloon", "kite")


def test_scaled_learning_rate_is_announced(config: Path, command: Command) -> None:
    result = command(
        "train", "--config", config, "--set", "train.epochs=1", "--set", "train.scale_learning_rate=true"
    )
    assert result.returncode == 0, result.stderr
    assert "learning rate 0.004 x 2 / 256 = 3.125e-05" in result.stdout


def test_a_run_is_used_from_elsewhere_and_after_a_move(
    finished: Finished, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its paths are absolute, and what lies in its own folder moves with it."""
    monkeypatch.chdir(finished[0])
    run = tmp_path / "moved"
    shutil.copytree(finished[0] / "run", run)
    before = yaml.safe_load((run / "config.yaml").read_text())
    paths = [before["data"][split][key] for split in ("train", "val") for key in ("annotations", "images")]
    assert all(os.path.isabs(path) for path in paths)
    assert Path(before["train"]["output"]).is_absolute()

    inside = run / "data" / "val.json"
    inside.parent.mkdir()
    shutil.copyfile(before["data"]["val"]["annotations"], inside)
    before["data"]["val"]["annotations"] = f"{before['train']['output']}/data/val.json"
    (run / "config.yaml").write_text(yaml.safe_dump(before))
    monkeypatch.chdir(tmp_path)
    config = load_run(run)
    assert (config.data.val.annotations, config.train.output) == (str(inside), str(run))
    result = command("train", "--config", run / "config.yaml", "--resume", "--set", "train.epochs=3")
    assert result.returncode == 0, result.stderr
    assert f"curves: {run}/curves.png" in result.stdout

    before["data"]["train"]["images"] = "/gone/photos"
    (run / "config.yaml").write_text(yaml.safe_dump(before))
    result = command("train", "--config", run / "config.yaml", "--resume")
    assert result.returncode == 2
    assert "the images of train, /gone/photos, no longer exist: if they were moved, give" in result.stderr


def test_training_works_where_loader_processes_are_spawned(config: Path, tmp_path: Path) -> None:
    """As on macOS, Windows, and Linux from Python 3.14 on: they get the samples by pickle."""
    words = ["train", "--config", str(config), "--set", "data.workers=2", "--set", "train.epochs=1"]
    process = start_command(words, tmp_path, spawning=True)
    process.join(300)
    assert process.exitcode == 0, (tmp_path / "err").read_text()
    assert read_training_checkpoint(tmp_path / "run" / "last.pth")[1].epoch == 1
