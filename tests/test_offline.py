import pytest
import torch
from small_detectors import detector
from tiny import tiny_set
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.utils import callbacks
from ultralytics.utils.events import callbacks as analytics

from swin_yolo.engine.exporter import CocoExporter, Settings
from swin_yolo.engine.offline import gives_numbers, own_amp_check
from swin_yolo.engine.trainer import CocoTrainer


def hooks(instance) -> list:
    return [hook for of_event in instance.callbacks.values() for hook in of_event]


def test_a_trainer_reports_to_nobody(tmp_path, tmp_path_factory):
    data = str(tiny_set(tmp_path_factory.getbasetemp()))
    overrides = {"data": data, "save_dir": str(tmp_path / "run"), "device": "cpu", "model": "yolov5n.yaml"}
    trainer = CocoTrainer(overrides=overrides)
    assert not set(hooks(trainer)) & set(analytics.values())
    assert callbacks.add_integration_callbacks.__module__.startswith("ultralytics")


def test_an_exporter_reports_to_nobody():
    exporter = CocoExporter("onnx", Settings((64, 64), 1, False, "fp32", False, None, None), torch.device("cpu"), None)
    assert not set(hooks(exporter)) & set(analytics.values())


def test_the_check_of_amp_opens_no_file(monkeypatch):
    monkeypatch.setattr(ultralytics_trainer, "check_amp", lambda model: pytest.fail("ultralytics' check was run"))
    with own_amp_check():
        assert ultralytics_trainer.check_amp(detector()) is False
    with pytest.raises(pytest.fail.Exception):
        ultralytics_trainer.check_amp(detector())


@pytest.mark.parametrize("training", [True, False])
def test_a_model_that_gives_nan_under_autocast_is_noticed(training):
    model = detector().train(training)
    assert gives_numbers(model) and model.training is training
    next(model.parameters()).data.fill_(float("nan"))
    assert not gives_numbers(model)
