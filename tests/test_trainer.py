import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import BATCHES, NAMES, checkpoint, contents, tiny_set
from torch import nn
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.utils.dist import generate_ddp_file

from swin_yolo.engine.datasets import load_splits
from swin_yolo.engine.recipe import load_recipe
from swin_yolo.engine.trainer import CocoTrainer, drop_rows_after, ema_decay
from swin_yolo.engine.validator import CocoValidator
from swin_yolo.nn import SwinBlock
from swin_yolo.nn.swin import drop_path_rates
from swin_yolo.scoring.average_precision import METRIC_NAMES

RECIPE = {"drop_path": 0.3, "clip_norm": 2.0, "ema_epochs": 5.0, "nbs": 4, "lr0": 0.004, "weight_decay": 0.07}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_set(tmp_path_factory.getbasetemp())


def new_trainer(data: Path, save_dir: Path, **overrides: object) -> CocoTrainer:
    """As `train` makes one, with the model still a name."""
    arguments = {"task": "detect", "model": "yolov5n-swin.yaml", "data": str(data), "save_dir": str(save_dir)}
    arguments |= {"epochs": 2, "batch": 4, "imgsz": 64, "device": "cpu", "workers": 2, "pretrained": False}
    return CocoTrainer(overrides={**load_recipe(), **arguments, **overrides})


@pytest.fixture(scope="module")
def ready(data, tmp_path_factory):
    """A trainer just before its first batch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
        threads = torch.get_num_threads()
        trainer = new_trainer(data, tmp_path_factory.mktemp("ready") / "run", **RECIPE)
        trainer.threads = torch.get_num_threads()
        torch.set_num_threads(threads)
        trainer.theirs_asked = []
        patch.setattr(ultralytics_trainer, "check_amp", lambda model: trainer.theirs_asked.append(model) or False)
        trainer._setup_train()
    yield trainer
    trainer.train_loader.close()
    trainer.test_loader.close()


# Optimisation


def test_adamw_takes_the_recipe_s_decay_and_sgd_one_scaled_by_the_batch(ready):
    def decay_of(optimizer):
        return [group["weight_decay"] for group in optimizer.param_groups if group["param_group"] == "weight"]

    adamw = ready.build_optimizer(ready.model, "AdamW", lr=0.1, momentum=0.8, decay=0.5)
    sgd = ready.build_optimizer(ready.model, "SGD", lr=0.1, momentum=0.8, decay=0.5)
    assert isinstance(adamw, torch.optim.AdamW) and decay_of(adamw) == [0.07] and adamw.defaults["betas"][0] == 0.8
    assert isinstance(sgd, torch.optim.SGD) and decay_of(sgd) == [0.5] and sgd.defaults["nesterov"]


def test_the_run_s_optimiser_is_the_recipe_s(ready):
    assert isinstance(ready.optimizer, torch.optim.AdamW)
    assert {group["initial_lr"] for group in ready.optimizer.param_groups} == {0.004}


def step(gradient: torch.Tensor, *, clip_norm: float) -> torch.Tensor:
    """How far one step of plain gradient descent with learning rate 1 goes."""
    model = nn.Linear(2, 2, bias=False)
    before = model.weight.detach().clone()
    model.weight.grad = gradient.clone()
    trainer = SimpleNamespace(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        args=SimpleNamespace(clip_norm=clip_norm),
        ema=None,
        _seen={"steps": 0},
    )
    CocoTrainer.optimizer_step(trainer)
    assert model.weight.grad is None and trainer._seen["steps"] == 1
    return before - model.weight.detach()


def test_gradients_are_clipped_to_the_recipe_s_norm():
    gradient = torch.tensor([[3.0, 0.0], [0.0, 4.0]])  # norm 5
    torch.testing.assert_close(step(gradient, clip_norm=2.0), gradient * 2 / 5, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(step(gradient, clip_norm=10.0), gradient)


def test_drop_path_rises_to_the_recipe_s_at_the_last_block(ready):
    rates = [m.drop_path.p for m in ready.model.modules() if isinstance(m, SwinBlock)]
    assert len(rates) > 2 and rates == drop_path_rates(0.3, len(rates))
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.3)


def test_the_average_s_decay_rises_to_one_minus_one_by_its_steps():
    decay = ema_decay(100)
    assert [decay(x) for x in (0, 8, 80)] == [1 / 10, 9 / 18, 81 / 90]
    assert decay(10**6) == 1 - 1 / 100
    assert ema_decay(0.5)(10**6) == 0, "an average over less than a step is the last step's weights"


def test_the_average_spans_the_recipe_s_epochs(ready):
    assert ready.accumulate == 1
    assert ready.ema.decay(10**6) == pytest.approx(1 - 1 / (5.0 * BATCHES))


def test_a_checkpoint_s_average_keeps_the_recipe_s_span(ready):
    saved = {"ema": ready.ema.ema, "updates": 7}
    ready._load_checkpoint_state(saved)
    assert ready.ema.updates == 7
    assert ready.ema.decay(10**6) == pytest.approx(1 - 1 / (5.0 * BATCHES))


def test_pretrained_blocks_learn_slower_by_the_recipe_s_layer_decay(ready, monkeypatch):
    def rates(**arguments):
        for name, value in arguments.items():
            monkeypatch.setattr(ready.args, name, value)
        optimizer = ready.build_optimizer(ready.model, "SGD", lr=0.1, momentum=0.8, decay=0.5)
        return {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}

    first, last = (stage.blocks[0].attn.qkv.weight for stage in (ready.model.model[6], ready.model.model[8]))
    conv = ready.model.model[0].conv.weight
    slowed = rates(layer_decay=0.5, pretrained_rows=[6, 8])
    assert slowed[id(first)] < slowed[id(last)] < slowed[id(conv)] == 0.1
    assert set(rates(layer_decay=0.5, pretrained_rows=[]).values()) == {0.1}
    assert set(rates(layer_decay=1.0, pretrained_rows=[6, 8]).values()) == {0.1}


# CPU, loaders, validation


def test_ultralytics_check_of_amp_which_opens_a_file_of_its_own_is_not_run(ready):
    assert ready.theirs_asked == [] and ready.amp is False


def test_a_cpu_uses_every_core_and_the_workers_asked_for(ready):
    assert ready.threads == 3
    assert ready.args.workers == 2
    assert ready.train_loader.num_workers == min(2, os.cpu_count())


def test_a_cpu_trains_in_channels_last(ready):
    batch = {"img": torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "cls": torch.zeros(0)}
    assert ready.preprocess_batch(batch)["img"].is_contiguous(memory_format=torch.channels_last)
    assert ready.model.model[1].conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_the_model_carries_the_dataset_s_classes(ready):
    assert ready.model.names == NAMES and ready.model.nc == 2


def test_validation_is_by_coco_s_numbers_on_the_val_split(ready):
    assert isinstance(ready.validator, CocoValidator)
    assert ready.validator.metrics.keys == list(METRIC_NAMES)
    assert [int(i) for i in ready.validator.dataloader.dataset.index.image_ids] == list(range(100, 160, 10))


@pytest.mark.parametrize(("ap", "fitness"), [(0.4, 0.4), (0.0, 0.0), (-1.0, 0.0)])
def test_fitness_is_ap_and_0_where_there_is_no_box(ready, monkeypatch, ap, fitness):
    score = SimpleNamespace(metrics={**dict.fromkeys(METRIC_NAMES, 0.1), "AP": ap})
    monkeypatch.setattr("swin_yolo.engine.validator.score_detections", lambda truth, found: score)
    ready.validator.jdict = []
    assert ready.validator.get_stats() == {**score.metrics, "fitness": fitness}


def test_a_split_given_is_not_read_again(data, tmp_path):
    splits = load_splits(data)
    trainer = CocoTrainer(
        overrides={"model": "yolov5n.yaml", "data": "no/such/set", "save_dir": str(tmp_path), "device": "cpu"},
        data=splits,
    )
    assert trainer.data is splits


# Checkpoints


@pytest.fixture
def saving(ready):
    """The trainer with an epoch to save, as the best, and no checkpoint."""
    for file in ready.wdir.iterdir():
        file.unlink()
    ready.epoch, ready.fitness, ready.best_fitness, ready._saved = 0, 0.5, 0.5, False
    return ready


def test_an_epoch_is_saved_as_last_and_as_best_only_if_it_is(saving):
    assert saving.save_model()
    assert contents(saving.wdir).keys() == {"last.pt", "best.pt"}
    best = saving.best.read_bytes()
    saving.epoch, saving.fitness = 1, 0.3
    saving.save_model()
    assert checkpoint(saving.last)["epoch"] == 1 and checkpoint(saving.best)["epoch"] == 0
    assert saving.best.read_bytes() == best
    assert contents(saving.wdir).keys() == {"last.pt", "best.pt"}


def test_a_kill_in_the_middle_of_writing_leaves_the_old_checkpoints(saving, monkeypatch):
    saving.save_model()
    before = contents(saving.wdir)
    write_bytes = Path.write_bytes

    def killed(self, content):
        write_bytes(self, content[: len(content) // 2])
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", killed)
    saving.epoch = 1
    with pytest.raises(OSError, match="no space left"):
        saving.save_model()
    after = contents(saving.wdir)
    assert {name: after[name] for name in before} == before
    assert (saving.last, saving.best) == (saving.wdir / "last.pt", saving.wdir / "best.pt")


def test_a_kill_between_the_checkpoints_leaves_a_run_that_redoes_its_last_epoch(saving, monkeypatch):
    saving.save_model()
    replace = Path.replace

    def killed(self, target):
        if Path(target).name == "last.pt":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    saving.epoch, saving.fitness, saving.best_fitness = 1, 0.6, 0.6
    with pytest.raises(KeyboardInterrupt):
        saving.save_model()
    assert checkpoint(saving.last)["epoch"] == 0 and checkpoint(saving.best)["epoch"] == 1


def test_after_a_loss_that_is_no_number_last_pt_is_gone_back_to_and_read_as_data(saving, monkeypatch):
    saving.save_model()
    theirs = pytest.fail
    monkeypatch.setattr(ultralytics_trainer, "load_checkpoint", theirs)
    for name, value in (("loss", torch.tensor(float("nan"))), ("start_epoch", 0), ("nan_recovery_attempts", 0)):
        monkeypatch.setattr(saving, name, value, raising=False)
    weight = saving.model.model[0].conv.weight
    weight.data.fill_(float("nan"))
    assert saving._handle_nan_recovery(1)
    torch.testing.assert_close(weight.data, checkpoint(saving.last)["ema"].model[0].conv.weight.data.float())
    assert ultralytics_trainer.load_checkpoint is theirs


def test_what_a_killed_run_left_half_written_never_becomes_best_pt(saving):
    saving.save_model()
    best = saving.best.read_bytes()
    (saving.wdir / ".best.pt.unfinished").write_bytes(b"half a checkpoi")
    saving.epoch, saving.fitness = 1, 0.3
    saving.save_model()
    assert saving.best.read_bytes() == best
    assert contents(saving.wdir).keys() == {"last.pt", "best.pt"}


def test_a_stop_after_an_epoch_leaves_that_epoch_s_checkpoint(saving):
    saving.save_model()
    saving.epoch = 1
    saving.save_interrupted()
    assert checkpoint(saving.last)["epoch"] == 0


def test_a_stop_in_the_first_epoch_writes_last_pt_alone(saving):
    saving.save_interrupted()
    assert contents(saving.wdir).keys() == {"last.pt"}
    saved = checkpoint(saving.last)
    assert saved["epoch"] == -1 and saved["optimizer"] is not None


def test_finished_checkpoints_are_stripped_whole_or_not_at_all(saving, monkeypatch):
    saving.save_model()
    before = contents(saving.wdir)

    def killed(content, file):
        Path(file).write_bytes(b"half a checkpoi")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            saving.final_eval()
    assert {name: (saving.wdir / name).read_bytes() for name in before} == before
    saving.final_eval()
    assert contents(saving.wdir).keys() == {"last.pt", "best.pt"}
    assert checkpoint(saving.last)["optimizer"] is None and checkpoint(saving.best)["optimizer"] is None


def test_rows_after_the_checkpoint_s_epoch_are_taken_out(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text("epoch,AP\n1,0.1\n2,0.2\n3,0.3\n")
    drop_rows_after(file, 2)
    assert file.read_text() == "epoch,AP\n1,0.1\n2,0.2\n"
    drop_rows_after(file, 0)
    assert file.read_text() == "epoch,AP\n"
    drop_rows_after(tmp_path / "none.csv", 1)
    assert not (tmp_path / "none.csv").exists()


# DDP


@pytest.mark.parametrize("error", [None, subprocess.CalledProcessError(1, "python")])
def test_the_folder_of_a_run_on_several_devices_is_not_deleted(data, tmp_path, monkeypatch, error):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "results.csv").write_text("of an older run")
    trainer = new_trainer(data, tmp_path, workers=0)
    trainer.ddp, trainer.world_size, started = True, 2, []

    def start(command, check):
        started.append(command)
        if error is not None:
            raise error

    monkeypatch.setattr(ultralytics_trainer.subprocess, "run", start)
    with pytest.raises(type(error)) if error else contextlib.nullcontext():
        trainer.train()
    assert len(started) == 1 and contents(tmp_path).keys() == {"notes.txt", "args.yaml"}


def test_the_file_of_a_ddp_worker_builds_the_model_in_a_fresh_process(data, tmp_path):
    trainer = new_trainer(data, tmp_path / "run", workers=0, drop_path=0.2, seed=3)
    file = Path(generate_ddp_file(trainer))
    try:
        script = file.read_text()
        # Up to here it is what every worker runs; training itself asks for GPUs.
        assert script.count("    trainer.train()\n") == 1
        build = "    trainer.setup_model()\n    trainer.set_model_attributes()\n"
        say = "    print(type(trainer).__module__, type(trainer.model.model[8]).__module__, trainer.args.drop_path)\n"
        say += "    print(trainer.model.names, len(trainer.data['train']), trainer.args.seed)\n"
        file.write_text(script.replace("    trainer.train()\n", build + say))
        done = subprocess.run([sys.executable, str(file)], cwd=tmp_path, capture_output=True, text=True, check=False)
    finally:
        file.unlink()
        file.with_suffix(".pt").unlink()
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[-2:]
    assert lines == ["swin_yolo.engine.trainer swin_yolo.nn.swin 0.2", f"{NAMES} 12 3"]
