import os

import pytest
import torch

from swin_yolo.engine.device import available_cores, choose_device, use_all_cores
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
