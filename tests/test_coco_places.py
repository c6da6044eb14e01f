"""Ids brought to places, held against a dictionary."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from swin_yolo.data import coco_arrays

FAR = 2**63 - 1


@given(
    st.lists(st.integers(-20, 20) | st.integers(-FAR, FAR), min_size=1, unique=True),
    st.lists(st.integers(-25, 25) | st.sampled_from([-FAR - 1, FAR])),
    st.randoms(use_true_random=False),
)
@example([5], [5, 4, 6, -FAR - 1, FAR], None)
@example([7, 3, 5, 4], [3, 4, 5, 6, 7, 8, 2], None)
def test_ids_are_found_where_they_are(ids, others, random):
    wanted = [*others, *ids]
    if random is not None:
        random.shuffle(wanted)
    place = {number: i for i, number in enumerate(ids)}
    found = coco_arrays._places(np.array(wanted, np.int64), np.array(ids, np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == [place.get(number, -1) for number in wanted]


@pytest.mark.parametrize(("spread", "searched"), [(7, False), (9, True)])
def test_ids_far_apart_are_searched_for(spread, searched, monkeypatch):
    calls = []
    real = np.searchsorted
    monkeypatch.setattr(np, "searchsorted", lambda *args: calls.append(args) or real(*args))
    ids = spread * np.arange(100)
    assert coco_arrays._places(ids[::-1], ids).tolist() == list(range(99, -1, -1))
    assert bool(calls) == searched
