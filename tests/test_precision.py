import logging

import pytest
import torch
from clips import small_checkpoint

from swin_yolo.engine import precision as precision_module
from swin_yolo.engine.precision import fastest, measure, open_in
from swin_yolo.timing import Timing

CPU = torch.device("cpu")
PRECISIONS = {"a": "fp32", "b": "fp32", "c": "bf16"}


def timings(**seconds: float) -> dict[str, Timing]:
    return {name: Timing((value,)) for name, value in seconds.items()}


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({"a": 1.0, "b": 2.0, "c": 0.5}, "c"),
        ({"a": 2.0, "b": 1.0, "c": 3.0}, "b"),
        ({"a": 1.0, "b": 2.0, "c": 0.95}, "a"),  # not worth the digits
        ({"a": 1.1, "b": 2.0, "c": 1.0}, "c"),
    ],
)
def test_fp32_stays_unless_another_is_faster_by_a_tenth(seconds, expected):
    assert fastest(PRECISIONS, timings(**seconds)) == expected


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("weights") / "small.pt")


def test_auto_takes_the_fastest_and_says_so(weights, monkeypatch, caplog):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    seconds = {"fp32, channels last": 0.4, "fp32, channels first": 0.3, "bf16, channels last": 0.2}
    monkeypatch.setattr(
        precision_module, "measure", lambda backends, hw: {n: Timing((seconds.get(n, 1.0),)) for n in backends}
    )
    with caplog.at_level(logging.INFO, "ultralytics"):
        backend = open_in("auto", weights, device=CPU, measure_hw=(64, 64))
    assert backend.precision == "bf16"
    assert "Computing in bf16, channels last: an image takes fp32, channels last 400 ms," in caplog.text


def test_auto_is_fp32_where_a_measurement_is_not_worth_it(weights, monkeypatch):
    monkeypatch.setattr(precision_module, "measure", lambda *_: pytest.fail("measured"))
    assert open_in("auto", weights, device=CPU).precision == "fp32"


def test_a_precision_asked_for_is_not_measured(weights, monkeypatch):
    monkeypatch.setattr(precision_module, "measure", lambda *_: pytest.fail("measured"))
    assert open_in("bf16", weights, device=CPU, measure_hw=(64, 64)).precision == "bf16"


def test_each_way_is_timed_on_one_image_of_the_size(weights):
    seen = []

    class Backend:
        fixed_hw, device = None, CPU

        def __call__(self, images):
            seen.append(tuple(images.shape))

    class Fixed(Backend):
        fixed_hw = (32, 96)

    times = measure({"any": Backend(), "fixed": Fixed()}, (64, 128))
    assert times.keys() == {"any", "fixed"} and set(seen) == {(1, 3, 64, 128), (1, 3, 32, 96)}
    assert seen[:2] == [(1, 3, 64, 128), (1, 3, 32, 96)], "in turns"


def test_who_is_far_behind_is_not_timed_again(monkeypatch):
    seconds = {"fast": 1.0, "near": 1.2, "slow": 1.3}
    runs = []

    def once(work, *, rounds, warmup, **_):
        runs.extend([name for name in work for _ in range(rounds)])
        return {name: Timing((seconds[name],) * rounds) for name in work}

    monkeypatch.setattr(precision_module, "interleaved", once)
    times = measure(dict.fromkeys(seconds), (64, 64))
    assert {name: runs.count(name) for name in seconds} == {"fast": 3, "near": 3, "slow": 1}
    assert {name: len(timing.seconds) for name, timing in times.items()} == {"fast": 3, "near": 3, "slow": 1}
