import io
import math

import pytest

from swin_yolo.comparison.progress import Course, Display, course_of, epoch_seconds, overview, seconds_left


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def course(model="a", epochs=4, *seconds, ap=math.nan) -> Course:
    return Course(model, epochs, len(seconds), seconds, ap)


# Time to go


def test_the_time_left_is_that_of_each_model_s_own_epochs():
    runs = [course("a", 4, 10, 10), course("a", 4), course("b", 4, 30, 90, 60)]
    assert seconds_left(runs, 1) == 2 * 10 + 4 * 10 + 1 * 60


def test_a_model_of_which_no_epoch_is_known_is_as_fast_as_the_others():
    assert seconds_left([course("a", 4, 10), course("b", 2, 30), course("c", 5)], 1) == 3 * 10 + 1 * 30 + 5 * 20


def test_jobs_share_the_time_but_a_run_is_not_split():
    runs = [course("a", 10, 10), course("a", 10, 10), course("a", 10, 10)]
    assert seconds_left(runs, 2) == 3 * 90 / 2
    assert seconds_left(runs, 3) == seconds_left(runs, 8) == 90


def test_before_the_first_epoch_there_is_no_saying():
    assert seconds_left([course(), course("b")], 1) is None
    assert seconds_left([course("a", 1, 10)], 1) == 0


def test_an_epoch_s_seconds_are_those_since_the_one_before_or_since_the_run_was_gone_on_with():
    assert epoch_seconds([10, 22, 30, 5, 14]) == [10, 12, 8, 5, 9]
    assert epoch_seconds([]) == []


def test_a_run_s_course_is_that_of_its_results_csv(tmp_path):
    assert course_of(tmp_path, "a", 9) == Course("a", 9)
    (tmp_path / "results.csv").write_text("epoch,time,AP\n1,10,0.1\n2,25,0.25\n")
    assert course_of(tmp_path, "a", 9) == Course("a", 9, 2, (10, 15), 0.25)


# The line


def test_the_line_says_epochs_runs_time_and_what_trains_now():
    runs = {
        "a-seed0": course("a", 4, 30, 30, 30, 30),
        "b-seed0": course("b", 4, 60, ap=0.1234),
        "a-seed1": course("a", 4),
    }
    line = overview(runs, ["b-seed0"], 1)
    assert line == "|########            |  42% 5/12 epochs, 1/3 runs, 5:00 of training to go, b-seed0 1/4 AP 0.123"
    assert "time to go not known yet, a 0/4" in overview({"a": course()}, ["a"], 1)


def test_a_terminal_s_line_is_drawn_over_and_goes_away():
    out, clock = Terminal(), Clock()
    display = Display(stream=out, clock=clock)
    display.update({"a": course()}, [], 1)
    display.update({"a": course()}, [], 1)
    clock.now = 1.0
    display.update({"a": course("a", 4, 5)}, [], 1)
    display.say("a is done")
    display.close()
    drawn = out.getvalue().split("\r\x1b[K")
    assert [text.partition(" epochs")[0][-3:] for text in drawn[1:3]] == ["0/4", "1/4"]
    assert drawn[3:] == ["a is done\n", ""]


def test_elsewhere_there_is_a_plain_line_a_minute():
    out, clock = io.StringIO(), Clock()
    display = Display(stream=out, clock=clock)
    for clock.now in (0.0, 1.0, 59.0, 60.0, 61.0):
        display.update({"a": course()}, ["a"], 1)
    display.say("a is done")
    display.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 3 and lines[-1] == "a is done" and "\r" not in out.getvalue()


@pytest.mark.parametrize("columns", [20, 60])
def test_a_line_is_never_wider_than_the_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    Display(stream=out).update({f"run {i}": course() for i in range(9)}, [f"run {i}" for i in range(9)], 1)
    assert len(out.getvalue().removeprefix("\r\x1b[K")) == columns - 1


def test_a_count_shows_how_many_are_done():
    out = io.StringIO()
    Display(stream=out, clock=Clock()).counting("resamples")(3, 10)
    assert out.getvalue() == "resamples: 3/10\n"
