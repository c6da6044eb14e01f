"""What to compute on."""

import ctypes
import os

import torch
from ultralytics.utils.torch_utils import select_device

from swin_yolo.errors import InputError

# Of glibc's malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_MAX, in bytes and, the last, in allocations.
_KEEPING = {-1: 2**31 - 1, -2: 64 * 2**20, -4: 0}


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


def kind_of_device(device: str) -> str:
    """What `--device` computes on, as far as results depend on it: "cpu", "1 GPU", "2 GPUs" ...; "mps" is Apple's.

    Raises:
        InputError: see `choose_device`.
    """
    chosen = choose_device(device)
    if chosen.type != "cuda":
        return chosen.type
    number = len([name for name in device.split(",") if name.strip()]) or 1
    return f"{number} GPU{'s' if number > 1 else ''}"


def use_all_cores() -> None:
    """Let PyTorch compute on every core of the CPU: importing ultralytics leaves it one."""
    torch.set_num_threads(available_cores())


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees for what it allocates next, where its C library is glibc.

    A training step on a CPU asks for maps of the same sizes as the one before. glibc gives large ones back to the
    system, which then clears each page of them anew: about a tenth of a step's time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError on Windows
        return
    for parameter, value in _KEEPING.items():
        mallopt(parameter, value)


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
