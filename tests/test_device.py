import os
import subprocess
import sys

import pytest
import torch

from swin_yolo.engine import device as device_module
from swin_yolo.engine import trainer
from swin_yolo.engine.device import available_cores, choose_device, kind_of_device, use_all_cores
from swin_yolo.errors import InputError


@pytest.fixture
def three_cores(monkeypatch):
    """A machine with three cores for this process, and PyTorch on one of them, where importing ultralytics puts it."""
    before = torch.get_num_threads()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 5}, raising=False)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_cores_are_those_this_process_may_run_on(three_cores):
    assert available_cores() == 3


def test_without_affinities_all_cores_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert available_cores() == 7


def test_all_cores_are_used(three_cores):
    use_all_cores()
    assert torch.get_num_threads() == 3


def test_choosing_the_cpu_uses_all_its_cores(three_cores):
    assert choose_device("cpu") == torch.device("cpu")
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("device", ["99", "0,99", "gpu"])
def test_a_device_that_is_not_here_is_named_on_one_line(device):
    with pytest.raises(InputError, match=rf"^--device {device}: expected cpu, or numbers of the \d+ CUDA devices.*$"):
        choose_device(device)


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["mps", "-1"])
def test_a_gpu_that_is_not_here_does_not_become_the_cpu(device):
    with pytest.raises(InputError, match=rf"^--device {device}: expected"):
        choose_device(device)


# Page faults of making and freeing 64 MiB twenty times, when it was done before.
FAULTS = """
import ctypes, resource, sys
from swin_yolo.engine.device import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def use():
    memory = ctypes.create_string_buffer(64 * 2**20)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(
    ("device", "chosen", "kind"),
    [
        ("cpu", "cpu", "cpu"),
        ("", "cpu", "cpu"),
        ("", "cuda:0", "1 GPU"),
        ("0", "cuda:0", "1 GPU"),
        ("0,1", "cuda:0", "2 GPUs"),
        ("mps", "mps", "mps"),
    ],
)
def test_a_device_is_of_a_kind(monkeypatch, device, chosen, kind):
    monkeypatch.setattr(device_module, "choose_device", lambda _: torch.device(chosen))
    assert kind_of_device(device) == kind


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_freed_memory_is_kept_for_what_is_allocated_next():
    def faults(word: str) -> int:
        done = subprocess.run([sys.executable, "-c", FAULTS, word], capture_output=True, text=True, check=True)
        return int(done.stdout.splitlines()[-1])

    assert faults("keep") < 20 < faults("give back")  # a fault a page at least, of 4 KiB or 2 MiB


def test_training_on_a_cpu_keeps_freed_memory(monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(trainer, "keep_freed_memory", lambda: called.append(True))
    trainer.CocoTrainer(overrides={"model": "yolov5n.yaml", "device": "cpu", "save_dir": str(tmp_path)}, data={})
    assert called == [True]
