"""The last line of a run: which AP to report, and from which file."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from training.small_run import PLAN, make_trainer, metrics

from rtmdet.runs.train import describe_outcome
from rtmdet.training.log import Row, RunLog, read_log
from rtmdet.weights.load import read_checkpoint

Command = Callable[..., CompletedProcess[str]]
RUN = Path("run")
ADVICE = "the best is chosen on these same images, so its AP is too optimistic: report the last"


def validations(*precisions: float) -> list[Row]:
    return [{"kind": "val", "epoch": k, "iteration": k, "AP": ap} for k, ap in enumerate(precisions, start=1)]


@pytest.mark.parametrize(
    ("precisions", "line"),
    [
        (
            (0.5, 0.6234, 0.601),
            f"AP of the last epoch 0.601 ({RUN / 'last.pth'}), best of 3 validations 0.623 ({RUN / 'best.pth'}); "
            + ADVICE,
        ),
        ((0.5, 0.6), f"AP of the last epoch 0.600 ({RUN / 'last.pth'}), the best of 2 validations"),
        ((0.5,), f"AP 0.500 after the last epoch ({RUN / 'last.pth'})"),
        ((-1.0, -1.0), f"AP undefined: the validation images contain no objects; weights: {RUN / 'last.pth'}"),
        ((), f"no validation in the log of this run; weights: {RUN / 'last.pth'}"),
    ],
)
def test_the_last_ap_is_beside_the_best(precisions: tuple[float, ...], line: str) -> None:
    assert describe_outcome([{"kind": "train", "epoch": 1}, *validations(*precisions)], RUN) == line


def sized(row: Row, side: int) -> Row:
    return {**row, "input_height": side, "input_width": side}


def test_only_validations_at_one_size_compare() -> None:
    """Of a run that was prolonged: it had chosen another size for its last validation."""
    first, second, third = validations(0.5, 0.7, 0.6)
    rows = [sized(first, 64), sized(second, 128), sized(third, 64)]
    assert describe_outcome(rows, RUN) == f"AP 0.600 after the last epoch ({RUN / 'last.pth'})"
    longer = describe_outcome([*rows, sized(second, 128)], RUN, (128, 128))
    assert longer.endswith("; earlier validations used other sizes")
    at_128 = describe_outcome([sized(first, 64), sized(second, 128)], RUN, (128, 128))
    text = f"AP of the last epoch 0.700 at 128 x 128 pixels ({RUN / 'last.pth'})"
    assert at_128 == f"{text}; earlier validations used the training size"
    assert ";" not in describe_outcome([sized(first, 128), sized(second, 128)], RUN, (128, 128))


def test_a_run_that_ends_below_its_best_says_so(tmp_path: Path) -> None:
    """A real loop: best.pth is of the second epoch, last.pth of the fourth."""
    scores = iter([0.1, 0.4, 0.2, 0.3])
    log = RunLog(tmp_path, log_every=2)
    make_trainer(
        tmp_path, plan=replace(PLAN, epochs=4), evaluate=lambda _: metrics(next(scores)), callbacks=[log]
    ).run()
    line = describe_outcome(read_log(log.path), tmp_path)
    assert line.startswith(f"AP of the last epoch 0.300 ({tmp_path / 'last.pth'}), best of 4 validations 0.400 (")
    assert read_checkpoint(tmp_path / "best.pth").path.stat().st_size < (tmp_path / "last.pth").stat().st_size


@pytest.mark.parametrize("name", ["last.pth", "best.pth"])
def test_both_files_are_measured_and_detect(
    finished: tuple[Path, CompletedProcess[str]], dataset: Path, tmp_path: Path, command: Command, name: str
) -> None:
    """last.pth reaches the AP of the log's last row, best.pth the best one."""
    run = finished[0] / "run"
    rows = [float(row["AP"]) for row in read_log(run / "log.jsonl") if row["kind"] == "val"]
    val = dataset / "val"
    words = ["--annotations", val / "annotations.json", "--images", val / "images", "--workers", 0]
    result = command("evaluate", "--weights", run / name, "--device", "cpu", *words)
    assert result.returncode == 0, result.stderr
    (ap,) = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("AP ")]
    assert ap == f"{rows[-1] if name == 'last.pth' else max(rows):.3f}"
    image = next((val / "images").iterdir())
    result = command("infer", image, "--weights", run / name, "--score", 0.001, "--out", tmp_path / "found")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "found" / "detections.json").is_file()
