import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from swin_yolo.comparison import scores
from swin_yolo.comparison.scores import Settings, score
from swin_yolo.errors import InputError
from swin_yolo.files import sha256


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / "best.pt"
    file.write_bytes(b"weights")
    return file


@pytest.fixture
def settings(tmp_path):
    annotations = tmp_path / "val.json"
    annotations.write_text("{}")
    return Settings("d.yaml", annotations, device="0,1", workers=3, trust=True)


@pytest.fixture
def evaluated(monkeypatch):
    """Counts scorings, in the place of doing them; raises what is put into `fault` half-way."""
    calls = SimpleNamespace(made=[], fault=None)

    def evaluate(weights, data, *, save_dir, **given):
        calls.made.append((weights, data, given))
        save_dir.mkdir(parents=True, exist_ok=True)
        (save_dir / "metrics.json").write_text(json.dumps({"AP": len(calls.made) / 10}))
        if calls.fault:
            raise calls.fault
        (save_dir / "predictions.json").write_text(json.dumps([{"score": len(calls.made)}]))
        return SimpleNamespace(score=SimpleNamespace(names=("a", "b"), precision=np.arange(4.0).reshape(2, 2)))

    monkeypatch.setattr(scores, "evaluate", evaluate)
    return calls


def test_a_checkpoint_is_scored_with_the_settings_on_the_first_device(weights, settings, evaluated, tmp_path):
    scored = score(weights, tmp_path / "s", replace(settings, task="test", imgsz=96, batch_size=5))
    ((file, data, given),) = evaluated.made
    assert (file, data) == (weights, "d.yaml")
    expected = {
        "task": "test",
        "imgsz": 96,
        "batch_size": 5,
        "device": "0",
        "workers": 3,
        "trust": True,
        "plots": False,
    }
    assert given == expected
    assert scored.metrics == {"AP": 0.1} and scored.detections() == [{"score": 1}]
    assert scored.precision == {"a": [0.0, 1.0], "b": [2.0, 3.0]} and scored.sha256 == sha256(weights)


def test_it_is_scored_once(weights, settings, evaluated, tmp_path):
    first = score(weights, tmp_path / "s", settings)
    again = score(weights, tmp_path / "s", replace(settings, device="cpu", workers=0, trust=False))
    assert again == first and len(evaluated.made) == 1


@pytest.mark.parametrize("change", [{"task": "test"}, {"imgsz": 96}, {"batch_size": 5}, "weights", "annotations"])
def test_it_is_scored_anew_where_anything_that_counts_differs(weights, settings, evaluated, tmp_path, change):
    score(weights, tmp_path / "s", settings)
    if change == "weights":
        weights.write_bytes(b"others")
    elif change == "annotations":
        settings.annotations.write_text("[]")
    else:
        settings = replace(settings, **change)
    assert score(weights, tmp_path / "s", settings).metrics == {"AP": 0.2}


def test_a_scoring_that_was_killed_is_done_again_and_no_half_of_it_is_taken(weights, settings, evaluated, tmp_path):
    score(weights, tmp_path / "s", settings)
    evaluated.fault = KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        score(weights, tmp_path / "s", replace(settings, imgsz=96))
    # What is there now is a mixture of both.
    evaluated.fault = None
    assert score(weights, tmp_path / "s", settings).metrics == {"AP": 0.3}


def test_it_is_scored_anew_by_other_versions_or_where_its_detections_are_gone(
    weights, settings, evaluated, tmp_path, monkeypatch
):
    score(weights, tmp_path / "s", settings)
    (tmp_path / "s" / "predictions.json").unlink()
    assert score(weights, tmp_path / "s", settings).detections() == [{"score": 2}]
    monkeypatch.setattr(scores, "versions", lambda: {"torch": "99"})
    assert score(weights, tmp_path / "s", settings).metrics == {"AP": 0.3}


def test_weights_that_are_missing_are_named(settings, tmp_path):
    with pytest.raises(InputError, match=r"--weights .*none.pt: no such file"):
        score(tmp_path / "none.pt", tmp_path / "s", settings)
