import json
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import pytest
import torch
from tiny import NAMES, tiny_set

from swin_yolo.comparison import costs, measured
from swin_yolo.comparison.costs import Spread, in_ms, latencies, peak_memory_mb, per_second, training_speeds
from swin_yolo.comparison.plan import Training
from swin_yolo.comparison.progress import Display
from swin_yolo.comparison.results import ModelResult, RunResult
from swin_yolo.comparison.scores import Scored, Settings
from swin_yolo.comparison.training_step import StepSettings, training_step
from swin_yolo.engine.datasets import load_splits
from swin_yolo.engine.model import build_model
from swin_yolo.engine.recipe import full_recipe
from swin_yolo.timing import Timing


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    return load_splits(tiny_set(tmp_path_factory.getbasetemp()))


@pytest.fixture
def steps(splits):
    return StepSettings(splits["train"], full_recipe(), 64, 4, "cpu")


@pytest.fixture
def weights(tmp_path):
    files = {}
    for name in ("yolov5n", "yolov5n-c3str"):
        model = build_model(f"{name}.yaml", nc=2)
        model.names = NAMES
        files[name] = tmp_path / f"{name}.pt"
        torch.save({"model": model}, files[name])
    return files


# Numbers


def test_seconds_become_milliseconds_and_images_a_second():
    timing = Timing((0.1, 0.2, 0.3))
    assert in_ms(timing) == Spread(*map(pytest.approx, (200, 150, 250)))
    assert per_second(timing, 6) == Spread(*map(pytest.approx, (30, 24, 40)))  # the quicker the more
    assert Spread(1.23456, 1, 2).as_json() == {"median": 1.2346, "low": 1, "high": 2}


# Measurements


def test_models_are_timed_in_turns(weights, monkeypatch):
    ran = []

    def interleaved(work, *, rounds, warmup, seconds):
        for _ in range(2):
            for name, run in work.items():
                run()
                ran.append(name)
        return {name: Timing((1.0,)) for name in work}

    monkeypatch.setattr(costs, "interleaved", interleaved)
    assert latencies(weights, imgsz=64, device="cpu") == dict.fromkeys(weights, Spread(1000, 1000, 1000))
    assert ran == ["yolov5n", "yolov5n-c3str"] * 2


def test_a_training_step_trains_the_model_as_the_recipe_says(steps, monkeypatch):
    built = []

    def build(*args, **kwargs):
        built.append(build_model(*args, **kwargs))
        return built[-1]

    monkeypatch.setattr("swin_yolo.comparison.training_step.build_model", build)
    step = training_step("yolov5n-c3str.yaml", steps)
    (model,) = built
    before = {name: p.clone() for name, p in model.named_parameters()}
    step()
    changed = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert len(changed) > 0.9 * len(before) and model.training and all(p.grad is None for p in model.parameters())
    assert model.args.lr0 == 0.0015 and model.model[-1].nc == 2


@pytest.mark.parametrize("head", [None, "anchor"])
def test_training_speed_is_images_over_seconds(splits, monkeypatch, head):
    monkeypatch.setattr(costs, "TRAINING_ROUNDS", 1)
    steps = StepSettings(splits["train"], full_recipe(), 64, 3, "cpu", head)
    monkeypatch.setattr(costs, "interleaved", lambda work, **_: [w() for w in work.values()] and {"a": Timing((0.5,))})
    assert training_speeds({"a": "yolov5n.yaml"}, steps)["a"].median == 6


def test_memory_is_that_of_a_process_of_its_own(steps):
    here = peak_memory_mb(partial(training_step, "yolov5n.yaml", steps), steps.torch_device)
    assert 100 < here < 8000


# Kept


@pytest.fixture
def counted(monkeypatch):
    """Counts measurements, in the place of making them."""
    made = []

    def count(what, value):
        def measure(models, *_, **__):
            made.append(what)
            return dict.fromkeys(models, Spread(value, value, value))

        return measure

    monkeypatch.setattr(measured, "latencies", count("latency", 5.0))
    monkeypatch.setattr(measured, "training_speeds", count("speed", 7.0))
    monkeypatch.setattr(measured, "peak_memory_mb", lambda *_: made.append("memory") or 9.0)
    return made


def models(tmp_path, **hashes) -> list[ModelResult]:
    return [
        ModelResult(name, "candidate", [RunResult(Scored(tmp_path / name, sha, {}, {}, tmp_path))], cfg=f"{name}.yaml")
        for name, sha in hashes.items()
    ]


def test_costs_are_measured_once_for_the_same_weights(splits, tmp_path, counted, monkeypatch):
    training = Training("d", splits, epochs=1)
    settings = Settings("d", tmp_path)

    def costs_of(found, **changes):
        given = {"settings": settings, "training": training, "display": Display()} | changes
        return [model.costs for model in measured.with_costs(found, tmp_path / "costs.json", **given)]

    spread = {"median": 5.0, "low": 5.0, "high": 5.0}
    all_costs = {
        "latency_ms": spread,
        "training_images_per_second": dict.fromkeys(spread, 7.0),
        "peak_memory_mb": 9.0,
    }
    first = models(tmp_path, a="1", b="2")
    assert costs_of(first) == [all_costs, all_costs] and counted == ["latency", "speed", "memory", "memory"]
    assert costs_of(first) == [all_costs, all_costs] and len(counted) == 4
    # What is taken in turns is taken again as a whole.
    costs_of(models(tmp_path, a="1", b="3"))
    costs_of(models(tmp_path, a="1", b="3", c="4"))
    costs_of(first, settings=Settings("d", tmp_path, imgsz=320))
    assert counted.count("latency") == 4
    assert costs_of(first, training=None) == [{"latency_ms": spread}] * 2
    assert counted.count("latency") == 5
    monkeypatch.setattr(measured, "versions", lambda: {"torch": "99"})
    assert costs_of(first, training=None) == [{"latency_ms": spread}] * 2 and counted.count("latency") == 6
    (tmp_path / "costs.json").write_text("[")
    assert costs_of(first) == [all_costs, all_costs]
    assert json.loads((tmp_path / "costs.json").read_text())["costs"]["a"] == all_costs


@pytest.mark.parametrize("fault", [torch.OutOfMemoryError("CUDA out of memory"), BrokenProcessPool("killed")])
def test_what_there_is_no_memory_for_is_left_out_with_a_word_and_tried_again(
    splits, tmp_path, counted, monkeypatch, capsys, fault
):
    def fail(*_):
        raise fault

    for name in ("training_speeds", "peak_memory_mb"):
        monkeypatch.setattr(measured, name, fail)
    given = {"settings": Settings("d", tmp_path), "training": Training("d", splits, epochs=1), "display": Display()}
    (model,) = measured.with_costs(models(tmp_path, a="1"), tmp_path / "costs.json", **given)
    assert model.costs["latency_ms"]["median"] == 5.0
    assert model.costs["training_images_per_second"] is model.costs["peak_memory_mb"] is None
    said = capsys.readouterr().out
    assert f"training speed could not be measured: {fault}" in said
    assert f"memory of a could not be measured: {fault}" in said and not (tmp_path / "costs.json").exists()
