from pathlib import Path

import pytest
import torch
import yaml

from swin_yolo.comparison.contestants import Build, contestant, contestants, names_of_files, same_model
from swin_yolo.comparison.matched import control, nearest_width, own_width, write_at_width
from swin_yolo.engine.model import build_model, count_gflops, count_parameters, read_model_yaml
from swin_yolo.errors import InputError

NAMES = {0: "a", 1: "b", 2: "c"}
BUILD = Build(NAMES, 64)


# Models and their names


def test_the_first_is_the_baseline_and_each_has_its_size_with_the_dataset_s_classes():
    models = contestants(["yolov5n.yaml", "yolov5n-c3str.yaml"], BUILD)
    assert [(model.name, model.role) for model in models] == [("yolov5n", "baseline"), ("yolov5n-c3str", "candidate")]
    built = build_model("yolov5n-c3str.yaml", nc=3)
    assert models[1].parameters == count_parameters(built) and models[1].yaml == built.yaml
    assert models[1].gflops == pytest.approx(count_gflops(built, 64), abs=1e-3) and models[1].taken is None


def test_the_head_is_that_of_the_comparison():
    assert contestant("yolov5n.yaml", "baseline", Build(NAMES, 64, "anchor")).yaml["head"][-1][2] == "AnchorDetect"


def test_the_share_taken_from_the_parent_is_known(tmp_path):
    parent = build_model("yolov5n.yaml", nc=3)
    parent.names = NAMES
    torch.save({"model": parent}, tmp_path / "p.pt")
    build = Build(NAMES, 64, parent=tmp_path / "p.pt")
    assert contestant("yolov5n.yaml", "baseline", build).taken == 1.0
    part = contestant("yolov5n-c3str.yaml", "candidate", build).taken
    swin = build_model("yolov5n-c3str.yaml", nc=3)
    left = sum(p.numel() for n, p in swin.state_dict().items() if not n.startswith("model.8."))
    assert left / sum(p.numel() for p in swin.state_dict().values()) <= part < 1


def test_weights_to_start_from_that_cannot_be_read_are_named_by_their_flag(tmp_path):
    (tmp_path / "p.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"^--from .*p.pt: not a checkpoint"):
        contestant("yolov5n.yaml", "baseline", Build(NAMES, 64, parent=tmp_path / "p.pt"))


def test_two_models_of_one_name_are_refused():
    with pytest.raises(InputError, match=r"--cfg: expected models of different names, got yolov5n twice"):
        contestants(["yolov5n.yaml", "elsewhere/yolov5n.yaml"], BUILD)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.pt", "b.onnx"], ["a", "b"]),
        (["runs/one/weights/best.pt", "runs/two/weights/last.pt"], ["one", "two"]),
        (["best.pt", "x/best.onnx"], ["best.pt", "best.onnx"]),
        (["a.pt", "a.onnx", "b.pt"], ["a.pt", "a.onnx", "b"]),
        (["x/a.pt", "y/a.pt", "b.pt"], ["x/a.pt", "y/a.pt", "b"]),
        (["/weights/best.pt", "b.pt"], ["best", "b"]),
        (["yolo_openvino_model", "b.pt"], ["yolo_openvino_model", "b"]),
    ],
)
def test_files_are_called_by_the_shortest_name_that_tells_them_apart(files, names):
    assert names_of_files([Path(file) for file in files]) == names


def test_one_file_named_twice_is_refused():
    with pytest.raises(InputError, match=r"--weights: expected different files, got x/a.pt twice"):
        names_of_files([Path("x/a.pt"), Path("x/a.pt")])


# Whether two are one model


def test_a_model_is_itself_and_rows_that_differ_are_named():
    vanilla, swin = (build_model(cfg, nc=3).yaml for cfg in ("yolov5n.yaml", "yolov5n-c3str.yaml"))
    assert same_model(vanilla, vanilla) is None
    assert same_model(vanilla, swin) == "row 8 [-1, 3, 'C3STR', [1024]], not [-1, 3, 'C3', [1024]]"
    assert same_model(vanilla, build_model("yolov5n.yaml", nc=4).yaml) == "nc 4, not 3"
    assert same_model(vanilla, build_model("yolov5s.yaml", nc=3).yaml).startswith("scale [0.33, 0.5")
    assert same_model(vanilla, {**vanilla, "head": vanilla["head"][:-1]}) == "head of 14 rows, not of 15 rows"


# The control


@pytest.mark.parametrize(
    ("target", "width"),
    [(0.09, 0.3), (0.0901, 0.3), (0.094, 0.31), (1.0, 1.0), (4.0, 2.0), (0.0001, 0.01), (0, 0.01), (0.0625, 0.25)],
)
@pytest.mark.parametrize("start", [0.01, 0.25, 1.0, 3.0])
def test_the_width_found_is_the_nearest_of_all_steps(target, width, start):
    """Sizes grow with the square of the width."""
    assert nearest_width(lambda w: w * w, target, start=start) == width


def test_widths_of_equal_size_do_not_stop_the_search():
    sizes = {}

    def size(width):
        sizes[width] = -(-width // 0.125)  # whole groups of channels
        return sizes[width]

    found = nearest_width(size, 5, start=0.25)
    assert size(found) == 5 and len(sizes) < 20


@pytest.mark.parametrize("by", ["params", "gflops"])
def test_the_control_is_the_baseline_at_the_width_nearest_to_the_candidate_s_size(tmp_path, by):
    baseline, candidate = contestants(["yolov5n.yaml", "yolov5n-swin.yaml"], BUILD)
    found = control(baseline, candidate, by=by, folder=tmp_path, build=BUILD)
    size = (lambda model: model.parameters) if by == "params" else (lambda model: model.gflops)
    source, width = read_model_yaml("yolov5n.yaml"), float(found.name.removeprefix("yolov5n-w"))
    assert found.role == "control" and Path(found.cfg) == tmp_path / f"{found.name}.yaml"
    for other in (width - 0.01, width + 0.01):
        cfg = write_at_width(source, round(other, 2), tmp_path / "near" / f"yolov5n-w{other:.2f}.yaml")
        near = contestant(str(cfg), "control", BUILD)
        assert abs(size(near) - size(candidate)) >= abs(size(found) - size(candidate))
    assert abs(size(found) / size(candidate) - 1) < 0.06
    # Only the width differs.
    assert {**found.yaml, "scales": 0, "yaml_file": 0} == {**baseline.yaml, "scales": 0, "yaml_file": 0}
    assert found.yaml["scales"]["n"] == [0.33, width, 1024]


def test_a_candidate_of_the_baseline_s_size_needs_no_control(tmp_path):
    (baseline,) = contestants(["yolov5n.yaml"], BUILD)
    assert control(baseline, baseline, by="params", folder=tmp_path / "models", build=BUILD) is None
    assert not (tmp_path / "models").exists()


def test_the_yaml_at_its_own_width_is_the_same_model(tmp_path):
    source = read_model_yaml("yolov5s.yaml")
    assert own_width(source) == 0.5
    cfg = write_at_width(source, 0.5, tmp_path / "yolov5s-w0.5.yaml")
    assert same_model(build_model(cfg, nc=3).yaml, build_model("yolov5s.yaml", nc=3).yaml) is None
    assert cfg.read_text().startswith("# yolov5s.yaml at width 0.5: a control")


def test_a_yaml_without_scales_is_widened_by_its_multiple(tmp_path):
    source = read_model_yaml("yolov5n.yaml")
    depth, width, _ = source["scales"]["n"]
    plain = {k: v for k, v in source.items() if k not in ("scales", "scale", "yaml_file")}
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**plain, "depth_multiple": depth, "width_multiple": width}))
    source = read_model_yaml(file)
    assert own_width(source) == 0.25
    wide = build_model(write_at_width(source, 0.5, tmp_path / "wide.yaml"), nc=3)
    assert count_parameters(wide) == count_parameters(build_model("yolov5s.yaml", nc=3))
