"""The shapes and skins of balloons and of what looks like them, each painted in its unit frame.

Unit frame (u, v): the radius is 1, v points down to a balloon's knot. Painters return RGBA 0 .. 1.
Dimension legend: V vertices of an outline; h, w patch of the canvas.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from rtmdet.data.synthetic.canvas import Painter
from rtmdet.data.synthetic.scenery import rgb, texture


def balloon_outline(tall: float, taper: float) -> np.ndarray:
    """Unit outline (V, 2): an egg, narrower below, with the flared knot under it."""
    angle = np.linspace(np.pi + 0.08, 3 * np.pi - 0.08, 72)  # around the top, open where the knot is
    egg = np.stack((np.sin(angle) * (1 + taper * np.cos(angle)), -tall * np.cos(angle)), axis=1)
    knot = np.array([[0.06, 1.03], [0.13, 1.13], [-0.13, 1.13], [-0.06, 1.03]]) * (1, tall)
    return np.concatenate((egg, knot))


def _circle(start: float = 0.0, end: float = 2 * np.pi) -> np.ndarray:
    angle = np.linspace(start, end, 48)
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


def _leaf_outline() -> np.ndarray:
    along = np.linspace(-1, 1, 20)
    half = 0.38 * (1 - along**2) * (1 + 0.3 * along)
    return np.concatenate((np.stack((half, along), axis=1), np.stack((-half, along), axis=1)[::-1]))


_RECTANGLE = np.array([[-1.0, -0.5], [1.0, -0.5], [1.0, 0.5], [-1.0, 0.5]])
SHAPES = {  # unit outlines of the look-alikes
    "disc": _circle(), "lamp": _circle(), "ball": _circle(), "dome": _circle(np.pi, 2 * np.pi),
    "brick": _RECTANGLE, "leaf": _leaf_outline(),
}  # fmt: skip


def _colour(rng: Generator) -> np.ndarray:
    """A colour (3,) that balloons and their look-alikes share: mostly bright, some pale or dark."""
    pale = rng.random() < 0.2
    hue = rng.choice((0, 25, 52, 100, 175, 215, 280, 325)) + rng.uniform(-15, 15)
    saturation = rng.uniform(0.03, 0.35) if pale else rng.uniform(0.65, 1.0)
    return rgb(hue, saturation, rng.uniform(0.85, 1.0) if pale else rng.uniform(0.6, 1.0))


def _rgba(colour: np.ndarray, opacity: np.ndarray | float = 1.0) -> np.ndarray:
    """Colour (h, w, 3) and opacity (h, w) as one (h, w, 4)."""
    return np.dstack((np.clip(colour, 0, 1), np.broadcast_to(opacity, colour.shape[:2]))).astype(np.float32)


def _bump(u: np.ndarray, v: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian spot at u = v = 0, 1 at its top."""
    return np.exp(-(u * u + v * v) / (2 * sigma * sigma))


def latex(rng: Generator, tall: float, taper: float) -> Painter:
    """The painter of one balloon's skin: light that falls on it, shines through it and is mirrored in it."""
    colour, clarity, gloss = _colour(rng), rng.uniform(0.0, 0.15), rng.uniform(0.4, 0.95)

    def paint(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
        down = v / tall
        across = u / (1 - taper * np.clip(down, -1, 1))
        depth = np.sqrt(np.clip(1 - across**2 - down**2, 0, 1))  # 0 at the rim .. 1 in the middle
        facing = across * light[0] + down * light[1] + depth * light[2]
        shade = 0.48 + 0.55 * np.clip(facing, 0, 1) + 0.2 * np.clip(-facing, 0, 1) - 0.22 * (1 - depth) ** 3
        shade = np.where(down > 1, 0.5, shade)  # the knot is thick, so dark
        spot = _bump(across - 0.62 * light[0], down - 0.62 * light[1], 0.09)
        glow = _bump(across - 0.5 * light[0], down - 0.5 * light[1], 0.3)
        mirrored = gloss * (spot + 0.25 * glow)[..., None]
        skin = colour * shade[..., None]
        return _rgba(skin + (1 - skin) * np.clip(mirrored, 0, 1), 1 - clarity * depth)

    return paint


def _paint_disc(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A flat sign or plate with a ring."""
    inner = (u**2 + v**2 < rng.uniform(0.3, 0.8))[..., None]
    return _rgba(np.where(inner, _colour(rng), _colour(rng)) * (0.85 + 0.1 * u * light[0])[..., None])


def _paint_lamp(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A light out of focus: bright and without an edge."""
    distance = u**2 + v**2
    warm = rgb(rng.uniform(20, 60), rng.uniform(0.1, 0.6), 1.0)
    core = np.exp(-distance / 0.05)[..., None]
    return _rgba(warm + (1 - warm) * core, np.clip(1 - distance, 0, 1) ** rng.uniform(0.6, 2.0))


def _paint_brick(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A box or a brick with one bright and one dark side."""
    colour = rgb(rng.uniform(0, 40), rng.uniform(0.2, 0.7), rng.uniform(0.3, 0.8))
    grain = 0.05 * texture(rng, (u.shape[0], u.shape[1]), 24)
    return _rgba(colour * (0.9 + grain - 0.15 * np.sign(light[0]) * (u > 0.7))[..., None])


def _paint_leaf(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A leaf with its midrib and veins."""
    colour = rgb(rng.uniform(70, 140), rng.uniform(0.4, 0.8), rng.uniform(0.25, 0.7))
    veins = 0.3 * (np.abs(u) < 0.03) + 0.08 * np.sin(24 * (v + np.abs(u)))
    return _rgba(colour * (0.85 + veins + 0.4 * u * light[0])[..., None])


def _paint_ball(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A matt ball, or half of one, with stripes or a seam: shaded as a balloon, without gloss and knot."""
    depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    facing = np.clip(u * light[0] + v * light[1] + depth * light[2], 0, 1)
    stripes = (np.sin(rng.uniform(2, 5) * np.arctan2(u, depth + 0.2)) > rng.uniform(0, 0.9))[..., None]
    return _rgba(np.where(stripes, _colour(rng), _colour(rng)) * (0.3 + 0.7 * facing)[..., None])


PAINTERS: dict[str, Painter] = {
    "disc": _paint_disc, "lamp": _paint_lamp, "brick": _paint_brick, "leaf": _paint_leaf,
    "ball": _paint_ball, "dome": _paint_ball,
}  # fmt: skip
