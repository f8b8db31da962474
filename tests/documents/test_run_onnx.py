"""The stand-alone script of the documents gives the Detector's boxes, of a file with NMS and of one without."""

import subprocess
import sys
from pathlib import Path

import pytest
from documents.conftest import MODEL, WITHOUT_VOTING
from documents.nearness import assert_near
from PIL import Image

from rtmdet.core.nms import NmsSettings
from rtmdet.detector import Detector

pytestmark = pytest.mark.shared

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "run_onnx.py"


@pytest.mark.parametrize(("name", "overlap"), [("plain.onnx", MODEL.nms), ("nms.onnx", WITHOUT_VOTING)])
def test_boxes_are_those_of_the_detector(
    person: Detector, exported: Path, photos: list[Path], tmp_path: Path, name: str, overlap: NmsSettings
) -> None:
    for photo in photos:
        words = [SCRIPT, exported / name, photo, tmp_path / "drawn.png"]
        done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=True)
        expected = person.with_nms(overlap)(photo, score=0.15)
        assert_near([line.split() for line in done.stdout.splitlines()], expected, person.input_size)
        with Image.open(tmp_path / "drawn.png") as drawn:
            assert drawn.size == expected.image_size[::-1]


def test_it_needs_nothing_else() -> None:
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) <= 60
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= {"json", "sys", "numpy", "onnxruntime", "PIL"}
