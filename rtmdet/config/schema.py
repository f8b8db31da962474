"""Every setting of a training run, with its limits, its default and what it means.

YAML files name only what differs from the defaults; rtmdet/config/file.py reads them. Files do not inherit.
"""

from dataclasses import dataclass, field
from typing import Annotated

from rtmdet.config.limits import Limit, check_limits, read_path, read_square, require
from rtmdet.core.backend import Selection
from rtmdet.core.facts import LARGEST_SIDE
from rtmdet.core.nms import NmsSettings
from rtmdet.core.tiling import LEAST_SIDE, Tiling

PRECISIONS = ("float32", "bf16", "fp16")
EVALUATION_BACKENDS = ("pycocotools", "hotcoco")
NORM_STATISTICS = ("keep", "recalibrate", "freeze")
LARGEST_TILE = 65_536  # pixels of a picture


def _one_of(names: tuple[str, ...]) -> Limit:
    return Limit(lambda name: name in names, f"one of {', '.join(names)}")


def _is_size(sides: tuple[int, int]) -> bool:
    return all(32 <= side <= LARGEST_SIDE and side % 32 == 0 for side in sides)


def _differ(names: tuple[str, ...]) -> bool:
    return 0 < len(set(names)) == len(names)


# Kinds of values: the type, a function that reads another spelling of it in a file, the limits.
Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]
AtLeast0 = Annotated[int, Limit(lambda number: number >= 0, "0 or more")]
AtLeast1 = Annotated[int, Limit(lambda number: number >= 1, "at least 1")]
AtLeast2 = Annotated[int, Limit(lambda number: number >= 2, "at least 2")]
NonNegative = Annotated[float, Limit(lambda number: number >= 0, "0 or more")]
Positive = Annotated[float, Limit(lambda number: number > 0, "more than 0")]
Share = Annotated[float, Limit(lambda number: 0 <= number <= 1, "0 .. 1")]
Changes = Annotated[tuple[int, int, int], Limit(lambda changes: min(changes) >= 0, "0 or more each")]
Factors = Annotated[tuple[float, float], Limit(lambda pair: 0 < pair[0] <= pair[1], "0 < low <= high")]
Values = Annotated[tuple[int, int], Limit(lambda pair: 0 <= pair[0] < pair[1], "0 <= low < high")]
Size = Annotated[tuple[int, int], read_square, Limit(_is_size, f"multiples of 32 from 32 to {LARGEST_SIDE}")]
# With a 1 x 1 map and a single image in the batch, a batch norm has nothing to normalize.
TrainingSize = Annotated[Size, Limit(lambda sides: max(sides) >= 64, "one side of 64 or more")]
TileSide = Annotated[
    int,
    Limit(
        lambda side: side == 0 or LEAST_SIDE <= side <= LARGEST_TILE,
        f"0 or pixels from {LEAST_SIDE} to {LARGEST_TILE}",
    ),
]
Names = Annotated[tuple[str, ...], Limit(_differ, "different names, at least one")]
TimmName = Annotated[str, Limit(lambda name: name.startswith("timm/"), "timm/<name>, such as timm/resnet18, or none")]
LocalPath = Annotated[str, read_path]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    size: str = "tiny"
    """nano, tiny, s, m, l or x"""
    weights: LocalPath | None = None
    """checkpoint file or published name to start from; null: train from scratch"""
    backbone: TimmName | None = None
    """`timm/<name>`, any timm model with feature maps of strides 8, 16 and 32; null: the CSPNeXt of the size"""
    backbone_pretrained: bool = True
    """download timm's published weights for a timm backbone; false: random initialization"""
    backbone_weights: LocalPath | None = None
    """local file (.pth, .pt or .safetensors) with the timm backbone's ImageNet weights, instead of the download"""
    frozen_stages: Annotated[int, Limit(lambda stages: -1 <= stages <= 4, "-1 .. 4")] = -1
    """backbone stages to freeze, batch norms included: -1 none, 0 the stem, n the stem and stages 1 .. n"""
    freeze: tuple[str, ...] = ()
    """name patterns of other parts to freeze, batch norms included, e.g. [neck.*, bbox_head.reg_convs.*]"""
    norm_statistics: Annotated[str, _one_of(NORM_STATISTICS)] = "keep"
    """batch-norm running statistics: keep (start from those of the weights and update them, as in the original),
    recalibrate (first measure them again on the training images; scales and shifts compensate, so predictions stay
    the same) or freeze (never update them: for batches of one or two images)"""

    @property
    def backbone_is_trained(self) -> bool:
        """Whether trained weights are loaded, at least for the backbone."""
        published = self.backbone_weights is not None or self.backbone_pretrained
        return self.weights is not None or (self.backbone is not None and published)

    def __post_init__(self) -> None:
        check_limits(self, "model")
        require(
            self.backbone_weights is None or self.backbone is not None,
            f"model.backbone_weights is {self.backbone_weights!r} without model.backbone: name its timm model there, "
            "or give a backbone of RTMDet's own as model.weights",
        )
        require(
            self.backbone_weights is None or self.weights is None,
            "model.backbone_weights and model.weights are both given: expected one; a detector's weights include its "
            "backbone, set the other to null",
        )
        require(
            self.backbone is None or self.frozen_stages == -1,
            "model.frozen_stages counts stages of CSPNeXt: with a timm backbone give name patterns in model.freeze",
        )


@dataclass(frozen=True, slots=True)
class SplitConfig:
    annotations: LocalPath
    """COCO JSON"""
    images: LocalPath
    """folder that the JSON's file names are relative to"""


@dataclass(frozen=True, slots=True)
class DataConfig:
    train: SplitConfig
    """training split"""
    val: SplitConfig
    """validation split"""
    classes: Names | None = None
    """class names in the order of their labels; null: as in the training file"""
    input_size: TrainingSize = (640, 640)
    """(H, W) of the network's input, multiples of 32"""
    batch_size: AtLeast1 = 32
    """images per batch and process; train.accumulate and torchrun multiply it"""
    workers: Annotated[int, Limit(lambda number: 0 <= number <= 256, "0 to 256")] = 2
    """loader processes per training process; samples do not depend on their number"""
    repeat_threshold: Share = 0.0
    """oversample images with a class present in less than this share of images (LVIS); 0 = off"""
    keep_empty: bool = False
    """also train on images without any object, not on those with only crowd, difficult or ignored ones"""
    tile: TileSide | None = None
    """for small objects in large pictures: side in pixels of overlapping windows, which are images of their own in
    training, and in which validation and detection with the checkpoints look, too; null or 0: whole pictures only"""
    value_range: Values | None = None
    """for 16-bit images, which often use only 10 to 14 bits: values that become black and white; null: 0 and 65535"""

    @property
    def tiling(self) -> Tiling | None:
        """How large pictures are cut; None: they are not."""
        return Tiling(self.tile) if self.tile else None

    def __post_init__(self) -> None:
        check_limits(self, "data")


@dataclass(frozen=True, slots=True)
class TransformConfig:
    """One extra transform of albumentations, by its class name there."""

    name: str
    """e.g. GaussianBlur, ImageCompression, Rotate"""
    parameters: dict[str, Plain] = field(default_factory=dict)
    """arguments of the transform's constructor, e.g. {p: 0.3}"""


@dataclass(frozen=True, slots=True)
class AugmentationConfig:
    stage2_epochs: AtLeast0 = 20
    """number of last epochs without mosaic and mixup; all epochs if there are fewer"""
    mosaic: bool = True
    """combine four images on a canvas of twice the input size"""
    mosaic_cache: AtLeast2 = 20
    """the last images in the sampler's order, its own among them, that partners are drawn from: never its own"""
    mixup_probability: Share = 0.5
    """probability of blending two images half and half; 0 = off"""
    mixup_cache: AtLeast2 = 10
    """the last images in the sampler's order, its own among them, that partners are drawn from: never its own"""
    resize_range: Factors = (0.5, 2.0)
    """range of the random scale factor, relative to twice the input size with mosaic, else to the input size"""
    hsv: Changes = (5, 30, 30)
    """largest change of hue (of 180), saturation and value (of 255)"""
    flip_probability: Share = 0.5
    """probability of a horizontal flip"""
    multi_scale: Factors | None = None
    """resize each step's batch by a random factor of this range, to multiples of 32; null: always input_size"""
    extra: tuple[TransformConfig, ...] = ()
    """albumentations transforms that keep the image's size, applied to each image after the flip"""

    def __post_init__(self) -> None:
        check_limits(self, "augmentation")


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    epochs: AtLeast1 = 300
    """passes over the training images"""
    learning_rate: Positive = 0.004
    """of AdamW; the default belongs to 256 images per step"""
    scale_learning_rate: bool = False
    """multiply learning_rate by images per step (batch size x accumulate x processes) / 256"""
    class_rate_factor: Positive = 1.0
    """learning-rate multiplier of the class-prediction layers; for new classes on top of trained weights"""
    weight_decay: NonNegative = 0.05
    """of convolution weights; norms and biases do not decay"""
    warmup_iterations: AtLeast0 = 1000
    """steps of linear warm-up"""
    warmup_start: Annotated[float, Limit(lambda factor: 0 < factor <= 1, "above 0, at most 1")] = 1e-5
    """learning-rate factor at the first step"""
    cosine_start: AtLeast0 | None = None
    """epoch in which cosine decay begins; null: half of the epochs"""
    final_factor: Share = 0.05
    """learning-rate factor at the end"""
    clip_gradient: Positive | None = None
    """largest total gradient norm; null: no clipping"""
    accumulate: AtLeast1 = 1
    """gradient accumulation: batches per optimizer step"""
    precision: Annotated[str, _one_of(PRECISIONS)] = "float32"
    """of the network's forward and backward pass: float32, bf16 or fp16 (with loss scaling); for GPUs"""
    tf32: bool = True
    """on CUDA, run float32 convolutions and matrix products in TF32: faster, less precise"""
    compile: bool = False
    """torch.compile the network: a start of minutes, then faster steps"""
    sync_batch_norm: bool = True
    """with several GPUs, batch-norm statistics over all of them; CPU processes keep their own"""
    ema: bool = True
    """validate and save averaged weights; false: the weights themselves"""
    ema_momentum: Share = 0.0002
    """weight of the newest model in the average"""
    ema_gamma: Positive = 2000.0
    """warm-up of the EMA: time constant in steps with which the newest model's weight falls to ema_momentum"""
    validate_every: AtLeast1 = 10
    """epochs between validations"""
    dense_validation: AtLeast0 = 0
    """number of last epochs that are all validated"""
    patience: AtLeast1 | None = None
    """early stopping: validations without a better AP before the run ends; null: off"""
    save_every: AtLeast1 | None = None
    """steps between checkpoints within an epoch; null: only at the end of epochs"""
    keep_epochs: AtLeast0 = 0
    """how many epoch_*.pth (weights of validated epochs) to keep; older ones are deleted"""
    tensorboard: bool = False
    """also write TensorBoard files, with pictures of detections; needs the extra `tensorboard`"""
    log_every: AtLeast1 = 10
    """steps per log row"""
    seed: Annotated[int, Limit(lambda seed: 0 <= seed < 2**63, "0 .. 2^63 - 1")] = 0
    """of initial weights, data order and augmentation"""
    device: str = "auto"
    """cpu, cuda, cuda:1 ...; auto: CUDA if available"""
    output: LocalPath = "runs/train"
    """folder of checkpoints, logs and pictures"""

    def __post_init__(self) -> None:
        check_limits(self, "train")
        start = self.cosine_start
        require(start is None or start < self.epochs, f"train.cosine_start is {start}: expected 0 .. epochs - 1")


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    backend: Annotated[str, _one_of(EVALUATION_BACKENDS)] = "pycocotools"
    """library that computes the 12 metrics: pycocotools or hotcoco (same numbers, over fifty times faster)"""
    score_threshold: Share = 0.001
    """least score that is evaluated; 0.001 as for COCO's AP"""
    iou_threshold: Share = 0.65
    """NMS: IoU above which the lower-scoring of two boxes of a class is dropped"""
    box_voting: bool = False
    """the boxes that NMS drops move the kept one to their weighted mean"""
    nms_pre: AtLeast1 = 30000
    """most candidates per pyramid level before NMS"""
    max_detections: AtLeast1 = 300
    """most detections per image"""
    input_size: Size | None = None
    """(H, W) for validation, and for detection with the checkpoints; null: data.input_size"""
    choose_input_size: bool = False
    """before the last validation, try larger input sizes: the best mean AP on training and validation images"""

    @property
    def nms(self) -> NmsSettings:
        """What becomes of overlapping boxes."""
        return NmsSettings(self.iou_threshold, self.box_voting)

    @property
    def selection(self) -> Selection:
        """Which predictions count."""
        return Selection(self.score_threshold, self.nms, self.nms_pre, self.max_detections)

    def __post_init__(self) -> None:
        check_limits(self, "evaluation")


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
        require(
            low * max(self.data.input_size) >= 64,
            f"augmentation.multi_scale: {low:g} x data.input_size {list(self.data.input_size)} is too small: one "
            "side must stay 64 or more",
        )

    @property
    def stage2_start(self) -> int:
        """The first epoch, counted from 0, without mosaic and mixup."""
        return max(self.train.epochs - self.augmentation.stage2_epochs, 0)
