"""Several processes learn what one process with all their images learns. gloo, on the CPU.

Dimension legend: B batch, W processes.
"""

import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from rtmdet.core.distributed import (
    StoppedByAnother,
    any_process,
    copy_from_main,
    from_main,
    gather,
    is_main_process,
    process_group,
    rank,
    told_once,
    world_size,
)
from rtmdet.core.errors import InputError
from rtmdet.core.processes import started_processes
from rtmdet.core.structures import Batch, ImageMeta, Target
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.runs.options import RunOptions
from rtmdet.runs.train import run_training
from rtmdet.training.criterion import Criterion
from rtmdet.training.step import NotFiniteError, StepLosses, Stepper

CPU = torch.device("cpu")
SIZE, CLASSES, STEPS, PROCESSES = 64, 2, 5, 2


def make_batches() -> list[Batch]:
    """Four images a step, three in the last one; some steps have objects in the first or last half only."""
    random = torch.Generator().manual_seed(1)
    batches = []
    for step in range(STEPS):
        count = 3 if step == STEPS - 1 else 4
        images = torch.randint(0, 256, (count, 3, SIZE, SIZE), dtype=torch.uint8, generator=random)
        corners = torch.rand(count, 2, 2, generator=random) * 24
        boxes = torch.cat([corners[:, :1], corners[:, 1:] + 36], dim=1).reshape(count, 1, 4)
        empty = {1: (0, 1), 2: (2, 3), 3: range(4)}.get(step, ())
        objects = [0 if i in empty else 1 for i in range(count)]
        targets = [Target(boxes[i, :number], torch.full((number,), i % CLASSES)) for i, number in enumerate(objects)]
        batches.append(Batch(images, targets, [ImageMeta(i, "", (SIZE, SIZE)) for i in range(count)]))
    return batches


def share(batch: Batch, number: int, processes: int) -> Batch:
    count = len(batch.images)
    part = slice(count * number // processes, count * (number + 1) // processes)
    return Batch(batch.images[part], batch.targets[part], batch.metas[part])


def train(accumulate: bool = False) -> tuple[list[StepLosses], torch.Tensor]:
    """Five steps in float64 with the norms in evaluation mode: the losses and all weights."""
    torch.manual_seed(0)
    model = build_rtmdet("nano", CLASSES).double().train()
    for convolution in model.bbox_head.rtm_reg:  # boxes that overlap objects: the normalizer is not its least value 1
        nn.init.constant_(convolution.bias, 1.5)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    network = DistributedDataParallel(model) if world_size() > 1 else model
    stepper = Stepper(network, criterion=Criterion(CLASSES), optimizer=optimizer, device=CPU, clip_gradient=1.0)
    losses = []
    for iteration, batch in enumerate(make_batches()):
        mine = share(batch, rank(), world_size())
        parts = [share(mine, k, 2) for k in range(2)] if accumulate and len(batch.images) == 4 else [mine]
        losses.append(stepper(parts, iteration=iteration, learning_rate=0.002))
    return losses, nn.utils.parameters_to_vector(model.parameters()).detach()


def answer_questions() -> dict[str, object]:
    """What distributed.py says on this process."""
    buffer = torch.full((2,), float(rank()))
    copy_from_main([buffer])
    return {
        "place": (rank(), world_size(), is_main_process()),
        "gathered": gather({"rank": rank()}),
        "any": (any_process(rank() == 1, CPU), any_process(False, CPU)),
        "copied": buffer.tolist(),
    }


def meet_a_fault() -> str:
    """The second process has a model that is not finite: both stop, one says why."""
    model = build_rtmdet("nano", CLASSES)
    if rank() == 1:
        nn.init.constant_(model.bbox_head.rtm_cls[0].bias, torch.nan)
    stepper = Stepper(
        model, criterion=Criterion(CLASSES), optimizer=torch.optim.AdamW(model.parameters()), device=CPU
    )
    try:
        stepper([make_batches()[0]], iteration=0, learning_rate=0.1)
    except (NotFiniteError, StoppedByAnother) as error:
        return type(error).__name__
    return "nothing"


def meet_faults() -> dict[str, list[str]]:
    """What each of several faults becomes in this process."""

    def refuse(text: str) -> None:
        raise InputError(text)

    def fault_of(work: Callable[[], object]) -> str:
        with pytest.raises((InputError, StoppedByAnother)) as caught, told_once():
            work()
        return caught.type.__name__

    return {
        "of both": sorted(gather(fault_of(lambda: refuse("the same")))),
        "of each": gather(fault_of(lambda: refuse(f"of {rank()}"))),
        "of the main process": gather(fault_of(lambda: from_main(lambda: refuse("of main")))),
    }


def work(number: int, port: int, folder: str) -> None:
    """One of the processes."""
    torch.set_num_threads(1)
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": PROCESSES, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1")
    assert (rank(), is_main_process()) == (0, number == 0)
    with pytest.raises((InputError, StoppedByAnother)) as unopened:
        run_training(RunOptions(data=Path(folder) / "nowhere"))
    with process_group(CPU):
        result = {
            "unopened": unopened.type.__name__,
            "faults": meet_faults(),
            "main": from_main(lambda: f"{rank()} of {started_processes()}"),
            "answers": answer_questions(),
            "fault": meet_a_fault(),
            "once": train(),
            "accumulated": train(accumulate=True),
        }
    assert world_size() == 1
    torch.save(result, Path(folder) / f"{number}.pth")


def lose_another(number: int, port: int, folder: str) -> None:
    """One of two processes, of which the second is killed."""
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1")
    try:
        with process_group(CPU), told_once():
            gather(number)
            if number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            gather(number)
    except InputError as error:
        (Path(folder) / f"{number}.txt").write_text(str(error))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Sequence[dict[str, object]]:
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.start_processes(work, (port, str(folder)), PROCESSES, start_method="forkserver")
    return [torch.load(folder / f"{number}.pth", weights_only=False) for number in range(PROCESSES)]


@pytest.fixture(scope="module")
def alone() -> tuple[list[StepLosses], torch.Tensor]:
    return train()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["once", "accumulated"])
def test_two_processes_learn_as_one_with_all_images(
    results: Sequence[dict], alone: tuple[list[StepLosses], torch.Tensor], how: str
) -> None:
    losses, weights = alone
    for result in results:
        found_losses, found_weights = result[how]
        for expected, found in zip(losses, found_losses, strict=True):
            assert found.classification == pytest.approx(expected.classification, rel=1e-9)
            assert found.box == pytest.approx(expected.box, rel=1e-9)
            assert found.gradient_norm == pytest.approx(expected.gradient_norm, rel=1e-9)
            assert found.positives == expected.positives
            assert (found.ground_truths, found.unassigned) == (expected.ground_truths, expected.unassigned)
        torch.testing.assert_close(found_weights, weights, rtol=0, atol=1e-9)
    assert [step.ground_truths for step in losses] == [4, 2, 2, 0, 3]


@pytest.mark.slow
def test_processes_know_of_each_other(results: Sequence[dict]) -> None:
    for number, result in enumerate(results):
        answers = result["answers"]
        assert answers["place"] == (number, 2, number == 0)
        assert answers["gathered"] == [{"rank": 0}, {"rank": 1}]
        assert answers["any"] == (True, False)
        assert answers["copied"] == [0.0, 0.0]


@pytest.mark.slow
def test_a_fault_of_one_process_stops_all(results: Sequence[dict]) -> None:
    assert [result["fault"] for result in results] == ["StoppedByAnother", "NotFiniteError"]


@pytest.mark.slow
def test_faults_are_told_once(results: Sequence[dict]) -> None:
    assert [result["unopened"] for result in results] == ["InputError", "StoppedByAnother"]
    for result in results:
        assert result["faults"] == {
            "of both": ["InputError", "StoppedByAnother"],
            "of each": ["InputError", "InputError"],
            "of the main process": ["InputError", "StoppedByAnother"],
        }
        assert result["main"] == "0 of 2"


@pytest.mark.slow
def test_a_process_that_was_killed_is_named(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    both = [context.Process(target=lose_another, args=(number, port, str(tmp_path))) for number in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert (tmp_path / "0.txt").read_text().startswith("another process of the run died without reporting an error")


def test_processes_that_nobody_started_cannot_be_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(InputError, match="WORLD_SIZE is 2, but the processes cannot be connected"),
        process_group(CPU),
    ):
        pytest.fail("there is no other process")


def test_alone_the_answers_are_trivial() -> None:
    assert answer_questions() == {
        "place": (0, 1, True),
        "gathered": [{"rank": 0}],
        "any": (False, False),
        "copied": [0.0, 0.0],
    }
