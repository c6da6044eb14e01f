"""What machine this is, and what this process takes of it."""

import contextlib
import os
import platform
import resource
from pathlib import Path
from typing import Any

import torch

from swin_yolo.engine.device import available_cores


def machine() -> dict[str, Any]:
    """Processor, cores that this process may run on, memory in GiB and GPUs, as reports name them."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"cpu": _cpu(), "cores": available_cores(), "memory_gib": _memory_gib(), "gpu": ", ".join(gpus) or None}


def peak_resident_bytes() -> int:
    """Most memory that this process has had.

    Linux' ru_maxrss starts at that of the process which started this one, so that a fresh process of a large one would
    look large.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak_resident_bytes() -> int:
    """Let `peak_resident_bytes` count from now on, and return the memory that this process has now.

    Only Linux can; elsewhere the peak so far, which a later one may not exceed.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_resident_bytes()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
