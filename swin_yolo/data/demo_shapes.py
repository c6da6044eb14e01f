"""The five things of the demo set, drawn with filled polygons.

A shape is drawn in a frame of its own: x to the right, y down, all of it within the circle of radius 1 around (0, 0).
"""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SUPERSAMPLING = 3  # drawn this many times larger, then averaged down: smooth edges
_SUBPIXEL_BITS = 4

Points = NDArray[np.float64]
Colour = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Sprite:
    """A drawn thing: image (S, S, 3) float32 BGR 0..255 and alpha (S, S) float32 0..1."""

    image: NDArray[np.float32]
    alpha: NDArray[np.float32]


class Pen:
    """Draws in a shape's own frame onto a square canvas, turned and scaled.

    Args:
        side: diameter of the shape's circle in pixels of the finished image.
        angle: radians clockwise.
        mirrored: left and right swapped before turning.
    """

    def __init__(self, side: float, *, angle: float, mirrored: bool):
        size = (int(np.ceil(side)) + 4) * SUPERSAMPLING
        radius = side * SUPERSAMPLING / 2
        cos, sin = radius * np.cos(angle), radius * np.sin(angle)
        flip = -1.0 if mirrored else 1.0
        self._matrix = np.array([[flip * cos, flip * sin], [-sin, cos]])
        self._centre = size / 2
        self._radius = radius
        self.colours = np.zeros((size, size, 3), np.uint8)
        self.mask = np.zeros((size, size), np.uint8)

    def fill(self, points: Points | Sequence[tuple[float, float]], colour: Colour) -> None:
        """Fill a polygon of (k, 2) x, y."""
        polygon = [self._on_canvas(points)]
        cv2.fillPoly(self.colours, polygon, colour, shift=_SUBPIXEL_BITS)
        cv2.fillPoly(self.mask, polygon, (255,), shift=_SUBPIXEL_BITS)

    def line(self, points: Points | Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """Draw a line through (k, 2) x, y; width in the shape's frame."""
        thickness = max(1, round(width * self._radius))
        path = [self._on_canvas(points)]
        cv2.polylines(self.colours, path, False, colour, thickness, shift=_SUBPIXEL_BITS)
        cv2.polylines(self.mask, path, False, (255,), thickness, shift=_SUBPIXEL_BITS)

    def hole(self, points: Points) -> None:
        """Take a polygon of (k, 2) x, y out of what was drawn."""
        cv2.fillPoly(self.mask, [self._on_canvas(points)], (0,), shift=_SUBPIXEL_BITS)

    def _on_canvas(self, points: Points | Sequence[tuple[float, float]]) -> NDArray[np.int32]:
        on_canvas = np.asarray(points, dtype=np.float64) @ self._matrix + self._centre
        return np.round(on_canvas * 2**_SUBPIXEL_BITS).astype(np.int32)


def ellipse(x: float, y: float, rx: float, ry: float, *, start: float = 0.0, stop: float = 2 * np.pi) -> Points:
    """(48, 2) points on an ellipse from angle `start` to `stop`, radians clockwise from the right."""
    t = np.linspace(start, stop, 48)
    return np.stack((x + rx * np.cos(t), y + ry * np.sin(t)), 1)


def leaf(pen: Pen, rng: np.random.Generator) -> None:
    """A green leaf with a stalk and veins."""
    hue = rng.uniform(0.24, 0.36)
    t = np.linspace(0, 1, 40)
    half = rng.uniform(0.38, 0.5) * np.sin(np.pi * t**0.8) ** 0.9
    x = -0.7 + 1.65 * t
    pen.line([(-0.94, 0.1), (-0.82, 0.04), (-0.65, 0.0)], _bgr(hue, 0.6, 0.35), 0.09)
    pen.fill(np.stack((np.r_[x, x[::-1]], np.r_[-half, half[::-1]]), 1), _bgr(hue, rng.uniform(0.7, 0.9), 0.68))
    vein = _bgr(hue, 0.4, 0.9)
    pen.line([(-0.7, 0.0), (0.85, 0.0)], vein, 0.05)
    for i in range(6, 34, 6):
        for sign in (-1, 1):
            pen.line([(x[i], 0.0), (x[i] + 0.24, sign * half[i + 4] * 0.8)], vein, 0.03)


def fish(pen: Pen, rng: np.random.Generator) -> None:
    """An orange fish with pale stripes, looking to the right."""
    hue = rng.uniform(0.06, 0.115)
    body, fin = _bgr(hue, 0.92, 1.0), _bgr(hue - 0.03, 0.95, 0.85)
    height = rng.uniform(0.4, 0.52)
    pen.fill([(-0.5, 0.0), (-0.9, -0.42), (-0.76, 0.0), (-0.9, 0.42)], fin)
    pen.fill([(-0.25, -0.8 * height), (0.05, -height - 0.26), (0.4, -0.8 * height)], fin)
    pen.fill([(-0.1, 0.8 * height), (0.0, height + 0.2), (0.25, 0.8 * height)], fin)
    t = np.linspace(0, 1, 40)
    half = height * np.sin(np.pi * t**0.75) ** 0.75
    x = -0.62 + 1.6 * t
    pen.fill(np.stack((np.r_[x, x[::-1]], np.r_[-half, half[::-1]]), 1), body)
    for i in (12, 20):
        band = slice(i, i + 4)
        edge = np.r_[-half[band], half[band][::-1]] * 0.97
        pen.fill(np.stack((np.r_[x[band], x[band][::-1]], edge), 1), _bgr(0.12, 0.1, 0.97))
    pen.fill(ellipse(0.62, -0.1, 0.11, 0.11), (250, 250, 250))
    pen.fill(ellipse(0.65, -0.1, 0.055, 0.055), (25, 20, 20))


def gear(pen: Pen, rng: np.random.Generator) -> None:
    """A steel gear wheel with a hole."""
    teeth = int(rng.integers(8, 12))
    hue, value = rng.uniform(0.55, 0.65), rng.uniform(0.45, 0.62)
    turn = 2 * np.pi / teeth
    outline = []
    for i in range(teeth):
        for part, radius in ((-0.34, 0.76), (-0.2, 0.99), (0.2, 0.99), (0.34, 0.76)):
            outline.append((radius * np.cos((i + part) * turn), radius * np.sin((i + part) * turn)))
    pen.fill(outline, _bgr(hue, 0.14, value))
    pen.fill(ellipse(0, 0, 0.6, 0.6), _bgr(hue, 0.12, value - 0.16))
    pen.fill(ellipse(0, 0, 0.52, 0.52), _bgr(hue, 0.1, value + 0.16))
    pen.hole(ellipse(0, 0, 0.24, 0.24))


def boat(pen: Pen, rng: np.random.Generator) -> None:
    """A sailing boat with a blue hull."""
    hull = _bgr(rng.uniform(0.58, 0.64), 0.85, rng.uniform(0.65, 0.9))
    sail = _bgr(rng.uniform(0.1, 0.16), 0.08, 0.98)
    pen.fill([(-0.05, -0.97), (0.03, -0.97), (0.03, 0.5), (-0.05, 0.5)], _bgr(0.07, 0.6, 0.4))
    curve = ellipse(0.06, 0.34, 0.62, 1.22, start=-np.pi / 2, stop=0)
    pen.fill(np.vstack((curve, [(0.06, 0.34)])), sail)
    pen.fill([(-0.1, -0.75), (-0.66, 0.34), (-0.1, 0.34)], _bgr(rng.uniform(0.13, 0.16), 0.7, 0.98))
    pen.fill([(-0.83, 0.44), (0.83, 0.44), (0.56, 0.82), (-0.56, 0.82)], hull)
    pen.fill([(-0.83, 0.44), (0.83, 0.44), (0.77, 0.53), (-0.77, 0.53)], _bgr(0.6, 0.05, 0.97))


def mushroom(pen: Pen, rng: np.random.Generator) -> None:
    """A red mushroom with white dots."""
    red = _bgr(rng.uniform(-0.03, 0.015) % 1, 0.88, rng.uniform(0.75, 0.9))
    stalk = rng.uniform(0.2, 0.28)
    pen.fill([(-stalk, 0.0), (stalk, 0.0), (stalk + 0.06, 0.8), (-stalk - 0.06, 0.8)], _bgr(0.11, 0.16, 0.93))
    pen.fill(ellipse(0, 0.8, stalk + 0.06, 0.12), _bgr(0.11, 0.2, 0.86))
    pen.fill(ellipse(0, 0.02, 0.9, 0.18), _bgr(0.1, 0.25, 0.8))
    pen.fill(ellipse(0, 0.03, 0.92, 0.92, start=np.pi, stop=2 * np.pi), red)
    for x, y, radius in ((-0.55, -0.28, 0.13), (-0.1, -0.6, 0.15), (0.2, -0.22, 0.14), (0.58, -0.38, 0.11)):
        pen.fill(ellipse(x + rng.uniform(-0.04, 0.04), y, radius, radius * 0.9), (245, 248, 250))


@dataclass(frozen=True)
class Shape:
    """How to draw one class: `tilt` is the largest angle either way, radians; `mirrors` whether it may face left."""

    category_id: int
    name: str
    draw: Callable[[Pen, np.random.Generator], None]
    tilt: float
    mirrors: bool


SHAPES = (  # ids with gaps, as in COCO itself
    Shape(1, "leaf", leaf, np.pi, True),
    Shape(3, "fish", fish, 0.6, True),
    Shape(4, "gear", gear, np.pi, False),
    Shape(7, "boat", boat, 0.2, True),
    Shape(12, "mushroom", mushroom, 0.4, True),
)


def draw_sprite(shape: Shape, side: float, rng: np.random.Generator) -> Sprite:
    """The shape in a random turn, tint and light; its circle is `side` pixels wide."""
    mirrored = bool(shape.mirrors and rng.random() < 0.5)
    pen = Pen(side, angle=rng.uniform(-shape.tilt, shape.tilt), mirrored=mirrored)
    shape.draw(pen, rng)
    size = len(pen.mask) // SUPERSAMPLING
    pen.colours[pen.mask == 0] = 0  # so that the colours are averaged as premultiplied by alpha
    colours = cv2.resize(pen.colours, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    alpha = (cv2.resize(pen.mask, (size, size), interpolation=cv2.INTER_AREA) / 255).astype(np.float32)
    light = _light(alpha, rng) / np.maximum(alpha, np.float32(0.01))
    image = colours * light[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
    image += (grey - image) * np.float32(rng.uniform(0.0, 0.12))  # faded
    return Sprite(image.clip(0, 255).astype(np.float32), alpha)


def _light(alpha: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """(S, S) factor: brighter on the side of the light, darker towards the outline."""
    size = len(alpha)
    angle = rng.uniform(-np.pi, 0)
    axis = np.linspace(-1, 1, size)
    side = 1 + 0.16 * (axis[None, :] * np.cos(angle) + axis[:, None] * np.sin(angle))
    depth = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 3) / (0.035 * size)
    return (side * (0.68 + 0.32 * np.minimum(depth, 1))).astype(np.float32)


def _bgr(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * blue), round(255 * green), round(255 * red)
