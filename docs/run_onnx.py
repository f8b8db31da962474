"""Detects with a file of `rtmdet export --format onnx`; needs only onnxruntime, numpy and Pillow.

python run_onnx.py best.onnx photo.jpg [photo_with_boxes.png]
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps


def letterbox(photo, size):
    """The photo at the top left of a gray (H, W) input: pixels (3, H, W), and the scale of x and y."""
    factor, small = min(size[0] / photo.height, size[1] / photo.width), np.asarray(photo)
    width, height = (max(int(side * factor + 0.5), 1) for side in photo.size)
    for axis, side in enumerate((height, width)):  # Pillow's resize() averages, the network knows interpolated pixels
        place = ((np.arange(side) + 0.5) * small.shape[axis] / side - 0.5).clip(0, small.shape[axis] - 1)
        pair = (small.take(np.minimum(place.astype(int) + k, small.shape[axis] - 1), axis) for k in (0, 1))
        share = np.expand_dims(place % 1, (1 - axis, 2))
        small = sum(part * weight for part, weight in zip(pair, (1 - share, share), strict=True))
    pixels = np.full((*size, 3), 114, np.uint8)
    pixels[:height, :width] = (small + 0.4).astype(np.uint8)  # OpenCV's integers round down a little
    return pixels.transpose(2, 0, 1), np.array((width / photo.width, height / photo.height) * 2)


def suppress(boxes, labels, iou=0.65):
    """The places of those boxes, best first, that overlap no better one of their class."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = []
    for place in np.flatnonzero(area):
        others = [other for other in kept if labels[other] == labels[place]]
        sides = np.minimum(boxes[others, 2:], boxes[place, 2:]) - np.maximum(boxes[others, :2], boxes[place, :2])
        overlap = sides.clip(0).prod(1)
        if (overlap <= iou * (area[others] + area[place] - overlap)).all():
            kept.append(place)
    return kept


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
photo = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")
pixels, scale = letterbox(photo, facts["input_size"])
first, *others = session.run(None, {"images": np.stack([pixels] * (facts["fixed_batch"] or 1))})
if facts["nms"] is None:  # the outputs are boxes (B, P, 4) in pixels of the input, and scores (B, P, K)
    prior, labels = np.indices(others[0][0].shape).reshape(2, -1)
    boxes, scores = first[0, prior], others[0][0].ravel()
else:  # the image (N,) of each detection, boxes (N, 4), scores (N,) and labels (N,)
    boxes, scores, labels = (part[first == 0] for part in others)
sure = scores >= np.array(facts["score_thresholds"] or [0.3] * len(facts["classes"]))[labels]
order = np.flatnonzero(sure)[np.argsort(-scores[sure], kind="stable")]
boxes, scores, labels = boxes[order].clip(0, pixels.shape[:0:-1] * 2) / scale, scores[order], labels[order]
draw = ImageDraw.Draw(photo)
for place in suppress(boxes, labels)[:100]:
    box = boxes[place].clip(0, photo.size * 2).round(2).tolist()
    print(facts["classes"][labels[place]], f"{scores[place]:.4f}", *box)
    draw.rectangle(box, outline="red", width=3)
if len(sys.argv) > 3:
    photo.save(sys.argv[3])
