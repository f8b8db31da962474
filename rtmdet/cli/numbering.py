"""What the commands say about annotation ids that stood in a file more than once."""

from __future__ import annotations

from pathlib import Path


def describe_numbers(path: str | Path, renumbered: int) -> str:
    """One line about a file of which `renumbered` annotations had the id of another one."""
    return f"{path}: {renumbered} annotations had the id of another one: all are numbered anew, from 1"
