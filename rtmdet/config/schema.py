"""Every setting of a training run, with its default and what it means.

YAML files name only what differs from the defaults; rtmdet/config/file.py reads them. Files do not inherit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rtmdet.core.errors import InputError

PRECISIONS = ("float32", "bf16", "fp16")
EVALUATION_BACKENDS = ("pycocotools", "hotcoco")
NORM_STATISTICS = ("keep", "recalibrate", "freeze")
LARGEST_SIDE = 8192  # pixels of the network's input
Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]


class RangeError(InputError):
    """A value out of range; the message begins with the dotted key of the setting."""

    @property
    def key(self) -> str:
        """The dotted key."""
        return str(self).split()[0].rstrip(":")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RangeError(message)


def _require_sides(name: str, sides: tuple[int, int]) -> None:
    good = all(32 <= side <= LARGEST_SIDE and side % 32 == 0 for side in sides)
    _require(good, f"{name} is {list(sides)}: each side must be a multiple of 32, at most {LARGEST_SIDE}")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    size: str = "tiny"
    """nano, tiny, s, m, l or x"""
    weights: str | None = None
    """checkpoint file or published name to start from; null: train from scratch"""
    backbone: str | None = None
    """`timm/<name>`, any timm model with feature maps of strides 8, 16 and 32; null: the CSPNeXt of the size"""
    backbone_pretrained: bool = True
    """download timm's published weights for a timm backbone; false: random initialization"""
    backbone_weights: str | None = None
    """local file (.pth, .pt or .safetensors) with the timm backbone's ImageNet weights, instead of the download"""
    frozen_stages: int = -1
    """backbone stages to freeze, batch norms included: -1 none, 0 the stem, n the stem and stages 1 .. n"""
    freeze: tuple[str, ...] = ()
    """name patterns of other parts to freeze, batch norms included, e.g. [neck.*, bbox_head.reg_convs.*]"""
    norm_statistics: str = "keep"
    """batch-norm running statistics: keep (start from those of the weights and update them, as in the original),
    recalibrate (first measure them again on the training images; scales and shifts compensate, so predictions stay
    the same) or freeze (never update them: for batches of one or two images)"""

    @property
    def backbone_is_trained(self) -> bool:
        """Whether trained weights are loaded, at least for the backbone."""
        published = self.backbone_weights is not None or self.backbone_pretrained
        return self.weights is not None or (self.backbone is not None and published)

    def __post_init__(self) -> None:
        _require(-1 <= self.frozen_stages <= 4, f"model.frozen_stages is {self.frozen_stages}: expected -1 .. 4")
        _require(
            self.norm_statistics in NORM_STATISTICS,
            f"model.norm_statistics is {self.norm_statistics!r}: expected one of {', '.join(NORM_STATISTICS)}",
        )
        _require(
            self.backbone is None or self.backbone.startswith("timm/"),
            f"model.backbone is {self.backbone!r}: expected timm/<name>, such as timm/resnet18, or none",
        )
        _require(
            self.backbone_weights is None or self.backbone is not None,
            f"model.backbone_weights is {self.backbone_weights!r} without model.backbone: name its timm model there, "
            "or give a backbone of RTMDet's own as model.weights",
        )
        _require(
            self.backbone_weights is None or self.weights is None,
            "model.backbone_weights and model.weights are both given: expected one; a detector's weights include its "
            "backbone, set the other to null",
        )
        _require(
            self.backbone is None or self.frozen_stages == -1,
            "model.frozen_stages counts stages of CSPNeXt: with a timm backbone give name patterns in model.freeze",
        )


@dataclass(frozen=True, slots=True)
class SplitConfig:
    annotations: str
    """COCO JSON"""
    images: str
    """folder that the JSON's file names are relative to"""


@dataclass(frozen=True, slots=True)
class DataConfig:
    train: SplitConfig
    """training split"""
    val: SplitConfig
    """validation split"""
    classes: tuple[str, ...] | None = None
    """class names in the order of their labels; null: as in the training file"""
    input_size: tuple[int, int] = (640, 640)
    """(H, W) of the network's input, multiples of 32"""
    batch_size: int = 32
    """images per batch and process; train.accumulate and torchrun multiply it"""
    workers: int = 2
    """loader processes per training process; samples do not depend on their number"""
    repeat_threshold: float = 0.0
    """oversample images with a class present in less than this share of images (LVIS); 0 = off"""
    keep_empty: bool = False
    """also train on images without objects"""
    value_range: tuple[int, int] | None = None
    """for 16-bit images, which often use only 10 to 14 bits: values that become black and white; null: 0 and 65535"""

    def __post_init__(self) -> None:
        low, high = self.value_range or (0, 1)
        _require(0 <= low < high, f"data.value_range is {[low, high]}: expected 0 <= low < high")
        _require_sides("data.input_size", self.input_size)
        # With a 1 x 1 map and a single image in the batch, a batch norm has nothing to normalize.
        _require(
            max(self.input_size) >= 64, f"data.input_size is {list(self.input_size)}: one side must be 64 or more"
        )
        _require(self.batch_size >= 1, f"data.batch_size is {self.batch_size}: expected at least 1")
        for name in ("workers", "repeat_threshold"):
            value = getattr(self, name)
            _require(value >= 0, f"data.{name} is {value}: expected 0 or more")
        _require(self.repeat_threshold <= 1, f"data.repeat_threshold is {self.repeat_threshold}: expected 0 .. 1")
        distinct = self.classes is None or 0 < len(set(self.classes)) == len(self.classes)
        _require(distinct, f"data.classes is {self.classes}: expected different names, at least one")


@dataclass(frozen=True, slots=True)
class TransformConfig:
    """One extra transform of albumentations, by its class name there."""

    name: str
    """e.g. GaussianBlur, ImageCompression, Rotate"""
    parameters: dict[str, Plain] = field(default_factory=dict)
    """arguments of the transform's constructor, e.g. {p: 0.3}"""


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    stage2_epochs: int = 20
    """number of last epochs without mosaic and mixup; all epochs if there are fewer"""
    mosaic: bool = True
    """combine four images on a canvas of twice the input size"""
    mosaic_cache: int = 20
    """partner images are drawn from this many preceding images in the sampler's order"""
    mixup_probability: float = 0.5
    """probability of blending two images half and half; 0 = off"""
    mixup_cache: int = 10
    """partner images are drawn from this many preceding images in the sampler's order"""
    resize_range: tuple[float, float] = (0.5, 2.0)
    """range of the random scale factor, relative to twice the input size with mosaic, else to the input size"""
    hsv: tuple[int, int, int] = (5, 30, 30)
    """largest change of hue (of 180), saturation and value (of 255)"""
    flip_probability: float = 0.5
    """probability of a horizontal flip"""
    multi_scale: tuple[float, float] | None = None
    """resize each step's batch by a random factor of this range, to multiples of 32; null: always input_size"""
    extra: tuple[TransformConfig, ...] = ()
    """albumentations transforms, applied to each image after the flip"""

    def __post_init__(self) -> None:
        for name in ("mixup_probability", "flip_probability"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"augmentation.{name} is {value}: expected 0 .. 1")
        for name in ("resize_range", "multi_scale"):
            low, high = getattr(self, name) or (1, 1)
            _require(0 < low <= high, f"augmentation.{name} is {[low, high]}: expected 0 < low <= high")
        for name in ("mosaic_cache", "mixup_cache"):
            value = getattr(self, name)
            _require(value >= 1, f"augmentation.{name} is {value}: expected at least 1 image")
        _require(self.stage2_epochs >= 0, f"augmentation.stage2_epochs is {self.stage2_epochs}: expected 0 or more")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    epochs: int = 300
    """passes over the training images"""
    learning_rate: float = 0.004
    """of AdamW; the default belongs to 256 images per step"""
    scale_learning_rate: bool = False
    """multiply learning_rate by images per step (batch size x accumulate x processes) / 256"""
    class_rate_factor: float = 1.0
    """learning-rate multiplier of the class-prediction layers; for new classes on top of trained weights"""
    weight_decay: float = 0.05
    """of convolution weights; norms and biases do not decay"""
    warmup_iterations: int = 1000
    """steps of linear warm-up"""
    warmup_start: float = 1e-5
    """learning-rate factor at the first step"""
    cosine_start: int | None = None
    """epoch in which cosine decay begins; null: half of the epochs"""
    final_factor: float = 0.05
    """learning-rate factor at the end"""
    clip_gradient: float | None = None
    """largest total gradient norm; null: no clipping"""
    accumulate: int = 1
    """gradient accumulation: batches per optimizer step"""
    precision: str = "float32"
    """of the network's forward and backward pass: float32, bf16 or fp16 (with loss scaling); for GPUs"""
    tf32: bool = True
    """on CUDA, run float32 convolutions and matrix products in TF32: faster, less precise"""
    compile: bool = False
    """torch.compile the network: a start of minutes, then faster steps"""
    sync_batch_norm: bool = True
    """with several GPUs, batch-norm statistics over all of them; CPU processes keep their own"""
    ema: bool = True
    """validate and save averaged weights; false: the weights themselves"""
    ema_momentum: float = 0.0002
    """weight of the newest model in the average"""
    ema_gamma: float = 2000.0
    """warm-up of the EMA: time constant in steps with which the newest model's weight falls to ema_momentum"""
    validate_every: int = 10
    """epochs between validations"""
    dense_validation: int = 0
    """number of last epochs that are all validated"""
    patience: int | None = None
    """early stopping: validations without a better AP before the run ends; null: off"""
    save_every: int | None = None
    """steps between checkpoints within an epoch; null: only at the end of epochs"""
    keep_epochs: int = 0
    """how many epoch_*.pth (weights of validated epochs) to keep; older ones are deleted"""
    tensorboard: bool = False
    """also write TensorBoard files, with pictures of detections; needs the extra `tensorboard`"""
    log_every: int = 10
    """steps per log row"""
    seed: int = 0
    """of initial weights, data order and augmentation"""
    device: str = "auto"
    """cpu, cuda, cuda:1 ...; auto: CUDA if available"""
    output: str = "runs/train"
    """folder of checkpoints, logs and pictures"""

    def __post_init__(self) -> None:
        for name in ("epochs", "validate_every", "log_every", "accumulate", "patience", "save_every"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"train.{name} is {value}: expected at least 1")
        _require(
            self.precision in PRECISIONS,
            f"train.precision is {self.precision!r}: expected one of {', '.join(PRECISIONS)}",
        )
        _require(self.learning_rate > 0, f"train.learning_rate is {self.learning_rate}: expected more than 0")
        _require(
            self.class_rate_factor > 0, f"train.class_rate_factor is {self.class_rate_factor}: expected more than 0"
        )
        for name in ("weight_decay", "warmup_iterations", "dense_validation", "keep_epochs"):
            value = getattr(self, name)
            _require(value >= 0, f"train.{name} is {value}: expected 0 or more")
        _require(
            0 < self.warmup_start <= 1, f"train.warmup_start is {self.warmup_start}: expected above 0, at most 1"
        )
        for name in ("final_factor", "ema_momentum"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"train.{name} is {value}: expected 0 .. 1")
        start = self.cosine_start
        _require(
            start is None or 0 <= start < self.epochs, f"train.cosine_start is {start}: expected 0 .. epochs - 1"
        )
        clip = self.clip_gradient
        _require(clip is None or clip > 0, f"train.clip_gradient is {clip}: expected more than 0")
        _require(0 <= self.seed < 2**63, f"train.seed is {self.seed}: expected 0 .. 2^63 - 1")
        _require(self.ema_gamma > 0, f"train.ema_gamma is {self.ema_gamma}: expected more than 0")


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    backend: str = "pycocotools"
    """library that computes the 12 metrics: pycocotools or hotcoco (same numbers, over fifty times faster)"""
    score_threshold: float = 0.001
    """score threshold: detections below it are dropped"""
    iou_threshold: float = 0.65
    """NMS: IoU above which the lower-scoring of two boxes of a class is dropped"""
    nms_pre: int = 30000
    """most candidates per pyramid level before NMS"""
    max_detections: int = 300
    """most detections per image"""
    input_size: tuple[int, int] | None = None
    """(H, W) for validation, and for detection with the checkpoints; null: data.input_size"""
    choose_input_size: bool = False
    """before the last validation, try larger input sizes as long as AP on training images improves"""

    def __post_init__(self) -> None:
        for name in ("score_threshold", "iou_threshold"):
            value = getattr(self, name)
            _require(0 <= value <= 1, f"evaluation.{name} is {value}: expected 0 .. 1")
        _require(
            self.backend in EVALUATION_BACKENDS,
            f"evaluation.backend is {self.backend!r}: expected one of {', '.join(EVALUATION_BACKENDS)}",
        )
        if self.input_size is not None:
            _require_sides("evaluation.input_size", self.input_size)
        for name in ("nms_pre", "max_detections"):
            value = getattr(self, name)
            _require(value >= 1, f"evaluation.{name} is {value}: expected at least 1")


@dataclass(frozen=True, slots=True)
class Config:
    """A whole run."""

    data: DataConfig
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    train: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        low, _ = self.augmentation.multi_scale or (1.0, 1.0)
        _require(
            low * max(self.data.input_size) >= 64,
            f"augmentation.multi_scale: {low:g} x data.input_size {list(self.data.input_size)} is too small: one "
            "side must stay 64 or more",
        )
