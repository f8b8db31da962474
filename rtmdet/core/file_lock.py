"""A lock between processes: a file that is there while one of them holds it. flock, or msvcrt's locks on Windows."""

import os
import sys
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock_file(path: Path) -> int | None:
    """Make and lock a file; returns it, open, or None if another process holds it, or has just removed it.

    It counts as locked on a file system without locks. Raises OSError if it cannot be made.
    """
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        _lock(file)
        if fcntl is None or os.path.samestat(os.fstat(file), path.stat()):  # on Windows, an open file stays
            return file
    except (BlockingIOError, PermissionError, FileNotFoundError):
        pass
    except OSError:  # a file system without locks
        return file
    os.close(file)
    return None


def unlock_file(path: Path, file: int) -> None:
    """Remove a file that `lock_file` returned, and close it; it stays where another process has just locked it."""
    if fcntl is None:
        os.close(file)  # Windows removes no open file
    with suppress(OSError):
        path.unlink()
    if fcntl is not None:
        os.close(file)  # the last, so that nobody else's is removed


def _lock(file: int) -> None:
    """Lock an open file until it is closed. Raises OSError at once if another process has."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    elif sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # its first byte, which it need not have
