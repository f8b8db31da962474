"""Fixtures that several test files need."""

import multiprocessing
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: waiting threads would take a busy machine's time
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):  # they share the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // workers, 1)))

# Processes that tests start by "forkserver" are forks of one that has imported what takes seconds each time.
IMPORTED = ("rtmdet.cli.infer", "rtmdet.cli.train", "rtmdet.runs.train", "torch._dynamo", "albumentations", "timm")
multiprocessing.set_forkserver_preload(list(IMPORTED))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photos and weights: RTMDET_SHARED, or shared/ beside the repository."""
    folder = Path(os.environ.get("RTMDET_SHARED") or Path(__file__).resolve().parents[2] / "shared")
    if folder.is_dir():
        return folder
    reason = f"no folder {folder}: set RTMDET_SHARED to the real photos and weights"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
