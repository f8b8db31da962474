"""Work at the same time as the caller's, in order and in bounded memory: threads behind plain iterators.

Decoding, resizing and the network release Python's lock, so that threads suffice.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import Full, Queue
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

MOST_ROOM = 120_000_000  # bytes: three photos of 12 megapixels; more was no faster
_POLL = 0.1  # seconds between looks at whether the consumer has gone
_JOIN_TIMEOUT = 5.0  # seconds for a source to come back from waiting for its next picture


@dataclass(frozen=True, slots=True)
class _End:
    """The last item: why there is no more."""

    error: BaseException | None = None


def _next(items: Iterator[Given]) -> Given | _End:
    """The next item, or why there is none."""
    try:
        return next(items)
    except StopIteration:
        return _End()
    except BaseException as error:  # raised again by the caller, in its place
        return _End(error)


def in_order(
    function: Callable[[Given], Made],
    items: Iterable[Given],
    *,
    threads: int,
    ahead: int,
    room: Callable[[Given], int] = lambda _: 0,
) -> Iterator[Made]:
    """`function` of each item, computed by a pool of threads, in the order of the items.

    At most `ahead` results are begun and not yet taken, and none beyond MOST_ROOM of the bytes that their items need;
    finished ones are not held back. What the function or the items raise, Ctrl-C included, is raised in its place,
    after the results before it.
    """
    waiting: deque[tuple[int, Future[Made]]] = deque()
    upcoming = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        try:
            while not isinstance(item := _next(upcoming), _End):
                waiting.append((room(item), pool.submit(function, item)))
                while waiting and (
                    len(waiting) >= ahead or sum(need for need, _ in waiting) > MOST_ROOM or waiting[0][1].done()
                ):
                    yield waiting.popleft()[1].result()
            while waiting:
                yield waiting.popleft()[1].result()
        finally:
            for _, future in waiting:
                future.cancel()
            if isinstance(upcoming, Generator):
                upcoming.close()  # now, not when it happens to be collected: it may have threads of its own
    if item.error is not None:
        raise item.error


def prefetched(items: Iterable[Given], *, ahead: int) -> Iterator[Given]:
    """The items, which a thread takes from their iterator, at most `ahead` before they are needed.

    What the iterator raises is raised here. If this iterator is closed, so is that of the items.
    """
    queue: Queue[Given | _End] = Queue(ahead)
    gone = threading.Event()
    thread = threading.Thread(target=_fill, args=(queue, iter(items), gone), daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        gone.set()
        thread.join(_JOIN_TIMEOUT)


def _fill(queue: Queue[Given | _End], items: Iterator[Given], gone: threading.Event) -> None:
    end = _End()
    try:
        for item in items:
            if not _put(queue, item, gone):
                break
    except BaseException as error:  # raised again where the items are consumed
        end = _End(error)
    finally:
        if isinstance(items, Generator):
            items.close()  # in this thread: it may be what a video is open in
        _put(queue, end, gone)


def _put(queue: Queue[Given | _End], item: Given | _End, gone: threading.Event) -> bool:
    """Whether there was room before the consumer was gone."""
    while not gone.is_set():
        try:
            queue.put(item, timeout=_POLL)
            return True
        except Full:
            continue
    return False
