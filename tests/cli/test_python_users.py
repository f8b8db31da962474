"""What notebooks and scripts meet: interrupts, messages in Python's words, results that last."""

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

import rtmdet
from rtmdet.api.runs import TrainedRun
from rtmdet.core.wording import as_called, messages_for_commands, messages_for_python
from rtmdet.training.records import StepRecord

QUICK: dict[str, object] = {
    "data.input_size": 64,
    "data.batch_size": 2,
    "data.workers": 2,
    "train.device": "cpu",
    "model.norm_statistics": "keep",
    "evaluation.choose_input_size": False,
}


class Ending(rtmdet.Callback):
    """Ends the run in its first step, by Ctrl-C or an error of its own."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def on_step(self, record: StepRecord) -> None:
        if self.error is not None:
            raise self.error
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_run_leaves_no_process_and_can_be_resumed(
    dataset: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook keeps the exception, as `stopped` does here."""
    monkeypatch.chdir(tmp_path)

    def train(callback: rtmdet.Callback | None = None, *, resume: bool = False) -> TrainedRun:
        callbacks = [] if callback is None else [callback]
        return rtmdet.train(
            dataset, weights=checkpoint, epochs=1, output="run", settings=QUICK, callbacks=callbacks, resume=resume
        )

    with pytest.raises(RuntimeError, match="mine") as failed:
        train(Ending(RuntimeError("mine")))
    assert not multiprocessing.active_children()
    assert not (tmp_path / "run" / "last.pth").exists()
    with pytest.raises(KeyboardInterrupt, match="train with resume=True continues the run") as stopped:
        train(Ending(), resume=True)
    assert isinstance(stopped.value, rtmdet.Interrupted)
    assert not multiprocessing.active_children()
    with pytest.raises(rtmdet.InputError, match=r"continue it with resume=True, or choose another output$"):
        train()
    run = train(resume=True)
    assert (failed.type, stopped.type) == (RuntimeError, rtmdet.Interrupted), "kept until here"
    monkeypatch.chdir(dataset)
    assert rtmdet.Detector(run).path == tmp_path / "run" / "last.pth", "also from another folder"
    assert run.metrics["AP"] >= 0
    shutil.rmtree(run.folder)
    with pytest.raises(rtmdet.InputError, match="expected the log of a finished run, found none"):
        run.metrics  # noqa: B018


def test_numbers_have_names_and_short_texts(dataset: Path, checkpoint: Path) -> None:
    metrics = rtmdet.evaluate(checkpoint, dataset, split="val", workers=0).metrics
    assert (metrics["AP"], metrics.to_dict()["AR_large"]) == (metrics.ap, metrics.numbers[-1])
    assert dict(metrics) == metrics.to_dict()
    assert "AP50" in metrics
    assert len(repr(metrics)) < 1000


def test_a_misspelt_argument_is_one_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'wieghts'") as caught:
        rtmdet.train("data", wieghts="none")  # type: ignore[call-arg]
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("continue with --resume, or choose another --output", "continue with resume=True, or choose another output"),
        ("--minutes N limits the time", "minutes=N limits the time"),
        ("--minutes 0.3: too short: give --minutes 2.5 or more", "minutes=0.3: too short: give minutes=2.5 or more"),
        ("--epochs 10 takes 5 min, a larger --epochs more", "epochs=10 takes 5 min, a larger epochs more"),
        ("--set train.epochs=0: expected more", "settings train.epochs=0: expected more"),
        ("others with --layer; --input 320", "others with layers; input_size=320"),
        ("rtmdet visualize --list-layers prints all", "rtmdet visualize --list-layers prints all"),
        ("use: rtmdet data merge --out X; --keep-classes", "use: rtmdet data merge --out X; keep_classes=True"),
        ("a--b -- c --; /x/--out/y; '--out'", "a--b -- c --; /x/--out/y; '--out'"),
    ],
)  # fmt: skip
def test_messages_name_arguments_of_python_except_in_commands(text: str, python: str) -> None:
    assert as_called(text) == text
    with messages_for_python():
        assert as_called(text) == python
    with messages_for_commands(), messages_for_python():
        assert as_called(text) == text
    with pytest.raises(rtmdet.InputError) as caught, messages_for_python():
        raise rtmdet.InputError(text)
    assert str(caught.value) == python
