"""Our use of ONNX Runtime, OpenVINO and NNCF sends nothing and leaves no files of their telemetry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper, save_model

CODE = """
import importlib, sys
sent = []
sys.addaudithook(lambda event, _: sent.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
importlib.import_module(sys.argv[1])
import onnxruntime, openvino
onnxruntime.InferenceSession(sys.argv[2])
openvino.convert_model(sys.argv[2])
assert sys.modules["openvino_telemetry"] is None
assert not sent, sent
"""


@pytest.mark.parametrize(
    "module", ["rtmdet.deploy.onnx_backend", "rtmdet.deploy.openvino_backend", "rtmdet.deploy.quantize"]
)
def test_nothing_is_sent(module: str, tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
    graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "one", ends[:1], ends[1:])
    file = tmp_path / "one.onnx"
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    ours = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", CODE, module, str(file)], check=True, env=environment)
    left = [path.name for path in tmp_path.rglob("*")]
    assert not {"intel", "deviceid", "onnxruntime.db"} & set(left), left
