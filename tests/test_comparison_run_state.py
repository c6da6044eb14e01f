"""How far runs are, by folders as `train` leaves them at whatever point it ends."""

import json
import shutil

import pytest
import torch
import yaml
from tiny import ARGUMENTS, NAMES, checkpoint, trained

from swin_yolo.comparison.contestants import Build, contestant
from swin_yolo.comparison.plan import Training
from swin_yolo.comparison.run_state import State, arguments, epochs_done, state_of
from swin_yolo.engine.datasets import load_splits
from swin_yolo.errors import InputError

CFG = "yolov5n-swin.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def yaml_of():
    return contestant(CFG, "candidate", Build(NAMES, 64)).yaml


@pytest.fixture
def folder(run, tmp_path):
    """A finished run, of two epochs."""
    return shutil.copytree(run.folder, tmp_path / "yolov5n-swin-seed0")


@pytest.fixture
def training(run):
    return training_on(run.data)


def training_on(data, **changes) -> Training:
    splits = load_splits(data)
    given = {key: ARGUMENTS[key] for key in ("imgsz", "epochs", "batch_size", "workers")} | changes
    return Training(str(data), {name: splits[name] for name in ("train", "val")}, **given)


def stop(folder, *, epoch: int, **changes) -> None:
    """Turn a finished run into one that was stopped after an epoch, counted from 0."""
    args = arguments(folder) | changes
    file = folder / "weights" / "last.pt"
    content = checkpoint(file) | {"optimizer": {"state": {}}, "epoch": epoch, "train_args": args}
    torch.save(content, file)
    head, *rows = (folder / "results.csv").read_text().splitlines(keepends=True)
    (folder / "results.csv").write_text("".join([head, *rows[: epoch + 1]]))
    (folder / "metrics.json").unlink(missing_ok=True)


def set_arguments(folder, **changes) -> None:
    (folder / "args.yaml").write_text(yaml.safe_dump(arguments(folder) | changes))


# States


def test_a_finished_run_is_finished(folder, training, yaml_of):
    assert state_of(folder, training, yaml_of, 0) is State.FINISHED


def test_a_folder_that_is_not_there_or_has_no_checkpoint_is_new(folder, training, yaml_of, tmp_path):
    assert state_of(tmp_path / "none", training, yaml_of, 0) is State.NEW
    shutil.rmtree(folder / "weights")
    assert state_of(folder, training, yaml_of, 0) is State.NEW


def test_a_stopped_run_is_gone_on_with(folder, training, yaml_of):
    stop(folder, epoch=0)
    assert state_of(folder, training, yaml_of, 0) is State.STOPPED


def test_a_run_stopped_in_its_first_epoch_is_gone_on_with(folder, training, yaml_of):
    stop(folder, epoch=-1)
    (folder / "results.csv").unlink()
    (folder / "weights" / "best.pt").unlink()
    assert state_of(folder, training, yaml_of, 0) is State.STOPPED


def test_a_run_killed_between_the_last_row_and_its_checkpoint_is_gone_on_with(folder, training, yaml_of):
    both = (folder / "results.csv").read_text()
    stop(folder, epoch=0)
    (folder / "results.csv").write_text(both)
    assert state_of(folder, training, yaml_of, 0) is State.STOPPED


def test_a_run_killed_after_its_last_epoch_is_to_be_scored(folder, training, yaml_of):
    stop(folder, epoch=1)
    assert state_of(folder, training, yaml_of, 0) is State.TRAINED


def test_a_trained_run_without_a_score_is_to_be_scored(folder, training, yaml_of):
    (folder / "metrics.json").unlink()
    assert state_of(folder, training, yaml_of, 0) is State.TRAINED


@pytest.mark.parametrize(("part", "key"), [("weights", "sha256"), ("data", "sha256"), (None, "imgsz")])
def test_a_score_of_something_else_is_no_score(folder, training, yaml_of, part, key):
    metrics = json.loads((folder / "metrics.json").read_text())
    (metrics[part] if part else metrics)[key] = "other"
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert state_of(folder, training, yaml_of, 0) is State.TRAINED


def test_a_run_begun_anew_over_an_older_one_and_killed_is_new(folder, training, yaml_of):
    (folder / "results.csv").unlink()
    assert state_of(folder, training, yaml_of, 0) is State.NEW


def test_epochs_are_those_of_results_csv(folder, tmp_path):
    assert epochs_done(folder) == 2 and epochs_done(tmp_path) == 0


# Runs that are not of this comparison


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 3}, "--epochs 3, where this comparison has 2"),
        ({"batch": 2}, "--batch-size 2, where this comparison has 4"),
        ({"trained_on": "1 GPU"}, "trained on 1 GPU, where this comparison has cpu"),
        ({"imgsz": 96}, "--imgsz 96, where this comparison has 64"),
        ({"workers": 2}, "--workers 2, where this comparison has 0"),
        ({"seed": 5}, "--seeds 5, where this comparison has 0"),
        ({"freeze": ["0"]}, r"--freeze \['0'\], where this comparison has None"),
        ({"lr0": 0.5}, "recipe key lr0 0.5, where this comparison has 0.0015"),
        ({"clip_norm": 1.0}, "recipe key clip_norm 1.0, where this comparison has 10.0"),
        ({"patience": 1}, "--patience 1, where this comparison has 2 or more"),
        ({"started_from": {"file": "p.pt", "sha256": "abc"}}, "sha256 abc, where this comparison has None"),
        ({"data": "none.yaml"}, "--data none.yaml, where this comparison has .*tiny.yaml"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_trained_otherwise_is_refused_with_both_values(folder, training, yaml_of, change, said, finished):
    if finished:
        set_arguments(folder, **change)
    else:
        stop(folder, epoch=0, **change)
    with pytest.raises(InputError, match=rf"^{folder}: .*{said}; .*move it away, or take another --name$"):
        state_of(folder, training, yaml_of, 0)


def test_a_shorter_finished_run_is_refused_and_not_trained_over(folder, run, yaml_of):
    with pytest.raises(InputError, match=r"--epochs 2, where this comparison has 40"):
        state_of(folder, training_on(run.data, epochs=40), yaml_of, 0)


def test_a_run_of_another_model_is_refused_with_the_first_row_that_differs(folder, training):
    other = contestant("yolov5n.yaml", "baseline", Build(NAMES, 64)).yaml
    with pytest.raises(
        InputError, match=r"another model: row 6 \[-1, 9, 'SwinStage', .*, not \[-1, 9, 'C3', \[512\]\];"
    ):
        state_of(folder, training, other, 0)


def test_a_run_of_another_head_is_refused(folder, training):
    other = contestant(CFG, "candidate", Build(NAMES, 64, "anchor")).yaml
    with pytest.raises(InputError, match=r"another model: row 24 .*'Detect'.*, not .*'AnchorDetect'"):
        state_of(folder, training, other, 0)


def test_another_batch_size_that_the_checkpoint_alone_knows_of_is_refused(folder, training, yaml_of):
    stop(folder, epoch=0, batch=2)  # halved by ultralytics when the memory ran out
    assert arguments(folder)["batch"] == 4
    with pytest.raises(InputError, match=r"--batch-size 2, where this comparison has 4"):
        state_of(folder, training, yaml_of, 0)


def test_nor_is_such_a_run_taken_when_it_has_ended(folder, training, yaml_of):
    content = checkpoint(folder / "weights" / "last.pt")
    content["train_args"]["batch"] = 2
    torch.save(content, folder / "weights" / "last.pt")
    with pytest.raises(InputError, match=r"--batch-size 2, where this comparison has 4"):
        state_of(folder, training, yaml_of, 0)


def test_an_argument_that_a_run_does_not_record_is_another(folder, training, yaml_of):
    kept = arguments(folder)
    del kept["workers"]
    (folder / "args.yaml").write_text(yaml.safe_dump(kept))
    with pytest.raises(InputError, match=r"--workers None, where this comparison has 0"):
        state_of(folder, training, yaml_of, 0)


def test_a_finished_run_whose_arguments_are_gone_is_refused(folder, training, yaml_of):
    (folder / "args.yaml").write_text("")
    with pytest.raises(InputError, match=r"args.yaml: expected the arguments of the run"):
        state_of(folder, training, yaml_of, 0)


# What runs of older versions do not say


def test_a_run_that_does_not_say_what_it_started_from_and_was_trained_on_is_taken(folder, run, yaml_of, tmp_path):
    kept = arguments(folder)
    del kept["started_from"], kept["trained_on"]
    (folder / "args.yaml").write_text(yaml.safe_dump(kept))
    parent = tmp_path / "p.pt"
    parent.write_bytes(b"weights")
    assert state_of(folder, training_on(run.data, parent=parent), yaml_of, 0) is State.FINISHED


def test_a_run_that_does_not_know_a_recipe_key_has_the_value_it_was_trained_with(folder, training, yaml_of):
    kept = arguments(folder)
    del kept["layer_decay"]  # 1.0 before there was such a key
    (folder / "args.yaml").write_text(yaml.safe_dump(kept))
    assert state_of(folder, training, yaml_of, 0) is State.FINISHED
    del kept["drop_path"]  # 0.0 then, 0.1 now
    (folder / "args.yaml").write_text(yaml.safe_dump(kept))
    with pytest.raises(InputError, match=r"recipe key drop_path 0.0, where this comparison has 0.1"):
        state_of(folder, training, yaml_of, 0)


def test_the_same_data_under_another_name_is_taken(folder, run, yaml_of, tmp_path):
    (tmp_path / "copy.yaml").write_text(
        yaml.safe_dump({**yaml.safe_load(run.data.read_text()), "path": str(run.data.parent)})
    )
    assert state_of(folder, training_on(tmp_path / "copy.yaml"), yaml_of, 0) is State.FINISHED


def test_the_same_model_under_another_file_name_is_taken(folder, training, yaml_of, tmp_path):
    scale = yaml_of["scales"]["n"]
    other = {**yaml_of, "yaml_file": "elsewhere.yaml", "scale": "", "scales": {"n": scale}}
    assert state_of(folder, training, other, 0) is State.FINISHED
    wider = {**other, "scales": {"n": [scale[0], 0.5, scale[2]]}}
    with pytest.raises(InputError, match=r"another model: scale \[0.33, 0.25, 1024\], not \[0.33, 0.5, 1024\]"):
        state_of(folder, training, wider, 0)
