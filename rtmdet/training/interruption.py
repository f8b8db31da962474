"""SIGTERM and Ctrl-C as requests: the run finishes its step, saves and stops; a second signal stops it at once."""

import signal
import threading
from types import FrameType, TracebackType


class Interrupted(KeyboardInterrupt):
    """The run stopped after a signal, with everything saved; a KeyboardInterrupt, which ends a user's loop, too."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number  # of the signal

    def __str__(self) -> str:
        return f"stopped by signal {self.number}, with everything saved: train with resume=True continues the run"


class SignalWatch:
    """Context manager: `received` is the number of the first signal, 0 until one comes."""

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "SignalWatch":
        self.received = 0
        if threading.current_thread() is threading.main_thread():  # Python handles signals only there
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
