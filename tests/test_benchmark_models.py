import pytest
import torch

from swin_yolo.benchmark import models as benchmarked
from swin_yolo.benchmark.models import BOXES, NC, ModelsSettings, drawn_batch, models
from swin_yolo.benchmark.row_times import row_seconds, row_tables
from swin_yolo.engine.backend import model_backend
from swin_yolo.engine.model import build_model, count_parameters

CFGS = ("yolov5n.yaml", "yolov5n-c3str.yaml")


@pytest.fixture(scope="module")
def tables():
    settings = ModelsSettings(CFGS, imgsz=64, rounds=1, batch_size=2, per_row=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(benchmarked, "peak_memory_mb", lambda make, device: 100.0 + len(make.args[0]))
        return list(models(settings))


def test_costs_are_given_beside_the_first_model(tables):
    costs = tables[0]
    assert [row[0] for row in costs.rows] == ["yolov5n", "yolov5n-c3str"]
    assert costs.rows[0][4] == costs.rows[0][6] == "1" and all(len(row) == len(costs.columns) for row in costs.rows)
    ours, baseline = (costs.figures[name] for name in ("yolov5n-c3str", "yolov5n"))
    assert ours["parameters"] == count_parameters(build_model("yolov5n-c3str.yaml", nc=NC))
    by_round = [a / b for a, b in zip(ours["latency_seconds"], baseline["latency_seconds"], strict=True)]
    assert min(by_round) <= ours["latency_ratio"] <= max(by_round) and len(by_round) == 10
    (a,), (b,) = ours["training_seconds"], baseline["training_seconds"]
    assert ours["training_ratio"] == pytest.approx(b / a)
    assert ours["training_images_per_second"] == pytest.approx(2 / a)
    assert ours["peak_memory_mb"] == 118.0 and costs.rows[1][-1] == "118"


def test_a_larger_model_is_set_beside_a_baseline_of_its_size(tables):
    beside = tables[1]
    assert [row[0] for row in beside.rows] == ["yolov5n-c3str"]
    control = beside.figures["yolov5n-c3str"]
    assert control["control"].startswith("yolov5n-w")
    assert control["parameters"] == pytest.approx(tables[0].figures["yolov5n-c3str"]["parameters"], rel=0.05)


def test_there_is_no_control_where_sizes_agree(monkeypatch):
    monkeypatch.setattr(benchmarked, "peak_memory_mb", lambda make, device: 1.0)
    titles = [table.title for table in models(ModelsSettings(CFGS[:1], imgsz=64, rounds=1, batch_size=1))]
    assert titles == ["Whole models"]


def test_every_row_of_every_model_is_timed(tables):
    for cfg, table in zip(CFGS, tables[2:], strict=True):
        rows = build_model(cfg, nc=NC).model
        assert [row[0] for row in table.rows] == [str(i) for i in range(len(rows))]
        assert [row[1] for row in table.rows] == [row.type.rsplit(".", 1)[-1] for row in rows]
        assert sum(figures["share"] for figures in table.figures.values()) == pytest.approx(1)
        assert all(figures["seconds"] > 0 for figures in table.figures.values())
    assert tables[3].rows[8][1:3] == ("C3STR", "256 x 2 x 2")


def test_the_time_of_a_row_is_its_own_and_its_hooks_are_gone_after(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("swin_yolo.benchmark.row_times.time.perf_counter", lambda: now[0])
    backend = model_backend(build_model("yolov5n.yaml"), device=torch.device("cpu"))
    for row in backend.rows:

        def slow(*args, forward=row.forward, number=row.i):
            now[0] += number
            return forward(*args)

        row.forward = slow
    (seconds,) = row_seconds({"a": backend}, 32, 2).values()
    assert seconds == list(range(len(backend.rows)))
    assert not any(row._forward_hooks or row._forward_pre_hooks for row in backend.rows)
    assert [table.title for table in row_tables({"a": backend}, 32, 1)] == ["Rows of a at 32 px"]


def test_a_drawn_batch_has_boxes_inside_every_image():
    batch = drawn_batch(3, 64, torch.device("cpu"))
    assert batch["img"].shape == (3, 3, 64, 64) and batch["img"].is_contiguous(memory_format=torch.channels_last)
    centres, wh = batch["bboxes"].split(2, 1)
    assert (centres - wh / 2 >= 0).all() and (centres + wh / 2 <= 1).all() and (wh > 0).all()
    assert batch["batch_idx"].tolist() == [i for i in range(3) for _ in range(BOXES)]
    assert batch["cls"].shape == (3 * BOXES, 1) and batch["cls"].max() < NC
