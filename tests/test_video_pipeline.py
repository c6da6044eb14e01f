import os
import signal
import threading
import time
from contextlib import closing

import pytest

from swin_yolo.video.pipeline import Pipeline, batches, stopped_by_ctrl_c


def test_items_come_out_in_order_through_any_number_of_stages():
    with closing(Pipeline()) as pipeline:
        items = pipeline.ahead(range(200))
        items = pipeline.ahead(i * 2 for i in items)
        assert list(pipeline.ahead(i + 1 for i in items)) == [2 * i + 1 for i in range(200)]


def test_a_stage_is_never_more_than_depth_items_ahead():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    with closing(Pipeline(depth=2)) as pipeline:
        for taken, _ in enumerate(pipeline.ahead(items())):
            time.sleep(0.002)
            # Two wait, one is being handed over, one is taken.
            assert len(made) <= taken + 4


def test_stages_work_at_the_same_time():
    meeting = threading.Barrier(2, timeout=10)  # passed only if both stages are in it at once

    def first():
        for i in range(3):
            yield i
            meeting.wait()

    def second(items):
        for i in items:
            meeting.wait()
            yield i

    with closing(Pipeline()) as pipeline:
        assert list(pipeline.ahead(second(pipeline.ahead(first())))) == [0, 1, 2]


def test_an_exception_comes_out_in_its_place():
    def items():
        yield 1
        raise ValueError("broken")

    with closing(Pipeline()) as pipeline:
        stage = pipeline.ahead(i for i in pipeline.ahead(items()))
        assert next(stage) == 1
        with pytest.raises(ValueError, match="broken"):
            next(stage)


def test_closing_ends_the_threads_and_what_they_read_from():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    with closing(Pipeline()) as pipeline:
        assert next(pipeline.ahead(pipeline.ahead(endless()))) == 0
    assert closed.is_set() and threading.active_count() == before


@pytest.fixture
def ctrl_c_is_heard():
    """As in a terminal; a background job of a shell without job control is born with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_left_ignored_where_it_is():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with closing(Pipeline()) as pipeline, stopped_by_ctrl_c(pipeline):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_items_and_a_second_one_is_as_usual(ctrl_c_is_heard):
    with closing(Pipeline()) as pipeline, stopped_by_ctrl_c(pipeline) as interrupted:
        items = pipeline.ahead(iter(lambda: time.sleep(0.01), 1))
        next(items)
        os.kill(os.getpid(), signal.SIGINT)
        assert list(items) == [] and interrupted.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (1, [1]), (3, [3]), (7, [3, 3, 1])])
def test_batches_keep_the_order(n, sizes):
    made = list(batches(range(n), 3))
    assert [len(batch) for batch in made] == sizes
    assert [i for batch in made for i in batch] == list(range(n))
