"""Configurations: what a file may say, and one line with file, line and key for what it may not."""

from dataclasses import replace
from pathlib import Path

import pytest

from rtmdet.config.file import dump_config, load_config, parse_config
from rtmdet.config.other_names import ADVICE
from rtmdet.config.schema import Config, TransformConfig
from rtmdet.core.errors import InputError
from rtmdet.data.augment.albumentations import ExtraTransforms

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))
DATA = """\
data:
  train: {annotations: train.json, images: train}
  val: {annotations: val.json, images: val}
"""  # three lines: what a test adds begins on line 4


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "run.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(folder: Path, added: str = "", *overrides: str) -> Config:
    return load_config(write(folder, DATA + added), overrides)


def message(folder: Path, text: str | bytes, *overrides: str) -> str:
    """The one line that a file and overrides are refused with."""
    with pytest.raises(InputError) as caught:
        load_config(write(folder, text), overrides)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def test_what_a_file_leaves_out_has_the_published_defaults(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert (config.model.size, config.model.weights, config.model.frozen_stages) == ("tiny", None, -1)
    assert (config.data.train.annotations, config.data.val.images) == ("train.json", "val")
    assert (config.data.input_size, config.data.batch_size, config.data.classes) == ((640, 640), 32, None)
    assert (config.augmentation.stage2_epochs, config.augmentation.hsv) == (20, (5, 30, 30))
    assert (config.train.epochs, config.train.learning_rate, config.train.weight_decay) == (300, 0.004, 0.05)
    assert (config.evaluation.score_threshold, config.evaluation.nms_pre) == (0.001, 30000)


def test_values_arrive_in_the_types_of_their_settings(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "  input_size: [64, 96]\n  classes: [cat, 7, no dog]\n  keep_empty: yes\n"
        "train: {learning_rate: 1e-3, weight_decay: 0, epochs: 0x10, clip_gradient: null}\n"
        "augmentation: {resize_range: [1, 1.5], extra: [{name: Rotate, parameters: {limit: [-5, 5], p: .5}}]}\n",
    )
    assert (config.data.input_size, config.data.classes) == ((64, 96), ("cat", "7", "no dog"))
    assert config.data.keep_empty is True
    assert (config.train.learning_rate, config.train.epochs, config.train.clip_gradient) == (0.001, 16, None)
    assert isinstance(config.train.weight_decay, float)
    assert config.augmentation.resize_range == (1.0, 1.5)
    assert config.augmentation.extra == (TransformConfig("Rotate", {"limit": [-5, 5], "p": 0.5}),)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_load(path: Path) -> None:
    config = load_config(path)
    assert config.data.train != config.data.val
    assert config.train.output.startswith(("runs/", "demo/"))


def test_there_are_examples() -> None:
    assert {"balloon_nano", "balloon_tiny"} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        (
            "train:\n  learing_rate: 1\n",
            "line 5: train.learing_rate is not a setting: did you mean train.learning_rate?",
        ),
        ("trian: {}\n", "line 4: trian is not a setting: did you mean train?"),
        ("zzz: 1\n", "line 4: zzz is not a setting: this section has data, model,"),
        ("? [a]\n: 1\n", "line 4: a list of 1 is not a setting"),
        ("train:\n  epochs: 3\n  epochs: 4\n", "line 6: train.epochs is given twice"),
        ("train: 3\n", "line 4: train should be a section with settings, found '3'"),
        ("train: {epochs: many}\n", "line 4: train.epochs should be a whole number, found 'many'"),
        ("train: {epochs: 3.5}\n", "line 4: train.epochs should be a whole number, found '3.5'"),
        ("train: {epochs: true}\n", "line 4: train.epochs should be a whole number, found 'true'"),
        ("train: {epochs: [3]}\n", "line 4: train.epochs should be a whole number, found a list of 1"),
        ("train: {epochs:}\n", "line 4: train.epochs should be a whole number, found nothing"),
        ("train: {learning_rate: fast}\n", "line 4: train.learning_rate should be a number, found 'fast'"),
        ("train: {learning_rate: .nan}\n", "line 4: train.learning_rate should be a number, found '.nan'"),
        ("train: {learning_rate: inf}\n", "line 4: train.learning_rate should be a number, found 'inf'"),
        ("train: {output: {a: b}}\n", "line 4: train.output should be text, found a section"),
        ("augmentation: {mosaic: 1}\n", "line 4: augmentation.mosaic should be true or false, found '1'"),
        (
            "augmentation: {hsv: [5, 30]}\n",
            "line 4: augmentation.hsv should be 3 numbers such as 1,2,3, found a list of 2",
        ),
        ("augmentation: {hsv: [5, 30, x]}\n", "line 4: augmentation.hsv[2] should be a whole number, found 'x'"),
        ("augmentation: {extra: [{p: 1}]}\n", "line 4: augmentation.extra[0].p is not a setting"),
        ("augmentation: {extra: [{}]}\n", "line 4: augmentation.extra[0].name is missing"),
        (
            "augmentation: {extra: [{name: A, parameters: [1]}]}\n",
            "extra[0].parameters should map names to plain values",
        ),
        ("  classes: [yes, no]\n", "line 4: data.classes[0] should be text, found 'yes'"),
        ("  classes: cat\n", "line 4: data.classes should be a list, found 'cat'"),
    ],
)
def test_names_line_and_key_of_a_fault(tmp_path: Path, added: str, expected: str) -> None:
    text = message(tmp_path, DATA + added)
    assert expected in text
    assert str(tmp_path / "run.yaml") in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {size: nano}\n", "line 1: data is missing: set it in the file or with --set data=..."),
        ("\ndata: {train: {annotations: a, images: b}}\n", "line 2: data.val is missing"),
        ("data:\n  train: {images: b}\n", "line 2: data.train.annotations is missing"),
    ],
)
def test_names_what_is_missing(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in message(tmp_path, text)


@pytest.mark.parametrize(
    "override",
    [
        "model.frozen_stages=5",
        "data.input_size=[64, 48]",
        "data.input_size=[0, 64]",
        "data.batch_size=0",
        "data.workers=-1",
        "data.classes=[a, a]",
        "data.classes=[]",
        "augmentation.mixup_probability=1.5",
        "augmentation.flip_probability=-0.5",
        "augmentation.resize_range=[2, 0.5]",
        "augmentation.resize_range=[0, 1]",
        "augmentation.mosaic_cache=1",
        "augmentation.mixup_cache=1",
        "augmentation.stage2_epochs=-1",
        "train.epochs=0",
        "train.log_every=0",
        "train.validate_every=0",
        "train.learning_rate=0",
        "train.weight_decay=-1",
        "train.cosine_start=300",
        "train.clip_gradient=0",
        "train.seed=-1",
        "train.warmup_start=0",
        "train.seed=100000000000000000000",
        "train.ema_gamma=0",
        "train.ema_momentum=2",
        "evaluation.score_threshold=2",
        "evaluation.iou_threshold=-1",
        "evaluation.nms_pre=0",
        "evaluation.max_detections=-1",
    ],
)
def test_names_what_is_out_of_range(tmp_path: Path, override: str) -> None:
    text = message(tmp_path, DATA, override)
    section, _, name = override.partition("=")[0].partition(".")
    assert section in text
    assert name in text
    assert text.startswith(f"--set {override}: ")


@pytest.mark.parametrize("word", ["none", "None", "null", "~", ""])
def test_a_setting_may_be_none(tmp_path: Path, word: str) -> None:
    found = load(tmp_path, f"model:\n  weights: {word}\ntrain:\n  patience: {word}\n")
    assert (found.model.weights, found.train.patience) == (None, None)
    assert load(tmp_path, "", f"model.weights={word}").model.weights is None


def test_override_changes_one_setting_and_keeps_its_neighbors(tmp_path: Path) -> None:
    config = load(tmp_path, "train: {epochs: 3, seed: 7}\n", "train.epochs=10", "data.val.images=other")
    assert (config.train.epochs, config.train.seed) == (10, 7)
    assert (config.data.val.images, config.data.val.annotations) == ("other", "val.json")


def test_override_adds_sections_lists_and_nothing(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "train: {clip_gradient: 35}\n",
        "augmentation.hsv=[1, 2, 3]",
        "data.train={annotations: a=b.json, images: c}",
        "train.learning_rate=1e-3",
        "train.clip_gradient=null",
        "model.weights=",
    )
    assert config.augmentation.hsv == (1, 2, 3)
    assert (config.data.train.annotations, config.data.train.images) == ("a=b.json", "c")
    assert (config.train.learning_rate, config.train.clip_gradient, config.model.weights) == (0.001, None, None)


def test_the_last_override_wins_and_mends_a_fault_of_the_file(tmp_path: Path) -> None:
    assert load(tmp_path, "train: {epochs: many}\n", "train.epochs=1", "train.epochs=2").train.epochs == 2


def test_override_gives_what_the_file_lacks(tmp_path: Path) -> None:
    path = write(tmp_path, "model: {size: s}\n")
    config = load_config(path, [f"data.{split}={{annotations: a, images: b}}" for split in ("train", "val")])
    assert config.data.val.annotations == "a"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs", "expected KEY=VALUE"),
        ("=3", "expected KEY=VALUE"),
        ("train.epochs=", "--set train.epochs=: train.epochs should be a whole number, found nothing"),
        ("train.epochs=x", "--set train.epochs=x: train.epochs should be a whole number, found 'x'"),
        ("train.epoch=3", "--set train.epoch=3: train.epoch is not a setting: did you mean train.epochs?"),
        ("model.size.deepen=3", "--set model.size.deepen=3: size is a value, not a section"),
        ("data.classes=[a, [b]]", "data.classes[1] should be text, found a list of 1"),
        ("data.classes=[a", "--set data.classes is not valid YAML"),
        ("train.output=\x01", "--set train.output is not valid YAML"),
    ],
)
def test_names_a_bad_override(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in message(tmp_path, DATA + "model: {size: nano}\n", override)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("load_from", "model.weights"),
        ("work_dir", "train.output"),
        ("train.work_dir", "train.output"),
        ("train.val_interval", "train.validate_every"),
        ("train.warmup", "train.warmup_iterations"),
        ("optim_wrapper.optimizer.lr", "train.learning_rate"),
        ("optim_wrapper.clip_grad.max_norm", "train.clip_gradient"),
        ("train_dataloader.batch_size", "data.batch_size"),
        ("train_dataloader.dataset.data_prefix.img", "data.train.images"),
        ("val_dataloader.dataset.ann_file", "data.val.annotations"),
        ("data.val.ann_file", "data.val.annotations"),
        ("auto_scale_lr.enable", "train.scale_learning_rate"),
        ("default_hooks.checkpoint.max_keep_ckpts", "train.keep_epochs"),
        ("data.filter_empty_gt", "data.keep_empty"),
        ("data.metainfo.classes", "data.classes"),
        ("model.test_cfg.score_thr", "evaluation.score_threshold"),
        ("model.test_cfg.nms.iou_threshold", "evaluation.iou_threshold"),
        ("model.test_cfg.max_per_img", "evaluation.max_detections"),
        ("lr0", "train.learning_rate"),
        ("imgsz", "data.input_size"),
        ("workers", "data.workers"),
        ("amp", "train.precision"),
        ("resume_from", "--resume"),
        ("data.size", "data.input_size"),
        ("augmentation.mosaic_probability", "augmentation.mosaic"),
        ("train.warmup_steps", "train.warmup_iterations"),
        ("augmentation.flip_prob", "augmentation.flip_probability"),
    ],
)
def test_names_of_other_programs_lead_to_ours(tmp_path: Path, theirs: str, ours: str) -> None:
    assert message(tmp_path, DATA, f"{theirs}=1").endswith(f" is not a setting: did you mean {ours}?")


@pytest.mark.parametrize(
    ("theirs", "advice"),
    [
        ("train.optimizer", "it is fixed; docs/changing-the-method.md shows how to change it in code"),
        ("train.momentum", "it is fixed; docs/changing-the-method.md shows how to change it in code"),
        ("optim_wrapper.optimizer.momentum", "it is fixed; docs/changing-the-method.md shows how to change it in"),
        ("train.ema_decay", "train.ema_momentum is 1 minus the decay"),
        ("default_hooks.checkpoint.interval", "last.pth is written after every epoch; train.save_every: also after"),
        ("data.test.images", "a run uses no test images; `rtmdet evaluate RUN --annotations FILE --images FOLDER` "),
        ("flipud", 'an extra transform does this: --set "augmentation.extra=[{name: VerticalFlip, parameters: {p: '),
        ("augmentation.rotate", 'an extra transform does this: --set "augmentation.extra=[{name: Rotate, parameters'),
    ],
)
def test_what_has_no_counterpart_gets_advice(tmp_path: Path, theirs: str, advice: str) -> None:
    assert f" is not a setting: {advice}" in message(tmp_path, DATA, f"{theirs}=1")
    assert "did you mean" not in message(tmp_path, DATA, "model.test_cfg.nms.type=soft_nms")


@pytest.mark.parametrize("key", ["fraction", "train.eps", "train.gamma", "train.ema_beta"])
def test_what_is_far_from_all_settings_gets_no_guess(tmp_path: Path, key: str) -> None:
    """Of these, train, train.epochs, train.ema_gamma and train.ema_momentum were guessed."""
    assert f"{key} is not a setting: this section has " in message(tmp_path, DATA, f"{key}=1")


def test_the_advised_transforms_exist_and_keep_the_size() -> None:
    advised = {text.split('"')[1] for text in ADVICE.values() if "augmentation.extra" in text}
    assert len(advised) == 10
    for override in advised:
        extra = parse_config(DATA, "advice", [override]).augmentation.extra
        ExtraTransforms([(transform.name, transform.parameters) for transform in extra])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected settings such as `train:`"),
        ("# nothing\n", "expected settings such as `train:`"),
        ("- a\n", "expected settings such as `train:`"),
        ("data: [\n", "is not valid YAML"),
        ("data:\n\ttrain: 1\n", "is not valid YAML"),
        (f"{DATA}---\n{DATA}", "is not valid YAML: expected a single document"),
        ('data: "\x01"\n', "is not valid YAML"),
        ("data: " + 3000 * "[" + 3000 * "]", "is not valid YAML"),
        (b"\xff\xfe\x00", "expected a configuration in UTF-8, found another encoding: save it as UTF-8"),
    ],
    ids=["empty", "comment", "list", "open", "tab", "two documents", "control", "deep", "not UTF-8"],
)
def test_refuses_what_is_no_configuration(tmp_path: Path, text: str | bytes, expected: str) -> None:
    found = message(tmp_path, text)
    assert expected in found
    assert str(tmp_path / "run.yaml") in found


def test_names_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such configuration; check the path"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="expected a file, found a folder; name the configuration in it"):
        load_config(tmp_path)


@pytest.mark.parametrize(
    "added",
    [
        "model: !!python/object/apply:os.system ['touch {sentinel}']\n",
        "train: {{epochs: !!python/object/apply:os.system ['touch {sentinel}']}}\n",
        "train: {{output: !!python/object/apply:os.system ['touch {sentinel}']}}\n",
        "augmentation: {{extra: [{{name: A, parameters: !!python/object/apply:os.system ['touch {sentinel}']}}]}}\n",
        "augmentation: {{extra: [{{name: A, parameters: {{p: !!python/object/apply:os.system ['touch {sentinel}']}}"
        "}}]}}\n",
        "model: {{size: !!python/name:os.system ''}}\n",
    ],
)
def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path, added: str) -> None:
    sentinel = tmp_path / "sentinel"
    assert "line 4" in message(tmp_path, DATA + added.format(sentinel=sentinel))
    assert not sentinel.exists()


@pytest.mark.parametrize("parameters", ["{when: 2001-99-99}", "{p: !!int abc}", "{when: 2001-01-01}", "{1: 2}"])
def test_parameters_of_a_transform_are_plain_values(tmp_path: Path, parameters: str) -> None:
    text = message(tmp_path, f"{DATA}augmentation: {{extra: [{{name: A, parameters: {parameters}}}]}}\n")
    assert "line 4: augmentation.extra[0].parameters" in text


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "  classes: [é, '7', 'null', 'yes', 'a: b', '1e-3', ' # ', '']\n",
        "augmentation.extra=[{name: Rotate, parameters: {limit: [-5, 5], p: 0.1, fill: null, crop: yes}}]",
        "train.learning_rate=1e-7",
        "train.cosine_start=3",
        "train.output=a b/ö",
    )
    assert load_config(write(tmp_path, dump_config(config))) == config


def test_the_written_file_names_every_setting(tmp_path: Path) -> None:
    config = load(tmp_path)
    text = dump_config(config)
    assert "cosine_start: null" in text
    changed = replace(config, train=replace(config.train, seed=5))
    assert dump_config(changed) != text


def test_a_value_out_of_range_is_named_with_its_line_or_its_override(tmp_path: Path) -> None:
    text = DATA + "train:\n  epochs: 3\n  learning_rate: -1\n"
    assert "run.yaml, line 6: train.learning_rate is -1.0: expected more than 0" in message(tmp_path, text)
    text = message(tmp_path, DATA, "train.learning_rate=0")
    assert text == "--set train.learning_rate=0: train.learning_rate is 0.0: expected more than 0"
    text = message(tmp_path, DATA + "augmentation: {multi_scale: [.01, 1]}\n")
    assert "run.yaml, line 4: augmentation.multi_scale: 0.01 x data.input_size" in text


def test_a_setting_of_another_section_is_named(tmp_path: Path) -> None:
    assert "--set epochs=3: epochs is not a setting: did you mean train.epochs?" in message(
        tmp_path, DATA, "epochs=3"
    )
    assert "did you mean data.batch_size?" in message(tmp_path, DATA + "train: {batch_size: 3}\n")
    assert "did you mean train.learning_rate?" in message(tmp_path, DATA, "learning_rat=3")


@pytest.mark.parametrize("text", ["320", "320,320", "320x320", "[320, 320]", "'320'"])
def test_an_input_size_may_be_one_number(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, "", f"data.input_size={text}").data.input_size == (320, 320)
    assert load(tmp_path, "", f"evaluation.input_size={text}").evaluation.input_size == (320, 320)
    assert load(tmp_path, "  input_size: 480x640\n").data.input_size == (480, 640)


@pytest.mark.parametrize("text", ["1x2x3", "320;320", "a", "x", "-320", "9999999999999"])
def test_what_is_no_input_size(tmp_path: Path, text: str) -> None:
    assert "data.input_size" in message(tmp_path, DATA, f"data.input_size={text}")


def test_an_override_changes_one_use_of_an_alias_only(tmp_path: Path) -> None:
    text = "data:\n  train: &all {annotations: a.json, images: here}\n  val: *all\n"
    config = load_config(write(tmp_path, text), ["data.train.images=there"])
    assert (config.data.train.images, config.data.val.images) == ("there", "here")


def test_home_is_expanded_in_paths_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load(
        tmp_path, "  classes: [~/x]\n", "train.output=~/run", "model.weights=~/a.pth", "data.val.images=~/b"
    )
    assert (config.train.output, config.model.weights) == (f"{tmp_path}/run", f"{tmp_path}/a.pth")
    assert config.data.val.images == f"{tmp_path}/b"
    assert config.data.classes == ("~/x",)
