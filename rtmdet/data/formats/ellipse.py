"""Circles and ellipses as outlines. Dimension legend: V vertices."""

from __future__ import annotations

import math

import numpy as np

ROUND_VERTICES = 64  # vertices of the polygon for a circle or an ellipse


def ellipse(
    center: tuple[float, float], radii: tuple[float, float], *, angle: float = 0.0
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """The polygon (V, 2) and the xyxy box of an ellipse rotated by `angle` radians from x to y.

    The box encloses the exact curve, not the polygon.
    """
    cosine, sine = math.cos(angle), math.sin(angle)
    turns = np.arange(ROUND_VERTICES) * (2 * math.pi / ROUND_VERTICES)
    along, across = radii[0] * np.cos(turns), radii[1] * np.sin(turns)
    xs, ys = center[0] + along * cosine - across * sine, center[1] + along * sine + across * cosine
    half_width = math.hypot(radii[0] * cosine, radii[1] * sine)
    half_height = math.hypot(radii[0] * sine, radii[1] * cosine)
    box = (center[0] - half_width, center[1] - half_height, center[0] + half_width, center[1] + half_height)
    return np.column_stack([xs, ys]), box
