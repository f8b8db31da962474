"""Warnings of a run: each fault is reported once with its cause; healthy runs report nothing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rtmdet.evaluation.coco import ClassMetrics, CocoMetrics
from rtmdet.runs.checks.likely_causes import ClassBoxes, RunFacts
from rtmdet.runs.checks.progress_watch import ProgressWatch
from rtmdet.training.log import RunLog, read_log
from rtmdet.training.records import StepRecord, ValidationRecord

STEPS = 50  # per epoch
FACTS = RunFacts(
    epochs=20,
    steps=STEPS,
    warmup=50,
    stage2_start=10,
    images=400,
    input_size=(320, 320),
    learning_rate=0.002,
    clip_gradient=None,
    from_scratch=False,
    usual_images_seen=2400,
    frozen_random=None,
    classes={"cat": ClassBoxes(300, 0), "dog": ClassBoxes(12, 0)},
)
Losses = Callable[[int], float]  # iteration -> total loss


def falling(iteration: int) -> float:
    """From 2 to 0.4, with noise, and a jump up where mosaic ends."""
    noise = 1 + 0.2 * ((iteration * 7919) % 11 - 5) / 5
    return noise * (0.4 + 1.6 * 0.99**iteration + (0.5 * 0.99 ** (iteration - 500) if iteration > 500 else 0))


def level(iteration: int) -> float:
    """Noise around 1."""
    return 1 + 0.2 * ((iteration * 7919) % 11 - 5) / 5


def from_scratch(iteration: int) -> float:
    """Near 0 at first, since boxes without area have no loss; then it rises and falls slowly."""
    return 0.1 + min(iteration / 150, 1) * 1.5 * 0.9993**iteration


def step(iteration: int, loss: float, **changes: float) -> StepRecord:
    record = StepRecord(
        epoch=(iteration - 1) // STEPS + 1,
        iteration=iteration,
        learning_rate=0.002,
        loss_classification=loss / 2,
        loss_box=loss / 2,
        gradient_norm=5.0,
        positives=30,
        positives_per_object=8.0,
        unassigned=0.0,
        memory_mb=100.0,
        seconds=0.5,
        data_seconds=0.1,
    )
    return replace(record, **changes)  # type: ignore[arg-type]


def measured(ap: float, cat: float | None = None, dog: float | None = None) -> CocoMetrics:
    """An AP and those of the two classes, 40 and 3 validation objects."""
    rows = [("cat", 40, ap if cat is None else cat), ("dog", 3, ap if dog is None else dog)]
    return CocoMetrics((ap, *[0.0] * 11), tuple(ClassMetrics(name, count, one, one) for name, count, one in rows))


class Run:
    """Feeds a watch as a trainer does; validates every second epoch."""

    def __init__(self, folder: Path, facts: RunFacts = FACTS, *, resumed: bool = False) -> None:
        self.said: list[str] = []
        self.log = RunLog(folder, log_every=10, iterations=1000 if resumed else 0, epochs=20 if resumed else 0)
        self.watch = ProgressWatch(folder, facts, report=self.said.append, history=read_log(self.log.path))

    def epochs(
        self,
        first: int = 1,
        last: int = 20,
        *,
        loss: Losses = falling,
        metrics: Callable[[int], CocoMetrics | None] = lambda _: measured(0.3),
        **changes: float,
    ) -> list[str]:
        """Go through some epochs; returns all warnings so far."""
        for epoch in range(first, last + 1):
            for iteration in range((epoch - 1) * STEPS + 1, epoch * STEPS + 1):
                record = step(iteration, loss(iteration), **changes)
                self.log.on_step(record)
                self.watch.on_step(record)
            found = metrics(epoch)
            if epoch % 2 == 0 and found is not None:
                validation = ValidationRecord(epoch, epoch * STEPS, found, best=True, input_size=(64, 64))
                self.log.on_validation(validation)
                self.watch.on_validation(validation)
            self.log.on_save()
            self.watch.on_epoch_end(epoch)
        return self.said


@pytest.mark.parametrize("loss", [falling, level, from_scratch, lambda _: 0.3])
def test_runs_that_detect_are_left_alone(tmp_path: Path, loss: Losses) -> None:
    """Fine-tuning may start with a low loss that stays level."""
    assert Run(tmp_path).epochs(loss=loss) == []
    assert not (tmp_path / "warnings.txt").exists()


@pytest.mark.parametrize("loss", [falling, from_scratch])
def test_a_slow_start_is_left_alone(tmp_path: Path, loss: Losses) -> None:
    """An AP that is low but not 0, while the loss falls."""
    assert Run(tmp_path).epochs(loss=loss, metrics=lambda epoch: measured(epoch * 0.002)) == []


def test_near_zero_ap_is_reported_once_after_a_third(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.epochs(1, 6, metrics=lambda _: measured(0.004)) == []
    assert len(run.epochs(7, 8, metrics=lambda _: measured(0.004))) == 1
    (line,) = run.epochs(9, 20, metrics=lambda _: measured(0.004, cat=0.0))
    assert line.startswith("warning: AP is 0.004 after 8 of 20 epochs. Likely cause: the training loss falls, so the")
    assert (tmp_path / "warnings.txt").read_text() == line.replace("warning:", "[low-ap] epoch 8:") + "\n"


def test_an_undefined_ap_is_not_near_zero(tmp_path: Path) -> None:
    assert Run(tmp_path).epochs(metrics=lambda _: measured(-1.0)) == []


@pytest.mark.parametrize(
    ("facts", "loss", "changes", "cause"),
    [
        (
            {"frozen_random": "model.norm_statistics"},
            falling,
            {},
            "model.norm_statistics freezes layers or batch",
        ),
        ({}, falling, {"unassigned": 0.6}, "60% of the objects are too small to be matched at 320 x 320 pixels"),
        ({}, falling, {"positives": 0}, "the training samples contain no objects"),
        ({}, lambda k: 1 + k / 100, {}, "learning rate is too high (loss 1.7 at first, 4.8 now, gradient norm 5): "),
        (
            {},
            lambda k: 1 + k / 100,
            {"unassigned": 0.6},
            "learning rate is too high (loss 1.7 at first, 4.8 now, gradient norm 5): ",
        ),
        ({"warmup": 600}, falling, {"gradient_norm": 900.0}, "still warming up (step 400 of 600)"),
        (
            {"from_scratch": True, "usual_images_seen": 12_000, "images": 700},
            from_scratch,
            {},
            "labels that do not match the images",
        ),
        ({"from_scratch": True}, from_scratch, {"gradient_norm": 900.0}, "the learning rate is too high"),
        (
            {"from_scratch": True},
            from_scratch,
            {"loss_box": 0.0},
            "no predicted box overlaps an object (box loss 0);",
        ),
        ({"warmup": 600}, falling, {}, "the learning rate is still warming up (step 400 of 600)"),
        ({"images": 30}, falling, {}, "600 training images shown in the whole run are few, 2400 are usual fr"),
        ({}, falling, {}, "the validation annotations probably differ"),
        ({}, level, {}, "labels that do not match the images"),
    ],
)
def test_the_cause_of_a_low_ap_follows_from_what_is_known(
    tmp_path: Path, facts: dict[str, object], loss: Losses, changes: dict[str, float], cause: str
) -> None:
    run = Run(tmp_path, replace(FACTS, **facts))  # type: ignore[arg-type]
    lines = run.epochs(1, 8, loss=loss, metrics=lambda _: measured(0.0), **changes)
    (line,) = [line for line in lines if line.startswith("warning: AP is 0.000")]
    assert cause in line
    assert "\n" not in line


def test_a_level_loss_is_reported_where_little_is_found(tmp_path: Path) -> None:
    """At 70 % of the first stage: epoch 8 of 10, since the warm-up takes one."""
    run = Run(tmp_path)
    assert run.epochs(1, 7, loss=level, metrics=lambda _: measured(0.05)) == []
    (line,) = run.epochs(8, 20, loss=level, metrics=lambda _: measured(0.05))
    assert line.startswith("warning: the loss does not fall: 1, at most 1")
    assert "try a third of it" in line
    assert (tmp_path / "warnings.txt").read_text().startswith("[flat-loss] epoch 8: ")


def test_a_loss_that_ruins_good_weights_is_reported(tmp_path: Path) -> None:
    """The AP falls from 0.5 to 0.2 while the loss rises."""
    metrics = [measured(ap) for ap in (0.5, 0.4, 0.3, 0.2)]
    lines = Run(tmp_path).epochs(1, 8, loss=lambda k: 0.5 + k / 200, metrics=lambda e: metrics[e // 2 - 1])
    (line,) = lines
    assert "the learning rate is too high" in line
    assert "lower train.learning_rate from 0.002 to 0.0005, or set train.clip_gradient to 35" in line


def test_without_a_validation_only_a_rising_loss_is_reported(tmp_path: Path) -> None:
    assert Run(tmp_path).epochs(1, 10, loss=level, metrics=lambda _: None) == []
    (line,) = Run(tmp_path).epochs(1, 10, loss=lambda k: 1.005**k, metrics=lambda _: None)
    assert line.startswith("warning: the loss does not fall")


def test_a_short_run_is_not_judged_by_its_loss(tmp_path: Path) -> None:
    facts = replace(FACTS, epochs=4, stage2_start=0)
    assert Run(tmp_path, facts).epochs(1, 4, loss=lambda _: 1.0, metrics=lambda _: measured(0.05)) == []


def test_a_box_loss_of_zero_is_reported_where_priors_are_matched(tmp_path: Path) -> None:
    facts = replace(FACTS, from_scratch=True)
    lines = Run(tmp_path, facts).epochs(1, 10, metrics=lambda _: measured(0.05), loss_box=0.0)
    (line,) = lines
    assert line.startswith("warning: the box loss is 0 although objects are matched")
    assert "start from trained weights" in line


def test_no_box_loss_without_objects_is_no_fault(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.epochs(1, 2)
    assert run.epochs(3, 10, loss_box=0.0, positives=0) == []


@pytest.mark.parametrize(
    ("unmatched", "cause"),
    [(0.0, "the training samples contain no objects"), (1.0, "100% of the objects are too small")],
)
def test_a_run_without_matched_priors_is_reported_after_its_first_epoch(
    tmp_path: Path, unmatched: float, cause: str
) -> None:
    (line,) = Run(tmp_path).epochs(1, 2, positives=0, unassigned=unmatched)
    assert line.startswith(f"warning: no prior was matched to an object in 50 steps. Likely cause: {cause}")


def test_a_class_that_is_never_found_is_named_with_its_boxes(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.epochs(1, 13, metrics=lambda _: measured(0.3, dog=0.0)) == []
    (line,) = run.epochs(14, 20, metrics=lambda _: measured(0.3, dog=0.0))
    assert line == (
        "warning: never found after 14 of 20 epochs: dog (12 training boxes, 3 validation boxes). Likely cause: "
        "dog: too few boxes: label more, or show their images more often (data.repeat_threshold)"
    )


def test_a_class_without_validation_objects_is_not_missing(tmp_path: Path) -> None:
    rows = (ClassMetrics("cat", 40, 0.5, 0.7), ClassMetrics("dog", 0, -1.0, -1.0))
    assert Run(tmp_path).epochs(metrics=lambda _: CocoMetrics((0.5, *[0.0] * 11), rows)) == []


@pytest.mark.parametrize(
    ("boxes", "facts", "cause"),
    [
        (ClassBoxes(0, 0), {}, "dog: no training boxes: add some, or remove the class"),
        (ClassBoxes(100, 50), {}, "dog: most boxes are too small at 320 x 320 pixels: raise data.input_size"),
        (ClassBoxes(100, 0), {"images": 60}, "dog: 1200 training images shown in the whole run are few"),
        (ClassBoxes(100, 0), {}, "dog: labeled differently in training and validation, or confused with"),
    ],
)
def test_the_cause_of_a_missing_class(
    tmp_path: Path, boxes: ClassBoxes, facts: dict[str, object], cause: str
) -> None:
    changed = replace(FACTS, classes={**FACTS.classes, "dog": boxes}, **facts)  # type: ignore[arg-type]
    (line,) = Run(tmp_path, changed).epochs(metrics=lambda _: measured(0.3, dog=0.0))
    assert f"Likely cause: {cause}" in line


def test_of_many_missing_classes_a_few_are_named(tmp_path: Path) -> None:
    rows = tuple(ClassMetrics(f"class{k}", 2, 0.0 if k else 0.5, 0.0) for k in range(30))
    facts = replace(FACTS, classes={row.name: ClassBoxes(5, 0) for row in rows})
    (line,) = Run(tmp_path, facts).epochs(metrics=lambda _: CocoMetrics((0.3, *[0.0] * 11), rows))
    assert "class8 (5 training boxes, 2 validation boxes) and 21 more. Likely cause: class1, " in line
    assert "class9" not in line


def test_a_resumed_run_goes_on_from_the_log_and_repeats_no_warning(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    low = {"loss": level, "metrics": lambda _: measured(0.05, dog=0.0)}
    expected = Run(whole).epochs(**low)  # type: ignore[arg-type]
    assert len(expected) == 2
    said = []
    for first, last in ((1, 5), (6, 8), (9, 14), (15, 20)):
        said += Run(parts, resumed=first > 1).epochs(first, last, **low)  # type: ignore[arg-type]
    assert [line[:20] for line in said] == [line[:20] for line in expected]
    assert len((parts / "warnings.txt").read_text().splitlines()) == 2


def test_a_resumed_run_does_not_judge_a_later_ap_as_that_of_a_third(tmp_path: Path) -> None:
    Run(tmp_path).epochs(1, 8)
    assert Run(tmp_path, resumed=True).epochs(9, 10, metrics=lambda _: measured(0.001)) == []


def test_a_new_run_removes_the_warnings_of_an_older_one(tmp_path: Path) -> None:
    (tmp_path / "warnings.txt").write_text("[low-ap] epoch 8: AP is 0\n")
    (tmp_path / "log.jsonl").unlink(missing_ok=True)
    assert len(Run(tmp_path).epochs(1, 8, metrics=lambda _: measured(0.0))) == 1
    assert len((tmp_path / "warnings.txt").read_text().splitlines()) == 1
