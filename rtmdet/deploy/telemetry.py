"""Keeps ONNX Runtime, OpenVINO and NNCF from sending statistics about their use to the internet."""

import os
import sys


def refuse_telemetry() -> None:
    """Call this before `import onnxruntime`, `import openvino` or `import nncf`.

    ONNX Runtime reads a variable, from 1.29 on, when it is imported; its function that turns telemetry off comes too
    late to keep files out of ~/.cache. The other two work without their package for it, which keeps files in ~/intel
    and sends from the moment it is imported. A variable that is set, and that package where the program has imported
    it, are choices of the user's own, and stay.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python's way to forbid an import
