import io

import pytest

from swin_yolo.video import progress
from swin_yolo.video.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def now(monkeypatch):
    """The clock, to be moved by hand."""
    time = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: time[0])
    return time


def run(stream, now, total, frames=40):
    shown = Progress(total, stream=stream)
    for _ in range(frames):
        now[0] += 0.5
        shown.update()
    shown.close()
    return stream.getvalue()


def test_a_pipe_gets_plain_lines_now_and_then(now):
    printed = run(io.StringIO(), now, 80)
    assert printed.splitlines() == [
        " 25% 20/80 frames, 2.0 frames/s, 0:30 to go",
        " 50% 40/80 frames, 2.0 frames/s, 0:20 to go",
        " 50% 40/80 frames, 2.0 frames/s, 0:20 to go",
    ]
    assert "\r" not in printed and "\x1b" not in printed


def test_a_terminal_gets_a_bar_in_one_line(now):
    printed = run(Terminal(), now, 40)
    assert printed.count("\n") == 1 and printed.endswith("\n")
    bars = printed.split("\r\x1b[K")[1:]
    assert len(bars) == 41
    assert bars[19] == "|############            |  50% 20/40 frames, 2.0 frames/s, 0:10 to go"
    assert bars[-1] == "|########################| 100% 40/40 frames, 2.0 frames/s, 0:20\n"


def test_a_stream_of_unknown_length_shows_no_time_to_go(now):
    assert run(io.StringIO(), now, None).splitlines()[-1] == "40 frames, 2.0 frames/s, 0:20"


def test_a_line_in_between_does_not_tear_the_bar(now):
    stream = Terminal()
    shown = Progress(10, stream=stream)
    now[0] += 1
    shown.update()
    shown.say("camera: gone")
    assert stream.getvalue().endswith("\r\x1b[Kcamera: gone\n")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_times_are_minutes_and_seconds(seconds, text):
    assert clock(seconds) == text
