import json
import re
from copy import deepcopy
from importlib.metadata import PackageNotFoundError

import cv2
import pytest
import torch
from live_detectors import live_detector
from tiny import ARGUMENTS, contents, tiny_set, trained

from swin_yolo.data.coco import CocoIndex
from swin_yolo.engine import evaluate as evaluate_module
from swin_yolo.engine.evaluate import evaluate, evaluate_predictions, match_classes
from swin_yolo.engine.export import export
from swin_yolo.engine.model import build_model, count_gflops, count_parameters, load_model
from swin_yolo.engine.slicing import Slicing
from swin_yolo.errors import InputError
from swin_yolo.files import sha256
from swin_yolo.scoring.average_precision import METRIC_NAMES

SIZES = {key: ARGUMENTS[key] for key in ("imgsz", "batch_size", "device", "workers")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_set(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def index(data):
    return CocoIndex.from_json(data.parent / "val.json", data.parent / "val")


@pytest.fixture(scope="module")
def scored(run, tmp_path_factory):
    """best.pt of the run scored again."""
    folder = tmp_path_factory.mktemp("val") / "exp"
    return evaluate(run.best, run.data, save_dir=folder, plots=False, **SIZES)


def twelve(metrics):
    return {name: metrics[name] for name in METRIC_NAMES}


def test_scoring_a_checkpoint_again_gives_what_training_said(run, scored):
    assert run.metrics["AP"] > 0, "a score of zeros would agree with anything"
    for key in (*METRIC_NAMES, "per_class", "params", "gflops", "data", "versions"):
        assert scored.metrics[key] == run.metrics[key], key
    assert json.loads((scored.save_dir / "predictions.json").read_text()) == run.detections


def test_metrics_json_says_what_was_scored_with_what(run, scored):
    metrics = json.loads((scored.save_dir / "metrics.json").read_text())
    assert metrics == scored.metrics
    model = load_model(run.best)
    assert metrics["params"] == count_parameters(model)
    assert metrics["gflops"] == pytest.approx(count_gflops(model, 64), abs=5e-4)
    assert metrics["weights"] == {"file": str(run.best), "sha256": sha256(run.best)}
    assert (metrics["precision"], metrics["slice"], metrics["batch_size"]) == ("fp32", None, 4)
    assert metrics["thresholds"] == {"conf": 0.001, "iou": 0.7, "max_det": 300}
    annotations = run.data.parent / "val.json"
    assert metrics["data"] == {"annotations": str(annotations), "sha256": sha256(annotations)}
    assert (metrics["imgsz"], metrics["split"], metrics["images"]) == (64, "val", 6)
    assert metrics["seconds"] > 0
    assert torch.__version__.startswith(metrics["versions"]["torch"]) and "ultralytics" in metrics["versions"]
    assert metrics["per_class"]["block"]["boxes"] == 5 and metrics["per_class"]["bar"]["boxes"] == 3


def test_versions_are_known_whichever_package_opencv_came_in(monkeypatch):
    def version(name):
        if name.startswith("opencv"):
            raise PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(evaluate_module, "version", version)
    assert evaluate_module.versions()["opencv"] == cv2.__version__


def test_what_is_not_asked_for_is_not_written(run, tmp_path):
    evaluate(run.best, run.data, save_dir=tmp_path / "exp", task="test", save_json=False, plots=False, **SIZES)
    assert contents(tmp_path / "exp").keys() == {"metrics.json"}


def test_a_split_of_one_image_is_scored_and_drawn(run, tmp_path):
    evaluation = evaluate(run.best, run.data, save_dir=tmp_path / "exp", task="test", **SIZES)
    assert (evaluation.metrics["split"], evaluation.metrics["images"]) == ("test", 1)
    assert evaluation.metrics["AP50"] > 0
    assert evaluation.metrics["per_class"]["bar"]["AP"] == -1  # none in that image
    assert {f.name for f in evaluation.pictures} == {"pr_curve.png", "confusion_matrix.png", "predictions.jpg"}
    assert all(f.stat().st_size for f in evaluation.pictures)
    predictions = json.loads((tmp_path / "exp" / "predictions.json").read_text())
    assert predictions and {p["image_id"] for p in predictions} == {900}


def test_no_detection_at_all_is_ap_0(run, tmp_path):
    evaluation = evaluate(run.best, run.data, save_dir=tmp_path / "exp", conf_thres=1.0, plots=False, **SIZES)
    assert json.loads((tmp_path / "exp" / "predictions.json").read_text()) == []
    # Where the truth has no box of a size, that number is -1 whatever the detections are.
    assert twelve(evaluation.metrics) == {k: -1 if v == -1 else 0 for k, v in twelve(run.metrics).items()}
    assert evaluation.metrics["AP"] == 0


def test_thresholds_bound_the_detections(run, scored, tmp_path):
    found = json.loads((scored.save_dir / "predictions.json").read_text())
    least = sorted(p["score"] for p in found)[len(found) // 2]
    arguments = {"conf_thres": least, "iou_thres": 0.3, "max_det": 2, "plots": False}
    evaluate(run.best, run.data, save_dir=tmp_path / "exp", **SIZES, **arguments)
    fewer = json.loads((tmp_path / "exp" / "predictions.json").read_text())
    assert 0 < len(fewer) < len(found) and min(p["score"] for p in fewer) >= least
    per_image = [sum(p["image_id"] == image_id for p in fewer) for image_id in {p["image_id"] for p in fewer}]
    assert max(per_image) <= 2


def test_scoring_the_predictions_file_gives_the_same_numbers_exactly(run, tmp_path):
    file, annotations = run.folder / "predictions.json", run.data.parent / "val.json"
    again = evaluate_predictions(file, annotations, save_dir=tmp_path / "exp")
    metrics = json.loads((tmp_path / "exp" / "metrics.json").read_text())
    assert metrics == again.metrics
    for key in (*METRIC_NAMES, "per_class", "images", "data", "versions"):
        assert metrics[key] == run.metrics[key], key
    assert metrics["predictions"] == {"file": str(file), "sha256": sha256(file)}
    assert "params" not in metrics and "weights" not in metrics


def test_a_large_set_shows_how_far_scoring_is(run, tmp_path, monkeypatch, capsys):
    files = run.folder / "predictions.json", run.data.parent / "val.json"
    evaluate_predictions(*files, save_dir=tmp_path)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr("swin_yolo.scoring.sparse_evaluation.SHOWN_EVERY", 1)
    evaluate_predictions(*files, save_dir=tmp_path)
    assert re.search(r"matching: 100% .* (\d+)/\1", capsys.readouterr().out)  # pairs of image and class


def test_predictions_are_scored_without_the_images(run, tmp_path):
    annotations = tmp_path / "val.json"
    annotations.write_text((run.data.parent / "val.json").read_text())
    again = evaluate_predictions(run.folder / "predictions.json", annotations, save_dir=tmp_path / "exp")
    assert twelve(again.metrics) == twelve(run.metrics)


def test_a_model_of_more_classes_is_matched_by_name(run, tmp_path):
    model = load_model(run.best)
    more = build_model("yolov5n-swin.yaml", nc=3)
    more.names = {0: "other", 1: "bar", 2: "block"}
    more.load(model)  # rows of the classification head by name
    with torch.no_grad():
        for branch in more.model[-1].cv3:
            branch[-1].bias[0] = -20.0  # never "other"
    torch.save({"model": more}, tmp_path / "more.pt")
    evaluation = evaluate(tmp_path / "more.pt", run.data, save_dir=tmp_path / "exp", plots=False, **SIZES)
    assert twelve(evaluation.metrics) == pytest.approx(twelve(run.metrics), abs=1e-6)

    def seen(file):
        return sorted((p["image_id"], p["category_id"], p["score"]) for p in json.loads(file.read_text()))

    assert seen(tmp_path / "exp" / "predictions.json") == seen(run.folder / "predictions.json")


def test_an_exported_model_scores_as_the_checkpoint_does(run, tmp_path):
    # The shared run gives all boxes nearly one score, and their order would be one of rounding.
    model = live_detector("yolov5n-swin.yaml", nc=2)
    model.names = {0: "block", 1: "bar"}
    torch.save({"model": model}, tmp_path / "best.pt")
    (exported,) = export(tmp_path / "best.pt", ["torchscript"], imgsz=64, dynamic=True)
    scored, evaluation = (
        evaluate(file, run.data, save_dir=tmp_path / file.suffix[1:], plots=False, **SIZES)
        for file in (tmp_path / "best.pt", exported.file)
    )
    assert scored.metrics["AP"] > 0, "a score of zeros would agree with anything"
    assert twelve(evaluation.metrics) == pytest.approx(twelve(scored.metrics), abs=1e-3)
    scores, expected = (
        sorted(p["score"] for p in json.loads((e.save_dir / "predictions.json").read_text()))
        for e in (evaluation, scored)
    )
    assert scores == pytest.approx(expected, abs=1e-4)
    assert evaluation.metrics.keys() == scored.metrics.keys() - {"params", "gflops"}
    assert evaluation.metrics["weights"]["sha256"] == sha256(exported.file)


def test_every_image_is_brought_to_the_one_size_of_an_exported_model(run, tmp_path):
    (tmp_path / "best.pt").write_bytes(run.best.read_bytes())
    (exported,) = export(tmp_path / "best.pt", ["torchscript"], imgsz=(32, 64))
    evaluation = evaluate(exported.file, run.data, save_dir=tmp_path / "exp", plots=False, **SIZES)
    found = json.loads((tmp_path / "exp" / "predictions.json").read_text())
    assert {p["image_id"] for p in found} == {100 + 10 * i for i in range(evaluation.metrics["images"])}
    with pytest.raises(InputError, match=r"--imgsz 128: expected 64"):
        evaluate(exported.file, run.data, save_dir=tmp_path / "exp", **{**SIZES, "imgsz": 128})


def test_slices_as_large_as_the_images_change_nothing(run, scored, tmp_path):
    evaluation = evaluate(run.best, run.data, save_dir=tmp_path / "exp", slicing=Slicing(96), plots=False, **SIZES)
    assert evaluation.metrics["slice"] == {"side": 96, "overlap": 0.2}

    def best(file):
        """The surest detection of each image, which no way of merging touches, to the pixel."""
        found = json.loads((file / "predictions.json").read_text())
        tops = {d["image_id"]: d for d in sorted(found, key=lambda d: d["score"])}
        return {i: (d["category_id"], [round(v) for v in d["bbox"]], round(d["score"], 2)) for i, d in tops.items()}

    # Batches of a shape have more grey around them than an image on its own.
    agree = [best(scored.save_dir)[i] == top for i, top in best(evaluation.save_dir).items()]
    assert len(agree) == 6 and sum(agree) >= 4


@pytest.mark.parametrize("workers", [0, 2])
def test_slices_are_merged_into_boxes_of_the_image(run, tmp_path, workers):
    sliced = {**SIZES, "workers": workers, "slicing": Slicing(48, 0.25)}
    evaluation = evaluate(run.best, run.data, save_dir=tmp_path / "exp", plots=False, **sliced)
    found = json.loads((tmp_path / "exp" / "predictions.json").read_text())
    assert {p["image_id"] for p in found} == {100 + 10 * i for i in range(evaluation.metrics["images"])}
    assert max(p["bbox"][0] + p["bbox"][2] for p in found if p["image_id"] == 100) > 80, "beyond the first part"
    assert {p["category_id"] for p in found} <= {3, 7}


def test_bf16_scores_nearly_as_fp32(run, scored, tmp_path):
    evaluation = evaluate(run.best, run.data, save_dir=tmp_path / "exp", precision="bf16", plots=False, **SIZES)
    assert evaluation.metrics["precision"] == "bf16"
    scores = [
        sorted((d["score"] for d in json.loads((folder / "predictions.json").read_text())), reverse=True)[:20]
        for folder in (evaluation.save_dir, scored.save_dir)
    ]
    assert scores[0] != scores[1] and scores[0] == pytest.approx(scores[1], abs=0.02)


def test_category_ids_follow_names_not_places(index):
    assert match_classes("w.pt", {0: "bar", 1: "tree", 2: "block"}, index) == {0: 7, 2: 3}


def test_a_model_without_a_class_of_the_dataset_is_an_error(run, tmp_path):
    model = deepcopy(load_model(run.best))
    model.names = {0: "block", 1: "rod"}
    torch.save({"model": model}, tmp_path / "other.pt")
    with pytest.raises(InputError, match=r"--weights .*other.pt: the model has no class bar of .*val.json; .* rod"):
        evaluate(tmp_path / "other.pt", run.data, save_dir=tmp_path / "exp", **SIZES)
    assert not (tmp_path / "exp").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"task": "minitest"}, r"has no split 'minitest'"),
        ({"precision": "fp16"}, r"--precision fp16 \(--half\): expected a GPU"),
        ({"device": "99"}, r"--device 99: expected cpu"),
        ({"imgsz": 100}, r"--imgsz 100: expected a multiple of the model's stride 32"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_written(run, tmp_path, arguments, expected):
    with pytest.raises(InputError, match=expected):
        evaluate(run.best, run.data, save_dir=tmp_path / "exp", **{**SIZES, **arguments})
    assert not (tmp_path / "exp").exists()


def test_wrong_predictions_are_named_and_nothing_written(run, tmp_path):
    (tmp_path / "p.json").write_text('[{"image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 1}]')
    with pytest.raises(InputError, match=r"p.json: entry 0 has image_id 1, which the annotations do not have"):
        evaluate_predictions(tmp_path / "p.json", run.data.parent / "val.json", save_dir=tmp_path / "exp")
    assert not (tmp_path / "exp").exists()
