"""Half precision: on a CUDA GPU only; elsewhere one line says so."""

from pathlib import Path

import pytest
from PIL import Image

from rtmdet import Detector
from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("half") / "best.pth"
    save_checkpoint(
        path,
        model_state=build_rtmdet("nano", 1).state_dict(),
        meta=CheckpointMeta(ModelFacts(("a",), (64, 64), size="nano")),
    )
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cpu"}, "half precision needs a CUDA GPU, this is cpu: leave it out"),
        ({"device": "cpu", "fold": False}, "half precision is for detection with merged batch norms: leave out half"),
    ],
)
def test_where_it_cannot_be_had(checkpoint: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Detector(checkpoint, half=True, **options)


def test_an_exported_file_has_its_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has its own precision: leave out half, or export with half=True"):
        Detector(tmp_path / "model.onnx", half=True)


def test_the_command_says_it_in_one_line(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert main(["infer", str(tmp_path), "--weights", str(checkpoint), "--device", "cpu", "--half"]) == 2
    assert "half precision needs a CUDA GPU" in capsys.readouterr().err
