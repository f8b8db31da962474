"""The loop: what it does with batches, rates, gradients, averages and checkpoints, and whom it tells."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from training.small_run import (
    BATCHES,
    META,
    PLAN,
    Recorder,
    SameBatchLoader,
    SmallDetector,
    assert_equal,
    make_trainer,
    metrics,
)

from rtmdet.core.errors import InputError
from rtmdet.evaluation.coco import ClassMetrics, CocoMetrics
from rtmdet.evaluation.score_curve import ScoreCurve
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.training.engine import Plan
from rtmdet.training.log import RunLog, read_log
from rtmdet.training.records import StepRecord, ValidationRecord
from rtmdet.weights.checkpoint import read_training_checkpoint
from rtmdet.weights.load import read_checkpoint


@pytest.mark.parametrize(
    ("epochs", "validate_every", "dense", "validated"),
    [
        (10, 3, 0, [3, 6, 9, 10]),
        (10, 4, 3, [4, 8, 9, 10]),
        (5, 10, 0, [5]),
        (4, 1, 0, [1, 2, 3, 4]),
        (3, 10, 20, [1, 2, 3]),
        (30, 10, 2, [10, 20, 29, 30]),
    ],
)
def test_plan_of_validations(epochs: int, validate_every: int, dense: int, validated: list[int]) -> None:
    plan = Plan(epochs, validate_every, dense)
    assert [epoch for epoch in range(1, epochs + 1) if plan.is_validated(epoch)] == validated


def test_loss_goes_down(tmp_path: Path) -> None:
    recorder = Recorder()
    make_trainer(tmp_path, plan=replace(PLAN, epochs=12, validate_every=100), callbacks=[recorder]).run()
    losses = [record.loss_classification + record.loss_box for record in recorder.steps]
    assert np.mean(losses[-BATCHES:]) < 0.7 * np.mean(losses[:BATCHES])


@pytest.mark.slow
def test_a_real_detector_learns(tmp_path: Path) -> None:
    """With linear distances a fresh detector's boxes have no area, so the loss first rises with their quality."""
    torch.manual_seed(0)
    recorder, plan = Recorder(), replace(PLAN, validate_every=100)
    model, meta = build_rtmdet("nano", 2), replace(META, facts=replace(META.facts, size="nano"))
    trainer = make_trainer(tmp_path, plan=plan, callbacks=[recorder], meta=meta, model=model, batches=18)
    trainer.loader = SameBatchLoader(18)
    trainer.learning_rates = np.full(36, 0.004)
    trainer.run()
    losses = [record.loss_classification + record.loss_box for record in recorder.steps]
    assert losses[0] < 0.5, "a fresh head starts low"
    assert losses[-1] < 0.5 * max(losses)
    averaged, _, _ = read_training_checkpoint(tmp_path / "last.pth")
    build_rtmdet("nano", 2).load_state_dict(averaged)


def test_a_frozen_backbone_stays_as_it_is(tmp_path: Path) -> None:
    model = build_rtmdet("nano", 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = make_trainer(tmp_path, plan=replace(PLAN, epochs=1), model=model, batches=1)
    trainer.frozen = model.backbone.freeze(4)
    trainer.run()
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert {name.split(".")[0] for name in changed} == {"neck", "bbox_head"}


def test_observers_hear_every_step_validation_and_epoch(tmp_path: Path) -> None:
    first, second = Recorder(), Recorder()
    trainer = make_trainer(tmp_path, plan=replace(PLAN, validate_every=2), callbacks=[first, second])
    trainer.run()
    assert first.told == ["step"] * 3 + ["end 1"] + ["step"] * 3 + ["validation", "end 2"]
    assert second.told == first.told
    assert [(record.epoch, record.iteration) for record in first.steps] == [
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 4),
        (2, 5),
        (2, 6),
    ]
    np.testing.assert_allclose([record.learning_rate for record in first.steps], trainer.learning_rates)
    for record in first.steps:
        assert min(record.loss_classification, record.loss_box, record.gradient_norm, record.positives) > 0
        assert 0 <= record.data_seconds <= record.seconds
        assert record.memory_mb > 10
    (validation,) = first.validations
    assert (validation.epoch, validation.iteration, validation.metrics.ap, validation.best) == (2, 6, 0.5, True)
    assert trainer.loader.epochs == [0, 1]  # type: ignore[attr-defined]


def test_every_group_gets_the_rate_of_the_iteration(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.stepper.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 7.0})
    trainer.run()
    assert [group["lr"] for group in trainer.stepper.optimizer.param_groups] == [0.002, 0.002]


def test_averaged_weights_are_measured_and_saved(tmp_path: Path) -> None:
    seen: list[nn.Module] = []

    def evaluate(model: nn.Module) -> CocoMetrics:
        assert not model.training
        seen.append(model)
        return metrics(0.5)

    trainer = make_trainer(tmp_path, evaluate=evaluate)
    trainer.run()
    assert seen == [trainer.averaged] * 2
    averaged, meta, state = read_training_checkpoint(tmp_path / "last.pth")
    assert_equal(averaged, trainer.averaged.state_dict())
    assert_equal(state.model, trainer.model.state_dict())
    assert not torch.equal(averaged["logits.weight"], state.model["logits.weight"])
    assert (meta.epoch, meta.iteration, state.epoch, state.iteration, state.ema_updates) == (2, 6, 2, 6, 6)
    assert meta.facts.classes == META.facts.classes


def test_best_weights_know_the_score_thresholds_of_their_validation(tmp_path: Path) -> None:
    curves = [ScoreCurve((0.5,), (0.5,), threshold) for threshold in (0.4, 0.2, 0.1, 0.6)]
    classes = [tuple(ClassMetrics(name, 1, 0, 0, curve) for name in META.facts.classes) for curve in curves]
    found = iter([replace(metrics(0.4 - k / 10), classes=rows) for k, rows in enumerate(classes)])
    trainer = make_trainer(tmp_path, plan=replace(PLAN, epochs=4), evaluate=lambda _: next(found))
    trainer.run()
    assert read_checkpoint(tmp_path / "best.pth").facts.score_thresholds == (0.4,) * len(META.facts.classes)


def test_the_size_of_detection_is_chosen_once_before_the_last_validation(tmp_path: Path) -> None:
    told: list[str] = []

    def choose(model: nn.Module) -> tuple[int, int]:
        assert not model.training
        told.append("choose")
        return 96, 128

    def evaluate(model: nn.Module) -> CocoMetrics:
        told.append("evaluate")
        return metrics(0.1 * len(told))

    meta = replace(META, trained_size=META.facts.input_size)
    trainer = make_trainer(tmp_path, plan=replace(PLAN, epochs=3), evaluate=evaluate, meta=meta)
    trainer.choose_input_size = choose
    log = RunLog(tmp_path, log_every=1)
    trainer.callbacks = [log]
    trainer.run()
    assert told == ["evaluate", "evaluate", "choose", "evaluate"]
    sizes = [(row["input_height"], row["input_width"]) for row in read_log(log.path) if row["kind"] == "val"]
    assert sizes == [META.facts.input_size, META.facts.input_size, (96, 128)]
    for name in ("last.pth", "best.pth"):
        assert read_checkpoint(tmp_path / name).input_size == (96, 128)

    finished = make_trainer(tmp_path, plan=replace(PLAN, epochs=3), meta=meta)
    finished.resume(tmp_path / "last.pth")
    assert (finished.meta.facts.input_size, finished.best_ap) == ((96, 128), trainer.best_ap)
    longer = make_trainer(tmp_path, plan=replace(PLAN, epochs=4), evaluate=lambda _: metrics(0.1), meta=meta)
    before = (tmp_path / "best.pth").read_bytes()
    longer.resume(tmp_path / "last.pth")
    longer.run()
    assert longer.best_ap == 0.1, "AP at another size does not compare"
    assert (tmp_path / "best_of_3_epochs.pth").read_bytes() == before
    assert read_checkpoint(tmp_path / "last.pth").input_size == META.facts.input_size, "of a run that chooses none"


def test_a_run_that_stops_early_chooses_the_size_of_detection_too(tmp_path: Path) -> None:
    scores = iter([0.3, 0.2, 0.1, 0.6])
    plan = replace(PLAN, epochs=9, patience=2)
    meta = replace(META, trained_size=META.facts.input_size)
    trainer = make_trainer(tmp_path, plan=plan, evaluate=lambda _: metrics(next(scores)), meta=meta)
    trainer.choose_input_size = lambda _: (96, 128)
    trainer.run()
    assert trainer.epoch == 3, "the better AP at the other size is no reason to go on"
    for name in ("last.pth", "best.pth"):
        assert read_checkpoint(tmp_path / name).input_size == (96, 128)
    again = make_trainer(tmp_path, plan=plan, meta=meta)
    again.resume(tmp_path / "last.pth")
    again.run()
    assert (again.epoch, again.meta.facts.input_size) == (3, (96, 128))


def test_the_size_of_the_training_is_not_measured_again(tmp_path: Path) -> None:
    scores, recorder = iter([0.3, 0.2, 0.1]), Recorder()
    plan = replace(PLAN, epochs=9, patience=2)
    trainer = make_trainer(tmp_path, plan=plan, evaluate=lambda _: metrics(next(scores)), callbacks=[recorder])
    trainer.choose_input_size = lambda _: trainer.meta.facts.input_size
    trainer.run()
    assert [record.epoch for record in recorder.validations] == [1, 2, 3]
    assert trainer.stopped_early


def test_best_weights_are_kept(tmp_path: Path) -> None:
    scores, states = iter([0.1, 0.3, 0.3, 0.2]), []

    def evaluate(model: nn.Module) -> CocoMetrics:
        states.append({name: value.clone() for name, value in model.state_dict().items()})
        return metrics(next(scores))

    recorder = Recorder()
    trainer = make_trainer(tmp_path, plan=replace(PLAN, epochs=4), evaluate=evaluate, callbacks=[recorder])
    trainer.run()
    assert [record.best for record in recorder.validations] == [True, True, False, False]
    content = torch.load(tmp_path / "best.pth", weights_only=True)
    assert content["meta"]["epoch"] == 2
    assert "training" not in content, "only weights"
    assert_equal(content["state_dict"], states[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pth", "last.pth", "previous.pth"]


def test_frozen_modules_stay_as_they_are(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, frozen=True)
    assert isinstance(trainer.model, SmallDetector)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    assert not trainer.model.stem.training
    assert trainer.model.dropout.training
    after = trainer.model.state_dict()
    assert {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])} == {
        "logits",
        "distances",
    }


def test_modules_that_are_not_frozen_learn_with_their_statistics(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.model.eval()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    after = trainer.model.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert after["stem.1.num_batches_tracked"] == 6


def test_gradients_are_clipped_where_the_plan_says_so(tmp_path: Path) -> None:
    """Plain gradient descent with rate 1: a step is as long as the gradient."""
    for clip in (None, 0.01):
        recorder = Recorder()
        plan = Plan(epochs=1, validate_every=1)
        trainer = make_trainer(tmp_path, plan=plan, callbacks=[recorder], batches=1, clip_gradient=clip)
        trainer.stepper.optimizer = torch.optim.SGD(trainer.model.parameters())
        trainer.learning_rates = np.ones(1)
        before = nn.utils.parameters_to_vector(trainer.model.parameters()).detach().clone()
        trainer.run()
        moved = (nn.utils.parameters_to_vector(trainer.model.parameters()) - before).norm().item()
        unclipped = recorder.steps[0].gradient_norm
        assert unclipped > 0.1, "the record tells the norm before clipping"
        assert moved == pytest.approx(clip or unclipped, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)

    class Poison(Recorder):
        def on_step(self, record: StepRecord) -> None:
            if record.iteration == 4:
                nn.init.constant_(trainer.model.logits.bias, torch.nan)  # type: ignore[union-attr, arg-type]

    trainer.callbacks = [Poison()]
    with pytest.raises(InputError) as caught:
        trainer.run()
    message = str(caught.value)
    assert re.match(
        r"epoch 2, iteration 5: the loss is not finite: classification nan, box [\d.]+, image ids 17, 18 "
        r"\(mosaic and mixup may add others\); ",
        message,
    )
    assert "last.pth holds the state that was saved last: lower train.learning_rate" in message
    assert "\n" not in message
    _, meta, state = read_training_checkpoint(tmp_path / "last.pth")
    assert meta.epoch == 1
    assert all(value.isfinite().all() for value in state.model.values())
    assert all(value.isfinite().all() for value in trainer.averaged.state_dict().values())


def test_a_first_loss_that_is_not_finite_has_saved_nothing(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    nn.init.constant_(trainer.model.distances.bias, 200)  # type: ignore[union-attr, arg-type]
    message = r"epoch 1, iteration 1: .* image ids 7, 8 \(mosaic and mixup may add others\); nothing was saved yet"
    with pytest.raises(InputError, match=message):
        trainer.run()
    assert list(tmp_path.iterdir()) == []


def test_patience_ends_a_run_early_and_for_good(tmp_path: Path) -> None:
    scores = iter([0.1, 0.4, 0.3, 0.4, 0.9])
    plan = replace(PLAN, epochs=5, patience=2)
    trainer = make_trainer(tmp_path, plan=plan, evaluate=lambda _: metrics(next(scores)))
    trainer.run()
    assert (trainer.epoch, trainer.stopped_early, trainer.best_ap) == (4, True, 0.4)
    recorder = Recorder()
    resumed = make_trainer(tmp_path, plan=plan, callbacks=[recorder])
    resumed.resume(tmp_path / "last.pth")
    resumed.run()
    assert recorder.told == []


def test_weights_of_the_last_validated_epochs_are_kept(tmp_path: Path) -> None:
    make_trainer(tmp_path, plan=Plan(epochs=7, validate_every=2, keep_epochs=2)).run()
    assert sorted(path.name for path in tmp_path.glob("epoch_*")) == ["epoch_0006.pth", "epoch_0007.pth"]
    content = torch.load(tmp_path / "epoch_0006.pth", weights_only=True)
    assert (content["meta"]["epoch"], content["meta"]["iteration"]) == (6, 18)
    assert "training" not in content


def test_weights_that_another_program_holds_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows; the run goes on."""
    usual = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.name == "epoch_0002.pth":
            raise PermissionError(13, "Permission denied", str(path))
        usual(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    make_trainer(tmp_path, plan=Plan(epochs=7, validate_every=2, keep_epochs=1)).run()
    assert sorted(path.name for path in tmp_path.glob("epoch_*")) == ["epoch_0002.pth", "epoch_0007.pth"]


def test_without_averaging_the_weights_themselves_are_measured_and_saved(tmp_path: Path) -> None:
    seen: list[nn.Module] = []

    def evaluate(model: nn.Module) -> CocoMetrics:
        assert not model.training
        seen.append(model)
        return metrics(0.5)

    trainer = make_trainer(tmp_path, evaluate=evaluate, ema=False)
    trainer.run()
    assert seen == [trainer.model] * 2
    averaged, _, state = read_training_checkpoint(tmp_path / "last.pth")
    assert_equal(averaged, state.model)
    assert averaged["stem.1.num_batches_tracked"] == 6, "training mode came back after the validation"


def test_joined_batches_make_one_step(tmp_path: Path) -> None:
    recorder = Recorder()
    plan = Plan(epochs=2, validate_every=2, accumulate=2)
    trainer = make_trainer(tmp_path, plan=plan, callbacks=[recorder])
    trainer.run()
    assert [(record.epoch, record.iteration) for record in recorder.steps] == [(1, 1), (1, 2), (2, 3), (2, 4)]
    np.testing.assert_allclose([record.learning_rate for record in recorder.steps], trainer.learning_rates[:4])
    assert trainer.ema is not None
    assert trainer.ema.updates == 4


def test_records_tell_how_many_priors_an_object_has(tmp_path: Path) -> None:
    recorder = Recorder()
    make_trainer(tmp_path, callbacks=[recorder]).run()
    for record in recorder.steps:  # one object a batch
        assert record.positives_per_object == record.positives > 0
        assert record.unassigned == 0


def test_best_weights_are_kept_where_nothing_can_be_measured(tmp_path: Path) -> None:
    make_trainer(tmp_path, evaluate=lambda _: metrics(-1.0)).run()
    assert (tmp_path / "best.pth").is_file()


def test_callbacks_get_the_models_at_the_start(tmp_path: Path) -> None:
    """Those that are trained and saved: what a step changed is seen in them."""

    class Watch(Recorder):
        def on_start(self, model: nn.Module, averaged: nn.Module) -> None:
            self.models = model, averaged
            self.told.append("start")

        def on_step(self, record: StepRecord) -> None:
            super().on_step(record)
            gradients = [parameter.grad for parameter in self.models[0].parameters() if parameter.grad is not None]
            assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(record.gradient_norm)

    watch = Watch()
    trainer = make_trainer(tmp_path, callbacks=[watch])
    trainer.run()
    assert watch.told[:2] == ["start", "step"]
    assert watch.told.count("start") == 1
    saved = torch.load(tmp_path / "last.pth", weights_only=True)
    assert_equal(watch.models[0].state_dict(), saved["training"]["model"])
    assert_equal(watch.models[1].state_dict(), saved["state_dict"])


class Ending(Recorder):
    """Asks for the end at an event of epoch 2."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self._event = event

    def on_step(self, record: StepRecord) -> None:
        super().on_step(record)
        self.end_run |= self._event == "step" and record.epoch == 2

    def on_validation(self, record: ValidationRecord) -> None:
        super().on_validation(record)
        self.end_run |= self._event == "validation" and record.epoch == 2


@pytest.mark.parametrize(("event", "validated"), [("step", [2]), ("validation", [2, 2])])
def test_a_callback_ends_a_run_well(tmp_path: Path, event: str, validated: list[int]) -> None:
    """After the step's epoch, or the validation; with the last validation, at the size of detection."""
    callback = Ending(event)
    plan = replace(PLAN, epochs=9, validate_every=2 if event == "validation" else 9)
    meta = replace(META, trained_size=META.facts.input_size)
    trainer = make_trainer(tmp_path, plan=plan, callbacks=[callback], meta=meta)
    trainer.choose_input_size = lambda _: (96, 128)
    trainer.run()
    assert (trainer.epoch, trainer.stopped_early, trainer.out_of_patience) == (2, True, False)
    assert [record.epoch for record in callback.validations] == validated
    assert read_checkpoint(tmp_path / "last.pth").input_size == (96, 128)
    again = make_trainer(tmp_path, plan=replace(plan, epochs=3), meta=meta)
    again.resume(tmp_path / "last.pth")
    again.run()
    assert again.epoch == 3, "without the callback the run goes on"
