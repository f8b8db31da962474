"""Runs that were interrupted: they end where an uninterrupted one does, and only a run's own checkpoint will do."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NoReturn

import pytest
import torch
from torch import nn
from training.small_run import (
    BATCHES,
    META,
    PLAN,
    RandomLoader,
    Recorder,
    SmallDetector,
    assert_equal,
    make_trainer,
    metrics,
)
from usual_signal import usual_signal

from rtmdet.core.errors import InputError
from rtmdet.core.structures import Batch
from rtmdet.evaluation.coco import CocoMetrics
from rtmdet.training.engine import Plan, Trainer
from rtmdet.training.interruption import Interrupted
from rtmdet.training.records import StepRecord
from rtmdet.weights.checkpoint import CheckpointMeta, has_checkpoint, newest_checkpoint, read_training_checkpoint
from rtmdet.weights.download import resolve


class Interruption(Recorder):
    """Stops the run after its first epoch."""

    def on_epoch_end(self, epoch: int) -> None:
        raise KeyboardInterrupt


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    """Weights, averages, optimizer and best score, to the last bit; dropout needs the same random state."""
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    for folder in (whole, first, second):
        folder.mkdir()
    torch.manual_seed(5)
    expected = make_trainer(whole)
    expected.run()

    torch.manual_seed(5)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(first, callbacks=[Interruption()]).run()
    torch.manual_seed(99)
    resumed = make_trainer(second, seed=1)
    resumed.resume(first / "last.pth")
    assert (resumed.epoch, resumed.iteration, resumed.best_ap) == (1, 3, 0.5)
    resumed.run()

    assert resumed.loader.epochs == [1]  # type: ignore[attr-defined]
    assert_equal(resumed.model.state_dict(), expected.model.state_dict())
    assert_equal(resumed.averaged.state_dict(), expected.averaged.state_dict())
    assert resumed.iteration == expected.iteration == 6
    assert resumed.ema is not None
    assert expected.ema is not None
    assert resumed.ema.updates == expected.ema.updates == 6
    for a, b in zip(*(t.stepper.optimizer.state_dict()["state"].values() for t in (resumed, expected)), strict=True):
        assert_equal(a, b)
    assert not (second / "best.pth").exists(), "0.5 was reached before the interruption"


class AtStep(Recorder):
    """Does something after a step of the run."""

    def __init__(self, iteration: int, action: Callable[[], None]) -> None:
        super().__init__()
        self.iteration = iteration
        self.action = action

    def on_step(self, record: StepRecord) -> None:
        if record.iteration == self.iteration:
            self.action()


def kill() -> None:
    """As near to SIGKILL as one process can test: nothing is saved any more."""
    raise KeyboardInterrupt


def send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


LONG = Plan(epochs=3, validate_every=2, accumulate=2, save_every=2)  # 3 steps an epoch, of 2, 2 and 1 batches


def make_long(folder: Path, *, seed: int = 0, action: AtStep | None = None) -> Trainer:
    scores = iter([0.5, 0.4])
    callbacks = [] if action is None else [action]
    return make_trainer(
        folder, seed=seed, plan=LONG, batches=5, evaluate=lambda _: metrics(next(scores)), callbacks=callbacks
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(5)
    trainer = make_long(tmp_path_factory.mktemp("whole"))
    trainer.run()
    return {"model": trainer.model.state_dict(), "averaged": trainer.averaged.state_dict()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, None], ids=["SIGTERM", "Ctrl-C", "killed"])
@pytest.mark.parametrize("iteration", range(1, 9))
def test_a_run_that_was_stopped_anywhere_ends_as_if_it_was_not(
    uninterrupted: dict[str, dict[str, torch.Tensor]], tmp_path: Path, number: int | None, iteration: int
) -> None:
    """To the last bit, with dropout, joined batches, and checkpoints inside the epoch."""
    torch.manual_seed(5)
    first = make_long(tmp_path, action=AtStep(iteration, kill if number is None else send(number)))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt if number is None else Interrupted) as stopped:
        first.run()
    assert signal.getsignal(signal.SIGTERM) is before
    if iteration <= 2 and number is None:  # before the first checkpoint
        assert list(tmp_path.iterdir()) == []
        return
    if isinstance(stopped.value, Interrupted):
        assert stopped.value.number == number
        assert read_training_checkpoint(tmp_path / "last.pth")[1].iteration == iteration, "nothing is lost"
    torch.manual_seed(99)
    second = make_long(tmp_path, seed=1)
    second.resume(newest_checkpoint(tmp_path)[0])
    second.run()
    assert_equal(second.model.state_dict(), uninterrupted["model"])
    assert_equal(second.averaged.state_dict(), uninterrupted["averaged"])
    assert (second.iteration, second.epoch, second.step, second.best_ap) == (9, 3, 0, 0.5)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1"])
def test_closed_terminals_and_batch_systems_stop_a_run(tmp_path: Path, name: str) -> None:
    """Saved, also if the signal comes twice."""
    number = getattr(signal, name)
    before = usual_signal(number)

    def twice() -> None:
        send(number)()
        send(number)()

    with pytest.raises(Interrupted) as stopped:
        make_long(tmp_path, action=AtStep(4, twice)).run()
    assert stopped.value.number == number
    assert read_training_checkpoint(tmp_path / "last.pth")[1].iteration == 4
    assert signal.getsignal(number) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1"])
def test_signals_that_are_ignored_stay_so(tmp_path: Path, name: str) -> None:
    """As after nohup."""
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        trainer = make_trainer(tmp_path, callbacks=[AtStep(2, send(number))])
        trainer.run()
    finally:
        signal.signal(number, before)
    assert trainer.finished


def test_a_run_that_was_killed_in_its_validation_only_validates_again(tmp_path: Path) -> None:
    torch.manual_seed(5)

    def die(_: nn.Module) -> CocoMetrics:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, evaluate=die).run()
    recorder = Recorder()
    resumed = make_trainer(tmp_path, seed=1, callbacks=[recorder])
    resumed.resume(tmp_path / "last.pth")
    resumed.run()
    assert recorder.told == ["validation", "end 1", *["step"] * 3, "validation", "end 2"]
    torch.manual_seed(5)
    (tmp_path / "whole").mkdir()
    expected = make_trainer(tmp_path / "whole")
    expected.run()
    assert_equal(resumed.model.state_dict(), expected.model.state_dict())


@pytest.mark.parametrize("iteration", [0, 1, 2, 3, 4, 7])
def test_what_was_learned_before_a_fault_of_the_data_is_saved(
    uninterrupted: dict[str, dict[str, torch.Tensor]], tmp_path: Path, iteration: int
) -> None:
    """The fault comes instead of the batches of the next step."""
    torch.manual_seed(5)
    first = make_long(tmp_path)
    whole = first.loader.all_batches  # type: ignore[attr-defined]

    def damaged() -> Iterator[Batch]:
        for number, batch in enumerate(whole()):
            if (first.epoch, number) == (iteration // 3, 2 * (iteration % 3)):
                raise InputError("a.jpg: the image is truncated")
            yield batch

    first.loader.all_batches = damaged  # type: ignore[attr-defined]
    message = r"a\.jpg: the image is truncated; the training so far is saved: repair that, then --resume"
    with pytest.raises(InputError, match=message) as caught:
        first.run()
    assert "\n" not in str(caught.value)
    second = make_long(tmp_path, seed=1)
    second.resume(tmp_path / "last.pth")
    assert second.iteration == iteration
    second.run()
    assert_equal(second.model.state_dict(), uninterrupted["model"])


def test_a_fault_of_the_validation_images_says_that_the_training_is_saved(tmp_path: Path) -> None:
    def damaged(_: nn.Module) -> CocoMetrics:
        raise InputError("a.jpg: the image is truncated")

    with pytest.raises(InputError, match=r"truncated; the training so far is saved: repair that, then --resume"):
        make_trainer(tmp_path, evaluate=damaged).run()
    assert read_training_checkpoint(tmp_path / "last.pth")[1].iteration == 3


def lose_processes(*_: object) -> Iterator[Batch]:
    """What Ctrl-C does while loader processes start: it reaches them before they ignore it, and this one."""
    send(signal.SIGINT)()
    raise InputError("a process that loads images ended")
    yield


@pytest.mark.parametrize("where", ["training", "validation"])
def test_ctrl_c_that_ends_loader_processes_is_no_fault_of_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    trainer = make_trainer(tmp_path)
    if where == "training":
        monkeypatch.setattr(trainer.loader, "all_batches", lose_processes)
    else:
        trainer.evaluate = lambda _: next(lose_processes())  # type: ignore[assignment, return-value]
    with pytest.raises(Interrupted) as stopped:
        trainer.run()
    assert stopped.value.number == signal.SIGINT
    assert read_training_checkpoint(tmp_path / "last.pth")[1].iteration == (3 if where == "validation" else 0)


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        send(signal.SIGTERM)()
        send(signal.SIGTERM)()

    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, callbacks=[AtStep(1, twice)]).run()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut short", "changed", "gone"])
def test_the_one_before_a_damaged_checkpoint_is_used(tmp_path: Path, damage: str) -> None:
    make_trainer(tmp_path).run()
    path = tmp_path / "last.pth"
    whole = bytearray(path.read_bytes())
    if damage == "cut short":
        path.write_bytes(whole[: len(whole) * 2 // 3])
    elif damage == "changed":  # a bit of a weight, which torch.load alone does not see
        weight = read_training_checkpoint(path)[0]["logits.weight"].numpy().tobytes()
        whole[whole.index(weight)] ^= 1
        path.write_bytes(whole)
    else:
        path.unlink()
    found, fault = newest_checkpoint(tmp_path)
    assert found == tmp_path / "previous.pth"
    assert str(path) in str(fault)
    resumed = make_trainer(tmp_path, seed=1)
    resumed.resume(found)
    assert (resumed.epoch, resumed.step, resumed.iteration) == (1, 3, 6), "before the last validation"
    resumed.run()
    assert newest_checkpoint(tmp_path) == (path, None)


def test_a_kill_between_the_two_renames_leaves_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the second save of a run, when there is none before it yet."""
    replace_file = os.replace
    names: list[str] = []

    def die_at_the_third(source: Path, target: Path) -> None:
        names.append(Path(target).name)
        if len(names) == 3:
            raise KeyboardInterrupt
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", die_at_the_third)
    plan = replace(PLAN, epochs=3, validate_every=3)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(tmp_path, plan=plan).run()
    assert names == ["last.pth", "previous.pth", "last.pth"]
    path, fault = newest_checkpoint(tmp_path)
    assert path == tmp_path / "previous.pth"
    assert fault is not None
    assert read_training_checkpoint(path)[1].epoch == 1


def test_a_damaged_checkpoint_does_not_replace_the_one_before(tmp_path: Path) -> None:
    make_trainer(tmp_path).run()
    (tmp_path / "last.pth").write_bytes((tmp_path / "last.pth").read_bytes()[:999])
    before = (tmp_path / "previous.pth").read_bytes()
    make_trainer(tmp_path).save_state()
    assert (tmp_path / "previous.pth").read_bytes() == before
    assert newest_checkpoint(tmp_path) == (tmp_path / "last.pth", None)


def hold(monkeypatch: pytest.MonkeyPatch, *held: Path) -> None:
    """Refuse to replace or rename these files, as Windows does while another program has them open."""
    usual = os.replace

    def refuse(source: Path, target: Path) -> None:
        if {Path(source), Path(target)} & {path for path in held if path.exists()}:
            raise PermissionError(13, "Permission denied", str(source))
        usual(source, target)

    monkeypatch.setattr(os, "replace", refuse)


@pytest.mark.parametrize("held", ["last.pth", "previous.pth", "best.pth"])
def test_a_checkpoint_that_another_program_holds_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], held: str
) -> None:
    values = iter((0.1, 0.2, 0.3))
    make_trainer(tmp_path, plan=replace(PLAN, epochs=1), evaluate=lambda _: metrics(next(values))).run()
    old = (tmp_path / held).read_bytes()
    resumed = make_trainer(tmp_path, evaluate=lambda _: metrics(next(values)))
    resumed.resume(newest_checkpoint(tmp_path)[0])
    with monkeypatch.context() as context:
        hold(context, tmp_path / held)
        resumed.run()
    assert (tmp_path / held).read_bytes() == old
    waiting = "best.waiting.pth" if held == "best.pth" else "last.waiting.pth"
    line = f"close the program that has it open; until then the newest is {waiting}"
    assert capsys.readouterr().out.count(line) == 1
    path, fault = newest_checkpoint(tmp_path)
    assert (path.name, fault) == ("last.pth" if held == "best.pth" else waiting, None)
    assert resolve(tmp_path) == path
    assert read_training_checkpoint(path)[1].epoch == PLAN.epochs
    resumed.save_state()  # nothing is held any more
    resumed.validate()
    assert not [*tmp_path.glob("*.waiting.pth")]
    assert newest_checkpoint(tmp_path) == (tmp_path / "last.pth", None)


def test_the_newest_of_all_intact_checkpoints_is_resumed(tmp_path: Path) -> None:
    """One that waited, and could not be removed when a newer one got its place, is none."""
    make_trainer(tmp_path).run()
    last, previous, waiting = (tmp_path / name for name in ("last.pth", "previous.pth", "last.waiting.pth"))
    waiting.write_bytes(previous.read_bytes())
    assert newest_checkpoint(tmp_path) == (last, None)
    waiting.write_bytes(last.read_bytes())
    last.unlink()
    assert newest_checkpoint(tmp_path)[0] == waiting
    previous.unlink()
    assert has_checkpoint(tmp_path)
    waiting.write_bytes(b"-")
    with pytest.raises(InputError, match=r"last\.waiting\.pth: .*; there is no intact previous\.pth either"):
        newest_checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["weight_decay", "rate_factor"])
def test_what_the_optimizer_has_by_configuration_is_taken_from_there(tmp_path: Path, name: str) -> None:
    make_trainer(tmp_path).run()
    resumed = make_trainer(tmp_path)
    resumed.stepper.optimizer.param_groups[0][name] = 0.125
    resumed.resume(tmp_path / "last.pth")
    assert resumed.stepper.optimizer.param_groups[0][name] == 0.125


def test_a_signal_before_a_validation_does_not_wait_for_it(tmp_path: Path) -> None:
    def never(_: nn.Module) -> CocoMetrics:
        raise AssertionError

    trainer = make_trainer(tmp_path, evaluate=never, callbacks=[AtStep(3, send(signal.SIGTERM))])
    with pytest.raises(Interrupted):
        trainer.run()
    assert read_training_checkpoint(tmp_path / "last.pth")[2].step == 3


@pytest.mark.parametrize("during", ["validation", "choice of the input size"])
def test_a_signal_ends_a_validation_which_is_repeated(tmp_path: Path, during: str) -> None:
    def interrupted(_: nn.Module) -> NoReturn:
        send(signal.SIGTERM)()
        raise AssertionError("the signal did not end it")

    trainer = make_trainer(tmp_path, plan=replace(PLAN, epochs=1))
    if during == "validation":
        trainer.evaluate = interrupted
    else:
        trainer.choose_input_size = interrupted
    with pytest.raises(Interrupted) as stopped:
        trainer.run()
    assert stopped.value.number == signal.SIGTERM
    resumed = make_trainer(tmp_path, plan=replace(PLAN, epochs=1))
    resumed.resume(tmp_path / "last.pth")
    assert (resumed.epoch, resumed.step) == (0, resumed.steps)
    resumed.run()
    assert resumed.epoch == 1


def test_no_whole_checkpoint_is_an_error(tmp_path: Path) -> None:
    make_trainer(tmp_path).run()
    for name in ("last.pth", "previous.pth"):
        (tmp_path / name).write_bytes(b"no checkpoint")
    damaged = r"last\.pth: not a checkpoint, .*; there is no intact previous\.pth either: begin another run"
    with pytest.raises(InputError, match=rf"{damaged}, with --weights .*best\.pth$"):
        newest_checkpoint(tmp_path)
    for name in ("best.pth", "previous.pth"):
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match=rf"{damaged}$"):
        newest_checkpoint(tmp_path)


def test_a_scaler_goes_on_with_its_scale(tmp_path: Path) -> None:
    first = make_trainer(tmp_path, plan=replace(PLAN, epochs=1), precision="fp16")
    first.stepper.scaler = torch.amp.GradScaler("cpu", init_scale=64.0)
    first.run()
    resumed = make_trainer(tmp_path, precision="fp16")
    resumed.resume(tmp_path / "last.pth")
    resumed.run()
    assert resumed.stepper.scaler.get_scale() == 64.0


def test_a_finished_run_has_nothing_to_resume(tmp_path: Path) -> None:
    make_trainer(tmp_path).run()
    recorder = Recorder()
    resumed = make_trainer(tmp_path, callbacks=[recorder])
    resumed.resume(tmp_path / "last.pth")
    resumed.run()
    assert recorder.told == []


def test_a_checkpoint_of_another_run_is_refused_with_one_line(tmp_path: Path) -> None:
    make_trainer(tmp_path).run()
    path = tmp_path / "last.pth"
    wider = SmallDetector()
    wider.logits = nn.Conv2d(4, 7, 1)
    others = [
        (make_trainer(tmp_path, batches=5), r"its epochs have 3 steps, but an epoch has 5 here: resume with"),
        (
            make_trainer(tmp_path, meta=replace(META, facts=replace(META.facts, classes=("kite", "balloon")))),
            r"is of another run \(class 0 is kite here, balloon there, class 1 is balloon here, kite there\): choose",
        ),
        (
            make_trainer(tmp_path, meta=replace(META, facts=replace(META.facts, size="s"))),
            r"is of another run \(the size is s here, tiny there\): choose",
        ),
        (
            make_trainer(tmp_path, meta=replace(META, facts=replace(META.facts, input_size=(64, 96)))),
            r"is of another run \(the input is 64 x 96 pixels here, 64 x 64 pixels there\): choose another --output",
        ),
        (
            make_trainer(tmp_path, meta=replace(META, facts=replace(META.facts, classes=("balloon",)))),
            r"is of another run \(class 1 is missing here, kite there\): choose",
        ),
        (
            make_trainer(tmp_path, meta=replace(META, facts=replace(META.facts, classes=(*"abcdefghijklmn",)))),
            r"is of another run \(class 0 is a here, balloon there, .* and 6 more\): choose",
        ),
        (make_trainer(tmp_path, model=wider), r"does not fit this run \(.*logits\.weight.*\): choose"),
        (make_trainer(tmp_path, frozen=True), r"other layers are frozen than before: leave model\.freeze and"),
    ]
    for trainer, message in others:
        with pytest.raises(InputError, match=rf"last\.pth: {message}") as caught:
            trainer.resume(path)
        assert "\n" not in str(caught.value)
        assert trainer.epoch == 0


@pytest.mark.parametrize(
    ("before", "now", "processes", "advice"),
    [
        (8, 8, 2, ", 16 images per batch in all processes: data.batch_size=16 fits here"),
        (8, 4, 1, ", 8 images per batch in all processes: data.batch_size=8 fits here"),
        (8, 16, 2, ""),
        (None, 16, 2, ""),
    ],
)
def test_the_batch_size_that_fits_is_named(
    tmp_path: Path, before: int | None, now: int, processes: int, advice: str
) -> None:
    def meta(size: int | None) -> CheckpointMeta:
        return replace(META, facts=replace(META.facts, config=f"data:\n  batch_size: {size}\n  workers: 0\n"))

    make_trainer(tmp_path, meta=meta(before)).run()
    content = torch.load(tmp_path / "last.pth")
    content["training"]["torch_rng"] = content["training"]["torch_rng"].repeat(processes, 1)
    torch.save(content, tmp_path / "last.pth")
    with pytest.raises(InputError) as caught:
        make_trainer(tmp_path, batches=5, meta=meta(now)).resume(tmp_path / "last.pth")
    assert str(caught.value).endswith("the number of processes it was made with" + advice)


def test_a_checkpoint_with_other_groups_of_parameters_is_of_an_earlier_version(tmp_path: Path) -> None:
    make_trainer(tmp_path).run()
    resumed = make_trainer(tmp_path)
    resumed.stepper.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
    path = tmp_path / "last.pth"
    with pytest.raises(InputError, match="with other parameter groups: start a new") as caught:
        resumed.resume(path)
    assert str(caught.value).startswith(f"{path}: saved by an earlier version")


class _SilentLoader(RandomLoader):
    """Gets a signal before its third batch, which never comes."""

    def all_batches(self) -> Iterator[Batch]:
        yield from islice(super().all_batches(), 2)
        send(signal.SIGTERM)()
        time.sleep(600)


def test_a_signal_ends_the_wait_for_a_batch(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.loader = _SilentLoader(BATCHES)  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        trainer.run()
    assert read_training_checkpoint(tmp_path / "last.pth")[2].step == 2
