"""The page of a comparison: one HTML file with its scripts, numbers and pictures in it, which asks for nothing else."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from plotly.offline import get_plotlyjs

from swin_yolo.files import written_whole
from swin_yolo.report.page_pictures import jpegs_within
from swin_yolo.report.palette import class_colours, hex_colour, text_colour

MOST_BYTES = 15_000_000  # of the page, its pictures and the library of its charts included

_PARTS = Path(__file__).with_name("page")
_SCRIPTS = (  # in the order in which they need each other
    "elements.js",
    "numbers.js",
    "data.js",
    "models.js",
    "table.js",
    "theme.js",
    "charts.js",
    "rows_chart.js",
    "verdict.js",
    "summary.js",
    "cost.js",
    "differences.js",
    "curves.js",
    "errors.js",
    "boxes.js",
    "controls.js",
    "gallery.js",
    "enlarged.js",
    "method.js",
    "page.js",
)


def write_comparison_page(comparison: Mapping[str, Any], gallery: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write the HTML page of a comparison, whole or not at all.

    All that comes from the data travels as JSON and becomes text in the browser, never markup. The page's content
    security policy lets it run the two scripts in it and nothing else, and load nothing.

    Args:
        comparison: the content of compare.json. Metrics are 0..1, and -1 or None where there is nothing to measure.
        gallery: images to show, in that order, as many as `MOST_BYTES` have room for. Each has `file_name`, `width`
            and `height` in pixels, `picture` ((H, W, 3) uint8, BGR, of any size), `gain` (by model name), `truth` (a
            list of `box`, `class`, `crowd`) and `detections` (by model name, lists of `box`, `class`, `score`). A box
            is left, top, width, height in pixels of the image, whatever the size of the picture; a class is an index
            into `comparison["data"]["names"]`.
        file: the page to write.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not have.
    """
    images = [{**image, "jpeg": ""} for image in gallery]
    pictures = [image.pop("picture") for image in images]
    # Base64 has four letters for three bytes, and fills up its last four.
    room = (MOST_BYTES - len(_page(comparison, images).encode())) // 4 * 3 - 3 * len(images)
    jpegs = [base64.b64encode(jpeg).decode("ascii") for jpeg in jpegs_within(pictures, room)]
    page = _page(comparison, [{**image, "jpeg": jpeg} for image, jpeg in zip(images, jpegs, strict=False)])
    with written_whole(file) as unfinished:
        unfinished.write_text(page, encoding="utf-8", newline="\n")


def _page(comparison: Mapping[str, Any], images: Sequence[Mapping[str, Any]]) -> str:
    library = _normalised(get_plotlyjs())
    script = "(() => {\n" + "\n".join(_part(name) for name in _SCRIPTS) + "})();"
    return Template(_part("page.html")).substitute(
        policy=_policy(library, script),
        style=_part("page.css"),
        data=_data(comparison, images),
        library=library,
        script=script,
    )


def _data(comparison: Mapping[str, Any], gallery: Sequence[Mapping[str, Any]]) -> str:
    """The JSON that the scripts read; no character in it can end the element that it is in."""
    content = {
        "comparison": comparison,
        "gallery": gallery,
        "modelColours": [hex_colour(colour) for colour in class_colours(len(comparison["models"]))],
        "classColours": [
            [hex_colour(colour), hex_colour(text_colour(colour))]
            for colour in class_colours(len(comparison["data"]["names"]))
        ],
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _policy(*scripts: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii") for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    # Plotly writes its styles while it draws; pictures are data here and blobs once they are shown.
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


def _part(name: str) -> str:
    return _normalised((_PARTS / name).read_text(encoding="utf-8"))


def _normalised(text: str) -> str:
    """`text` as an HTML parser hands it on, which is what its hash is taken of."""
    return text.replace("\r\n", "\n").replace("\r", "\n")
