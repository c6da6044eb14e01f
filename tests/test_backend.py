import shutil

import pytest
import torch
from live_detectors import image_of, live_detector
from ultralytics.utils import checks

from swin_yolo.engine import packages
from swin_yolo.engine.backend import exported_format, open_backend, open_every
from swin_yolo.engine.export import export
from swin_yolo.errors import InputError

CPU = torch.device("cpu")
CFG = "yolov5n-c3str.yaml"


@pytest.fixture(scope="module")
def model():
    return live_detector(CFG)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """best.pt, with best.torchscript for 64 x 96 and best.onnx for any size beside it."""
    folder = tmp_path_factory.mktemp("backend")
    torch.save({"model": model}, folder / "best.pt")
    list(export(folder / "best.pt", ["torchscript"], imgsz=(64, 96)))
    list(export(folder / "best.pt", ["onnx"], imgsz=64, dynamic=True))
    return folder


def expected(model, images):
    with torch.inference_mode():
        return model(images)[0]


@pytest.mark.parametrize("file", ["best.pt", "best.torchscript", "best.onnx"])
def test_each_file_gives_what_the_model_gives(model, folder, file):
    backend = open_backend(folder / file, device=CPU)
    images = image_of((64, 96), batch=3, seed=4)
    output = backend(images)
    assert output.shape == (3, 7, 126)
    difference, size = (output - expected(model, images)).abs(), max(images.shape)
    assert difference[:, :4].max() < 1e-3 * size and difference[:, 4:].max() < 1e-3  # pixels, scores
    assert (output[0] - output[1]).abs().max() > 1  # pixels: an output that does not depend on the image agrees too
    assert (backend.names, backend.stride) == (model.names, 32)
    assert (backend.end2end, backend.device) == (False, CPU)
    assert backend.precision == ("fp32" if file == "best.pt" else "as exported")


def test_what_a_file_takes_is_known(folder):
    opened = {name: open_backend(folder / name, device=CPU) for name in ("best.pt", "best.torchscript", "best.onnx")}
    assert {name: b.fixed_hw for name, b in opened.items()} == {
        "best.pt": None,
        "best.torchscript": (64, 96),
        "best.onnx": None,
    }
    assert [name for name, b in opened.items() if b.model is not None] == ["best.pt"]
    with pytest.raises(ValueError, match=r"expected images of \(64, 96\) \(H, W\), got \(96, 64\)"):
        opened["best.torchscript"](image_of((96, 64)))


def test_the_model_that_was_loaded_is_not_fused(folder):
    backend = open_backend(folder / "best.pt", device=CPU)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in backend.model.modules())


def test_the_format_is_that_of_the_name():
    names = ["a.pt", "a.safetensors", "a.onnx", "A.ONNX", "b.torchscript", "c_int8_openvino_model/", "d_ncnn_model"]
    formats = [exported_format(name) for name in names]
    assert formats == [None, None, ".onnx", ".onnx", ".torchscript", "_openvino_model", "_ncnn_model"]


@pytest.mark.parametrize(
    ("file", "arguments", "error"),
    [
        ("none.onnx", {}, r"--weights .*none.onnx: no such file"),
        ("none_openvino_model", {}, r"--weights .*none_openvino_model: no such folder"),
        ("other.onnx", {}, r"other.onnx: expected a detection model that .* got one that does not say its task"),
        ("broken.onnx", {}, r"broken.onnx: expected an exported model, got one that cannot be loaded"),
        ("best.pt", {"precision": "fp16"}, r"--precision fp16 \(--half\): expected a GPU .* got the CPU"),
        ("best.onnx", {"precision": "bf16"}, r"--precision bf16: expected a .pt or .safetensors, got .*best.onnx"),
        ("best.pt", {"imgsz": 100}, r"--imgsz 100: expected a multiple"),
        ("best.onnx", {"imgsz": (64, 100)}, r"--imgsz 64 100: expected multiples of 32, the stride of .*best.onnx"),
        ("best.torchscript", {"imgsz": 640}, r"--imgsz 640: expected 96, since .* exported for images of 64 x 96"),
    ],
)
def test_what_cannot_be_opened_is_named(folder, file, arguments, error):
    (folder / "other.onnx").write_bytes(b"\x08\x07")
    (folder / "broken.onnx").write_bytes((folder / "best.onnx").read_bytes().replace(b"Conv", b"Cinv"))
    with pytest.raises(InputError, match=error):
        open_backend(folder / file, device=CPU, **arguments)


@pytest.mark.parametrize("imgsz", [96, (64, 96)])
def test_the_size_of_its_export_fits_a_model(folder, imgsz):
    assert open_backend(folder / "best.torchscript", device=CPU, imgsz=imgsz).fixed_hw == (64, 96)


def test_a_runtime_that_is_missing_is_named_with_its_command(folder, monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"best.onnx: needs onnxruntime, .* pip install onnxruntime"):
        open_backend(folder / "best.onnx", device=CPU)


def test_ultralytics_installs_nothing_meanwhile(monkeypatch):
    monkeypatch.setattr(checks, "AUTOINSTALL", True)
    monkeypatch.setattr(checks, "ONLINE", True)
    monkeypatch.setattr(checks, "check_uv", lambda: False)
    run = []
    monkeypatch.setattr(checks.subprocess, "check_output", lambda command, **kwargs: run.append(command) or "")
    with packages.nothing_installed():
        assert not checks.check_requirements("a-package-that-is-not-there")
    assert run == []
    assert checks.AUTOINSTALL
    checks.check_requirements("a-package-that-is-not-there")
    assert len(run) == 1


@pytest.mark.parametrize("head", [None, "anchor"])
def test_bf16_gives_about_the_same_scores_and_boxes_to_fractions_of_a_pixel(head, tmp_path):
    model, images = live_detector(CFG, head=head), image_of((64, 96), batch=3, seed=4)
    torch.save({"model": model}, tmp_path / "best.pt")
    output = open_backend(tmp_path / "best.pt", device=CPU, precision="bf16")(images)
    # What these random weights make of a pixel says little of boxes; docs/results.md has the AP of trained ones.
    assert 0 < (output - expected(model, images))[:, 4:].abs().mean() < 0.01
    boxes = output[:, :4]
    assert boxes.dtype == torch.float32 and (boxes - boxes.bfloat16().float()).abs().mean() > 0.01


def test_every_way_to_compute_is_opened(model, folder, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    every = open_every(folder / "best.pt", device=CPU, imgsz=64)
    assert {name: backend.precision for name, backend in every.items()} == {
        "fp32, channels last": "fp32",
        "fp32, channels first": "fp32",
        "bf16, channels last": "bf16",
        "bf16, channels first": "bf16",
    }
    images = image_of((64, 96), batch=2)
    for name, backend in every.items():
        layer = next(m for m in backend._auto.backend.model.modules() if isinstance(m, torch.nn.Conv2d))
        assert layer.weight.is_contiguous(memory_format=torch.channels_last) == name.endswith("last")
        if backend.precision == "fp32":
            torch.testing.assert_close(backend(images)[:, 4:], expected(model, images)[:, 4:], rtol=0, atol=1e-3)
    assert list(open_every(folder / "best.onnx", device=CPU)) == ["fp32"]
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert {backend.precision for backend in open_every(folder / "best.pt", device=CPU).values()} == {"fp32"}


def test_a_pytorch_without_onednn_is_not_asked_for_bf16(folder, monkeypatch):
    monkeypatch.setattr(torch._C, "_has_mkldnn", False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: 1 / 0)  # is not even there
    assert {backend.precision for backend in open_every(folder / "best.pt", device=CPU).values()} == {"fp32"}


def test_openvino_that_expects_one_size_is_compiled_for_the_one_that_comes(model, tmp_path):
    torch.save({"model": model}, tmp_path / "best.pt")
    list(export(tmp_path / "best.pt", ["openvino"], imgsz=64, dynamic=True))
    usual, settled = (open_backend(tmp_path / "best_openvino_model", device=CPU) for _ in range(2))
    settled.expect_one_size()
    compiled = settled._auto.backend
    for hw in ((64, 96), (64, 96), (96, 64)):
        images = torch.rand(2, 3, *hw)
        torch.testing.assert_close(settled(images), usual(images), rtol=1e-3, atol=1e-2)
        assert list(compiled.ov_compiled_model.input().get_shape()) == [2, 3, *hw]
    assert usual._auto.backend.ov_compiled_model.input().get_partial_shape().is_dynamic


def test_other_runtimes_expect_any_size_as_before(folder):
    for name in ("best.pt", "best.onnx"):
        backend = open_backend(folder / name, device=CPU)
        before = dict(vars(backend._auto))
        backend.expect_one_size()
        assert vars(backend._auto).keys() == before.keys()
        assert backend(torch.rand(1, 3, 64, 64)).shape[-1] < backend(torch.rand(1, 3, 96, 96)).shape[-1]


def test_openvino_is_asked_for_a_precision(model, tmp_path, monkeypatch):
    torch.save({"model": model}, tmp_path / "best.pt")
    list(export(tmp_path / "best.pt", ["openvino"], imgsz=64))
    import openvino

    asked = []  # what a CPU without bf16 answers is fp32 in any case

    class Core(openvino.Core):
        def set_property(self, *args):
            asked.append(args)
            super().set_property(*args)

    monkeypatch.setattr(openvino, "Core", Core)
    backend = open_backend(tmp_path / "best_openvino_model", device=CPU)
    assert openvino.Core is Core
    assert asked == [("CPU", {"INFERENCE_PRECISION_HINT": openvino.Type.f32})]
    every = open_every(tmp_path / "best_openvino_model", device=CPU)
    assert {name: backend.precision for name, backend in every.items()} == {"fp32": "fp32", "bf16": "bf16"}
    assert [value["INFERENCE_PRECISION_HINT"] for _, value in asked[1:]] == [openvino.Type.f32, openvino.Type.bf16]
    assert backend.fixed_hw == (64, 64)
    images = image_of((64, 64), batch=2)
    torch.testing.assert_close(backend(images), expected(model, images), rtol=1e-3, atol=1e-3)
    shutil.copytree(tmp_path / "best_openvino_model", tmp_path / "cut_openvino_model")
    weights = next((tmp_path / "cut_openvino_model").glob("*.bin"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cut_openvino_model: expected an exported model, got one that cannot be"):
        open_backend(tmp_path / "cut_openvino_model", device=CPU)
