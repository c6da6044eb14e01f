import sys

import pytest
import torch
from live_detectors import live_detector
from tiny import tiny_set

from swin_yolo.cli import export as command
from swin_yolo.engine import export as exporting
from swin_yolo.engine import export_check, exporter, packages
from swin_yolo.engine.backend import open_backend
from swin_yolo.engine.export import ExportError, export
from swin_yolo.engine.export_check import Difference, pictures, relative_difference
from swin_yolo.engine.model import build_model
from swin_yolo.errors import InputError
from swin_yolo.nn import attention
from swin_yolo.weights import convert

FAMILIES = ["swin", "swint", "c3str", "c3str-neck", "c3str-p2", "swin-insert", "anchor"]
# At 64 px every level is one window, at 256 px none is.
SIZES = ((256, 64), (96, 256))


@pytest.fixture
def few_sizes(monkeypatch):
    monkeypatch.setattr(exporting, "DYNAMIC_SIZES", SIZES)


def saved(folder, cfg="yolov5n-c3str.yaml", **kwargs):
    file = folder / "best.pt"
    torch.save({"model": live_detector(cfg, **kwargs)}, file)
    return file


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("export"))


def names_in(folder):
    return sorted(f.name for f in folder.iterdir())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graph_of_every_family_follows_its_input(family, tmp_path, few_sizes):
    (exported,) = export(saved(tmp_path, f"yolov5n-{family}.yaml"), ["torchscript"], imgsz=(64, 96), dynamic=True)
    assert [d.hw for d in exported.differences] == [(64, 96), *SIZES]
    assert max(d.relative for d in exported.differences) < 5e-4
    assert min(d.response for d in exported.differences) > 0.05
    assert names_in(tmp_path) == ["best.pt", "best.torchscript"]


@pytest.mark.parametrize(("name", "written"), [("onnx", "best.onnx"), ("openvino", "best_openvino_model")])
def test_runtimes_agree_with_pytorch_at_every_size(name, written, tmp_path, few_sizes):
    file = saved(tmp_path, "yolov5n-swin.yaml", head="anchor")
    (exported,) = export(file, [name], imgsz=(64, 96), dynamic=True)
    assert max(d.relative for d in exported.differences) < 5e-4
    assert min(d.response for d in exported.differences) > 0.05
    assert exported.file == tmp_path / written
    assert open_backend(exported.file, device=torch.device("cpu")).fixed_hw is None


def test_the_sizes_tried_are_those_that_are_promised():
    assert export_check.DYNAMIC_SIZES == ((256, 256), (320, 192), (384, 640), (480, 352), (640, 640))


def test_safetensors_are_exported(weights, tmp_path):
    convert(weights, tmp_path / "own.v2.safetensors")
    (exported,) = export(tmp_path / "own.v2.safetensors", ["torchscript"], imgsz=64)
    assert exported.file == tmp_path / "own.v2.torchscript"
    assert names_in(tmp_path) == ["own.v2.safetensors", "own.v2.torchscript"]


def test_a_mask_that_does_not_follow_the_input_is_refused(tmp_path, few_sizes, monkeypatch):
    file = saved(tmp_path)
    (tmp_path / "best.torchscript").write_bytes(b"earlier")
    monkeypatch.setattr(attention, "is_traced", lambda x: False)
    with pytest.raises(ExportError, match=r"torchscript: (at 256 x 64 .* differs|the exported model does not run)"):
        list(export(file, ["torchscript"], imgsz=(64, 96), dynamic=True))
    assert names_in(tmp_path) == ["best.pt", "best.torchscript"]
    assert (tmp_path / "best.torchscript").read_bytes() == b"earlier"


def test_a_difference_over_the_limit_is_refused(weights, monkeypatch, capsys):
    before = names_in(weights.parent)
    monkeypatch.setattr(exporting, "compare", lambda backend, model, hw: Difference(hw, 1.1e-3, 1.0))
    code = command.run([f"--weights={weights}", "--include", "torchscript", "--imgsz", "64"])
    assert code == 1
    error = capsys.readouterr().err
    assert error.startswith(
        "swin-yolo export: torchscript: at 64 x 64 the exported model differs from PyTorch by 1.1e-03"
    )
    assert error.count("\n") == 1
    assert names_in(weights.parent) == before


def test_a_model_with_nms_gives_final_boxes(tmp_path, monkeypatch):
    model = live_detector("yolov5n.yaml")
    with torch.no_grad():
        for branch in model.model[-1].cv3:
            branch[-1].bias += 4  # scores beyond the 0.25 at which boxes are kept
    torch.save({"model": model}, tmp_path / "best.pt")
    (exported,) = export(tmp_path / "best.pt", ["torchscript"], imgsz=64, nms=True)
    assert exported.differences[0].relative < 1e-3 < exported.differences[0].response
    backend = open_backend(exported.file, device=torch.device("cpu"))
    boxes = backend(pictures((64, 64)))
    assert backend.end2end and boxes.shape == (2, 300, 6)
    assert (boxes[..., 4] > 0.25).any()


def test_a_static_model_of_a_batch_takes_other_batches(tmp_path):
    (exported,) = export(saved(tmp_path), ["torchscript"], imgsz=64, batch_size=2)
    backend = open_backend(exported.file, device=torch.device("cpu"))
    images = torch.cat((pictures((64, 64)), pictures((64, 64)).flip(-1)))
    torch.testing.assert_close(backend(images)[:3], backend(images[:3]), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(backend(images)[1:2], backend(images[1:2]), rtol=1e-3, atol=1e-3)


def test_what_is_written_is_printed_with_its_differences(weights, capsys):
    assert command.run([f"--weights={weights}", "--include", "torchscript", "--imgsz", "64", "96"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{weights.with_suffix('.torchscript')}  (") and "relative difference from PyTorch" in first
    assert second.startswith("    at   64 x 96   ")


def test_a_model_that_is_blind_is_said_to_be(tmp_path, caplog, monkeypatch):
    model = build_model("yolov5n.yaml", nc=2)
    model.args = {"data": None}
    torch.save({"model": model}, tmp_path / "best.pt")
    monkeypatch.setattr(exporter.LOGGER, "propagate", True)
    list(export(tmp_path / "best.pt", ["torchscript"], imgsz=64))
    assert "nearly the same output for different pictures" in caplog.text


def test_relative_difference_is_of_boxes_and_scores_apart():
    expected = torch.zeros(1, 6, 2)
    expected[:, :4], expected[:, 4:] = 100.0, 0.5
    boxes, scores, undefined = expected.clone(), expected.clone(), expected.clone()
    boxes[0, 0, 0] += 1
    scores[0, 5, 1] += 0.1
    undefined[0, 0, 0] = float("nan")
    assert relative_difference(boxes, expected) == pytest.approx(0.01)
    assert relative_difference(scores, expected) == pytest.approx(0.2)
    assert relative_difference(undefined, expected) == relative_difference(boxes[..., :1], expected) == float("inf")


@pytest.mark.parametrize(
    ("include", "arguments", "error"),
    [
        (["onnx", "engine"], {}, r"--include engine: expected some of onnx, openvino, torchscript, ncnn"),
        (["openvino"], {"half": True, "int8": True}, r"--half and --int8: expected one of them"),
        (["onnx"], {"int8": True, "data": "x"}, r"--int8: expected --include openvino alone, got onnx"),
        (["openvino"], {"int8": True}, r"--int8: expected --data"),
        (["onnx"], {"data": "x"}, r"--data: would not be read without --int8"),
        (["openvino"], {"opset": 17}, r"--opset: would not be read by openvino"),
        (["torchscript"], {"half": True}, r"--half: expected a GPU"),
        (["ncnn"], {"dynamic": True}, r"--dynamic: ncnn models take one size"),
        (["ncnn"], {"nms": True}, r"--nms: ncnn models cannot hold it"),
        (["ncnn"], {}, r"--include ncnn: ncnn has no layers for window attention"),
        (["torchscript"], {"imgsz": 100}, r"--imgsz 100: expected a multiple"),
        (["torchscript"], {"device": "99"}, r"--device 99: expected cpu"),
    ],
)
def test_what_cannot_be_asked_for_is_named_and_nothing_written(weights, include, arguments, error, monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: sys)
    before = names_in(weights.parent)
    with pytest.raises(InputError, match=error):
        list(export(weights, include, **{"imgsz": 64, **arguments}))
    assert names_in(weights.parent) == before


def test_an_exported_model_is_no_source(tmp_path):
    with pytest.raises(InputError, match=r"best.onnx: expected a .pt or .safetensors"):
        list(export(tmp_path / "best.onnx", ["torchscript"]))


def test_a_package_that_is_missing_is_named_with_its_command(weights, monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else sys)
    with pytest.raises(InputError, match=r"--include onnx: needs onnx and onnxslim and onnxruntime, .* pip install 'o"):
        list(export(weights, ["onnx"]))


def test_a_folder_that_cannot_be_written_to_is_named(weights, monkeypatch):
    def refuse(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(exporting.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(InputError, match=r"best.pt: cannot write next to it: Permission denied"):
        list(export(weights, ["torchscript"], imgsz=64))


def test_calibration_images_are_spread_over_the_training_images(tmp_path_factory, monkeypatch):
    data = tiny_set(tmp_path_factory.getbasetemp())
    monkeypatch.setattr(exporter, "CALIBRATION_IMAGES", 4)
    settings = exporter.Settings((64, 96), 1, False, "int8", False, None, data)
    images = exporter.calibration_set(data, settings)
    assert [f.rsplit("_", 1)[1] for f in images.im_files] == ["0.png", "3.png", "6.png", "9.png"]
    assert {tuple(images[i]["img"].shape) for i in range(4)} == {(3, 64, 96)}


def test_int8_is_calibrated_and_leaves_swin_blocks_alone(tmp_path, tmp_path_factory, monkeypatch):
    import openvino

    monkeypatch.setattr(exporter, "CALIBRATION_IMAGES", 4)
    data = tiny_set(tmp_path_factory.getbasetemp())
    (exported,) = export(saved(tmp_path), ["openvino"], imgsz=64, int8=True, data=data)
    assert exported.file == tmp_path / "best_int8_openvino_model"
    ops = openvino.Core().read_model(exported.file / "best.xml").get_ops()
    assert sum(op.get_type_name() == "FakeQuantize" for op in ops) > 20
    products = [op for op in ops if op.get_type_name() == "MatMul" and ".blocks." in op.get_friendly_name()]
    weights = {op.input_value(1).get_node().get_type_name() for op in products}
    assert weights == {"Constant"}  # as they are; 8 bits are scaled by a Multiply first
    assert 1e-4 < exported.differences[0].relative < float("inf")
