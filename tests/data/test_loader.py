"""The loader: collation, the batches of an epoch, and one-line errors from loader processes."""

import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from rtmdet.core.errors import InputError
from rtmdet.core.structures import Batch, ImageMeta, Instances, Sample
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import EvaluationLoader, TrainingLoader, _ended_processes_reported, collate
from rtmdet.data.samples import EvaluationSamples, TrainingSamples

COUNT = 5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images of 40 x 40 pixels with one object each; every gray value is ten times the image's id."""
    images, annotations = [], []
    for number in range(1, COUNT + 1):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((40, 40, 3), 10 * number, np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "width": 40, "height": 40})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [5, 5, 30, 30]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return tmp_path


def training_loader(folder: Path, *, batch_size: int = 2, workers: int = 0) -> TrainingLoader:
    data = CocoDataset(folder / "annotations.json", folder, training=True)
    samples = TrainingSamples(data, input_size=(32, 32), seed=0, stage2_start=1)
    return TrainingLoader(samples, batch_size=batch_size, workers=workers)


def evaluation_loader(folder: Path, *, batch_size: int = 2, workers: int = 0) -> EvaluationLoader:
    data = CocoDataset(folder / "annotations.json", folder, training=False)
    return EvaluationLoader(EvaluationSamples(data, input_size=(32, 64)), batch_size=batch_size, workers=workers)


def image_ids(batches: list[Batch]) -> list[int]:
    return [meta.image_id for batch in batches for meta in batch.metas]


def test_collate_stacks_images_and_keeps_targets_apart() -> None:
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            rng.integers(0, 256, (32, 64, 3), np.uint8),
            Instances(rng.uniform(0, 32, (count, 4)).astype(np.float32), np.arange(count)),
            ImageMeta(count, f"{count}.png", (32, 64)),
        )
        for count in (2, 0)
    ]
    batch = collate(samples)
    assert (batch.images.shape, batch.images.dtype) == ((2, 3, 32, 64), torch.uint8)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    for image, target, meta, sample in zip(batch.images, batch.targets, batch.metas, samples, strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), sample.image)
        np.testing.assert_array_equal(target.boxes.numpy(), sample.instances.boxes)
        np.testing.assert_array_equal(target.labels.numpy(), sample.instances.labels)
        assert (target.boxes.dtype, target.labels.dtype) == (torch.float32, torch.int64)
        assert meta == sample.meta
    assert batch.targets[1].boxes.shape == (0, 4)


@pytest.mark.parametrize(("batch_size", "sizes"), [(1, [1] * 5), (2, [1, 2, 2]), (4, [2, 3]), (5, [5]), (8, [5])])
def test_training_batches_are_of_nearly_the_same_size(folder: Path, batch_size: int, sizes: list[int]) -> None:
    loader = training_loader(folder, batch_size=batch_size)
    assert len(loader) == len(sizes)
    assert [len(batch.images) for batch in loader] == sizes


@pytest.mark.parametrize(("batch_size", "sizes"), [(2, [2, 2, 1]), (5, [5]), (8, [5])])
def test_last_evaluation_batch_holds_what_is_left(folder: Path, batch_size: int, sizes: list[int]) -> None:
    loader = evaluation_loader(folder, batch_size=batch_size)
    assert len(loader) == len(sizes)
    assert [len(batch.images) for batch in loader] == sizes


def test_epoch_is_a_permutation_and_is_repeatable(folder: Path) -> None:
    loader = training_loader(folder)
    orders = []
    for epoch in (0, 1, 0):
        loader.set_epoch(epoch)
        orders.append(image_ids(list(loader)))
    assert [sorted(order) for order in orders] == [[1, 2, 3, 4, 5]] * 3
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_can_begin_at_any_batch(folder: Path, workers: int) -> None:
    """A run resumed inside an epoch gets exactly the remaining batches."""
    loader = training_loader(folder, workers=workers)
    loader.set_epoch(2)
    whole = list(loader)
    for start in (1, 2, 3):
        loader.set_epoch(2, start)
        rest = list(loader)
        assert len(rest) == 3 - start
        for expected, found in zip(whole[start:], rest, strict=True):
            assert torch.equal(expected.images, found.images)
            assert expected.metas == found.metas
    loader.set_epoch(3)
    assert len(list(loader)) == 3, "the next epoch begins at its beginning"


@pytest.mark.parametrize("workers", [0, 1])
def test_iterating_an_epoch_does_not_change_the_random_state(folder: Path, workers: int) -> None:
    """Otherwise a run resumed inside an epoch would draw other numbers than an uninterrupted one."""
    before = torch.get_rng_state()
    for loader in (training_loader(folder, workers=workers), evaluation_loader(folder, workers=workers)):
        list(loader)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("processes", "batch_size"), [(2, 1), (2, 2), (3, 1), (2, 4)])
def test_processes_share_the_batches_of_one(folder: Path, processes: int, batch_size: int) -> None:
    """Together, the batches of all processes are those of a single process."""
    data = CocoDataset(folder / "annotations.json", folder, training=True)
    samples = TrainingSamples(data, input_size=(32, 32), seed=0, stage2_start=1)
    alone = TrainingLoader(samples, batch_size=processes * batch_size, workers=0)
    shares = [
        TrainingLoader(samples, batch_size=batch_size, workers=0, rank=rank, world_size=processes)
        for rank in range(processes)
    ]
    for loader in (alone, *shares):
        loader.set_epoch(1)
        assert len(loader) == len(alone)
    for whole, *parts in zip(alone, *shares, strict=True):
        joined = [meta.image_id for part in parts for meta in part.metas]
        own = [meta.image_id for meta in whole.metas]
        assert joined[: len(own)] == own
        assert len(joined) == max(len(own), processes), "a process without an image gets the epoch's first one"
        counts = [len(part.metas) for part in parts]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_processes_validate_every_image_once(folder: Path, processes: int) -> None:
    data = CocoDataset(folder / "annotations.json", folder, training=False)
    samples = EvaluationSamples(data, input_size=(32, 64))
    seen = [
        image_ids(list(EvaluationLoader(samples, batch_size=2, workers=0, rank=rank, world_size=processes)))
        for rank in range(processes)
    ]
    assert sorted(number for ids in seen for number in ids) == [1, 2, 3, 4, 5]
    assert max(map(len, seen)) - min(map(len, seen)) <= 1


def test_evaluation_goes_through_the_file_in_order(folder: Path) -> None:
    for _ in range(2):
        batches = list(evaluation_loader(folder))
        assert image_ids(batches) == [1, 2, 3, 4, 5]
        assert [int(image[0, 0, 0]) for batch in batches for image in batch.images] == [10, 20, 30, 40, 50]
    assert batches[0].images.shape == (2, 3, 32, 64)


def test_processes_follow_the_epoch(folder: Path) -> None:
    """The processes persist between epochs; the new epoch must reach them."""
    loader, alone = training_loader(folder, workers=1), training_loader(folder)
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        alone.set_epoch(epoch)
        assert image_ids(list(loader)) == image_ids(list(alone))


@pytest.mark.parametrize("workers", [0, 1])
def test_error_of_a_loader_process_is_one_line(folder: Path, workers: int) -> None:
    loader = evaluation_loader(folder, workers=workers)
    (folder / "3.png").write_bytes(b"no picture")
    one_line = rf"\A(?!.*Traceback)[^\n]*{re.escape(str(folder / '3.png'))}[^\n]*\Z"
    with pytest.raises(InputError, match=one_line):  # a kept exception would keep the processes alive
        list(loader)


@pytest.mark.parametrize("stage2_start", [0, 9])
def test_others_take_the_place_of_an_image_that_cannot_be_read(
    folder: Path, stage2_start: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also as a partner, the same with any number of processes, with one warning; places without it are as before."""
    data = CocoDataset(folder / "annotations.json", folder, training=True)

    def five_epochs(workers: int) -> list[Batch]:
        samples = TrainingSamples(data, input_size=(32, 32), seed=0, stage2_start=stage2_start)
        loader = TrainingLoader(samples, batch_size=1, workers=workers)
        batches = []
        for epoch in range(5):
            loader.set_epoch(epoch)
            batches += loader
        return batches

    whole = five_epochs(0)
    (folder / "3.png").write_bytes(b"no picture")
    first, *others = [five_epochs(workers) for workers in (0, 1, 2)]
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"warning: {folder / '3.png'}: expected an image, found a file that cannot be decoded; replace "
                     "the file or remove it from the data; other images take its place"] * 3  # fmt: skip
    assert 3 in image_ids(whole)
    assert 3 not in image_ids(first)
    for other in others:
        assert all(torch.equal(a.images, b.images) for a, b in zip(first, other, strict=True))
        assert image_ids(other) == image_ids(first)
    same = [torch.equal(a.images, b.images) for a, b in zip(whole, first, strict=True)]
    assert any(same)
    if stage2_start == 0:
        assert same == [number != 3 for number in image_ids(whole)]


@pytest.mark.parametrize("workers", [0, 2])
def test_many_images_that_cannot_be_read_end_the_training(folder: Path, workers: int) -> None:
    loader = training_loader(folder, batch_size=1, workers=workers)
    for number in (1, 3):
        (folder / f"{number}.png").write_bytes(b"no picture")
    assert len(list(loader)) == 5
    (folder / "4.png").unlink()
    loader.set_epoch(1)
    with pytest.raises(InputError, match=r"\A3 of 5 training images cannot be read, as the warnings say: copy them"):
        list(loader)


def test_an_epoch_without_an_image_that_can_be_read_ends_with_one_line(folder: Path) -> None:
    loader = training_loader(folder)
    for number in range(1, COUNT + 1):
        (folder / f"{number}.png").unlink()
    with pytest.raises(InputError, match=r"\A\S*\d\.png: no such image file; check the path\Z"):
        list(loader)


def test_a_batch_is_pinned_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As DataLoader requires of a batch. Without a GPU there is no pinned memory, so only the calls are checked."""
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    meta = ImageMeta(1, "a.png", (4, 4))
    batch = collate([Sample(np.zeros((4, 4, 3), np.uint8), Instances(np.ones((1, 4)), np.ones(1, int)), meta)] * 2)
    again = pin_memory(batch)
    assert isinstance(again, Batch)
    assert [tensor.shape for tensor in pinned] == [(2, 3, 4, 4), (1, 4), (1,), (1, 4), (1,)]


def test_the_index_stays_out_of_loader_processes(folder: Path) -> None:
    """With spawn they get the data set by pickle: the boxes as arrays, not each annotation as a dict."""
    data = CocoDataset(folder / "annotations.json", folder, training=True)
    sent = pickle.loads(pickle.dumps(data))
    assert not hasattr(sent, "coco")
    assert len(sent) == len(data)
    np.testing.assert_array_equal(sent.load(1).instances.boxes, data.load(1).instances.boxes)
    assert data.coco.imgs


class _Dying(EvaluationSamples):
    """Samples whose process is killed, as for lack of memory."""

    def __getitem__(self, key: int) -> Sample:
        os._exit(1)


class _Unsendable(EvaluationSamples):
    """Samples that cannot be pickled, as for lack of memory."""

    def __getitem__(self, key: int) -> Sample:
        return replace(super().__getitem__(key), meta=lambda: None)  # type: ignore[arg-type]


def test_a_batch_that_cannot_be_sent_is_one_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Python's queue drops it and goes on; the training then waited forever."""
    data = CocoDataset(folder / "annotations.json", folder, training=False)
    loader = EvaluationLoader(_Unsendable(data, input_size=(32, 64)), batch_size=2, workers=1)
    with pytest.raises(InputError, match=r"\Aa process that loads images ended [^\n]*\Z"):
        list(loader)
    why = r"\(Can't (pickle|get) local object .*\)"  # of Python 3.12, 3.13
    assert re.fullmatch(rf"error: a batch of images cannot be sent {why}\n", capfd.readouterr().err)


@pytest.mark.parametrize("files_in_memory", [True, False])
def test_batches_of_processes_are_equal_and_need_no_shared_folder(
    folder: Path, files_in_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/shm has 64 MB in a container by default."""
    if not files_in_memory:  # all but Linux
        monkeypatch.delattr(os, "memfd_create", raising=False)
    for alone, sent in zip(training_loader(folder), training_loader(folder, workers=2), strict=True):
        assert torch.equal(sent.images, alone.images)
        assert sent.images.stride() == alone.images.stride()
        assert sent.metas == alone.metas
        for expected, found in zip(alone.targets, sent.targets, strict=True):
            assert torch.equal(found.boxes, expected.boxes)
            assert torch.equal(found.labels, expected.labels)
        sent.images.add_(1)  # it is this process's own
        in_folder = [sent.images.is_shared(), *(target.boxes.is_shared() for target in sent.targets)]
        assert any(in_folder) is not files_in_memory


def test_a_loader_process_that_dies_is_one_line(folder: Path) -> None:
    data = CocoDataset(folder / "annotations.json", folder, training=False)
    loader = EvaluationLoader(_Dying(data, input_size=(32, 64)), batch_size=2, workers=1)
    with pytest.raises(InputError, match=r"a process that loads images ended .*DataLoader worker.*give fewer"):
        list(loader)


def test_a_loader_process_that_dies_before_it_has_read_its_data_is_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Ctrl-C may end it where processes are started by spawn: the pipe that its data set is written to breaks."""

    def start(_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    loader = evaluation_loader(folder, workers=1)
    monkeypatch.setattr(multiprocessing.Process, "start", start)
    with pytest.raises(InputError, match=r"a process that loads images ended \(.*Broken pipe\): .*give fewer"):
        list(loader)


def test_more_processes_than_cores_are_the_users_choice() -> None:
    """torch would warn with a line of its source code."""
    build = (
        "from rtmdet.data.loader import EvaluationLoader; from os import cpu_count; "
        "EvaluationLoader([], batch_size=1, workers=cpu_count() + 1)"
    )
    result = subprocess.run([sys.executable, "-c", build], capture_output=True, text=True, check=True)
    assert result.stderr == ""


@pytest.mark.skipif(not hasattr(signal, "SIGCHLD"), reason="Windows has no such signal")
@pytest.mark.parametrize("in_thread", [False, True])
def test_the_users_own_handler_of_ended_processes_stays(folder: Path, in_thread: bool) -> None:
    """And is called once for each signal, also while a batch is awaited, in the main thread alone."""
    called: list[str] = []

    def load() -> None:
        for _ in evaluation_loader(folder, workers=1):
            pass

    def handle(*_: object) -> None:
        called.append(threading.current_thread().name)

    before = signal.signal(signal.SIGCHLD, handle)
    try:
        if in_thread:
            thread = threading.Thread(target=load)
            thread.start()
            thread.join()
        else:
            with _ended_processes_reported():
                os.kill(os.getpid(), signal.SIGCHLD)
            assert called == ["MainThread"]
            load()
        assert signal.getsignal(signal.SIGCHLD) is handle
        assert set(called) <= {"MainThread"}
        assert len(called) <= 2  # of the loader's own process
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("make", [training_loader, evaluation_loader])
def test_a_killed_process_is_reported_with_the_next_batch(folder: Path, make: object) -> None:
    """Not amid a step or a save, where torch's handler of SIGCHLD would raise it."""
    assert callable(make)
    others = set(multiprocessing.active_children())
    batches = iter(make(folder, batch_size=1, workers=1))
    next(batches)
    (process,) = set(multiprocessing.active_children()) - others
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    time.sleep(0.1)  # Python calls handlers of signals between its instructions
    with pytest.raises(InputError, match=r"a process that loads images ended .*Killed.*give fewer"):
        list(batches)
