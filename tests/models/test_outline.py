"""Networks without values: the shapes of real ones, in no time."""

import subprocess
import sys

import torch

from rtmdet.models.outline import outlines
from rtmdet.models.rtmdet import build_rtmdet


def test_an_outline_has_the_shapes_and_types_and_no_values() -> None:
    with outlines():
        outline = build_rtmdet("nano", 3).state_dict()
    real = build_rtmdet("nano", 3).state_dict()
    assert {tensor.device.type for tensor in outline.values()} == {"meta"}
    kinds = [{name: (t.shape, t.dtype) for name, t in tensors.items()} for tensors in (outline, real)]
    assert kinds[0] == kinds[1]
    assert torch.equal(build_rtmdet("nano", 1).mean, build_rtmdet("nano", 3).mean), "afterwards all is as before"


def test_it_does_not_import_the_compiler() -> None:
    code = (
        "import sys\n"
        "from rtmdet.models.outline import outlines\n"
        "from rtmdet.models.rtmdet import build_rtmdet\n"
        "with outlines():\n"
        "    build_rtmdet('nano', 3)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
