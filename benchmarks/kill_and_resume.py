"""Kills a small training run with SIGKILL at random moments, resumes it, and compares the final weights bit by bit.

    python benchmarks/kill_and_resume.py [--kills 20] [--seed 0] [--json PATH]

The run: nano at 96 px on generated scenes, mosaic and mixup with a stage switch, two loader processes, checkpoints
within epochs, validations. Each trial is killed once at a random moment of its length, and then resumed to its end.
The compared hash covers all weights, averages and optimizer states.
"""

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.data.synthetic import write_dataset
from rtmdet.weights.checkpoint import has_checkpoint, newest_checkpoint, read_training_checkpoint

ROOT = Path(__file__).resolve().parents[1]
THREADS = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def write_config(folder: Path) -> Path:
    """The scenes and the configuration of the run."""
    for seed, (split, count) in enumerate((("train", 22), ("val", 6))):
        write_dataset(folder / split, count=count, seed=seed, size=(96, 128))
    splits = {
        split: {"annotations": str(folder / split / "annotations.json"), "images": str(folder / split / "images")}
        for split in ("train", "val")
    }
    settings = {
        "model": {"size": "nano"},
        "data": {**splits, "input_size": [96, 96], "batch_size": 4, "workers": 2},
        "augmentation": {"stage2_epochs": 3},
        "train": {"epochs": 8, "warmup_iterations": 5, "validate_every": 2, "save_every": 2, "device": "cpu"},
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(settings))
    return path


def start(config: Path, run: Path, *, resume: bool) -> subprocess.Popen[bytes]:
    """Start the command that a user would type."""
    words = [sys.executable, str(ROOT / "train.py"), "--config", str(config), "--set", f"train.output={run}"]
    log = (run.parent / f"{run.name}.log").open("ab")
    command = [*words, "--resume"] if resume else words
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **THREADS}, cwd=ROOT)


def finish(config: Path, run: Path, *, resume: bool) -> float:
    """Run to the end; returns the seconds it took."""
    began = time.monotonic()
    process = start(config, run, resume=resume)
    if process.wait() != 0:
        sys.exit(f"the run failed: {(run.parent / f'{run.name}.log').read_text()[-2000:]}")
    return time.monotonic() - began


def digest(run: Path) -> str:
    """One hash over the state of a finished run."""
    averaged, _, state = read_training_checkpoint(run / "last.pth")
    parts: list[Tensor] = [*averaged.values(), *state.model.values()]
    for moments in state.optimizer["state"].values():
        parts += [moments[name] for name in sorted(moments)]
    joined = hashlib.sha256()
    for part in parts:
        joined.update(part.contiguous().numpy().tobytes())
    return joined.hexdigest()


def place(run: Path) -> str:
    """Epoch and step of the newest intact checkpoint of a killed run."""
    if not has_checkpoint(run):
        return "no checkpoint yet"
    try:
        path, fault = newest_checkpoint(run)
    except InputError as error:
        return f"no intact checkpoint: {error}"
    _, _, state = read_training_checkpoint(path)
    return f"{path.name}: epoch {state.epoch}, step {state.step} of {state.steps}" + (
        " (last.pth damaged)" if fault else ""
    )


def main() -> int:
    """Print a line per kill and the verdict; returns 1 if a hash differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    moments = random.Random(arguments.seed)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_config(folder)
        seconds = finish(config, folder / "whole", resume=False)
        expected = digest(folder / "whole")
        print(f"uninterrupted: {seconds:.1f} s, {expected[:16]}", flush=True)
        for number in range(1, arguments.kills + 1):
            run, moment = folder / f"run{number}", moments.uniform(0, seconds)
            victim = start(config, run, resume=False)
            time.sleep(moment)
            victim.send_signal(signal.SIGKILL)
            killed = victim.wait() == -signal.SIGKILL
            where = place(run)
            finish(config, run, resume=True)
            equal = digest(run) == expected
            rows.append({"seconds": moment, "killed": killed, "checkpoint": where, "equal": equal})
            print(
                f"{number:3d}  killed after {moment:5.1f} s ({where}): {'equal' if equal else 'DIFFERENT'}",
                flush=True,
            )
    equal = sum(bool(row["equal"]) for row in rows)
    print(f"{equal} of {len(rows)} resumed runs end with the weights of the uninterrupted one, bit by bit")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"uninterrupted_seconds": seconds, "kills": rows}, indent=1))
    return int(equal < len(rows))


if __name__ == "__main__":
    sys.exit(main())
