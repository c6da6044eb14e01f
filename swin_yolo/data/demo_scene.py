"""One picture of the demo set: a textured ground with things on it, and their boxes."""

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from swin_yolo.data.demo_shapes import SHAPES, Shape, Sprite, draw_sprite

SIZES_WH = ((320, 240), (240, 320), (288, 288), (320, 256), (256, 320), (320, 192))
_MASK = 0.5  # alpha from which a pixel belongs to a thing
_TRIES = 40


@dataclass(frozen=True, eq=False)
class Thing:
    """What one annotation says: box left, top, width, height and area in pixels of what can be seen of it."""

    category_id: int
    box_xywh: tuple[int, int, int, int]
    area: int
    iscrowd: bool


@dataclass(frozen=True, eq=False)
class Scene:
    """image (H, W, 3) uint8 BGR and the things in it, 0 or more."""

    image: NDArray[np.uint8]
    things: tuple[Thing, ...]


def draw_scene(rng: np.random.Generator, *, kind: str) -> Scene:
    """A random picture.

    Args:
        rng: decides everything.
        kind: "things" (1 to 4 things), "empty" (none), or "crowd" (one thing and a crowd of small fish).
    """
    width, height = SIZES_WH[rng.integers(len(SIZES_WH))]
    image = _ground(width, height, rng)
    owner = np.zeros((height, width), np.int32)  # 0 ground, k the k-th annotation
    shapes: list[tuple[Shape, bool]] = []
    if kind == "crowd":
        _put_crowd(image, owner, SHAPES[1], rng)
        shapes.append((SHAPES[1], True))
    counts = {"things": rng.choice((1, 2, 3, 4), p=(0.25, 0.35, 0.25, 0.15)), "empty": 0, "crowd": 1}
    for _ in range(counts[kind]):
        shape = SHAPES[rng.integers(len(SHAPES))]
        if _put(image, owner, shape, len(shapes) + 1, rng):
            shapes.append((shape, False))
    things = [_thing(owner == k, shape, iscrowd) for k, (shape, iscrowd) in enumerate(shapes, start=1)]
    return Scene(_expose(image, rng), tuple(things))


def _put(
    image: NDArray[np.float32], owner: NDArray[np.int32], shape: Shape, label: int, rng: np.random.Generator
) -> bool:
    """Draw one thing where it hides little of the others; False where there was no such place."""
    height, width = owner.shape
    covers = 0.3 if rng.random() < 0.3 else 0.02  # part of another thing that may be hidden
    visible = np.bincount(owner.ravel(), minlength=label)[1:label]
    for part in (_part(rng), 0.3):  # a smaller one where the first does not fit
        sprite = draw_sprite(shape, part * min(width, height), rng)
        size = len(sprite.alpha)
        for _ in range(_TRIES):
            left, top = int(rng.integers(0, width - size + 1)), int(rng.integers(0, height - size + 1))
            below = owner[top : top + size, left : left + size][sprite.alpha > _MASK]
            if (np.bincount(below, minlength=label)[1:label] <= covers * visible).all():
                _paste(image, owner, sprite, left, top, label)
                return True
    return False


def _part(rng: np.random.Generator) -> float:
    """How large a thing is, as part of the shorter side: one in ten is small."""
    return rng.uniform(0.09, 0.15) if rng.random() < 0.1 else rng.uniform(0.32, 0.72)


def _put_crowd(image: NDArray[np.float32], owner: NDArray[np.int32], shape: Shape, rng: np.random.Generator) -> None:
    """Draw a dozen small things on a heap, labelled 1 all together."""
    height, width = owner.shape
    side = 0.17 * min(width, height)
    spread = 0.14 * min(width, height)
    centre = rng.uniform(0.28, 0.72, 2) * (width, height)
    for _ in range(12):
        sprite = draw_sprite(shape, side, rng)
        size = len(sprite.alpha)
        corner = centre + rng.normal(0, spread, 2).clip(-1.6 * spread, 1.6 * spread) - size / 2
        left, top = corner.clip(0, (width - size, height - size)).astype(int).tolist()
        _paste(image, owner, sprite, left, top, 1)


def _paste(
    image: NDArray[np.float32], owner: NDArray[np.int32], sprite: Sprite, left: int, top: int, label: int
) -> None:
    """Lay a sprite and its soft shadow on the picture."""
    size = len(sprite.alpha)
    shadow = np.zeros(owner.shape, np.float32)
    shift = max(1, size // 24)
    below = shadow[top + shift : top + shift + size, left + shift : left + shift + size]
    below[:] = sprite.alpha[: below.shape[0], : below.shape[1]]
    image *= 1 - 0.32 * cv2.GaussianBlur(shadow, (0, 0), 0.5 + size / 36)[..., None]
    window = (slice(top, top + size), slice(left, left + size))
    image[window] += (sprite.image - image[window]) * sprite.alpha[..., None]
    owner[window][sprite.alpha > _MASK] = label


def _thing(mask: NDArray[np.bool_], shape: Shape, iscrowd: bool) -> Thing:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    box_xywh = (left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top)
    return Thing(shape.category_id, box_xywh, int(mask.sum()), iscrowd)


def _ground(width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W, 3) a pale or dark ground of low contrast: paper, wood, water or tiles."""
    red, green, blue = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.04, 0.28), rng.uniform(0.3, 0.88))
    texture = _clouds(width, height, rng, cells=4) * 8 + 2.2 * rng.standard_normal((height, width), dtype=np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    kind = rng.integers(4)
    if kind == 1:  # wood
        grain = _clouds(width, height, rng, cells=3, stretch=9)
        texture += 5 * np.sin(14 * grain + y / 7) + 5 * grain
    elif kind == 2:  # water
        texture += 6 * np.sin(y / rng.uniform(6, 11) + 2.5 * _clouds(width, height, rng, cells=5))
    elif kind == 3:  # tiles
        side = int(rng.integers(28, 60))
        texture -= 11 * ((x % side < 1.5) | (y % side < 1.5))
    angle = rng.uniform(0, 2 * np.pi)
    slope = (x / width - 0.5) * np.cos(angle) + (y / height - 0.5) * np.sin(angle)
    colour = 255 * np.array((blue, green, red))
    return (colour + (texture + 26 * slope)[..., None]).astype(np.float32)


def _clouds(width: int, height: int, rng: np.random.Generator, *, cells: int, stretch: int = 1) -> NDArray[np.float64]:
    """(H, W) smooth noise of about unit variance: coarse, and half as much twice as fine."""
    total = np.zeros((height, width))
    for octave in (1, 2):
        grid = rng.normal(0, 1 / octave, (cells * octave * stretch + 3, cells * octave + 3))
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return total


def _expose(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture as a camera might take it: light, colour cast and a little noise."""
    exposed = image * rng.uniform(0.78, 1.1) * rng.uniform(0.95, 1.05, 3).astype(np.float32)
    exposed += rng.uniform(0.5, 3.0) * rng.standard_normal(image.shape, dtype=np.float32)
    return exposed.clip(0, 255).astype(np.uint8)
