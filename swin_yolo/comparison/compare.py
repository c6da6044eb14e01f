"""Comparing models: trained here, all alike, or finished ones."""

import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from swin_yolo.engine.datasets import load_splits
from swin_yolo.engine.device import choose_device, kind_of_device
from swin_yolo.engine.evaluate import model_sha256
from swin_yolo.engine.run_folder import locked
from swin_yolo.errors import InputError
from swin_yolo.files import sha256

from .contestants import BASELINE, CANDIDATE, Build, Contestant, contestants, names_of_files
from .matched import control, size_of
from .outcome import Comparison, conclude
from .plan import FINISHED, Training, settle
from .progress import Display
from .results import ModelResult, RunResult
from .run_state import State, state_of
from .scores import Settings, score
from .training import WAIT_FOR_LOCK, Job, Place, command_for, places, run_all


def compare_trained(
    cfgs: Sequence[str],
    data: str,
    *,
    save_dir: Path,
    command: str,
    seeds: Sequence[int],
    task: str = "val",
    jobs: int = 1,
    match: str | None = None,
    match_to: Sequence[str] = (),
    device: str = "",
    resamples: int = 1000,
    **arguments: Any,
) -> Comparison:
    """Train every model with every seed alike, and compare them; what is there already is not done again.

    Args:
        cfgs: model YAMLs, as `train` takes them; the first is the baseline.
        data: dataset, as `train` takes it.
        save_dir: folder of the comparison; its runs are `save_dir`/runs/NAME-seedK, ordinary folders of `train`.
        command: what was typed, for the report.
        seeds: of the runs of each model.
        task: split to compare on; best.pt is the best epoch on val all the same.
        jobs: runs side by side.
        match: "params" or "gflops" trains a control as well, the baseline at the width that comes nearest to a
            candidate's size; "none" does not; None stands for "params", or for "none" where there are weights to start
            from, which fit one width only.
        match_to: names of the candidates that get a control; none stands for the last.
        device: as ultralytics names devices.
        resamples: of the bootstrap.
        **arguments: further fields of `Training`.

    Raises:
        InputError: if an argument cannot be used, `save_dir` was begun with others, another process works there, or a
            run failed.
        KeyboardInterrupt: as it came; the same call goes on.
    """
    choose_device(device)
    splits = load_splits(data, tuple(dict.fromkeys(("train", "val", task))))
    splits[task].check_files()  # the others' are looked at before the first epoch, these not before the last
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    where = places(jobs, device, gpus=torch.cuda.device_count(), cores=cores)
    trained_on = kind_of_device(where[0].device)
    training = Training(data, {name: splits[name] for name in ("train", "val")}, trained_on=trained_on, **arguments)
    fixed = training.fixed()
    build = Build(splits["names"], training.imgsz, training.head, training.parent, training.trust)
    models = contestants(cfgs, build)
    match = match or ("params" if training.parent is None else "none")
    matched = _matched(models, match_to) if match != "none" else []
    settings = Settings(
        data,
        splits[task].annotations_file,
        task=task,
        imgsz=training.imgsz,
        batch_size=training.batch_size,
        device=device,
        workers=training.workers,
    )
    display = Display()
    with locked(save_dir, wait=WAIT_FOR_LOCK):
        commands = settle(save_dir, fixed, command)
        controls = _controls(models, matched, match, save_dir / "models", build, display)
        models = _with(models, controls.values())
        if len(where) < jobs:
            display.say(f"--jobs {jobs}: {len(where)} side by side, a core for each")
        _train(models, training, seeds, save_dir / "runs", where=where, display=display)
        return conclude(
            [_scored(model, seeds, save_dir, settings, training, display) for model in models],
            {candidate: found.name for candidate, found in controls.items()},
            save_dir=save_dir,
            index=splits[task],
            settings=settings,
            training=training,
            commands=commands,
            resamples=resamples,
            display=display,
        )


def compare_finished(
    files: Sequence[Path], data: str, *, save_dir: Path, command: str, resamples: int = 1000, **arguments: Any
) -> Comparison:
    """Compare finished models, of any kind that `evaluate` takes; the first is the baseline.

    Args:
        files: checkpoints and exported models.
        data: dataset, as `train` takes it.
        save_dir: folder of the comparison.
        command: what was typed, for the report.
        resamples: of the bootstrap.
        **arguments: further fields of `Settings`.

    Raises:
        InputError: if an argument cannot be used, or `save_dir` is that of another comparison.
    """
    names = names_of_files(files)
    for file in files:
        if not file.exists():
            raise InputError(f"--weights {file}: no such file")
        model_sha256(file)  # names a folder that is no model
    task = arguments.get("task", "val")
    index = load_splits(data, (task,))[task]
    settings = Settings(data, index.annotations_file, **arguments)
    display = Display()
    with locked(save_dir, wait=WAIT_FOR_LOCK):
        fixed = {
            **FINISHED,
            "--weights": [str(file) for file in files],
            f"annotations of {task} (sha256)": sha256(index.annotations_file),
        }
        settle(save_dir, fixed, command)
        models = []
        for number, (name, file) in enumerate(zip(names, files, strict=True)):
            display.say(f"scoring {name} on {task}")
            run = RunResult(score(file, save_dir / "scores" / task / re.sub(r"[\\/:]+", "-", name), settings))
            models.append(ModelResult(name, CANDIDATE if number else BASELINE, [run], started_from=str(file)))
        return conclude(
            models,
            {},
            save_dir=save_dir,
            index=index,
            settings=settings,
            training=None,
            commands=[command],
            resamples=resamples,
            display=display,
        )


def _matched(models: Sequence[Contestant], names: Sequence[str]) -> list[Contestant]:
    """The candidates that get a control."""
    candidates = {model.name: model for model in models[1:]}
    if unknown := [name for name in names if name not in candidates]:
        there = f"of {', '.join(candidates)}" if candidates else "of which there are none"
        raise InputError(f"--match-to {unknown[0]}: expected candidates' names, {there}")
    return [candidates[name] for name in names or list(candidates)[-1:]]


def _with(models: Sequence[Contestant], controls: Collection[Contestant]) -> list[Contestant]:
    """The models with the controls behind them; one that was named by --cfg already stays where it is."""
    named = {found.name: found for found in controls}
    there = [named.pop(model.name, model) for model in models]
    return [*there, *named.values()]


def _controls(
    models: Sequence[Contestant],
    matched: Sequence[Contestant],
    by: str,
    folder: Path,
    build: Build,
    display: Display,
) -> dict[str, Contestant]:
    """The control of each candidate that needs one, by the candidate's name; says how large all are."""
    found = {candidate.name: control(models[0], candidate, by=by, folder=folder, build=build) for candidate in matched}
    for model in models:
        display.say(f"{model.name}: {model.parameters:,} parameters, {model.gflops:.2f} GFLOPs")
    size = size_of(by)
    for candidate in matched:
        if (its := found[candidate.name]) is None:
            display.say(f"{candidate.name} is about as big as {models[0].name} and needs no control")
        else:
            display.say(f"{its.name}: the control of {candidate.name}, {size(its):,} {by} for {size(candidate):,}")
    return {name: its for name, its in found.items() if its is not None}


def _train(
    models: Sequence[Contestant],
    training: Training,
    seeds: Sequence[int],
    folder: Path,
    *,
    where: Sequence[Place],
    display: Display,
) -> None:
    """Bring all runs to their end, seed by seed, so that a comparison that is stopped has whole sets of models."""
    wanted, states = [], list[State]()
    for seed in seeds:
        for model in models:
            run = folder / f"{model.name}-seed{seed}"
            states.append(state_of(run, training, model.yaml, seed))
            argv = training.argv(model.cfg, seed)
            command = command_for(states[-1], run, argv, data=training.data, imgsz=training.imgsz)
            wanted.append(Job(run.name, model.name, run, training.epochs, command))
    counts = [f"{states.count(state)} {state.value}" for state in State if state in states]
    display.say(f"{len(wanted)} runs: {', '.join(counts)}")
    run_all(wanted, where, logs=folder.parent / "logs", display=display)


def _scored(
    model: Contestant, seeds: Sequence[int], save_dir: Path, settings: Settings, training: Training, display: Display
) -> ModelResult:
    runs = []
    for seed in seeds:
        name = f"{model.name}-seed{seed}"
        folder = save_dir / "runs" / name
        display.say(f"scoring {name} on {settings.task}")
        best = folder / "weights" / "best.pt"
        runs.append(RunResult(score(best, save_dir / "scores" / settings.task / name, settings), seed, folder))
    parent, taken = training.parent, model.taken or 0.0
    started_from = None if parent is None else f"{parent.name} ({taken:.0%} of the model)"
    return ModelResult(model.name, model.role, runs, cfg=model.cfg, started_from=started_from)
