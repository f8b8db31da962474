"""Damaged files through the commands: 125 cases on every run; the full run and its outcome: docs/fuzzing.md."""

from pathlib import Path

import fuzz
import pytest

CASES = {"coco": 25, "yolo": 25, "voc": 25, "yaml": 30, "image": 12, "checkpoint": 8}
FAILED_BEFORE = [  # kind, seed, case: what was wrong
    ("yolo", 31, 973),  # a carriage return in a folder's name went to the terminal
    ("yolo", 31, 1258),  # a line break in a folder's name made two lines of the error
    ("yaml", 31, 229),  # the same in a setting's name
    ("yaml", 31, 638),  # the same in a path
    ("yaml", 47, 1936),  # an input of 2147483648 pixels took all memory
    ("yaml", 47, 2035),  # so did 4294967296 epochs
]


def run_fuzz(kind: str, work: Path, *, seed: int, first: int, cases: int) -> int:
    words = ["--kind", kind, "--seed", seed, "--first", first, "--cases", cases, "--minutes", 5, "--work", work]
    return fuzz.main([str(word) for word in words])


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "cases"), CASES.items())
def test_damaged_files_end_with_one_line_or_are_used(
    kind: str, cases: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_fuzz(kind, tmp_path, seed=0, first=0, cases=cases)
    out = capsys.readouterr().out
    assert code == 0, out
    assert out.splitlines()[1].split()[:2] == [kind, str(cases)], "all were run in the time"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seed", "case"), FAILED_BEFORE)
def test_cases_that_failed_once(
    kind: str, seed: int, case: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_fuzz(kind, tmp_path, seed=seed, first=case, cases=1)
    assert code == 0, capsys.readouterr().out
