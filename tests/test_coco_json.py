import json
import math

import pytest
from coco_files import CONTENT, content, index_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swin_yolo.data.coco import CocoIndex
from swin_yolo.errors import InputError

LIGHT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_nan_in_a_field_that_is_not_read_does_no_harm(tmp_path):
    what = content()
    what["annotations"][0]["score"] = math.nan
    assert index_of(tmp_path, what).boxes_xywh.tolist() == index_of(tmp_path).boxes_xywh.tolist()


def test_a_number_too_large_for_a_float_is_named(tmp_path):
    text = json.dumps(CONTENT).replace("[10, 5, 20, 10]", "[10, 5, 1e999, 10]")
    with pytest.raises(InputError, match="annotation 18 has bbox"):
        index_of(tmp_path, text)


@LIGHT
@given(st.integers(0, len(json.dumps(CONTENT)) - 1))
def test_a_file_cut_off_anywhere_is_said_to_be_so(tmp_path, length):
    with pytest.raises(InputError, match=r"set\.json: is not JSON, or was cut off, at byte \d+ of \d+ \(line 1"):
        index_of(tmp_path, json.dumps(CONTENT)[:length])


def test_a_missing_file_a_folder_and_a_binary_file_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: cannot be read as a COCO JSON file: No such file"):
        CocoIndex.from_json(tmp_path / "none.json", tmp_path)
    with pytest.raises(InputError, match="cannot be read as a COCO JSON file: Is a directory"):
        CocoIndex.from_json(tmp_path, tmp_path)
    (tmp_path / "photo.json").write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(InputError, match=r"photo\.json: is not JSON: byte 12 is not UTF-8"):
        CocoIndex.from_json(tmp_path / "photo.json", tmp_path)


@pytest.mark.parametrize("what", ["[]", "3", "null", '"text"'])
def test_json_that_is_not_coco_is_said_to_be_so(tmp_path, what):
    with pytest.raises(InputError, match="is not a COCO detection file"):
        index_of(tmp_path, what)
