"""Detects with a file of rtmdet export: python run_onnx.py best.onnx photo.jpg [photo_with_boxes.png]"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageDraw, ImageOps


def letterbox(photo, size):
    """The photo at the top left of a gray (H, W) input: pixels (3, H, W), and the scale of x and y."""
    factor, small = min(size[0] / photo.height, size[1] / photo.width), np.asarray(photo, "i4")
    width, height = (max(int(side * factor + 0.5), 1) for side in photo.size)
    for axis, side, bits in ((1, width, 0), (0, height, 4)):  # as OpenCV, in integers; Pillow's resize() averages
        place = ((np.arange(side) + 0.5) * small.shape[axis] / side - 0.5).astype(np.float32)
        share = np.expand_dims((place % 1 * 2048).round().astype("i4"), (1 - axis, 2))
        pair = (small.take(np.floor(place).astype(int) + k, axis, mode="clip") >> bits for k in (0, 1))
        small = sum(part * weight >> 4 * bits for part, weight in zip(pair, (2048 - share, share), strict=True))
    pixels = np.pad(small + 2 >> 2, ((0, size[0] - height), (0, size[1] - width), (0, 0)), constant_values=114)
    return pixels.astype(np.uint8).transpose(2, 0, 1), np.array((width / photo.width, height / photo.height) * 2)


def suppress(boxes, scores, labels, sure, iou, voting):
    """The sure boxes, best first, that overlap no better one of their class; those dropped vote on where they are."""
    area, left, found = (boxes[:, 2:] - boxes[:, :2]).prod(1), (boxes[:, 2:] > boxes[:, :2]).all(1), []
    for place in np.flatnonzero(left & sure):
        if left[place]:
            low, high = np.maximum(boxes[:, :2], boxes[place, :2]), np.minimum(boxes[:, 2:], boxes[place, 2:])
            near = (labels == labels[place]) * (both := (high - low).clip(0).prod(1)) / (area + area[place] - both)
            votes = (near - iou).clip(0) * (scores - scores[place] / 2).clip(0) * (voting and iou < 1)
            found.append((labels[place], scores[place], votes @ boxes / votes.sum() if votes.any() else boxes[place]))
            left &= near <= iou
    return found


model, image, *drawn = sys.argv[1:] if len(sys.argv) > 2 else sys.exit(__doc__)
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
facts = {name: json.loads(text) for name, text in session.get_modelmeta().custom_metadata_map.items()}
photo = ImageOps.exif_transpose(Image.open(image))
if photo.mode.startswith("I;16"):  # to 8 bits: the range of values of the training, or the high byte
    low, high = facts["value_range"] or (127.5, 65407.5)
    photo = Image.fromarray(((np.asarray(photo) - low) * (255 / (high - low))).round().clip(0, 255).astype(np.uint8))
photo = photo.convert("RGB") if photo.mode not in ("I", "F") else sys.exit(f"{image}: more than 16 bits a value")
pixels, scale = letterbox(photo, facts["input_size"])
first, *others = session.run(None, {"images": np.stack([pixels] * (facts["fixed_batch"] or 1))})
if facts["nms"] is None:  # the outputs are boxes (B, P, 4) in pixels of the input, and scores (B, P, K)
    prior, labels = np.indices(others[0][0].shape).reshape(2, -1)
    boxes, scores = first[0, prior], others[0][0].ravel()
else:  # the image (N,) of each detection, boxes (N, 4), scores (N,) and labels (N,)
    boxes, scores, labels = (part[first == 0] for part in others)
least = np.array(facts["score_thresholds"] or [0.3] * len(facts["classes"]))[labels]
order = np.argsort(-scores, kind="stable")[: (scores >= least.min(initial=1) / 2).sum()]
boxes, scores, labels = boxes[order].clip(0, pixels.shape[:0:-1] * 2) / scale, scores[order], labels[order]
draw, rule = ImageDraw.Draw(photo), (facts["iou_threshold"], facts["box_voting"])
for label, score, found in suppress(boxes, scores, labels, scores >= least[order], *rule)[:100]:
    print(facts["classes"][label], f"{score:.4f}", *(box := found.clip(0, photo.size * 2).round(2).tolist()))
    draw.rectangle(box, outline="red", width=3)
for path in drawn:
    photo.save(path)
