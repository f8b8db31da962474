"""Variables of torchrun, and scripts without the guard that Windows and macOS need."""

import subprocess
import sys
from pathlib import Path

import pytest

from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.processes import started_processes, started_rank


def test_variables_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")  # left over: no other process was started
    for text, expected in (("", 1), (" ", 1), ("0", 1), ("1", 1), ("3", 3)):
        monkeypatch.setenv("WORLD_SIZE", text)
        assert (started_processes(), started_rank()) == (expected, int(expected > 1))
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="the environment variable WORLD_SIZE is 'two': expected a number; unset it"):
        started_processes()


@pytest.mark.parametrize(("words", "what"), [(["info"], "info"), (["train", "--folds", "2"], "--folds")])
@pytest.mark.parametrize("number", [0, 1])
def test_commands_that_several_processes_do_in_vain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, words: list[str], what: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(number))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    try:
        code: object = main(words)
    except SystemExit as stopped:
        code = stopped.code
    said = f"error: {what}: expected one process, found 2: start it without torchrun\n"
    assert (code, capsys.readouterr().err) == (2, "" if number else said)


@pytest.mark.parametrize("guard", ["", "if __name__ == '__main__':\n    "])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_script_that_runs_again_in_its_processes_is_told(tmp_path: Path, method: str, guard: str) -> None:
    script = tmp_path / "script.py"
    call = f"check_main_guard(); process = get_context('{method}').Process(target=print, args=('worked',))"
    script.write_text(
        "from multiprocessing import get_context\nfrom rtmdet.core.processes import check_main_guard\n"
        f"{guard}{call}; process.start(); process.join()\n"
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert ("put it below `if __name__" in result.stderr, result.stdout) == (not guard, "worked\n" if guard else "")
