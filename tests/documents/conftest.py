"""Files of the person detector, for the programs in docs/ that run them without this package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rtmdet.core.facts import ExportFacts, ModelFacts, NmsFacts
from rtmdet.deploy.onnx_file import write_onnx
from rtmdet.detector import Detector

SIZE = (320, 320)
MODEL = ModelFacts(("person",), SIZE, score_thresholds=(0.15,))


@pytest.fixture(scope="session")
def person(shared: Path) -> Detector:
    weights = shared / "weights" / "rtmdet_nano_person_bn.pth"
    return Detector(weights, device="cpu", fold=False, classes=MODEL.classes, input_size=SIZE)


@pytest.fixture(scope="session")
def exported(person: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plain.onnx, and nms.onnx that takes only two images at a time."""
    folder = tmp_path_factory.mktemp("person")
    plain = ExportFacts(MODEL, version="1.2.3", weights="", fixed_input=True)  # quick to trace
    write_onnx(person.model, plain, folder / "plain.onnx")
    nms = replace(plain, nms=NmsFacts(0.001, 0.65, 300), fixed_batch=2)
    write_onnx(person.model, nms, folder / "nms.onnx")
    return folder


@pytest.fixture(scope="session")
def photos(shared: Path) -> list[Path]:
    """Many people, wide; a few, high."""
    names = ("14898532020_ba6199dd22_k.jpg", "24631331976_defa3bb61f_k.jpg")
    return [shared / "data" / "balloon" / "val" / name for name in names]
