from itertools import count

from swin_yolo.timing import Timing, interleaved, ratio


def ticking(order):
    """A clock that the work moves on: "a" takes 1 second, "b" takes 3."""
    now = [0.0]

    def work(name, seconds):
        def run():
            order.append(name)
            now[0] += seconds

        return run

    return {"a": work("a", 1.0), "b": work("b", 3.0)}, lambda: now[0]


def test_work_is_done_in_turns_after_a_warm_up():
    order = []
    work, clock = ticking(order)
    times = interleaved(work, rounds=2, warmup=1, clock=clock)
    assert order == ["a", "b"] * 3
    assert times == {"a": Timing((1.0, 1.0)), "b": Timing((3.0, 3.0))}


def test_no_round_is_started_after_the_time_is_up_but_the_first():
    order = []
    work, clock = ticking(order)
    times = interleaved(work, rounds=10, warmup=0, clock=clock, seconds=5.0)
    assert times["a"].seconds == (1.0, 1.0)
    assert interleaved(work, rounds=10, warmup=0, clock=clock, seconds=0.0)["b"].seconds == (3.0,)


def test_median_and_quartiles():
    assert Timing((4.0, 1.0, 2.0, 3.0, 5.0)).median == 3.0
    assert Timing((4.0, 1.0, 2.0, 3.0, 5.0)).quartiles == (2.0, 4.0)
    assert Timing((2.0,)).quartiles == (2.0, 2.0)


def test_the_ratio_is_taken_round_by_round():
    slowing = [1.0, 2.0, 4.0]
    ours, theirs = Timing(tuple(slowing)), Timing(tuple(2 * s for s in slowing))
    assert ratio(ours, theirs) == (2.0, 2.0, 2.0)


def test_the_clock_is_a_real_one_by_default():
    ticks = count()
    times = interleaved({"a": lambda: next(ticks)}, rounds=3, warmup=0)
    assert next(ticks) == 3 and all(s >= 0 for s in times["a"].seconds)
