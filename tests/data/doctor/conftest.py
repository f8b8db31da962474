"""A sound data set of two splits that a test may damage before it is examined."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtmdet.data.doctor.finding import Finding, Purpose, SplitFiles
from rtmdet.data.doctor.report import examine

Document = dict[str, list]
HEIGHT, WIDTH = 120, 160
CLASSES = ("dog", "cat")
PURPOSE = Purpose(input_size=(128, 160))


class Patient:
    """Two splits of four images with ten dogs and ten cats each; `documents` are written when it is checked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.documents: dict[str, Document] = {}
        for seed, split in enumerate(("train", "val")):
            (folder / split).mkdir()
            rng = np.random.default_rng(seed)
            for number in range(1, 5):
                self.write_image(split, number, smooth_noise(rng))
            self.documents[split] = sound_document()

    def path(self, split: str, number: int) -> Path:
        return self.folder / split / f"{number}.jpg"

    def write_image(self, split: str, number: int, image: np.ndarray, quality: int = 90) -> None:
        cv2.imwrite(str(self.path(split, number)), image, [cv2.IMWRITE_JPEG_QUALITY, quality])

    def sources(self, splits: Sequence[str] = ("train", "val")) -> list[SplitFiles]:
        for split, document in self.documents.items():
            (self.folder / f"{split}.json").write_text(json.dumps(document))
        return [SplitFiles(split, self.folder / f"{split}.json", self.folder / split) for split in splits]

    def check(self, purpose: Purpose = PURPOSE, *, decode: bool = False) -> list[Finding]:
        return list(examine(self.sources(), purpose, decode=decode).findings)


def smooth_noise(rng: np.random.Generator) -> np.ndarray:
    """A different picture of soft spots for each generator state."""
    coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def sound_document() -> Document:
    return {
        "images": [{"id": n, "file_name": f"{n}.jpg", "width": WIDTH, "height": HEIGHT} for n in range(1, 5)],
        "annotations": [
            {"id": n + 1, "image_id": n % 4 + 1, "category_id": n % 2 + 1,
             "bbox": [7 * (n // 4), 8 * (n // 4), 20 + n, 30 + n], "area": 600, "iscrowd": 0}
            for n in range(20)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(CLASSES, start=1)],
    }  # fmt: skip


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


@pytest.fixture
def only() -> Callable[[list[Finding], str], Finding]:
    """The one finding of a list, which must have this code."""

    def pick(findings: list[Finding], code: str) -> Finding:
        assert [finding.code for finding in findings] == [code], findings
        return findings[0]

    return pick
