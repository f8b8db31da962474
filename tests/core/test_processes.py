"""Scripts without the guard that Windows and macOS need."""

import subprocess
import sys
from pathlib import Path

import pytest


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
