"""Stages that work at the same time, each in a thread, in order, a bounded number of items ahead of the next."""

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from typing import Any, TypeVar

T = TypeVar("T")
# Seconds after which a thread that waits for a neighbour looks whether all is to stop.
POLL = 0.1
# Seconds that a thread may take to come to its end: the longest is a stream's read timeout.
JOIN = 15.0


class Pipeline:
    """Threads that end together: when the last item is through, when one fails, or when told to stop.

    Items that were on their way when it stopped are dropped.
    """

    def __init__(self, *, depth: int = 2):
        self.depth = depth
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def ahead(self, items: Iterable[T]) -> Iterator[T]:
        """The same items in the same order, made by a thread at most `depth` of them ahead of who takes them.

        An exception that making one raises comes out in its place.
        """
        waiting: Queue[tuple[str, Any]] = Queue(self.depth)
        thread = threading.Thread(target=self._fill, args=(waiting, iter(items)), daemon=True)
        self._threads.append(thread)
        thread.start()
        return self._drain(waiting)

    def _drain(self, waiting: "Queue[tuple[str, Any]]") -> Iterator[Any]:
        while not self.stopping.is_set():
            try:
                what, item = waiting.get(timeout=POLL)
            except Empty:
                continue
            if what == "end":
                return
            if what == "error":
                raise item
            yield item

    def _fill(self, waiting: "Queue[tuple[str, Any]]", items: Iterator[Any]) -> None:
        try:
            for item in items:
                if not self._put(waiting, ("item", item)):
                    break
                del item  # a frame must not live on here while the next one is made
            self._put(waiting, ("end", None))
        except BaseException as e:
            self._put(waiting, ("error", e))
        finally:
            if close := getattr(items, "close", None):
                close()

    def _put(self, waiting: "Queue[tuple[str, Any]]", item: tuple[str, Any]) -> bool:
        while not self.stopping.is_set():
            try:
                waiting.put(item, timeout=POLL)
                return True
            except Full:
                continue
        return False

    def close(self) -> None:
        """Stop, and wait until every thread came to its end."""
        self.stopping.set()
        for thread in self._threads:
            thread.join(JOIN)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Neighbours as lists of `size`, the last one shorter where they do not come out even."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def stopped_by_ctrl_c(pipeline: Pipeline) -> Iterator[threading.Event]:
    """Let Ctrl-C stop the pipeline and set the event given; a second one raises KeyboardInterrupt as usual.

    An exception amid a write would leave half an entry behind. Only the main thread can take signals: in another
    this does nothing, nor where Ctrl-C is ignored already.
    """
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield interrupted
        return

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        interrupted.set()
        pipeline.stopping.set()

    signal.signal(signal.SIGINT, stop)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
