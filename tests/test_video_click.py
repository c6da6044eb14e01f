import cv2
import numpy as np
import pytest

from swin_yolo.video import click
from swin_yolo.video.click import clicked_pixel


class Screen:
    """OpenCV's windows, with a user who does one thing at each look: ("click", x, y), a key, or "close"."""

    def __init__(self, *deeds):
        self.deeds, self.shown, self.closed, self.visible = list(deeds), [], False, 1.0

    def waitKey(self, milliseconds):
        deed = self.deeds.pop(0)
        if isinstance(deed, tuple):
            self.note(cv2.EVENT_MOUSEMOVE, 1, 1, 0, None)
            self.note(cv2.EVENT_LBUTTONDOWN, *deed[1:], 0, None)
        elif deed == "close":
            self.visible = 0.0
        return ord(deed) if isinstance(deed, str) and len(deed) == 1 else -1


@pytest.fixture
def screen(monkeypatch):
    def put(*deeds) -> Screen:
        fake = Screen(*deeds)
        monkeypatch.setattr(click.cv2, "namedWindow", lambda name, flags: None)
        monkeypatch.setattr(click.cv2, "setMouseCallback", lambda name, note: setattr(fake, "note", note))
        monkeypatch.setattr(click.cv2, "imshow", lambda name, image: fake.shown.append(image))
        monkeypatch.setattr(click.cv2, "waitKey", fake.waitKey)
        monkeypatch.setattr(click.cv2, "getWindowProperty", lambda name, which: fake.visible)
        monkeypatch.setattr(click.cv2, "destroyAllWindows", lambda: setattr(fake, "closed", True))
        return fake

    return put


def test_the_last_click_before_a_key_counts(screen):
    fake = screen(" ", ("click", 1, 2), None, ("click", 30, 20), " ")
    assert clicked_pixel(np.zeros((40, 60, 3), np.uint8)) == (30, 20)
    assert fake.closed and not fake.deeds, "a key before the first click is not taken"
    assert not fake.shown[0].any() and fake.shown[-1][20, 30].any(), "the click is marked"


@pytest.mark.parametrize("at", [(0, 0), (2559, 719), (1280, 400)])
def test_on_an_image_larger_than_the_screen_a_click_is_of_its_own_pixels(screen, at):
    fake = screen(("click", at[0] // 2, at[1] // 2), " ")
    x, y = clicked_pixel(np.zeros((720, 2560, 3), np.uint8))
    assert fake.shown[0].shape == (360, 1280, 3)
    assert abs(x - at[0]) <= 1 and abs(y - at[1]) <= 1


def test_the_last_row_and_column_stay_inside(screen):
    screen(("click", 1279, 9), " ")
    assert clicked_pixel(np.zeros((20, 2561, 3), np.uint8)) == (2559, 19)


@pytest.mark.parametrize("deed", ["q", "\x1b", "close"], ids=repr)
def test_leaving_the_window_stops_the_run(screen, deed):
    fake = screen(("click", 1, 1), deed)
    with pytest.raises(KeyboardInterrupt):
        clicked_pixel(np.zeros((40, 60, 3), np.uint8))
    assert fake.closed
