"""Threads behind iterators: the order, how much is held at most, errors, and an early end."""

import threading
import time
from collections.abc import Iterator

import pytest

from rtmdet.core import threads
from rtmdet.core.threads import in_order, prefetched


def test_order_is_that_of_the_items_whatever_takes_longest() -> None:
    def work(number: int) -> int:
        time.sleep(0.01 if number % 3 == 0 else 0)
        return number * number

    assert list(in_order(work, range(20), threads=4, ahead=6)) == [n * n for n in range(20)]
    assert list(prefetched(iter(range(20)), ahead=2)) == list(range(20))


@pytest.mark.parametrize("ahead", [1, 4])
def test_only_so_many_items_are_begun(ahead: int) -> None:
    begun: list[int] = []
    taken = in_order(lambda number: begun.append(number) or number, iter(range(100)), threads=2, ahead=ahead)
    for number in taken:
        assert len(begun) <= number + ahead
    source = iter(range(100))
    waiting = prefetched(source, ahead=ahead)
    assert next(waiting) == 0
    time.sleep(0.05)
    waiting.close()
    assert next(source) <= ahead + 2  # taken, in the queue, and in the hand of the thread


def test_what_is_begun_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """One item may be larger; then it is the last that is begun."""
    monkeypatch.setattr(threads, "MOST_ROOM", 10)
    rooms = [4, 4, 4, 30, 30, 1]
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.02)
        return number

    for number in in_order(work, range(6), threads=6, ahead=6, room=lambda number: rooms[number]):
        time.sleep(0.05)
        assert sum(rooms[other] for other in begun[number + 1 : -1]) <= 10
    assert begun == [*range(6)]


def test_the_items_are_closed_where_their_function_fails() -> None:
    """At once: they may come from other threads, which would still work when the caller goes on."""
    open_items = []

    def items() -> Iterator[int]:
        open_items.append(True)
        try:
            yield from range(9)
        finally:
            open_items.pop()

    source = items()  # held here, so that it is not collected
    results = in_order(lambda number: number, source, threads=1, ahead=1)
    assert next(results) == 0
    assert open_items
    results.close()
    assert not open_items


def test_finished_results_are_not_held_back() -> None:
    """The first result comes although the second item never does."""
    never = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        never.wait(5)

    def work(number: int) -> int:
        done.set()
        return number

    done = threading.Event()
    assert next(in_order(work, items(), threads=1, ahead=1)) == 1
    never.set()


def test_errors_come_in_their_place() -> None:
    def broken() -> Iterator[int]:
        yield 6
        raise OSError("gone")

    got: list[float] = []
    with pytest.raises(OSError, match="gone"):
        got.extend(prefetched(broken(), ahead=3))
    with pytest.raises(ZeroDivisionError):
        got.extend(in_order(lambda number: 6 / number, [3, 0, 2], threads=2, ahead=3))
    assert got == [6, 2]
    with pytest.raises(OSError, match="gone"):
        got.extend(in_order(abs, broken(), threads=2, ahead=3))
    assert got == [6, 2, 6]


def test_an_early_end_closes_the_source_in_its_own_thread() -> None:
    closed: list[threading.Thread] = []

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread())

    taken = in_order(abs, prefetched(items(), ahead=2), threads=2, ahead=4)
    assert next(taken) == 0
    taken.close()
    assert len(closed) == 1
    assert closed[0] is not threading.main_thread()
    assert not closed[0].is_alive()
