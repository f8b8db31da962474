"""Weights into a model: all kinds of files, every tensor accounted for."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from models.complexity import count_parameters
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.nms import NmsSettings
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.models.zoo import SIZES
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import (
    LoadedWeights,
    find_size,
    keep_known_classes,
    load_weights,
    read_checkpoint,
)
from rtmdet.weights.openmmlab import check_settings

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Weights of a nano detector of one class."""
    torch.manual_seed(0)
    model = build_rtmdet("nano", 1)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 1.0)
    return dict(model.state_dict())


def write_zip(path: Path, state: State) -> None:
    torch.save({"meta": {"dataset_meta": {"classes": ("person",)}}, "state_dict": OrderedDict(state)}, path)


def write_legacy(path: Path, state: State) -> None:
    content = {"meta": {"CLASSES": ["person"]}, "state_dict": OrderedDict(state)}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def write_ours(path: Path, state: State) -> None:
    save_checkpoint(path, model_state=state, meta=CheckpointMeta(ModelFacts(("person",), (320, 416), size="nano")))


def write_safetensors(path: Path, state: State) -> None:
    safetensors.torch.save_file({name: value.contiguous() for name, value in state.items()}, path)


def write_bare_parallel(path: Path, state: State) -> None:
    torch.save({f"module.{name}": value for name, value in state.items()}, path)


def weights_of(state: State, name: str = "a.pth", *, size: str = "") -> LoadedWeights:
    facts = ModelFacts((), (640, 640), named=False, size=size)
    return LoadedWeights(Path(name), dict(state), facts, sized=False)


def equal(model: RTMDet, state: State) -> bool:
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("write", "name", "classes", "input_size"),
    [
        (write_zip, "a.pth", ("person",), None),
        (write_legacy, "a.pth", ("person",), None),
        (write_ours, "a.pth", ("person",), (320, 416)),
        (write_safetensors, "a.safetensors", None, None),
        (write_bare_parallel, "a.pt", None, None),
    ],
)
def test_round_trips(
    tmp_path: Path,
    state: State,
    write: Callable[[Path, State], None],
    name: str,
    classes: tuple[str, ...] | None,
    input_size: tuple[int, int] | None,
) -> None:
    write(tmp_path / name, state)
    weights = read_checkpoint(tmp_path / name)
    assert (weights.classes, weights.facts.size, weights.input_size) == (classes, "nano", input_size)
    assert weights.num_classes == 1
    assert not weights.backbone_only
    model = build_rtmdet("nano", 1)
    report = load_weights(model, weights)
    assert equal(model, state)
    assert report.summary == f"{name}: weights loaded completely (698 tensors)"


def test_other_number_of_classes_starts_the_class_branch_anew(state: State) -> None:
    model = build_rtmdet("nano", 3)
    for parameter in model.bbox_head.rtm_cls.parameters():
        torch.nn.init.ones_(parameter)
    report = load_weights(model, weights_of(state))
    for name, value in model.state_dict().items():
        if not name.startswith("bbox_head.rtm_cls."):
            assert torch.equal(value, state[name]), name
    for conv in model.bbox_head.rtm_cls:
        assert conv.out_channels == 3
        assert torch.allclose(conv.bias, torch.tensor(-4.59512))
        assert 0.005 < conv.weight.std().item() < 0.02
    assert report.summary == (
        "a.pth: weights loaded (692 tensors); the class layers start from scratch: 3 classes instead of 1"
    )


def test_a_class_branch_with_other_faults_is_refused(state: State) -> None:
    wide = {**state, "bbox_head.rtm_cls.1.weight": torch.zeros(1, 65, 1, 1)}
    with pytest.raises(InputError, match=r"1 of another shape: bbox_head\.rtm_cls\.1\.weight \(1, 65, 1, 1\)"):
        load_weights(build_rtmdet("nano", 3), weights_of(wide))
    lacking = {name: value for name, value in state.items() if name != "bbox_head.rtm_cls.2.bias"}
    with pytest.raises(InputError, match=r"1 missing: bbox_head\.rtm_cls\.2\.bias"):
        load_weights(build_rtmdet("nano", 3), weights_of(lacking))


def test_missing_and_unexpected_tensors_are_listed_and_nothing_is_loaded(state: State) -> None:
    model = build_rtmdet("nano", 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wrong = {name: value for name, value in state.items() if not name.startswith("neck.out_convs.0")}
    wrong["mask_head.weight"] = torch.zeros(1)
    with pytest.raises(InputError) as caught:
        load_weights(model, weights_of(wrong, size="nano"))
    assert str(caught.value) == (
        "a.pth: does not fit the model (the file's backbone is of size nano): 10 missing: "
        "neck.out_convs.0.depthwise_conv.conv.weight, neck.out_convs.0.depthwise_conv.bn.weight, "
        "neck.out_convs.0.depthwise_conv.bn.bias, neck.out_convs.0.depthwise_conv.bn.running_mean, "
        "neck.out_convs.0.depthwise_conv.bn.running_var, "
        "neck.out_convs.0.pointwise_conv.conv.weight, neck.out_convs.0.pointwise_conv.bn.weight, "
        "neck.out_convs.0.pointwise_conv.bn.bias, neck.out_convs.0.pointwise_conv.bn.running_mean, "
        "neck.out_convs.0.pointwise_conv.bn.running_var; 1 unexpected: mask_head.weight; give weights of this network"
    )
    with pytest.raises(InputError, match=r"a\.pth: does not fit the model: 1 unexpected: mask_head\.weight"):
        load_weights(model, weights_of({**state, "mask_head.weight": torch.zeros(1)}))
    assert equal(model, before)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("backbone.stem.0.conv.weight", torch.zeros(9, 3, 3, 3), r"1 of another shape: .* \(9, 3, 3, 3\) instead of"),
        (
            "backbone.stem.0.bn.bias",
            torch.zeros(8, dtype=torch.int32),
            "1 of another type: .* torch.int32 instead of",
        ),
        ("backbone.stem.0.bn.bias", torch.full((8,), torch.nan), r"1 with NaN or inf: backbone\.stem\.0\.bn\.bias"),
        ("backbone.stem.0.bn.bias", torch.full((8,), -torch.inf), "1 with NaN or inf"),
    ],
)
def test_unusable_tensors_are_named_and_nothing_is_loaded(
    state: State, name: str, value: Tensor, message: str
) -> None:
    model = build_rtmdet("nano", 1)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=message):
        load_weights(model, weights_of({**state, name: value}))
    assert equal(model, before)


def test_half_precision_and_preprocessor_are_taken(state: State) -> None:
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    model = build_rtmdet("nano", 1)
    load_weights(model, weights_of({**half, "data_preprocessor.mean": torch.zeros(3)}))
    assert torch.allclose(model.backbone.stem[0].conv.weight, state["backbone.stem.0.conv.weight"], atol=1e-3)


def test_shared_weights_that_differ_are_refused() -> None:
    tiny = build_rtmdet("tiny", 1).state_dict()
    load_weights(build_rtmdet("tiny", 1), weights_of(tiny))
    name = "bbox_head.cls_convs.2.0.conv.weight"
    with pytest.raises(InputError, match=r"cls_convs\.2\.0\.conv\.weight differs from .*cls_convs\.0\.0"):
        load_weights(build_rtmdet("tiny", 1), weights_of({**tiny, name: tiny[name] + 1}))


def test_imagenet_file_loads_into_the_backbone_only(tmp_path: Path, state: State) -> None:
    backbone = {name: value for name, value in state.items() if name.startswith("backbone.")}
    file = {**backbone, "head.fc.weight": torch.zeros(1000, 256), "head.fc.bias": torch.zeros(1000)}
    torch.save({"state_dict": file, "meta": {"dataset_meta": {"classes": ["tench"] * 1000}}}, tmp_path / "a.pth")
    weights = read_checkpoint(tmp_path / "a.pth")
    assert (weights.num_classes, weights.classes, weights.facts.size) == (None, None, "nano")
    assert weights.backbone_only
    model = build_rtmdet("nano", 2)
    head = model.bbox_head.rtm_cls[0].weight.clone()
    report = load_weights(model, weights)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in backbone.items())
    assert torch.equal(model.bbox_head.rtm_cls[0].weight, head)
    assert report.summary == (f"a.pth: backbone loaded ({len(backbone)} tensors); neck and head start from scratch")
    with pytest.raises(InputError, match=r"missing: backbone\.stem"):
        load_weights(build_rtmdet("tiny", 2), weights_of({"head.fc.weight": torch.zeros(1)}))


def test_the_counters_of_norms_may_be_missing(state: State) -> None:
    """Nothing uses them, and some programs leave them out."""
    lean = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert find_size(lean) == "nano"
    model = build_rtmdet("nano", 1)
    load_weights(model, weights_of(lean))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in lean.items())


@pytest.mark.parametrize("size", ["nano", "tiny", "s"])
def test_size_is_found_by_the_backbone(size: str) -> None:
    state = build_rtmdet(size, 2).state_dict()
    assert find_size(state) == size
    assert find_size({**state, "backbone.stage1.9.weight": torch.zeros(1)}) is None
    assert find_size({"backbone.layer1.weight": torch.zeros(1)}) is None


def test_sizes_differ_in_width() -> None:
    assert len({size.widen for size in SIZES.values()}) == len(SIZES)  # find_size relies on it


def test_names_that_do_not_fit_the_class_branch_are_not_used(tmp_path: Path, state: State) -> None:
    torch.save({"state_dict": state, "meta": {"dataset_meta": {"classes": ("a", "b")}}}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").classes is None
    torch.save({"state_dict": state, "meta": {"dataset_meta": {"classes": "person"}}}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").classes == ("person",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "expected a dict of tensors, found list"),
        ({}, "expected tensors under state_dict, found none"),
        ({"state_dict": {"a": 1}}, "expected a state_dict of plain tensors, found int at 'a'"),
        ({"model": {"a": torch.zeros(1)}}, "expected a state_dict of plain tensors, found dict at 'model'"),
        ({"state_dict": {3: torch.zeros(1)}}, "found Tensor at 3"),
        ({"state_dict": {"a": torch.zeros(1).to_sparse()}}, "found one of layout torch.sparse_coo on cpu at 'a'"),
        (
            {"a": torch.zeros(1).expand(900)},
            r"all their values, found 'a' of shape \(900,\) in 4 bytes: save it",
        ),
    ],
)
def test_files_without_weights_are_named(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"a\.pth: .*{message}"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100)])
def test_damaged_safetensors_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.safetensors: expected a safetensors file") as caught:
        read_checkpoint(tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value)


@pytest.mark.shared
def test_published_person_detector(shared: Path) -> None:
    weights = read_checkpoint(shared / "weights" / "rtmdet_nano_person.pth")
    assert (weights.facts.size, weights.classes, weights.num_classes) == ("nano", ("person",), 1)
    model = build_rtmdet("nano", 1)
    assert load_weights(model, weights).loaded == 698
    assert count_parameters(model) == 994_423
    assert equal(model, weights.tensors)


def test_classes_known_by_name_keep_their_rows_wherever_they_stand() -> None:
    torch.manual_seed(0)
    first = build_rtmdet("nano", 3)
    for parameter in first.bbox_head.rtm_cls.parameters():
        torch.nn.init.normal_(parameter)
    weights = LoadedWeights(Path("first.pth"), first.state_dict(), ModelFacts(("cat", "dog", "cow"), (640, 640)))
    model = build_rtmdet("nano", 3)
    load_weights(model, weights)
    assert keep_known_classes(model, weights, ("bird", "cow", "cat")) == ["cow", "cat"]
    for old, new in zip(first.bbox_head.rtm_cls, model.bbox_head.rtm_cls, strict=True):
        assert isinstance(old, torch.nn.Conv2d)
        assert isinstance(new, torch.nn.Conv2d)
        assert torch.equal(new.weight[[1, 2]], old.weight[[2, 0]])
        assert old.bias is not None
        assert new.bias is not None
        assert torch.equal(new.bias[[1, 2]], old.bias[[2, 0]])
        assert float(new.bias[0].detach()) == pytest.approx(-4.595, abs=1e-3)


def test_where_no_name_is_known_the_class_branch_stays_as_loaded() -> None:
    first = build_rtmdet("nano", 1)
    weights = LoadedWeights(Path("first.pth"), first.state_dict(), ModelFacts(("person",), (640, 640)))
    model = build_rtmdet("nano", 1)
    load_weights(model, weights)
    assert keep_known_classes(model, weights, ("balloon",)) == []
    assert torch.equal(
        model.state_dict()["bbox_head.rtm_cls.0.weight"], first.state_dict()["bbox_head.rtm_cls.0.weight"]
    )


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("key", ["state_dict", "ema_state_dict", None])
def test_names_of_parallel_training_compiling_and_averaging(
    tmp_path: Path, state: State, prefix: str, key: str | None
) -> None:
    content: dict[str, object] = {f"{prefix}{name}": value for name, value in state.items()}
    content |= {"steps": torch.tensor(7)} if prefix.startswith("module.") else {}
    torch.save({key: content} if key else content, tmp_path / "a.pth")
    weights = read_checkpoint(tmp_path / "a.pth")
    assert (weights.facts.size, set(weights.tensors)) == ("nano", set(state))


def test_the_detector_inside_a_larger_model_is_named(tmp_path: Path, state: State) -> None:
    both = {f"{part}.{name}": value for part in ("student", "teacher") for name, value in state.items()}
    torch.save(both, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a.pth: the names of its tensors begin with student\. and teacher\., exp"):
        read_checkpoint(tmp_path / "a.pth")
    doubled = dict(state) | {f"module.{name}": value for name, value in state.items()}
    torch.save(doubled, tmp_path / "a.pth")
    with pytest.raises(InputError, match="some tensors appear twice"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("bbox_head.rtm_kernel.0.weight", "an RTMDet-Ins, which finds masks"),
        ("bbox_head.rtm_ang.0.weight", "an RTMDet-R, which finds rotated boxes"),
        ("backbone.stage5.0.conv.weight", r"an RTMDet of four levels \(P6\)"),
        ("backbone.patch_embed.projection.weight", "an RTMDet with a Swin backbone"),
        ("backbone.downsample_layers.0.0.weight", "an RTMDet with a ConvNeXt backbone"),
    ],
)
def test_other_networks_are_called_by_their_name(tmp_path: Path, state: State, name: str, network: str) -> None:
    torch.save({"state_dict": state | {name: torch.zeros(1)}}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"a\.pth: the file holds {network}: expected an RTMDet that finds upright"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("size", ["tiny", "s", "m"])
def test_the_sizes_are_named_where_they_differ(state: State, size: str) -> None:
    weights = weights_of(state, size="nano")
    with pytest.raises(InputError, match=f"the file is of size nano, the model of size {size}: set model.size=nano"):
        load_weights(build_rtmdet(size, 1), weights)


CONFIG = """
train_pipeline = [dict(scale=(1280, 1280), type='RandomResize'), dict(size=(640, 640), type='Pad')]
test_pipeline = [
    dict(backend_args=None, type='LoadImageFromFile'),
    dict(keep_ratio=True, scale=(
        {resize},
    ), type='Resize'),
    {pad}
    dict(type='PackDetInputs'),
]
"""


@pytest.mark.parametrize(
    ("resize", "pad", "size"),
    [
        ("320, 320", "dict(pad_val=dict(img=(114, 114, 114)), size=(320, 320), type='Pad'),", (320, 320)),
        ("640, 384", "", (384, 640)),
        ("1333, 800", "dict(size_divisor=32, type='Pad'),", (800, 1344)),
        ("1333, 800", "dict(size=(1344, 800), type='Pad'),", (800, 1344)),
        ("640, 640", "dict(size=(1024, 1024), type='Pad'),", (640, 640)),
        ("400, 400", "dict(size=(416, 416), type='Pad'),", (416, 416)),
        ("9000, 640", "", None),
        ("open('x', 'w'), 320", "", None),
        ("(" * 300, "", None),
    ],
)
def test_the_input_of_tests_is_read_from_the_stored_configuration(
    tmp_path: Path, state: State, resize: str, pad: str, size: tuple[int, int] | None
) -> None:
    meta = {"cfg": CONFIG.format(resize=resize, pad=pad), "dataset_meta": {"classes": ("person",)}, "epoch": 12}
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "a.pth")
    weights = read_checkpoint(tmp_path / "a.pth")
    assert (weights.input_size, weights.epoch, weights.origin) == (size, 12, "a checkpoint of OpenMMLab")


def test_a_file_knows_whether_its_norms_hold_statistics(state: State) -> None:
    fresh = dict(build_rtmdet("nano", 1).state_dict())
    exported = {name: t - 1e-5 if name.endswith("running_var") else t for name, t in fresh.items()}
    backbones = [{"backbone.stem.0.conv.weight": torch.ones(1)}, state]
    assert [weights_of(one).has_statistics for one in (*backbones, fresh, exported)] == [True, True, False, False]


MODEL = """
norm = dict(eps={eps}, type='BN')
classes = ('person', )
model = dict(
    type='RTMDet',
    data_preprocessor=dict(mean=[{mean}, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb={rgb}),
    backbone=dict(act_cfg=dict(inplace=True, type='{act}'), norm_cfg=norm),
    neck=dict(act_cfg=None, norm_cfg=norm, upsample_cfg={{'mode': '{mode}', 'scale_factor': 2}}),
    bbox_head=dict(
        anchor_generator=dict(offset={offset}, strides=[8, 16, {stride}], type='MlvlPointGenerator'),
        exp_on_reg={exp},
        norm_cfg=norm,
        train_cfg=undefined(1),
    ),
    test_cfg=dict(nms=dict(iou_threshold={iou}, type='nms'), score_thr=0.001),
)
test_pipeline = [dict(size=(640, 640), type='Pad')]
pipeline = [dict(scale={resize}, type='Resize'), dict(size=(320, 416), type='Pad')]
test_dataloader = dict(dataset=dict(pipeline=pipeline))
"""
SOUND = {
    "eps": "1e-5", "mean": "103.53", "rgb": "False", "act": "SiLU", "mode": "nearest", "offset": "0", "stride": "32",
    "exp": "False", "iou": "0.6", "resize": "(416, 416)",
}  # fmt: skip


def write_with_settings(path: Path, state: State, **changes: str) -> None:
    cfg = MODEL.format(**(SOUND | changes))
    torch.save({"meta": {"cfg": cfg, "dataset_meta": {"classes": ("person",)}}, "state_dict": state}, path)


def test_the_settings_of_tests_are_those_of_the_loader(tmp_path: Path, state: State) -> None:
    write_with_settings(tmp_path / "a.pth", state)
    facts = read_checkpoint(tmp_path / "a.pth").facts
    assert (facts.input_size, facts.nms) == ((416, 416), NmsSettings(0.6))
    for changes in ({"resize": "None"}, {"resize": "None", "iou": "-1"}, {"iou": "True"}, {"iou": "get()"}):
        write_with_settings(tmp_path / "b.pth", state, **changes)
        facts = read_checkpoint(tmp_path / "b.pth").facts
        assert facts.input_size == ((416, 320) if "resize" in changes else (416, 416))
        assert facts.nms == (NmsSettings() if "iou" in changes else NmsSettings(0.6))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"act": "ReLU"}, "model.backbone.act_cfg.type = 'ReLU': expected SiLU, as in RTMDet-nano"),
        ({"eps": "0.001"}, "model.backbone.norm_cfg.eps = 0.001: expected 1e-05"),
        (
            {"mean": "0.0"},
            "model.data_preprocessor.mean = [0.0, 116.28, 123.675]: expected [103.53, ",
        ),
        ({"rgb": "True"}, "model.data_preprocessor.bgr_to_rgb = True: expected False"),
        ({"mode": "bilinear"}, "model.neck.upsample_cfg.mode = 'bilinear': expected nearest"),
        ({"offset": "0.5"}, "model.bbox_head.anchor_generator.offset = 0.5: expected 0"),
        ({"stride": "64"}, "model.bbox_head.anchor_generator.strides = [8, 16, 64]: expected [8, 16, 32]"),
        ({"exp": "True"}, "model.bbox_head.exp_on_reg = True: expected False"),
    ],
)
def test_what_no_tensor_shows_must_be_as_published(
    tmp_path: Path, state: State, change: dict[str, str], expected: str
) -> None:
    write_with_settings(tmp_path / "a.pth", state, **change)
    with pytest.raises(InputError) as caught:
        read_checkpoint(tmp_path / "a.pth")
    assert str(caught.value).startswith(f"{tmp_path / 'a.pth'}: its configuration says {expected}")


def test_types_may_have_their_modules(tmp_path: Path, state: State) -> None:
    """As mmengine writes configurations that are Python files, or with the scope of a registry."""
    write_with_settings(tmp_path / "a.pth", state, act="torch.nn.modules.activation.SiLU")
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    content["meta"]["cfg"] = content["meta"]["cfg"].replace(
        "'Resize'", "'mmdet.datasets.transforms.transforms.Resize'"
    )
    torch.save(content, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").input_size == (416, 416)
    write_with_settings(tmp_path / "a.pth", state, act="mmdet.ReLU")
    with pytest.raises(InputError, match=r"act_cfg\.type = 'ReLU': expected SiLU"):
        read_checkpoint(tmp_path / "a.pth")


def test_what_a_configuration_does_not_write_is_as_in_mmdet() -> None:
    parts = {"backbone": {"norm_cfg": {"type": "BN"}}, "neck": {"norm_cfg": {}}, "bbox_head": {"norm_cfg": {}}}
    for part in parts:
        without = {"model": {**parts, part: {}}}
        with pytest.raises(InputError, match=rf"model\.{part}\.norm_cfg\.eps = 0\.001: expected 1e-05"):
            check_settings("a.pth", without, "nano")
    check_settings("a.pth", {"model": parts}, "nano")
    check_settings("a.pth", {"model": {}}, "m")
    with pytest.raises(InputError, match=r"model\.bbox_head\.exp_on_reg = False: expected True, as in RTMDet-m"):
        check_settings("a.pth", {"model": parts}, "m")


def test_a_backbone_may_have_had_other_pixels(tmp_path: Path, state: State) -> None:
    """ImageNet's are RGB: whoever trains from it learns that anew."""
    backbone = {name: value for name, value in state.items() if name.startswith("backbone.")}
    write_with_settings(tmp_path / "a.pth", backbone, mean="0.0")
    assert read_checkpoint(tmp_path / "a.pth").backbone_only


@pytest.mark.parametrize("names", [("a", "a"), ("a", " "), ("a\nb", "c")])
def test_class_names_that_no_label_file_could_hold_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    state = dict(build_rtmdet("nano", 2).state_dict())
    torch.save({"meta": {"dataset_meta": {"classes": names}}, "state_dict": state}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: class name .* in the file, in meta"):
        read_checkpoint(tmp_path / "a.pth")
    torch.save({"meta": {"dataset_meta": {"classes": (b"a", b"b")}}, "state_dict": state}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth").classes == ("a", "b")


def test_a_negative_variance_is_refused(state: State) -> None:
    name = "neck.out_convs.0.pointwise_conv.bn.running_var"
    with pytest.raises(InputError, match=f"1 with negative variances: {name}"):
        load_weights(build_rtmdet("nano", 1), weights_of({**state, name: -state[name]}))


def test_a_flipped_byte_is_noticed(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "a.pth")
    content = bytearray((tmp_path / "a.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.pth: not a checkpoint, or a damaged one \(wrong checksum of a/data/"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["a.pth", "a.SAFETENSORS"])
def test_safetensors_are_known_by_their_beginning(tmp_path: Path, state: State, name: str) -> None:
    write_safetensors(tmp_path / name, state)
    assert read_checkpoint(tmp_path / name).facts.size == "nano"
