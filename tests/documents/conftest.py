"""Files of the person detector, for the programs in docs/ that run them without this package."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from rtmdet.core.facts import ExportFacts, ModelFacts, NmsFacts
from rtmdet.core.nms import NmsSettings
from rtmdet.deploy.onnx_file import finish_onnx, trace_onnx
from rtmdet.detector import Detector

SIZE = (320, 320)
WITHOUT_VOTING = NmsSettings(0.6)
MODEL = ModelFacts(("person",), SIZE, score_thresholds=(0.15,), nms=NmsSettings(0.6, box_voting=True))


@pytest.fixture(scope="session")
def person(shared: Path) -> Detector:
    weights = shared / "weights" / "rtmdet_nano_person_bn.pth"
    detector = Detector(weights, device="cpu", fold=False, classes=MODEL.classes, input_size=SIZE)
    return detector.with_nms(MODEL.nms)


@pytest.fixture(scope="session")
def exported(person: Detector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with plain.onnx, and nms.onnx that takes only two images at a time."""
    folder = tmp_path_factory.mktemp("person")
    plain = ExportFacts(MODEL, version="1.2.3", weights="", fixed_input=True)  # quick to trace
    finish_onnx(trace_onnx(person.model, plain), plain, folder / "plain.onnx")
    model = replace(MODEL, nms=WITHOUT_VOTING)
    nms = replace(plain, model=model, nms=NmsFacts(0.001, WITHOUT_VOTING.iou_threshold, 300), fixed_batch=2)
    finish_onnx(trace_onnx(person.model, nms), nms, folder / "nms.onnx")
    return folder


@pytest.fixture(scope="session")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Many people, wide, also of twice the size of the input and smaller than it; a few, high."""
    wide, high = ("14898532020_ba6199dd22_k.jpg", "24631331976_defa3bb61f_k.jpg")
    folder, source = tmp_path_factory.mktemp("photos"), shared / "data" / "balloon" / "val"
    with Image.open(source / wide) as photo:
        photo.resize((640, 440)).save(folder / "twice.png")
        photo.resize((251, 187)).save(folder / "small.png")
    return [source / wide, folder / "twice.png", folder / "small.png", source / high]
