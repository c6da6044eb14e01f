"""One colour per class index, the same in every plot, picture and video.

A colour is (R, G, B), 0..255. `P` colours.
"""

from functools import lru_cache

import numpy as np

Colour = tuple[int, int, int]

# Okabe and Ito's colours for colour-blind readers (jfly.uni-koeln.de/color, 2008) without black and without yellow,
# which a line plot on white loses.
_FIRST: tuple[Colour, ...] = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
# Linear RGB as a deuteranope sees it: Machado, Oliveira and Fernandes, 2009, severity 1.0.
_DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
# Oklab: Bjorn Ottosson, 2020.
_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def class_colours(n: int) -> list[Colour]:
    """Colours of class indices 0..n-1; the colour of an index does not depend on `n`.

    The first six are Okabe and Ito's. Each later one is, of a grid of colours that stand out on white and on black,
    the one farthest from all before it, seen with and without red-green blindness. From index 128 on they repeat.
    """
    palette = _palette(128)
    return [palette[index % len(palette)] for index in range(n)]


def hex_colour(colour: Colour) -> str:
    """The colour as matplotlib and HTML write it, such as "#0072b2"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever has the greater contrast on `background` (WCAG 2.1, relative luminance)."""
    luminance = float(_linear(np.array([background]))[0] @ [0.2126, 0.7152, 0.0722])
    return (255, 255, 255) if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else (0, 0, 0)


@lru_cache(maxsize=1)
def _palette(size: int) -> tuple[Colour, ...]:
    steps = np.linspace(0, 255, 12).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)  # P 3
    lightness, a, b = _oklab(_linear(grid)).T
    grid = grid[(lightness > 0.4) & (lightness < 0.8) & (np.hypot(a, b) > 0.07)]
    chosen = [np.array(colour, float) for colour in _FIRST]
    nearest = np.full(len(grid), np.inf)  # distance of each grid colour to the nearest chosen one
    for index in range(size - 1):
        nearest = np.minimum(nearest, _distance(grid, chosen[index]))
        if index >= len(_FIRST) - 1:
            chosen.append(grid[nearest.argmax()])
    return tuple((int(r), int(g), int(b)) for r, g, b in chosen)


def _distance(colours: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """(P,) mean of the Oklab distances seen with and without deuteranopia."""
    both, one = _linear(colours), _linear(colour[None])
    normal = np.linalg.norm(_oklab(both) - _oklab(one), axis=1)
    both, one = ((rgb @ _DEUTERANOPIA.T).clip(0, 1) for rgb in (both, one))
    return (normal + np.linalg.norm(_oklab(both) - _oklab(one), axis=1)) / 2


def _linear(rgb: np.ndarray) -> np.ndarray:
    """(P, 3) sRGB 0..255 to linear 0..1."""
    value = rgb / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _oklab(linear: np.ndarray) -> np.ndarray:
    return np.cbrt(linear @ _RGB_TO_LMS.T) @ _LMS_TO_LAB.T  # P 3
