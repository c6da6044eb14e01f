"""Work in a fresh process: its memory and its settings of PyTorch are then its own."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import TypeVar

Result = TypeVar("Result")


def in_own_process(function: Callable[..., Result], *args: object) -> Result:
    """What a function gives when a fresh process calls it; function, arguments and result have to be picklable."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        return pool.submit(function, *args).result()


def _end_with_parent() -> None:
    """Let this process end when the one that started it is killed, which it would wait for without end."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
