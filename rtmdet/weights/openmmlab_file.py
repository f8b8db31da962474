"""The configuration of a detector for OpenMMLab, as `meta.cfg` of its checkpoint: mmdet 3 loads that file alone.

Tensor names are OpenMMLab's already; the layout besides `meta.cfg` is that of our checkpoints, which mmdet accepts.
"""

from string import Template

from rtmdet.core.backend import Selection
from rtmdet.core.class_colors import class_colors
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.letterbox import PAD_VALUE
from rtmdet.models.backbone import scaled_channels
from rtmdet.models.zoo import BGR_MEAN, BGR_STD, SIZES

# Only mmdet runs this text; nothing here does.
_CONFIG = Template("""\
# RTMDet-$size for mmdet 3, written by rtmdet export. For another training, add its data and schedule.
default_scope = 'mmdet'
classes = $classes
palette = $palette
norm_cfg = dict(type='BN')
act_cfg = dict(type='SiLU', inplace=True)

model = dict(
    type='RTMDet',
    data_preprocessor=dict(
        type='DetDataPreprocessor', mean=$mean, std=$std, bgr_to_rgb=False
    ),
    backbone=dict(
        type='CSPNeXt',
        arch='P5',
        deepen_factor=$deepen,
        widen_factor=$widen,
        expand_ratio=0.5,
        channel_attention=True,
        use_depthwise=$depthwise,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    ),
    neck=dict(
        type='CSPNeXtPAFPN',
        in_channels=$channels,
        out_channels=$width,
        num_csp_blocks=$neck_blocks,
        expand_ratio=0.5,
        use_depthwise=$depthwise,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    ),
    bbox_head=dict(
        type='RTMDetSepBNHead',
        num_classes=$num_classes,
        in_channels=$width,
        feat_channels=$width,
        stacked_convs=2,
        share_conv=$shared_head,
        use_depthwise=$depthwise,
        exp_on_reg=$exponential,
        with_objectness=False,
        pred_kernel_size=1,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    ),
    train_cfg=dict(assigner=dict(type='DynamicSoftLabelAssigner', topk=13), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(
        nms_pre=$nms_pre,
        min_bbox_size=0,
        score_thr=$score_threshold,
        nms=dict(type='nms', iou_threshold=$iou_threshold),
        max_per_img=$max_detections,
    ),
)

test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    $letterbox,
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        test_mode=True,
        metainfo=dict(classes=classes, palette=palette),
        pipeline=test_pipeline,
    ),
)
visualizer = dict(type='DetLocalVisualizer', name='visualizer')
""")
# Differs from mmdet's own configurations for inputs that are not square: its Resize compares the long edges, so that
# a portrait image would overflow a landscape input. FixShapeResize fits width to width.
_SQUARE = """\
dict(type='Resize', scale=({0}, {1}), keep_ratio=True),
    dict(type='Pad', size=({0}, {1}), pad_val=dict(img=({2}, {2}, {2})))"""
_OBLONG = "dict(type='FixShapeResize', width={0}, height={1}, keep_ratio=True, pad_val=dict(img=({2}, {2}, {2})))"


def openmmlab_config(facts: ModelFacts) -> str:
    """The configuration of mmdet 3 for a detector, complete for inference.

    Raises InputError for a network or images that mmdet does not have.
    """
    if facts.backbone:
        raise InputError(f"openmmlab: mmdet has no {facts.backbone}: export to onnx, openvino or safetensors instead")
    if facts.value_range is not None:
        raise InputError("openmmlab: mmdet cannot read this detector's 16-bit images: export to onnx instead")
    if facts.size not in SIZES:
        raise InputError(
            f"openmmlab: expected a network of size {', '.join(SIZES)}, found another: export to onnx instead"
        )
    size, selection = SIZES[facts.size], Selection()
    height, width = facts.input_size
    channels = scaled_channels(size.widen)[2:]
    text = _CONFIG.substitute(
        size=facts.size,
        classes=repr(facts.classes).replace("{", "\\x7b"),  # mmengine would replace {{ }} before it reads the code
        palette=class_colors(facts.classes),
        mean=list(BGR_MEAN),
        std=list(BGR_STD),
        deepen=size.deepen,
        widen=size.widen,
        depthwise=size.depthwise,
        channels=channels,
        width=channels[0],
        neck_blocks=size.neck_blocks,
        num_classes=len(facts.classes),
        shared_head=size.shared_head,
        exponential=size.exponential,
        nms_pre=selection.nms_pre,
        score_threshold=selection.score_threshold,
        iou_threshold=facts.nms.iou_threshold,
        max_detections=selection.max_detections,
        letterbox=(_SQUARE if width == height else _OBLONG).format(width, height, PAD_VALUE),
    )
    return text.encode(errors="backslashreplace").decode()  # half characters cannot be written, their escapes can
