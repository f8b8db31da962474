"""Signals as requests: the run finishes its step, saves and stops; a second SIGTERM or Ctrl-C stops it at once.

Those two, SIGHUP, which may come twice when a terminal is closed, and SIGUSR1.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rtmdet.core.distributed import world_size
from rtmdet.core.processes import handled_signals, hangup, warning_signal


class Interrupted(KeyboardInterrupt):
    """The run stopped after a signal, with everything saved; a KeyboardInterrupt, which ends a user's loop, too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number  # of the signal

    def __str__(self) -> str:
        return f"stopped by signal {self.number}, with everything saved: train with resume=True continues the run"


class WaitEnded(BaseException):
    """A signal came in a block that need not be finished."""


class SignalWatch:
    """Notes the first signal: `received` is its number, 0 until one comes."""

    def __init__(self) -> None:
        self.received = 0
        self._waiting = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Note signals until the end of the block."""
        self.received = 0
        with handled_signals(self._note, signal.SIGINT, signal.SIGTERM, *hangup(), *warning_signal()):
            yield

    @contextmanager
    def ending_waits(self) -> Iterator[None]:
        """Let the first signal end the block by WaitEnded."""
        self._waiting = True
        try:
            yield
        finally:
            self._waiting = False

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Let the first signal end the block by Interrupted, unless other processes would wait in it for this one."""
        try:
            if world_size() > 1:
                yield
                return
            with self.ending_waits():
                if self.received:
                    raise WaitEnded
                yield
        except WaitEnded:
            raise Interrupted(self.received) from None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received and number in (signal.SIGINT, signal.SIGTERM):
            raise KeyboardInterrupt
        self.received = self.received or number
        if self._waiting:
            self._waiting = False  # what it interrupts may wait for something while it ends
            raise WaitEnded
