"""What the epochs of a training run of ultralytics' trainer, or of one derived from it, take."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from ultralytics.utils.callbacks import default_callbacks

TRAIN_START, TRAIN_END, EPOCH_END = "on_train_epoch_start", "on_train_epoch_end", "on_fit_epoch_end"
VAL_START, VAL_END = "on_val_start", "on_val_end"


@dataclass(frozen=True)
class Epoch:
    """Seconds of one epoch.

    Attributes:
        training: from the first batch to the last, with loading.
        validation: all of it.
        overhead: of validation what is neither the forward pass nor the loss: loading, NMS, matching, averages.
        whole: training, validation and checkpoints.
    """

    training: float
    validation: float
    overhead: float
    whole: float


class EpochClock:
    """Listens to every trainer and validator that this process makes after `start`."""

    def __init__(self) -> None:
        self._heard: list[tuple[str, float, float]] = []  # event, when, and seconds in the model before it

    def start(self) -> None:
        """Listen from now on; there is no end to it."""
        for event in (TRAIN_START, TRAIN_END, EPOCH_END, VAL_START, VAL_END):
            default_callbacks[event].append(self._listener(event))

    def epochs(self) -> list[Epoch]:
        """The finished epochs; a validation after the last, as ultralytics has one, is none's."""
        found: list[Epoch] = []
        at: dict[str, float] = {}
        in_model = 0.0
        for event, when, seconds in self._heard:
            if event == TRAIN_START:
                at = {}
            at[event] = when
            in_model = seconds if event == VAL_END else in_model
            if event == EPOCH_END and TRAIN_START in at:
                validation = at[VAL_END] - at[VAL_START]
                training = at[TRAIN_END] - at[TRAIN_START]
                found.append(Epoch(training, validation, validation - in_model, when - at[TRAIN_START]))
                at = {}
        return found

    def _listener(self, event: str) -> Callable[[Any], None]:
        # A function, since ultralytics copies its callbacks deeply, and with a bound method all of this object.
        def listen(source: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self._heard.append((event, time.perf_counter(), _in_model(source) if event == VAL_END else 0.0))

        return listen


def _in_model(validator: Any) -> float:
    """Seconds of a validation's forward passes and loss."""
    milliseconds = validator.speed["inference"] + validator.speed["loss"]  # of an image
    return milliseconds * len(validator.dataloader.dataset) / 1000
