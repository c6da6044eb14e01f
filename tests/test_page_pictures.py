import cv2
import numpy as np
import pytest

from swin_yolo.report.page_pictures import QUALITIES, jpegs_within

NOISE = [np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8) for i in range(4)]


def size(jpegs) -> int:
    return sum(map(len, jpegs))


def at(quality: int) -> list[bytes]:
    return [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes() for picture in NOISE]


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_highest_quality_that_fits_is_taken(quality):
    assert jpegs_within(NOISE, size(at(quality))) == at(quality)


def test_where_the_lowest_quality_is_too_much_the_last_are_left_out():
    lowest = at(QUALITIES[-1])
    assert jpegs_within(NOISE, size(lowest) - 1) == lowest[:3]
    assert jpegs_within(NOISE, len(lowest[0])) == lowest[:1] and jpegs_within(NOISE, -5) == []


def test_no_pictures_are_no_jpegs():
    assert jpegs_within([], 1000) == []
