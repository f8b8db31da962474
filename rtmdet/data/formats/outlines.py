"""Outlines of objects: polygons with the boxes around them.

Frame: pixels of the original image. Dimension legend: V vertices of one outline.
"""

import math

import numpy as np

CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])  # (x, y) of a box around 0, in halves of its sides
ROUND_VERTICES = 64  # vertices of the polygon for a circle or an ellipse

Box = tuple[float, float, float, float]  # xyxy
Outline = tuple[np.ndarray | None, Box]  # polygon (V, 2) as (x, y) or None, and the box around it


def around(polygon: np.ndarray) -> Outline:
    """A polygon (V, 2) with the box around it."""
    (left, top), (right, bottom) = polygon.min(0).tolist(), polygon.max(0).tolist()
    return polygon, (left, top, right, bottom)


def rotated_box(x: float, y: float, width: float, height: float, *, angle: float = 0.0) -> Outline:
    """A box around (x, y), rotated by `angle` radians from x to y; its polygon begins at the top left corner."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return around(CORNERS * (width / 2, height / 2) @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y))


def ellipse(x: float, y: float, radius_x: float, radius_y: float, *, angle: float = 0.0) -> Outline:
    """An ellipse rotated by `angle` radians from x to y. The box encloses the exact curve, not the polygon."""
    cosine, sine = math.cos(angle), math.sin(angle)
    turns = np.arange(ROUND_VERTICES) * (2 * math.pi / ROUND_VERTICES)
    along, across = radius_x * np.cos(turns), radius_y * np.sin(turns)
    polygon = np.column_stack([x + along * cosine - across * sine, y + along * sine + across * cosine])
    reach_x = math.hypot(radius_x * cosine, radius_y * sine)
    reach_y = math.hypot(radius_x * sine, radius_y * cosine)
    return polygon, (x - reach_x, y - reach_y, x + reach_x, y + reach_y)
