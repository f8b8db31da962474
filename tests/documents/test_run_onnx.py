"""The stand-alone script of the documents gives the Detector's boxes, of a file with NMS and of one without."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from documents.conftest import MODEL, WITHOUT_VOTING
from documents.nearness import assert_near
from PIL import Image

from rtmdet.core.nms import NmsSettings
from rtmdet.detector import Detector
from rtmdet.images.reading import read_image

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
        assert_near([line.split() for line in done.stdout.splitlines()], expected)
        with Image.open(tmp_path / "drawn.png") as drawn:
            assert drawn.size == expected.image_size[::-1]


@pytest.mark.parametrize("value_range", [None, (1000, 30000)])
def test_16_bit_photos(
    exported: Path, photos: list[Path], tmp_path: Path, value_range: tuple[int, int] | None
) -> None:
    gray = read_image(photos[0]).mean(2)
    low, high = value_range or (0, 65535)
    photo, file = tmp_path / "deep.png", tmp_path / "deep.onnx"
    Image.fromarray((gray / 255 * (high - low) + low).astype(np.uint16)).save(photo)
    proto = onnx.load(exported / "plain.onnx")
    (stored,) = (pair for pair in proto.metadata_props if pair.key == "value_range")
    stored.value = json.dumps(value_range)
    onnx.save(proto, file)
    done = subprocess.run([sys.executable, SCRIPT, file, photo], capture_output=True, text=True, check=True)
    assert_near([line.split() for line in done.stdout.splitlines()], Detector(file)(photo))


def test_photos_of_32_bits_are_refused(exported: Path, tmp_path: Path) -> None:
    photo = tmp_path / "deep.tif"
    Image.fromarray(np.zeros((9, 9), np.int32)).save(photo)
    words = [sys.executable, SCRIPT, exported / "plain.onnx", photo]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{photo}: more than 16 bits a value\n"


def test_it_needs_nothing_else() -> None:
    lines = SCRIPT.read_text().splitlines()
    assert len(lines) <= 60
    imported = {line.split()[1].split(".")[0] for line in lines if line.startswith(("import ", "from "))}
    assert imported <= {"json", "sys", "numpy", "onnxruntime", "PIL"}
