import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swin_yolo.data.file_names import FileNames


def test_names_are_bytes_behind_one_another():
    names = FileNames.of(["a", "bcd"])
    assert bytes(names.text) == b"abcd"
    assert names.offsets.tolist() == [0, 1, 4]


@given(st.lists(st.text(st.characters()), max_size=6))
def test_names_come_back_as_they_were(texts):
    names = FileNames.of(texts)
    assert list(names) == texts
    assert len(names) == len(texts)
    assert names[1:3] == texts[1:3]
    assert [names[-1 - i] for i in range(len(texts))] == texts[::-1]


def test_half_a_surrogate_pair_is_kept():
    assert FileNames.of(["\ud800.jpg"])[0] == "\ud800.jpg"


def test_a_place_that_is_not_there_is_an_index_error():
    names = FileNames(np.zeros(0, np.uint8), np.zeros(1, np.int64))
    for place in (0, -1):
        with pytest.raises(IndexError):
            names[place]
