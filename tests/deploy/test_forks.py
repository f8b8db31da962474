"""A detector that was opened before a fork works in the child, as with gunicorn --preload."""

import subprocess
import sys

import pytest

CODE = """
import os, signal, sys, threading
import numpy as np
from rtmdet import Detector, build_rtmdet
from rtmdet.core.facts import ModelFacts
detector = Detector.from_model(build_rtmdet("nano", 2), ModelFacts(("cat", "dog"), (256, 256)), "cpu")
import torch
torch.set_num_threads(2)
image = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
if len(sys.argv) > 1:
    detector([image] * 2)  # the parent has threads
child = os.fork()
if child == 0:
    signal.alarm(30)  # ends a child that hangs
    detector(image)
    other = threading.Thread(target=detector, args=([image] * 2,))
    other.start()
    other.join()
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
@pytest.mark.parametrize("words", [[], ["used"]])
def test_a_forked_worker_answers(words: list[str]) -> None:
    assert subprocess.run([sys.executable, "-c", CODE, *words], timeout=60, check=False).returncode == 7
