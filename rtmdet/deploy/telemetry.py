"""Keeps OpenVINO and NNCF from sending statistics about their use to the internet."""

import sys


def refuse_telemetry() -> None:
    """Call this before `import openvino` or `import nncf`: both work without their package for it.

    That package keeps files in ~/intel and sends from the moment it is imported. Where the program imported it
    itself, that is its own choice, and stays.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # Python's way to forbid an import
