"""The canvas of a generated scene: it paints things and keeps the outlines of the balloons exact.

It remembers which balloon each pixel shows and refuses a shape that would hide a balloon too far; so every
balloon that is painted has an outline, that of its largest visible part.

Frames: canvas pixels (x, y), two to an image pixel; the unit frame (u, v) of a thing, in which its radius is 1
and v points down to a balloon's knot.
Dimension legend: H, W image; V vertices of an outline; h, w patch of the canvas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.random import Generator

SMALLEST_BALLOON = 8  # image pixels, visible width and height
FINE = 2  # canvas pixels per image pixel

Window = tuple[slice, slice]  # rows and columns of the canvas
Painter = Callable[[Generator, np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # rng, u, v, light -> RGBA


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """A shape in its place: unit outline (V, 2), centre (2,) and radius in canvas pixels, tilt in radians."""

    outline: np.ndarray
    centre: np.ndarray
    radius: float
    tilt: float

    @property
    def turn(self) -> np.ndarray:
        """The (2, 2) rotation from the unit frame to the canvas."""
        cosine, sine = np.cos(self.tilt), np.sin(self.tilt)
        return np.array([[cosine, -sine], [sine, cosine]])

    def placed(self, points: np.ndarray) -> np.ndarray:
        """Unit points (V, 2) on the canvas."""
        return self.centre + self.radius * points @ self.turn.T


@dataclass(slots=True, eq=False)
class Canvas:
    """What has been painted so far, and which balloon each of its pixels shows."""

    image: np.ndarray  # (2H, 2W, 3) float32 RGB, 0 .. 1
    visible: float  # least visible share of a balloon
    light: np.ndarray  # (3,) unit vector towards the lamp or the sun: x, y, viewer
    owners: np.ndarray = field(init=False)  # (2H, 2W) int16, -1 = none
    polygons: dict[int, np.ndarray] = field(default_factory=dict)  # (V, 2) image pixels, by balloon
    areas: list[float] = field(default_factory=list)  # canvas pixels, of the whole balloons

    def __post_init__(self) -> None:
        self.owners = np.full(self.image.shape[:2], -1, np.int16)

    def add(self, thing: Thing, painter: Painter, rng: Generator, *, balloon: bool) -> bool:
        """Paint a thing, unless a balloon, itself included, would be left with too little to see."""
        outline = thing.placed(thing.outline)
        window, coverage = rasterise(outline, self.owners.shape, filled=True)
        colour = painter(rng, *self._unit_frame(thing, window))  # (h, w, 4)
        opacity = coverage * colour[..., 3]
        if balloon:
            self.areas.append(cv2.contourArea(outline.astype(np.float32)))
        if not self._claim(window, opacity > 0.5, len(self.areas) - 1 if balloon else -1):
            if balloon:
                self.areas.pop()
            return False
        self.blend(window, colour[..., :3], opacity)
        return True

    def _unit_frame(self, thing: Thing, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where a window's pixel centres lie in a thing's unit frame, u and v (h, w), and the light there (3,)."""
        rows, columns = np.mgrid[window].astype(np.float32) + 0.5  # (h, w) pixel centres
        offset = np.stack((columns, rows), axis=-1) - np.float32(thing.centre)
        u, v = np.moveaxis(offset @ np.float32(thing.turn / thing.radius), -1, 0)
        return u, v, np.append(self.light[:2] @ thing.turn, self.light[2]).astype(np.float32)

    def blend(self, window: Window, colour: np.ndarray, opacity: np.ndarray) -> None:
        """Lay a colour (h, w, 3) or (3,) over a window of the canvas with an opacity (h, w)."""
        patch = self.image[window]
        patch += opacity[..., None] * (colour - patch)

    def _claim(self, window: Window, solid: np.ndarray, owner: int) -> bool:
        """Give pixels to a balloon (or to none, -1) and trace anew all it concerns; undone when one is lost."""
        before = self.owners[window].copy()
        touched = set(np.unique(before[solid]).tolist()) | {owner}
        self.owners[window][solid] = owner
        traced = {index: self._trace(index) for index in sorted(touched - {-1})}
        kept = {index: polygon for index, polygon in traced.items() if polygon is not None}
        if len(kept) < len(traced):
            self.owners[window] = before
            return False
        self.polygons.update(kept)
        return True

    def _trace(self, index: int) -> np.ndarray | None:
        """The outline (V, 2) of a balloon's largest visible part in image pixels, None if it is too little."""
        mask = (self.owners == index).view(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        mask = np.pad(mask[top : top + height, left : left + width], (0, 1))  # room for the last corners
        parts, statistics = cv2.connectedComponentsWithStats(mask)[1:3]
        sizes = statistics[1:, cv2.CC_STAT_AREA]  # without part 0, what is not the balloon
        if sizes.max(initial=0) < self.visible * self.areas[index]:
            return None
        largest = (parts == 1 + sizes.argmax()).view(np.uint8)
        # A pixel's four corners, rather than its centre: the outline then runs around the pixels.
        corners = cv2.dilate(largest, np.ones((2, 2), np.uint8), anchor=(1, 1))
        contours = cv2.findContours(corners, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        contour = cv2.approxPolyDP(contours[0], 0.7, True)[:, 0] + np.array([left, top])
        polygon = contour.astype(np.float32) / FINE
        return polygon if np.ptp(polygon, axis=0).min() >= SMALLEST_BALLOON else None


def rasterise(points: np.ndarray, size: tuple[int, ...], *, filled: bool) -> tuple[Window, np.ndarray]:
    """An outline filled, or a curve drawn thinly, on a canvas of `size`.

    Returns the window that it touches and how far it covers the window's pixels, (h, w) 0 .. 1.
    """
    edge = np.array(size[::-1])
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - 2, 0, edge - 1)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 2, low + 1, edge)
    mask = np.zeros((high - low)[::-1], np.uint8)
    shifted = [np.round((points - low - 0.5) * 16).astype(np.int32)]  # cv2 counts from pixel centres, in 1/16
    if filled:
        cv2.fillPoly(mask, shifted, 255, cv2.LINE_AA, shift=4)
    else:
        cv2.polylines(mask, shifted, False, 255, 2, cv2.LINE_AA, shift=4)
    return (slice(low[1], high[1]), slice(low[0], high[0])), mask.astype(np.float32) / 255
