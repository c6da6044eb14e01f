"""What to compute on."""

import os

import torch
from ultralytics.utils.torch_utils import select_device

from swin_yolo.errors import InputError


def choose_device(device: str) -> torch.device:
    """The device that `--device` names, the first of several; on a CPU PyTorch is given all of its cores.

    Raises:
        InputError: if there is no such device here.
    """
    try:
        chosen = select_device(device, verbose=False)
    except ValueError as e:
        raise InputError(
            f"--device {device}: expected cpu, or numbers of the {torch.cuda.device_count()} CUDA devices that PyTorch "
            "sees here, as 0 or 0,1"
        ) from e
    # ultralytics falls back to the CPU where it finds no Apple GPU, and no idle one for -1.
    if chosen.type == "cpu" and device not in ("", "cpu"):
        raise InputError(f"--device {device}: expected a device that is here, such as cpu; there is none of that name")
    if chosen.type == "cpu":
        use_all_cores()
    return chosen


def use_all_cores() -> None:
    """Let PyTorch compute on every core of the CPU: importing ultralytics leaves it one."""
    torch.set_num_threads(available_cores())


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
