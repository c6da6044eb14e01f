"""The numbers of a comparison as compare.json holds them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from swin_yolo.engine.evaluate import versions
from swin_yolo.engine.recipe import load_recipe
from swin_yolo.files import sha256
from swin_yolo.machine import machine
from swin_yolo.scoring.average_precision import METRIC_NAMES
from swin_yolo.scoring.bootstrap import Difference, Interval

from .contestants import CANDIDATE
from .fairness import fairness_table
from .plan import Training
from .results import ModelResult, curve_of, over_seeds, seconds_of
from .scores import Settings
from .verdict import caveats, caveats_of_all, headline, word

CLASS_METRICS = ("AP", "AP50", "APs", "APm", "APl", "AR100")
SEED, CONFIDENCE = 0, 0.95  # of the bootstrap


@dataclass(frozen=True)
class Findings:
    """What was worked out of all runs.

    Attributes:
        differences: of each model but the baseline to the baseline, by name.
        to_controls: by a candidate's name the control of its size, and the difference to that.
        errors: AP that each kind of error costs, by the model's name; mean over its runs.
        resamples: of the bootstrap.
    """

    differences: Mapping[str, Difference]
    to_controls: Mapping[str, tuple[ModelResult, Difference]]
    errors: Mapping[str, Mapping[str, float]]
    resamples: int


def summary(
    models: Sequence[ModelResult],
    findings: Findings,
    *,
    settings: Settings,
    training: Training | None,
    commands: Sequence[str],
    images: int,
) -> dict[str, Any]:
    """The content of compare.json.

    Args:
        models: the baseline first.
        findings: see `Findings`.
        settings: of scoring.
        training: how the models were trained; None for finished ones.
        commands: that were typed.
        images: in the split.
    """
    entries = [_model(model, models[0], findings) for model in models]
    candidates = [model for model in models if model.role == CANDIDATE]
    said = [_headline(model, models[0], findings) for model in candidates]
    fairness = fairness_table(models, training)
    limits = caveats_of_all(fairness, images=images, resamples=findings.resamples) if said else []
    for model in candidates:
        limits += _caveats(model, models[0], findings)
    first = models[0].runs[0].scored
    others = ", ".join(model.name for model in candidates)
    return {
        "title": f"{Path(settings.data).stem}: {others or models[0].name} against {models[0].name}",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commands": list(commands),
        "versions": versions(),
        "machine": machine(),
        "data": {
            "source": str(settings.data),
            "split": settings.task,
            "images": images,
            "annotations": str(settings.annotations),
            "sha256": sha256(settings.annotations),
            "names": list(first.metrics["per_class"]),
        },
        "settings": {
            "imgsz": settings.imgsz,
            "epochs": training.epochs if training else None,
            "batch_size": training.batch_size if training else None,
            "seeds": [run.seed for run in models[0].runs] if training else None,
            "recipe": load_recipe(training.hyp) if training else None,
        },
        "bootstrap": {"resamples": findings.resamples, "seed": SEED, "confidence": CONFIDENCE},
        "fairness": fairness,
        "verdict": " ".join(said) or "There is one model only, and nothing to compare it with.",
        "caveats": list(dict.fromkeys(limits)),
        "models": entries,
    }


def _model(model: ModelResult, baseline: ModelResult, findings: Findings) -> dict[str, Any]:
    difference = findings.differences.get(model.name)
    to_control = findings.to_controls.get(model.name)
    curves = [curve for run in model.runs if (curve := curve_of(run)) is not None]
    return {
        "name": model.name,
        "role": model.role,
        "cfg": model.cfg,
        "started_from": model.started_from,
        "parameters": model.parameters,
        "gflops": model.gflops,
        "latency_ms": model.costs.get("latency_ms"),
        "training_images_per_second": model.costs.get("training_images_per_second"),
        "peak_memory_mb": model.costs.get("peak_memory_mb"),
        "verdict": None if difference is None else _verdict(model, baseline, findings),
        **_scores(model),
        "difference": None if difference is None else _difference(difference),
        "against_control": to_control and {"name": to_control[0].name, **_difference(to_control[1])},
        "pr": _pr(model),
        "curves": curves,
        "errors": dict(findings.errors[model.name]),
        "runs": [
            {
                "seed": run.seed,
                "weights": str(run.scored.weights),
                "sha256": run.scored.sha256,
                "seconds": seconds_of(run),
            }
            for run in model.runs
        ],
    }


def _headline(model: ModelResult, baseline: ModelResult, findings: Findings) -> str:
    difference, control = findings.differences[model.name], findings.to_controls.get(model.name)
    return headline(model, baseline, difference, control=control, confidence=CONFIDENCE)


def _caveats(model: ModelResult, baseline: ModelResult, findings: Findings) -> list[str]:
    return caveats(model, baseline, controlled=model.name in findings.to_controls)


def _verdict(model: ModelResult, baseline: ModelResult, findings: Findings) -> dict[str, str]:
    said = " ".join([_headline(model, baseline, findings), *_caveats(model, baseline, findings)])
    return {"word": word(findings.differences[model.name].metrics["AP"]), "sentence": said}


def _scores(model: ModelResult) -> dict[str, Any]:
    runs = [run.scored.metrics for run in model.runs]
    classes = {
        name: {
            "boxes": row["boxes"],
            **{metric: over_seeds([run["per_class"][name][metric] for run in runs]) for metric in CLASS_METRICS},
        }
        for name, row in runs[0]["per_class"].items()
    }
    return {
        "metrics": {name: over_seeds([run[name] for run in runs]) for name in METRIC_NAMES},
        "per_class": classes,
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "metrics": {name: _interval(interval) for name, interval in difference.metrics.items()},
        "per_class": {name: _interval(interval) for name, interval in difference.per_class.items()},
    }


def _interval(interval: Interval) -> dict[str, float | None]:
    return asdict(interval)


def _pr(model: ModelResult) -> dict[str, Any]:
    """Precision at IoU 0.50 over recall, mean over the runs; `mean` is that over the classes with ground truth."""
    classes = {
        name: np.mean([run.scored.precision[name] for run in model.runs], axis=0)
        for name in model.runs[0].scored.precision
    }
    known = [row for row in classes.values() if row.min() >= 0]
    return {
        "recall": [round(i / 100, 2) for i in range(101)],
        "classes": {name: row.tolist() for name, row in classes.items()},
        "mean": np.mean(known, axis=0).tolist() if known else [-1.0] * 101,
    }
