"""Printed lines on consoles that lack letters, and where progress bars are shown."""

import io
import sys

import pytest
from tqdm import tqdm

from rtmdet.core.console import bars_hidden, progress, say, warn, write_above_bar


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


def test_notebooks_have_bars_on_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress([1, 2], "hidden")) == [1, 2]
    assert capsys.readouterr().err == ""
    with monkeypatch.context() as patch:
        patch.setattr(
            sys, "stderr", type("Logging", (), {"write": len, "flush": len})
        )  # as recipes for loggers have it
        assert bars_hidden()
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    with tqdm(total=3, disable=bars_hidden(), leave=False) as outer:
        outer.update()
        assert list(progress([1, 2], "within")) == [1, 2]
    shown = capsys.readouterr().err
    assert "within:" in shown
    assert not {"\n", "\x1b"} & set(shown)
