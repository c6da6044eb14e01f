import io
import json
import tracemalloc

import msgspec
import pytest
from coco_files import CONTENT, content, index_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import swin_yolo.data.coco_stream as stream_module
from swin_yolo.benchmark.synthetic_coco import COCO, write_coco
from swin_yolo.data.coco_json import read_coco_json
from swin_yolo.data.coco_rows import AnnotationRow
from swin_yolo.data.coco_stream import NotStreamedError, stream_coco_json

LIGHT = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KEYS = ("images", "annotations", "categories", "info")
INFO = {"info": {"description": 'a "}, {" ] } of a name', "annotations": []}}


def streamed(text):
    rows = []
    images, categories = stream_coco_json(io.BytesIO(text.encode()), rows.extend)
    return images, rows, categories


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(stream_module, "PIECE", 50)


# What comes out


@LIGHT
@given(st.permutations(KEYS), st.sampled_from([None, 1, "\t"]), st.integers(1, 600), st.booleans())
def test_rows_are_those_of_the_file_whatever_the_order_the_white_space_and_the_pieces(
    monkeypatch, keys, indent, piece, ascii_only
):
    monkeypatch.setattr(stream_module, "PIECE", piece)
    what = content() | {"info": {"description": '"}, {" ] } ä'}}
    for number, annotation in enumerate(what["annotations"]):
        annotation["segmentation"] = {"counts": [1, 2, 3], "size": [4, 5]} if number % 2 else [[1.5, 2, 3, 4]]
        annotation["caption"] = '}, {"id": 1} ] }] é'
    text = json.dumps({key: what[key] for key in keys}, indent=indent, ensure_ascii=ascii_only)
    images, annotations, categories = streamed(text)
    assert annotations == msgspec.convert(CONTENT["annotations"], type=list[AnnotationRow])
    assert [image.file_name for image in images] == [image["file_name"] for image in CONTENT["images"]]
    assert [category.id for category in categories] == [category["id"] for category in CONTENT["categories"]]


def test_one_annotation_longer_than_many_pieces_is_read(small_pieces):
    what = content()
    what["annotations"][1]["segmentation"] = [list(range(2000))]
    assert len(streamed(json.dumps(what))[1]) == len(what["annotations"])


def test_annotations_are_handed_on_before_the_file_is_read_to_its_end(small_pieces):
    stream, seen = io.BytesIO(json.dumps(content()).encode()), []
    stream_coco_json(stream, lambda rows: seen.append((len(rows), stream.tell())))
    assert len(seen) > 2
    assert seen[0][1] < seen[-1][1] < len(stream.getvalue())


def test_a_long_file_takes_little_more_memory_than_its_columns(tmp_path):
    scale = COCO.part(40)
    file = write_coco(tmp_path / "long.json", scale)
    read_coco_json(file)
    tracemalloc.start()
    annotations = read_coco_json(file).annotations
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(annotations) == scale.boxes
    images = 1000 * scale.images  # as text and as objects
    assert peak < 2 * 66 * scale.boxes + images + 10 * stream_module.PIECE < file.stat().st_size


# What is read as a whole instead


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(json.dumps(INFO | CONTENT), id="the key is in something else as well"),
        pytest.param(json.dumps(CONTENT)[:-1] + ', "annotations": []}', id="the key is there twice"),
        pytest.param(json.dumps(CONTENT | {"annotations": []}), id="no annotations"),
        pytest.param(json.dumps(CONTENT)[:-1], id="cut off"),
        pytest.param(json.dumps(CONTENT).replace('"bbox"', '"box"', 1), id="a field is missing"),
        pytest.param(json.dumps(CONTENT).replace("[10, 5", "[NaN, 5"), id="NaN"),
        pytest.param("[]", id="no object"),
        pytest.param('{"info": "\\"annotations\\": [{}]"}', id="the key is in a text"),
    ],
)
@pytest.mark.parametrize("piece", [50, 2**18])
def test_what_cannot_be_streamed_is_said_to_be_so(monkeypatch, text, piece):
    monkeypatch.setattr(stream_module, "PIECE", piece)
    with pytest.raises(NotStreamedError):
        streamed(text)


def test_annotations_in_info_are_not_taken_for_the_file_s(tmp_path, small_pieces):
    inner = {"info": {"annotations": CONTENT["annotations"][:1]}}
    assert index_of(tmp_path, json.dumps(inner | CONTENT)).annotation_ids.tolist() == [18, 19, 17, 21]


def test_annotations_that_hold_lists_of_objects_are_read_in_pieces_or_as_a_whole(tmp_path, monkeypatch):
    what = content()
    for annotation in what["annotations"]:
        annotation["attributes"] = [{"name": "x"}, {"name": "y", "parts": [{"a": 1}, {"b": [{}]}]}] * 3
    for piece in (30, 300, 2**18):
        monkeypatch.setattr(stream_module, "PIECE", piece)
        assert index_of(tmp_path, what).annotation_ids.tolist() == [18, 19, 17, 21]
