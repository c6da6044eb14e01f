"""Parts of ultralytics that would send something, or fetch and unpickle something, kept from doing so."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.utils import callbacks


@contextmanager
def without_integrations() -> Iterator[None]:
    """Let a trainer or exporter be made without ultralytics' usage analytics and the loggers that its settings name."""
    theirs = callbacks.add_integration_callbacks
    callbacks.add_integration_callbacks = lambda instance: None
    try:
        yield
    finally:
        callbacks.add_integration_callbacks = theirs


@contextmanager
def own_amp_check() -> Iterator[None]:
    """Let the trainer ask `amp_works`: ultralytics' check unpickles weights/yolo26n.pt, or downloads it."""
    theirs = ultralytics_trainer.check_amp
    ultralytics_trainer.check_amp = amp_works
    try:
        yield
    finally:
        ultralytics_trainer.check_amp = theirs


def amp_works(model: Any) -> bool:
    """Whether to train a model under autocast on its device: not on a CPU, nor on an older GPU that gives NaN."""
    return next(model.parameters()).device.type != "cpu" and gives_numbers(model)


@torch.no_grad()
def gives_numbers(model: Any) -> bool:
    """Whether a model gives finite numbers under autocast on its device; it is left in the mode it was in."""
    device, training = next(model.parameters()).device, model.training
    image = torch.rand(1, model.yaml.get("channels", 3), 256, 256, device=device)
    with torch.autocast(device.type):
        output = model.eval()(image)
    model.train(training)
    return bool((output[0] if isinstance(output, list | tuple) else output).isfinite().all())
