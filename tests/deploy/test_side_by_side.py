"""Parts of a batch on cores of their own: the outputs of one pass, and torch's threads as they were."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from rtmdet.core.structures import DenseOutputs
from rtmdet.deploy.side_by_side import MOST_PARTS, forward_side_by_side
from rtmdet.deploy.torch_backend import TorchBackend
from rtmdet.models.rtmdet import RTMDet, build_rtmdet


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> RTMDet:
    torch.manual_seed(0)
    return build_rtmdet("nano", 2).eval().to(memory_format=torch.channels_last)


def images(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, 64, 96), dtype=torch.uint8, generator=generator)


def in_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_outputs_are_those_of_one_pass(model: RTMDet, count: int) -> None:
    with torch.inference_mode():
        whole = model(images(count))
    parts = forward_side_by_side(model, images(count))
    assert [level.shape for level in parts.logits] == [level.shape for level in whole.logits]
    for one, other in zip((*parts[0], *parts[1]), (*whole[0], *whole[1]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("threads", "count", "expected", "shares"),
    [
        (2, 5, [3, 2], {1}),
        (2, 1, [1], {2}),
        (1, 5, [5], {1}),
        (4, 3, [1, 1, 1], {2, 1}),
        (7, 8, [2] * MOST_PARTS, {2, 1}),
        (8, 8, [2] * MOST_PARTS, {2}),
    ],
)
def test_as_many_parts_as_threads_and_images(threads: int, count: int, expected: list[int], shares: set[int]) -> None:
    seen: list[tuple[int, int, bool]] = []

    def network(part: Tensor) -> DenseOutputs:
        seen.append((len(part), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return DenseOutputs((part,), (part + 1,))

    torch.set_num_threads(threads)
    with torch.inference_mode():
        outputs = forward_side_by_side(network, images(count))
    assert sorted((size for size, _, _ in seen), reverse=True) == expected
    assert {own for _, own, _ in seen} <= shares
    assert all(inference for _, _, inference in seen)
    assert torch.equal(outputs[0][0], images(count))
    assert torch.equal(outputs[1][0], images(count) + 1)
    assert torch.get_num_threads() == threads
    assert in_new_thread() == threads


def test_the_number_of_new_threads_stays_beside_that_of_the_caller() -> None:
    def network(part: Tensor) -> DenseOutputs:
        return DenseOutputs((part,), (part,))

    def call() -> int:
        torch.set_num_threads(3)
        torch.get_num_threads()  # from now on the number of this thread stays
        with ThreadPoolExecutor(1) as new:
            new.submit(torch.set_num_threads, 5).result()  # for new threads, too, not for this one
        forward_side_by_side(network, images(8))
        return torch.get_num_threads()

    with ThreadPoolExecutor(1) as caller:
        assert caller.submit(call).result() == 3
    assert in_new_thread() == 5


def test_backbones_that_keep_maps_during_a_pass_get_whole_batches() -> None:
    model = build_rtmdet("nano", 2, backbone="timm/legacy_xception", pretrained=False).eval()
    backend = TorchBackend(model, torch.device("cpu"))
    with torch.inference_mode():
        whole = model(images(2))
    for one, other in zip(backend.forward(images(2)).logits, whole.logits, strict=True):
        torch.testing.assert_close(one, other)


def test_errors_of_a_part_are_raised() -> None:
    def network(part: Tensor) -> DenseOutputs:
        raise ArithmeticError(f"{len(part)} images")

    with pytest.raises(ArithmeticError, match="2 images"):
        forward_side_by_side(network, images(4))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    def network(part: Tensor) -> DenseOutputs:
        return DenseOutputs((part,), (part,))

    forward_side_by_side(network, images(2))
    child = os.fork()
    if child == 0:
        threading.Timer(20, os._exit, args=(1,)).start()
        forward_side_by_side(network, images(2))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
