"""The built-in demo set: drawn pictures in COCO format, made on first use, the same for the same seed.

Things of five classes on textured grounds: mostly medium and large, some small, some overlapping; a few pictures have
none and a few have a crowd.
"""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import platformdirs
from ultralytics.utils import LOGGER

from swin_yolo.data.demo_scene import Thing, draw_scene
from swin_yolo.data.demo_shapes import SHAPES
from swin_yolo.errors import InputError

IMAGES = {"train": 320, "val": 80, "test": 40}
VERSION = 1  # one more whenever the pictures of a seed change
_MANIFEST = "manifest.json"
_EMPTY_EVERY, _CROWD_EVERY = 26, 40  # pictures


def demo_dir(seed: int = 0) -> Path:
    """Where the demo set is kept: $SWIN_YOLO_DATA if it is set and can be written to, else the user's cache folder."""
    name = f"demo-v{VERSION}-seed{seed}"
    chosen = os.environ.get("SWIN_YOLO_DATA")
    if chosen and (Path(chosen, name).is_dir() or os.access(chosen, os.W_OK)):
        return Path(chosen, name)
    return Path(platformdirs.user_cache_dir("swin_yolo"), name)


def make_demo(root: Path, *, seed: int = 0) -> Path:
    """The demo set in the folder `root`, made if it is not there and made again if a file was changed.

    It is drawn into a temporary folder beside `root` and then renamed, so a set is there whole or not at all, and two
    processes may ask for it at once.

    Args:
        root: the folder; its annotations/ and images/ are those of `data/demo.yaml`.
        seed: whole number from 0 up.

    Returns:
        `root`.

    Raises:
        InputError: `root` holds something else, or cannot be written.
    """
    if root.is_dir() and not any(root.iterdir()):
        root.rmdir()
    damage = _damage(root, seed) if root.exists() else None
    if root.exists() and damage is None:
        return root
    LOGGER.info(
        f"{root}: drawing the demo set{f' again, {damage}' if damage else ''} ({sum(IMAGES.values())} pictures)"
    )
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    except OSError as error:
        raise InputError(
            f"{root}: the demo set cannot be written there ({error.strerror}); set SWIN_YOLO_DATA to a folder that can "
            "be written to"
        ) from error
    try:
        _generate(work / "new", seed)
        _move_in_place(work, root, seed)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return root


def _generate(root: Path, seed: int) -> None:
    (root / "annotations").mkdir(parents=True)
    for number, (split, count) in enumerate(IMAGES.items()):
        folder = root / "images" / split
        folder.mkdir(parents=True)
        sizes_wh, things = [], []
        for i in range(count):
            scene = draw_scene(np.random.default_rng((seed, number, i)), kind=_kind(i))
            jpeg = cv2.imencode(".jpg", scene.image, (cv2.IMWRITE_JPEG_QUALITY, 92))[1]
            (folder / _file_name(i)).write_bytes(jpeg.tobytes())
            sizes_wh.append((scene.image.shape[1], scene.image.shape[0]))
            things.append(scene.things)
        content = _coco(sizes_wh, things, f"swin_yolo demo set, {split}, version {VERSION}, seed {seed}")
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    files = sorted(path for path in root.rglob("*") if path.is_file())
    sha256 = {path.relative_to(root).as_posix(): _sha256(path) for path in files}
    (root / _MANIFEST).write_text(json.dumps({"version": VERSION, "seed": seed, "sha256": sha256}, indent=1))


def _kind(i: int) -> str:
    if i % _EMPTY_EVERY == _EMPTY_EVERY - 1:
        return "empty"
    return "crowd" if i % _CROWD_EVERY == _CROWD_EVERY // 2 else "things"


def _file_name(i: int) -> str:
    return f"demo_{i + 1:04d}.jpg"


def _coco(sizes_wh: list[tuple[int, int]], things: list[tuple[Thing, ...]], description: str) -> dict[str, Any]:
    of_image = [(i, thing) for i, those in enumerate(things, start=1) for thing in those]
    return {
        "info": {"description": description},
        "images": [
            {"id": i + 1, "file_name": _file_name(i), "width": width, "height": height}
            for i, (width, height) in enumerate(sizes_wh)
        ],
        "annotations": [
            {
                "id": annotation_id,
                "image_id": image_id,
                "category_id": thing.category_id,
                "bbox": thing.box_xywh,
                "area": thing.area,
                "iscrowd": int(thing.iscrowd),
            }
            for annotation_id, (image_id, thing) in enumerate(of_image, start=1)
        ],
        "categories": [{"id": shape.category_id, "name": shape.name} for shape in SHAPES],
    }


def _damage(root: Path, seed: int) -> str | None:
    """What is wrong with a set that is there; None where every file is as it was made."""
    try:
        manifest = json.loads((root / _MANIFEST).read_text())
        version, made_with, files = manifest["version"], manifest["seed"], manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{root}: is there but is not a demo set (no readable {_MANIFEST}); remove it or choose another folder"
        ) from error
    if made_with != seed:
        raise InputError(f"{root}: holds the demo set of seed {made_with}, wanted seed {seed}; choose another folder")
    if version != VERSION:
        return f"is of version {version}, this package draws version {VERSION}"
    wrong = [name for name, sha256 in files.items() if not (root / name).is_file() or _sha256(root / name) != sha256]
    return f"{len(wrong)} of {len(files)} files are not as they were made ({', '.join(wrong[:3])})" if wrong else None


def _move_in_place(work: Path, root: Path, seed: int) -> None:
    """Put work/new where `root` is to be; another process may be doing the same, and its set is as good."""
    try:
        if root.exists():
            os.rename(root, work / "damaged")
        os.rename(work / "new", root)
    except OSError:
        if not root.exists() or _damage(root, seed) is not None:
            raise


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
