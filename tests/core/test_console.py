"""Printed lines on consoles that lack letters."""

import io
import sys

import pytest

from rtmdet.core.console import say, warn, write_above_bar


def test_letters_that_a_console_lacks_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = []
    for name in ("stdout", "stderr"):
        streams.append(io.TextIOWrapper(io.BytesIO(), "cp1252"))
        monkeypatch.setattr(sys, name, streams[-1])
    say("é 气球")
    warn("气")
    write_above_bar("球")
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode("cp1252").split() for stream in streams)  # type: ignore[attr-defined]
    assert (out, err) == (["é", r"\u6c14\u7403", r"\u7403"], [r"\u6c14"])
