"""Comparisons as `compare.json` holds them, and galleries beside them, of invented models on drawn pictures."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from swin_yolo.scoring.average_precision import METRIC_NAMES

MODELS = (("yolov5n", "baseline"), ("yolov5n-swin", "candidate"), ("yolov5n-wide", "control"))
NAMES = ("Platelets", "RBC", "WBC")
COUNTS = (2_509_049, 3_675_929, 3_701_210)
CLASS_METRICS = ("AP", "AP50", "APs", "APm", "APl", "AR100")
ERRORS = ("classification", "localisation", "both", "duplicate", "background", "missed")
# About what a small model reaches, in the order of METRIC_NAMES.
LEVELS = (0.60, 0.89, 0.69, 0.31, 0.48, 0.47, 0.39, 0.64, 0.72, 0.44, 0.67, 0.79)


def comparison(
    *,
    models: Sequence[tuple[str, str]] = MODELS,
    names: Sequence[str] = NAMES,
    seeds: Sequence[int] = (0, 1, 2),
    finished: bool = False,
) -> dict[str, Any]:
    """The content of a compare.json, the same for the same arguments.

    Args:
        models: name and role of each, the baseline first.
        names: of the classes.
        seeds: of the training runs.
        finished: models that were trained elsewhere, the last of them exported: no training, no seeds, no parameters
            of the last.
    """
    rng = np.random.default_rng(len(models) * 100 + len(names))
    seeds = [0] if finished else list(seeds)
    entries = [_model(rng, i, models, names, seeds, finished=finished) for i in range(len(models))]
    first = entries[1] if len(entries) > 1 else entries[0]
    return {
        "title": f"bccd: {first['name']} against {models[0][0]}",
        "created": "2026-11-24T09:00:00+00:00",
        "commands": [f"python tools/compare.py --data bccd.yaml --imgsz 320 --models {' '.join(n for n, _ in models)}"],
        "versions": {"python": "3.11.2", "torch": "2.14.1", "ultralytics": "8.4.190", "swin_yolo": "0.4.0"},
        "machine": {"cpu": "AMD EPYC 7763", "cores": 2, "gpu": None},
        "data": {
            "source": "bccd.yaml",
            "split": "test",
            "images": 72,
            "annotations": "/data/bccd/annotations/instances_test.json",
            "sha256": _hash(rng),
            "names": list(names),
        },
        "settings": {
            "imgsz": 320,
            "epochs": None if finished else 40,
            "batch_size": 8,
            "seeds": None if finished else seeds,
            "recipe": None if finished else {"optimizer": "AdamW", "lr0": 0.0015, "clip": 10.0, "ema_epochs": 1.0},
        },
        "bootstrap": {"resamples": 1000, "seed": 0, "confidence": 0.95},
        "fairness": [
            {"what": what, "same": True, "values": {name: value for name, _ in models}}
            for what, value in (("images seen per run", "8,200"), ("image size", "320"), ("scored on", "72 images"))
        ],
        "caveats": [],
        "verdict": (first["verdict"] or {"sentence": "There is nothing to compare."})["sentence"],
        "models": entries,
    }


def gallery(compared: dict[str, Any], *, images: int = 6, size_wh: tuple[int, int] = (640, 480)) -> list[dict]:
    """Pictures of blobs with what each model of `compared` found in them; every third has a crowd region."""
    return [_image(compared, i, *size_wh) for i in range(images)]


def _model(rng, i: int, models, names, seeds, *, finished: bool) -> dict[str, Any]:
    name, role = models[i]
    shift = 0.0 if i == 0 else 0.014 - 0.011 * (i - 1)
    known = not (finished and i and i == len(models) - 1)
    difference = None if i == 0 else _difference(rng, shift, names)
    return {
        "name": name,
        "role": role,
        "cfg": None if finished else f"{name}.yaml",
        "started_from": f"{name}.pt" if finished else None,
        "parameters": COUNTS[i] if known and i < 3 else 1_000_000 * (i + 1) if known else None,
        "gflops": 1.9 + 0.6 * i if known else None,
        "latency_ms": _quartiles(12.1 + 2.9 * i),
        "training_images_per_second": None if finished else _quartiles(41.0 - 4 * i),
        "peak_memory_mb": None if finished else 812.0 + 96 * i,
        "verdict": None if difference is None else _verdict(name, models[0][0], difference["metrics"]["AP"]),
        "metrics": {m: _seeded(rng, LEVELS[k] + shift, seeds) for k, m in enumerate(METRIC_NAMES)},
        "per_class": {
            n: {"boxes": 40 + 37 * k, **{m: _seeded(rng, 0.5 + 0.4 * np.sin(k + 1) ** 2, seeds) for m in CLASS_METRICS}}
            for k, n in enumerate(names)
        },
        "difference": difference,
        "pr": _pr(names, shift),
        "curves": [] if finished else [_curve(rng, seed, shift) for seed in seeds],
        "errors": dict(zip(ERRORS, (0.012, 0.071 - shift, 0.004, 0.006, 0.038, 0.092 - 2 * shift), strict=True)),
        "runs": [
            {
                "seed": None if finished else seed,
                "weights": f"runs/compare/{name}-{seed}/weights/best.pt",
                "sha256": _hash(rng),
                "seconds": None if finished else 1440.0 + 40 * i + seed,
            }
            for seed in seeds
        ],
    }


def _seeded(rng, level: float, seeds) -> dict[str, Any]:
    values = [round(float(np.clip(level + rng.normal(0, 0.006), 0, 1)), 5) for _ in seeds]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "spread": spread, "values": values}


def _difference(rng, shift: float, names) -> dict[str, Any]:
    def interval(noise: float) -> dict[str, float]:
        mean = shift + rng.normal(0, noise)
        return {"mean": mean, "low": mean - 0.008 - noise, "high": mean + 0.009 + noise}

    metrics = {m: interval(0.002 if m == "AP" else 0.012) for m in METRIC_NAMES}
    return {"metrics": metrics, "per_class": {n: interval(0.02) for n in names}}


def _verdict(name: str, base: str, ap: dict[str, float]) -> dict[str, str]:
    word = "better" if ap["low"] > 0 else "worse" if ap["high"] < 0 else "cannot tell"
    interval = f"{ap['mean']:+.3f} AP (95% interval {ap['low']:+.3f} to {ap['high']:+.3f})"
    if word == "cannot tell":
        return {"word": word, "sentence": f"Whether {name} is better than {base} cannot be told: {interval}."}
    return {"word": word, "sentence": f"{name} is {word} than {base}: {interval}."}


def _quartiles(median: float) -> dict[str, float]:
    return {"median": median, "low": median * 0.97, "high": median * 1.05}


def _pr(names, shift: float) -> dict[str, Any]:
    recall = np.linspace(0, 1, 101)
    rows = [np.clip(1 - recall ** (6 - 4 * np.cos(k)) * (1.02 - shift * 6), 0, 1) for k in range(len(names))]
    return {
        "recall": recall.tolist(),
        "classes": {name: row.tolist() for name, row in zip(names, rows, strict=True)},
        "mean": np.mean(rows, axis=0).tolist(),
    }


def _curve(rng, seed: int, shift: float) -> dict[str, Any]:
    epochs = np.arange(1, 41)
    ap = (0.6 + shift) * (1 - np.exp(-epochs / 9)) + rng.normal(0, 0.012, 40)
    return {
        "seed": seed,
        "epoch": epochs.tolist(),
        "AP": ap.tolist(),
        "AP50": (ap * 1.45).tolist(),
        "loss": (1.6 + 3 * np.exp(-epochs / 8) + rng.normal(0, 0.04, 40)).tolist(),
    }


def _hash(rng) -> str:
    return rng.bytes(32).hex()


def _image(compared: dict[str, Any], i: int, width: int, height: int) -> dict[str, Any]:
    rng = np.random.default_rng(1000 + i)
    boxes = [_box(rng, width, height) for _ in range(9)]
    classes = [int(rng.integers(len(compared["data"]["names"]))) for _ in boxes]
    truth = [{"box": b, "class": c, "crowd": False} for b, c in zip(boxes, classes, strict=True)]
    if i % 3 == 2:
        truth.append({"box": [width * 0.7, 4.0, width * 0.28, height * 0.3], "class": classes[0], "crowd": True})
    gain = {m["name"]: round(0.32 - 0.02 * i - 0.05 * k, 3) for k, m in enumerate(compared["models"][1:])}
    return {
        "file_name": f"smear_{i:05}.jpg",
        "width": width,
        "height": height,
        "picture": _drawn(rng, boxes, classes, width, height),
        "gain": gain,
        "truth": truth,
        "detections": {m["name"]: _found(rng, boxes, classes, width, height) for m in compared["models"]},
    }


def _box(rng, width: int, height: int) -> list[float]:
    side = float(rng.uniform(0.1, 0.2)) * height
    return [float(rng.uniform(0, width - side)), float(rng.uniform(0, height - side)), side, side]


def _found(rng, boxes, classes, width: int, height: int) -> list[dict[str, Any]]:
    """Most of the boxes a little moved, and three that are not there; scores from 0.05 to 0.99."""
    found = []
    for box, index in zip(boxes, classes, strict=True):
        if rng.random() < 0.85:
            moved = [value + float(rng.normal(0, 2)) for value in box]
            found.append({"box": moved, "class": index, "score": round(float(rng.uniform(0.3, 0.99)), 3)})
    for _ in range(3):
        score = round(float(rng.uniform(0.05, 0.5)), 3)
        found.append({"box": _box(rng, width, height), "class": classes[0], "score": score})
    return found


def _drawn(rng, boxes, classes, width: int, height: int) -> np.ndarray:
    """A picture that takes about 100 KB as JPEG at 640 x 480: blobs on a ground that shades off, with grain."""
    image = np.full((height, width, 3), (214, 206, 216), np.float32) - np.linspace(0, 30, width)[None, :, None]
    colours = [(150, 90, 120), (120, 120, 225), (170, 70, 90)]
    for (left, top, w, h), index in zip(boxes, classes, strict=True):
        centre, axes = (round(left + w / 2), round(top + h / 2)), (round(w * 0.46), round(h * 0.46))
        cv2.ellipse(image, centre, axes, 0, 0, 360, colours[index % 3], -1, cv2.LINE_AA)
        cv2.ellipse(image, centre, (axes[0] // 3, axes[1] // 3), 0, 0, 360, (205, 190, 220), -1, cv2.LINE_AA)
    image = cv2.GaussianBlur(image, (0, 0), 2) + rng.normal(0, 12, image.shape)
    return image.clip(0, 255).astype(np.uint8)
