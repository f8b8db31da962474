"""Signals as requests: the run finishes its step, saves and stops; a second SIGTERM or Ctrl-C stops it at once.

Those two, SIGHUP, which may come twice when a terminal is closed, and SIGUSR1.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rtmdet.core.processes import handled_signals, hangup, warning_signal


class Interrupted(KeyboardInterrupt):
    """The run stopped after a signal, with everything saved; a KeyboardInterrupt, which ends a user's loop, too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number  # of the signal

    def __str__(self) -> str:
        return f"stopped by signal {self.number}, with everything saved: train with resume=True continues the run"


class SignalWatch:
    """Notes the first signal: `received` is its number, 0 until one comes."""

    def __init__(self) -> None:
        self.received = 0

    def noted(self) -> bool:
        """Whether a signal came."""
        return self.received > 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note signals until the end of the block."""
        self.received = 0
        with handled_signals(self._note, signal.SIGINT, signal.SIGTERM, *hangup(), *warning_signal()):
            yield

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number in (signal.SIGINT, signal.SIGTERM):
            raise KeyboardInterrupt
        self.received = self.received or number
