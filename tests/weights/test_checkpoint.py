"""Our own checkpoints: everything comes back, plain readers can read them, a failed write harms nothing."""

import errno
import os
from pathlib import Path

import pytest
import torch
from full_disk import file_size_limit
from torch import nn

from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.nms import NmsSettings
from rtmdet.core.tiling import Tiling
from rtmdet.weights.checkpoint import (
    CheckpointMeta,
    TrainingState,
    parse_meta,
    read_training_checkpoint,
    save_checkpoint,
)

META = CheckpointMeta(
    made_with="rtmdet 1.2.3, on a machine",
    facts=ModelFacts(
        ("cat", "dog"),
        (320, 640),
        size="tiny",
        category_ids=(7, 90),
        backbone="timm/resnet18",
        config="train:\n  epochs: 3\n",
        score_thresholds=(0.4, 0.25),
        value_range=(300, 4000),
        nms=NmsSettings(0.6, box_voting=True),
        tiling=Tiling(640),
    ),
    epoch=2,
    iteration=40,
    trained_size=(224, 448),
)


@pytest.fixture
def model() -> nn.Module:
    """A small model whose optimizer has a state."""
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


@pytest.fixture
def training(model: nn.Module) -> TrainingState:
    """The training state after one step of `model`."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.004)
    model(torch.randn(2, 3, 4, 4)).square().sum().backward()
    optimizer.step()
    return TrainingState(
        model=dict(model.state_dict()),
        optimizer=optimizer.state_dict(),
        scaler={},
        ema_updates=40,
        iteration=40,
        epoch=2,
        step=4,
        steps=18,
        best_ap=0.25,
        validations_since_best=1,
        torch_rng=torch.get_rng_state()[None],
        cuda_rng=torch.zeros(1, 0, dtype=torch.uint8),
    )


def test_everything_comes_back(tmp_path: Path, model: nn.Module, training: TrainingState) -> None:
    averaged = {name: value + 1 for name, value in model.state_dict().items()}
    save_checkpoint(tmp_path / "last.pth", model_state=averaged, meta=META, training=training)
    state, meta, found = read_training_checkpoint(tmp_path / "last.pth")
    assert meta == META
    assert list(state) == list(averaged)
    assert all(torch.equal(state[name], averaged[name]) for name in averaged)
    assert all(torch.equal(found.model[name], training.model[name]) for name in training.model)
    assert (found.ema_updates, found.iteration, found.epoch, found.best_ap) == (40, 40, 2, 0.25)
    assert torch.equal(found.torch_rng, training.torch_rng)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    optimizer.load_state_dict(found.optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.004
    expected = training.optimizer["state"][0]["exp_avg"]
    assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg"], expected)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pth"]


def test_layout_is_the_one_that_other_tools_read(tmp_path: Path, model: nn.Module, training: TrainingState) -> None:
    save_checkpoint(tmp_path / "a.pth", model_state=model.state_dict(), meta=META, training=training)
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    assert set(content) == {"state_dict", "meta", "training"}
    assert content["meta"] == {
        "format": "plain-rtmdet/1",
        "dataset_meta": {"classes": ["cat", "dog"], "category_ids": [7, 90]},
        "model": {
            "size": "tiny",
            "num_classes": 2,
            "input_size": [320, 640],
            "trained_size": [224, 448],
            "backbone": "timm/resnet18",
            "value_range": [300, 4000],
            "iou_threshold": 0.6,
            "box_voting": True,
            "tile": 640,
        },
        "config": "train:\n  epochs: 3\n",
        "epoch": 2,
        "iteration": 40,
        "made_with": META.made_with,
        "score_thresholds": [0.4, 0.25],
    }


@pytest.mark.parametrize("scores", [[0.5], [0.5, 1.5], [0.5, "high"], 0.5])
def test_score_thresholds_that_do_not_fit_are_an_input_error(
    tmp_path: Path, model: nn.Module, scores: object
) -> None:
    save_checkpoint(tmp_path / "a.pth", model_state=model.state_dict(), meta=META)
    meta = torch.load(tmp_path / "a.pth", weights_only=True)["meta"]
    with pytest.raises(InputError, match=r"a\.pth: `meta` of the checkpoint is damaged"):
        parse_meta({**meta, "score_thresholds": scores}, tmp_path / "a.pth")


@pytest.mark.parametrize("limit", [100, 3000])
def test_full_disk_keeps_the_previous_file(tmp_path: Path, model: nn.Module, limit: int) -> None:
    path = tmp_path / "last.pth"
    save_checkpoint(path, model_state=model.state_dict(), meta=META)
    before = path.read_bytes()
    big = {"weight": torch.randn(100_000)}
    with (
        file_size_limit(limit),
        pytest.raises(InputError, match=r"last\.pth: .* cannot be written \(.*File too large.*previous") as caught,
    ):
        save_checkpoint(path, model_state=big, meta=META)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.pth"]


def test_disk_that_fills_up_at_the_last_moment(
    tmp_path: Path, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        save_checkpoint(tmp_path / "a.pth", model_state=model.state_dict(), meta=META)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_replaced_keeps_its_name(
    tmp_path: Path, model: nn.Module, training: TrainingState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses to replace a file that another program reads."""
    path, usual = tmp_path / "last.pth", os.replace
    save_checkpoint(path, model_state=model.state_dict(), meta=META, training=training)
    before = path.read_bytes()

    def refuse(source: Path, target: Path) -> None:
        if Path(source).suffix == ".part":
            raise PermissionError(errno.EACCES, "Permission denied")
        usual(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match=r"last\.pth: .* \(Permission denied\), the previous file is kept"):
        save_checkpoint(path, model_state=model.state_dict(), meta=META, training=training)
    assert path.read_bytes() == before


def test_missing_folder_is_named(tmp_path: Path, model: nn.Module) -> None:
    with pytest.raises(InputError, match=r"gone/a\.pth: the checkpoint cannot be written .*No such file"):
        save_checkpoint(tmp_path / "gone" / "a.pth", model_state=model.state_dict(), meta=META)


def test_weights_alone_cannot_be_resumed(tmp_path: Path, model: nn.Module) -> None:
    save_checkpoint(tmp_path / "best.pth", model_state=model.state_dict(), meta=META)
    with pytest.raises(InputError, match=r"best\.pth: holds weights but no training state"):
        read_training_checkpoint(tmp_path / "best.pth")


def test_other_files_cannot_be_resumed(tmp_path: Path, model: nn.Module) -> None:
    for content in ({"state_dict": model.state_dict(), "meta": {"epoch": 3}}, model.state_dict(), [1], {"meta": 3}):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(InputError, match=r"other\.pth: expected a checkpoint of plain-rtmdet/1"):
            read_training_checkpoint(tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"gone\.pth: expected a checkpoint file, found nothing"):
        read_training_checkpoint(tmp_path / "gone.pth")


def test_damaged_parts_are_named(tmp_path: Path, model: nn.Module, training: TrainingState) -> None:
    path = tmp_path / "last.pth"
    save_checkpoint(path, model_state=model.state_dict(), meta=META, training=training)
    whole = path.read_bytes()
    content = torch.load(path, weights_only=True)
    del content["training"]["optimizer"], content["training"]["best_ap"]
    torch.save(content, path)
    with pytest.raises(InputError, match=r"last\.pth: the training state lacks optimizer, best_ap"):
        read_training_checkpoint(path)
    del content["meta"]["model"]["input_size"]
    torch.save(content, path)
    with pytest.raises(InputError, match=r"last\.pth: `meta` of the checkpoint is damaged: KeyError 'input_size'"):
        read_training_checkpoint(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"last\.pth: not a checkpoint, or a damaged one"):
        read_training_checkpoint(path)
