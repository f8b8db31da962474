"""SIGTERM and Ctrl-C as a wish: the run finishes its step, saves and stops; a second one stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interrupted(Exception):  # noqa: N818 - no error
    """The run stopped at a signal, with everything saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number  # of the signal


class StoppedByAnother(Exception):  # noqa: N818 - reported elsewhere
    """Another process of the run found a fault and reports it."""


class SignalWatch:
    """While it is entered, `received` holds the number of the first signal that came, 0 before it comes."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> SignalWatch:
        self.received = 0
        if threading.current_thread() is threading.main_thread():  # Python takes signals nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = number
