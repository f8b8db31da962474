"""`rtmdet train --data --minutes`: the length follows from measured speeds, which these tests make up."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
import yaml

import rtmdet.runs.time.limit
from rtmdet.config.file import load_config
from rtmdet.config.schema import Config
from rtmdet.runs.build import build_trainer, open_data
from rtmdet.runs.options import RunOptions
from rtmdet.runs.settings.own_data import OwnData
from rtmdet.runs.time.correction import Correction
from rtmdet.runs.time.estimate import FORWARD, LEAST_SECONDS, LEAST_STEPS, Course, DurationEstimate, Speed
from rtmdet.runs.time.limit import TimeLimit
from rtmdet.runs.time.timing import measure_speed
from rtmdet.training.records import StepRecord, ValidationRecord

Command = Callable[..., CompletedProcess[str]]
QUICK = ("data.workers=0", "train.device=cpu")
EPOCH = 40.0  # seconds, of two steps
SLOW = Speed(start=0.0, mixed_step=EPOCH / 2, plain_step=EPOCH / 2, validation=10.0, save=0.0)


def settings(*found: str) -> list[str]:
    return [word for setting in found for word in ("--set", setting)]


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> list[str]:
    """What follows the data on the command line of a run in tmp_path."""
    monkeypatch.chdir(tmp_path)
    return ["--weights", str(checkpoint), *settings(*QUICK)]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Speed:
    """A machine that needs EPOCH seconds an epoch and as many before, whatever the clock says."""
    monkeypatch.setattr(rtmdet.runs.time.limit, "measure_speed", lambda *_, **__: SLOW)
    monkeypatch.setattr(TimeLimit, "left", lambda limit: 60 * limit.minutes - EPOCH)
    return SLOW


@pytest.fixture
def uncorrected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run keeps its length at half, when it turns out to be faster."""
    monkeypatch.setattr(Correction, "epoch", None)


def step_record(seconds: float = 0.0) -> StepRecord:
    names = [field.name for field in dataclasses.fields(StepRecord)]
    return StepRecord(**{**dict.fromkeys(names, 0), "seconds": seconds})  # type: ignore[arg-type]


@pytest.mark.parametrize(("corrected", "epochs"), [(False, 2), (True, 1 + 2 * 1)])
def test_the_run_has_the_epochs_that_fit_and_is_the_run_of_its_config(
    command: Command,
    dataset: Path,
    words: list[str],
    slow: Speed,
    tmp_path: Path,
    corrected: bool,
    epochs: int,
    request: pytest.FixtureRequest,
) -> None:
    if not corrected:
        request.getfixturevalue("uncorrected")
    small = settings("data.input_size=[64, 64]")
    result = command("train", "--data", dataset, "--minutes", 2.4, *words, *small)
    assert result.returncode == 0, result.stderr
    run = tmp_path / "runs" / dataset.name
    config = load_config(run / "config.yaml")
    assert config.train.epochs == epochs, "two in what is left of 140 s, or twice as many in the second half"
    assert config.augmentation.stage2_epochs == epochs - 1
    assert re.search("--minutes: 2 epochs in .*, instead of the default 400", result.stdout)
    assert ("halfway: 3 epochs instead of 2, to end in time" in result.stdout) == corrected
    assert "  train.epochs 400 -> " in result.stdout
    assert result.stdout.count("start check passed: ") == 1
    assert not [path for path in run.iterdir() if path.name.startswith("timing")]

    again = command("train", "--config", run / "config.yaml", *settings(f"train.output={tmp_path / 'again'}"))
    assert again.returncode == 0, again.stderr
    one, other = (torch.load(folder / "last.pth", weights_only=True) for folder in (run, tmp_path / "again"))
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())

    resumed = command("train", "--data", dataset, "--minutes", 2.4, "--resume", *words, *small)
    assert resumed.returncode == 0, resumed.stderr
    assert "--minutes is ignored: a resumed run keeps the epochs of " in resumed.stdout


@pytest.mark.parametrize(("step", "side"), [(EPOCH / 8, 160), (EPOCH / 3, 320)])
def test_a_short_time_gets_a_smaller_input_if_that_is_much_faster(
    command: Command,
    dataset: Path,
    words: list[str],
    slow: Speed,
    uncorrected: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: float,
    side: int,
) -> None:
    quick = dataclasses.replace(slow, mixed_step=step, plain_step=step)

    def measured(config: Config, *_: object, **__: object) -> Speed:
        return slow if config.data.input_size == (320, 320) else quick

    monkeypatch.setattr(rtmdet.runs.time.limit, "measure_speed", measured)
    result = command("train", "--data", dataset, "--minutes", 1.5, *words)
    assert result.returncode == 0, result.stderr
    assert load_config(tmp_path / "runs" / dataset.name / "config.yaml").data.input_size == (side, side)
    assert "of the default epochs; a smaller input may allow more" in result.stdout
    assert ("  hardly faster: the input stays at 320 x 320 pixels" in result.stdout) == (side == 320)
    assert ("  data.input_size [320, 320] -> [160, 160]" in result.stdout) == (side == 160)
    assert result.stdout.count("start check passed: ") == (2 if side == 160 else 1), "of each size"


def test_folds_share_the_time_and_have_one_length(
    command: Command, dataset: Path, words: list[str], slow: Speed, uncorrected: None, tmp_path: Path
) -> None:
    small = settings("data.input_size=[64, 64]")
    result = command("train", "--data", dataset / "train", "--folds", 2, "--minutes", 3, *words, *small)
    assert result.returncode == 0, result.stderr
    configs = [yaml.safe_load((tmp_path / f"runs/train/fold_{k}/config.yaml").read_text()) for k in (1, 2)]
    assert configs[0]["train"] | {"output": ""} == configs[1]["train"] | {"output": ""}
    assert 1 <= configs[0]["train"]["epochs"] <= 3, "of one step, 20 s, in half of 140 s"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--data", "{data}", "--minutes", "0"], "--minutes is 0: expected a number of minutes above 0"),
        (["--data", "{data}", "--minutes", "-1"], "--minutes is -1: expected"),
        (["--data", "{data}", "--minutes", "nan"], "--minutes is nan: expected"),
        (["--data", "{data}", "--minutes", "inf"], "--minutes is inf: expected"),
        (["--data", "{data}", "--minutes", "3", *settings("train.epochs=4")], "leave one of them out"),
        (["--config", "a.yaml", "--minutes", "3"], "use --epochs"),
        (["--data", "{data}", "--minutes", "1"], "too short: one epoch needs about"),
        (["--data", "{data}", "--minutes", "0.3"], "too short: one epoch needs about"),
    ],
)
def test_times_that_mean_nothing_are_one_line(
    command: Command, dataset: Path, words: list[str], slow: Speed, arguments: list[str], text: str
) -> None:
    more = words if "--data" in arguments else []
    result = command("train", *(word.format(data=dataset) for word in arguments), *more)
    assert result.returncode == 2
    assert text in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.fixture
def parts(dataset: Path, checkpoint: Path, tmp_path: Path) -> tuple:
    """Configuration, trainer and data of a run of 4 epochs with two steps."""
    overrides = [*QUICK, "data.input_size=[64, 64]", "train.epochs=4", f"train.output={tmp_path / 'run'}"]
    options = RunOptions(data=dataset, weights=str(checkpoint), overrides=tuple(overrides))
    config = OwnData.open(options, tmp_path / "run").configure()
    torch.manual_seed(0)
    train_data, val_data = open_data(config)
    return config, build_trainer(config, train_data, val_data, torch.device("cpu")), val_data


def test_real_steps_of_both_stages_are_timed_and_leave_no_file(parts: tuple) -> None:
    config, trainer, val_data = parts
    asked: list[int] = []
    choose = trainer.loader.set_epoch
    trainer.loader.set_epoch = lambda epoch, start=0: (asked.append(epoch), choose(epoch, start))
    speed = measure_speed(config, trainer, val_data, seconds=0.0, build_seconds=7.0)
    assert min(dataclasses.astuple(speed)) > 0
    assert speed.start >= 7.0
    assert asked == [2, 3, 0, 1], "two epochs of each stage: none twice, whose samples may be in memory"
    assert {path.name for path in (Path(config.train.output)).iterdir()} == {"data"}


def test_a_run_without_its_second_stage_is_timed_in_its_first(parts: tuple) -> None:
    config, trainer, val_data = parts
    config = dataclasses.replace(config, augmentation=dataclasses.replace(config.augmentation, stage2_epochs=0))
    speed = measure_speed(config, trainer, val_data, seconds=0.0, build_seconds=0.0)
    assert speed.plain_step == speed.mixed_step > 0


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("factor", "epochs"), [(1.0, 4), (2.0, 3), (0.5, 6)])
def test_the_length_is_corrected_at_half_by_the_speed_of_the_run(parts: tuple, factor: float, epochs: int) -> None:
    config, trainer, _ = parts
    clock = Clock()
    before = trainer.learning_rates.copy()
    speed = Speed(start=0.0, mixed_step=10.0, plain_step=10.0, validation=0.0, save=0.0)
    end = Course.of(config, trainer.steps).seconds(speed)
    correction = Correction(trainer, config, speed, end=end, clock=clock)
    assert correction.epoch == 2
    for epoch in (1, 2):
        for _ in range(trainer.steps):
            clock.now += 10.0 * factor
            correction.on_step(step_record())
        correction.on_epoch_end(epoch)
    assert trainer.plan.epochs == epochs
    done = 2 * trainer.steps
    assert (trainer.learning_rates[:done] == before[:done]).all(), "what was made stays as it was"
    assert len(trainer.learning_rates) == epochs * trainer.steps
    path = Path(config.train.output) / "config.yaml"
    if epochs == 4:
        assert not path.exists()
        return
    corrected = load_config(path)
    assert (corrected.train.epochs, corrected.train.cosine_start) == (epochs, 2)
    assert epochs - corrected.augmentation.stage2_epochs == 2, "stage 2 begins where it did"
    assert corrected.train.warmup_iterations == config.train.warmup_iterations


def test_validations_and_saves_of_the_run_count(parts: tuple) -> None:
    config, trainer, _ = parts
    clock = Clock()
    correction = Correction(trainer, config, dataclasses.replace(SLOW, validation=9.0), end=1e9, clock=clock)
    for validated, gap in ((False, 2.0), (True, 30.0)):
        for _ in range(2):
            clock.now += 1.0
            correction.on_step(step_record())
        assert correction.speed().validation == pytest.approx(9.0 / SLOW.mixed_step), "not known yet: in proportion"
        clock.now += gap
        if validated:
            correction.on_validation(ValidationRecord(2, 4, None, best=True, input_size=(64, 64)))  # type: ignore[arg-type]
        correction.on_epoch_end(3)
    found = correction.speed()
    assert (found.save, found.validation) == (2.0, 30.0 - 3 * 2.0)


def test_a_users_own_schedule_is_not_corrected(parts: tuple) -> None:
    config, trainer, _ = parts
    late = dataclasses.replace(config, augmentation=dataclasses.replace(config.augmentation, stage2_epochs=0))
    assert Correction(trainer, late, SLOW, end=0.0).epoch is None


def test_the_duration_is_estimated_once_after_the_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    estimate = DurationEstimate(Course(epochs=10, plain_epochs=5, steps=60, validations=2), validation_batches=5)
    for _ in range(LEAST_STEPS - 1):
        estimate.on_step(step_record(LEAST_SECONDS))
    assert not capsys.readouterr().out
    for _ in range(3):
        estimate.on_step(step_record(LEAST_SECONDS))
    shorter = "--epochs 2 takes 10 min"
    expected = f"the run takes about 50 min on this machine; {shorter}; --minutes N limits the time\n"
    assert capsys.readouterr().out == expected


def test_a_short_run_is_not_offered_shorter_nor_a_configuration_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    course = Course(epochs=10, plain_epochs=5, steps=6, validations=2)
    estimate = DurationEstimate(course, validation_batches=5, fits=False)
    for _ in range(LEAST_STEPS):
        estimate.on_step(step_record(LEAST_SECONDS))
    assert capsys.readouterr().out == "the run takes about 5.4 min on this machine\n"


def test_the_estimate_counts_the_choice_of_the_size_of_detection() -> None:
    course = Course(epochs=10, plain_epochs=5, steps=60, validations=2)
    seconds = []
    for choice in (0.0, 4.0):
        estimate = DurationEstimate(course, 5, choice)
        for _ in range(LEAST_STEPS - 1):
            estimate.on_step(step_record(1.0))
        seconds.append(estimate.seconds(course))
    assert seconds[1] - seconds[0] == pytest.approx(4 * 5 * FORWARD)
