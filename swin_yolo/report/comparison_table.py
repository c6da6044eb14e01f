"""A comparison as text: Markdown to read and paste, CSV to calculate with. Both show what compare.json holds."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Model = Mapping[str, Any]


def comparison_markdown(comparison: Mapping[str, Any]) -> str:
    """The verdict, the scores, the differences, the classes, the costs, the fairness table and how it was made.

    Args:
        comparison: the content of compare.json.
    """
    models = comparison["models"]
    data, settings = comparison["data"], comparison["settings"]
    trained = f", {settings['epochs']} epochs, seeds {_listed(settings['seeds'])}" if settings["epochs"] else ""
    parts = [
        f"# {_escaped(comparison['title'])}",
        _escaped(" ".join([comparison["verdict"], *comparison["caveats"]])),
        f"{data['images']} images of the split {data['split']} of {_escaped(data['source'])} at {settings['imgsz']} px"
        f"{trained}. Scores are by pycocotools: the mean over the runs, and behind ± the standard deviation over them.",
        _scores(models),
        *(_differences(comparison) if len(models) > 1 else []),
        "## AP of each class",
        _classes(models, data["names"]),
        "## Costs",
        _costs(models),
        "## Was it fair?",
        _fairness(comparison["fairness"], models),
        "## How it was made",
        "```bash\n" + "\n".join(comparison["commands"]) + "\n```",
        _made_with(comparison),
    ]
    return "\n\n".join(parts) + "\n"


def comparison_lines(comparison: Mapping[str, Any]) -> list[str]:
    """The verdict, what limits it, and a line for each model, to be printed.

    Args:
        comparison: the content of compare.json.
    """
    models = comparison["models"]
    width = max(len(model["name"]) for model in models)
    lines = [comparison["verdict"], *comparison["caveats"], ""]
    for model in models:
        size = "" if model["parameters"] is None else f", {model['parameters']:,} parameters"
        cost = "" if model["gflops"] is None else f", {model['gflops']:.2f} GFLOPs"
        latency = f", {model['latency_ms']['median']:.1f} ms" if model["latency_ms"] else ""
        ap = _number(model["metrics"]["AP"])
        lines.append(f"{model['name']:<{width}}  {model['role']:<9}  AP {ap}{size}{cost}{latency}")
    return lines


def comparison_csv(comparison: Mapping[str, Any]) -> str:
    """A row for each model: what it is, what it costs, every score, and every difference with its interval.

    Args:
        comparison: the content of compare.json. A cell is empty where there is nothing to measure.
    """
    rows = [_csv_row(model, comparison["data"]["names"]) for model in comparison["models"]]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _csv_row(model: Model, names: Sequence[str]) -> dict[str, Any]:
    row = {key: model[key] for key in ("name", "role", "cfg", "started_from", "parameters", "gflops")}
    for cost in ("latency_ms", "training_images_per_second"):
        for part in ("median", "low", "high"):
            row[f"{cost} {part}"] = (model[cost] or {}).get(part)
    row["peak_memory_mb"] = model["peak_memory_mb"]
    row["runs"] = len(model["runs"])
    # The prefix keeps a class that is called "low" or "spread" apart from COCO's numbers.
    numbers = {**model["metrics"], **{f"class {name} AP": model["per_class"][name]["AP"] for name in names}}
    for name, number in numbers.items():
        row[name] = None if number["mean"] == -1 else number["mean"]
        row[f"{name} spread"] = number["spread"]
    if model["difference"]:
        found = model["difference"]
        intervals = {**found["metrics"], **{f"class {name} AP": found["per_class"][name] for name in names}}
        for name, interval in intervals.items():
            row[f"{name} difference"] = interval["mean"]
            row[f"{name} low"], row[f"{name} high"] = interval["low"], interval["high"]
        row["verdict"] = model["verdict"]["word"]
    return row


def _scores(models: Sequence[Model]) -> str:
    metrics = list(models[0]["metrics"])
    rows = [[_name(model), *(_number(model["metrics"][metric]) for metric in metrics)] for model in models]
    return _table(["Model", *metrics], rows)


def _differences(comparison: Mapping[str, Any]) -> list[str]:
    baseline, *others = comparison["models"]
    bootstrap = comparison["bootstrap"]
    metrics = list(baseline["metrics"])
    rows = [[_name(model), *(_interval(model["difference"]["metrics"][m]) for m in metrics)] for model in others]
    for model in others:
        if control := model.get("against_control"):
            cells = [_interval(control["metrics"][metric]) for metric in metrics]
            rows.append([_escaped(f"{model['name']} minus {control['name']}"), *cells])
    of_controls = [model["verdict"]["sentence"] for model in others if model["role"] == "control"]
    return [
        f"## Difference to {_escaped(baseline['name'])}",
        _table(["Model", *metrics], rows),
        f"Below each the {100 * bootstrap['confidence']:g}% interval of a paired bootstrap over images and seeds, "
        f"{bootstrap['resamples']} resamples; - where too few images have such objects.",
        *map(_escaped, of_controls),
    ]


def _classes(models: Sequence[Model], names: Sequence[str]) -> str:
    rows = [
        [_escaped(name), str(models[0]["per_class"][name]["boxes"]), *(_class_cell(model, name) for model in models)]
        for name in names
    ]
    return _table(["Class", "boxes", *(_name(model) for model in models)], rows)


def _class_cell(model: Model, name: str) -> str:
    cell = _number(model["per_class"][name]["AP"])
    if not model["difference"]:
        return cell
    return f"{cell}<br>{_interval(model['difference']['per_class'][name])}"


def _costs(models: Sequence[Model]) -> str:
    head = ["Model", "parameters", "GFLOPs", "latency, ms", "training, images/s", "peak memory in training, MB"]
    rows = [
        [
            _name(model),
            "-" if model["parameters"] is None else f"{model['parameters']:,}",
            "-" if model["gflops"] is None else f"{model['gflops']:.2f}",
            _quartiles(model["latency_ms"]),
            _quartiles(model["training_images_per_second"]),
            "-" if model["peak_memory_mb"] is None else f"{model['peak_memory_mb']:.0f}",
        ]
        for model in models
    ]
    note = (
        "GFLOPs are of one image, attention counted, a multiply-add as two. Latency is of one image, without loading "
        "and NMS, training speed that of steps, without loading; both are medians (quartiles) of runs taken in turns."
    )
    return f"{_table(head, rows)}\n\n{note}"


def _fairness(table: Sequence[Mapping[str, Any]], models: Sequence[Model]) -> str:
    same = {True: "yes", False: "**no**", None: "not checked"}
    rows = [
        [row["what"], same[row["same"]], *(_escaped(row["values"].get(model["name"], "-")) for model in models)]
        for row in table
    ]
    return _table(["What", "same for all", *(_name(model) for model in models)], rows)


def _made_with(comparison: Mapping[str, Any]) -> str:
    machine, recipe = comparison["machine"], comparison["settings"]["recipe"]
    versions = ", ".join(f"{name} {version}" for name, version in comparison["versions"].items())
    lines = [
        f"On {machine['gpu'] or machine['cpu']}, {machine['cores']} CPU cores; {versions}.",
        f"Annotations: `{comparison['data']['annotations']}`, sha256 `{comparison['data']['sha256']}`.",
    ]
    if recipe:
        lines.append(f"Recipe: `{json.dumps(recipe)}`.")
    return "\n".join(lines)


def _number(number: Mapping[str, Any]) -> str:
    if number["mean"] in (None, -1):
        return "-"
    spread = "" if number["spread"] is None else f" ± {number['spread']:.3f}"
    return f"{number['mean']:.3f}{spread}"


def _interval(interval: Mapping[str, float | None]) -> str:
    mean, low, high = (interval[key] for key in ("mean", "low", "high"))
    if mean is None or low is None or high is None:
        return "-"
    return f"{mean:+.3f}<br>{low:+.3f} to {high:+.3f}"


def _quartiles(spread: Mapping[str, float] | None) -> str:
    return "-" if spread is None else f"{spread['median']:.1f} ({spread['low']:.1f} to {spread['high']:.1f})"


def _name(model: Model) -> str:
    role = "" if model["role"] == "candidate" else f" ({model['role']})"
    return _escaped(model["name"]) + role


def _escaped(text: str) -> str:
    """Names of files and classes as they are, not as Markdown."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|" else char for char in " ".join(text.split()))


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
