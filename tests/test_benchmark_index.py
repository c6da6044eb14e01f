import json

import pytest

import swin_yolo.benchmark.index as index_module
import swin_yolo.data.index_cache as cache_module
from swin_yolo.benchmark.index import AGAIN, FIRST, THEIRS, IndexSettings, index
from swin_yolo.benchmark.synthetic_coco import COCO, OBJECTS365, ROWS, Scale, write_coco
from swin_yolo.data.coco import CocoIndex

# The file


def test_the_sizes_are_those_of_the_sets():
    assert (COCO.images, COCO.boxes) == (118_287, 860_001)
    assert (OBJECTS365.images, OBJECTS365.boxes) == (1_700_000, 25_000_000)
    assert COCO.part(4) == Scale(29_571, 215_000)


@pytest.mark.parametrize("polygons", [True, False])
def test_a_file_has_as_many_rows_as_asked_and_all_boxes_can_be_trained_on(tmp_path, polygons):
    scale = Scale(ROWS + 3, 2 * ROWS + 1, classes=3, polygons=polygons)
    file = write_coco(tmp_path / "set.json", scale)
    what = json.loads(file.read_text())
    assert [len(what[key]) for key in ("images", "annotations", "categories")] == [scale.images, scale.boxes, 3]
    assert ("segmentation" in what["annotations"][-1]) == polygons
    split = CocoIndex.from_json(file, tmp_path)
    assert (len(split), len(split.areas), split.dropped, split.clipped) == (scale.images, scale.boxes, 0, 0)
    assert set(split.class_indices.tolist()) == {0, 1, 2}
    if polygons:
        for annotation in what["annotations"][:100]:
            left, top, width, height = annotation["bbox"]
            (polygon,) = annotation["segmentation"]
            assert left - 0.1 <= min(polygon[::2]) and max(polygon[::2]) <= left + width + 0.1
            assert top - 0.1 <= min(polygon[1::2]) and max(polygon[1::2]) <= top + height + 0.1


def test_a_seed_gives_the_same_file_and_another_another(tmp_path):
    texts = [write_coco(tmp_path / "set.json", Scale(5, 20), seed=seed).read_text() for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


# What is measured


def test_ours_is_set_beside_pycocotools_and_a_larger_file_beside_a_smaller(monkeypatch):
    monkeypatch.setattr(index_module, "in_own_process", lambda function, *args: function(*args))  # a process takes long
    settings = IndexSettings(COCO.part(50), Scale(3000, 9000, polygons=False), rounds=1)
    opened, process, lengths, larger = index(settings)

    assert [row[0] for row in opened.rows] == [THEIRS, FIRST, AGAIN]
    assert opened.figures[THEIRS]["ratio"] == 1
    assert opened.figures[FIRST]["ratio"] > 1
    assert opened.figures[FIRST]["added"] < opened.figures[THEIRS]["added"] < opened.figures[THEIRS]["peak"]

    assert process.figures["pickle"]["bytes"] < 10_000
    assert all(figures["seconds"] > 0 for name, figures in process.figures.items() if name != "pickle")

    assert [row[0] for row in lengths.rows] == ["4,300 boxes", "8,600 boxes", "17,200 boxes"]
    sizes = ("562 boxes", "2,250 boxes", "9,000 boxes")
    assert [row[0] for row in larger.rows] == [f"{boxes}, {way}" for boxes in sizes for way in (FIRST, AGAIN)]
    assert "9,000 boxes without polygons" in larger.remarks[0]


def test_a_larger_file_is_opened_only_where_asked_for(monkeypatch):
    monkeypatch.setattr(index_module, "in_own_process", lambda function, *args: function(*args))
    assert len(list(index(IndexSettings(Scale(2100, 8000, polygons=False), rounds=1)))) == 3


def test_the_file_that_is_tried_here_is_large_enough_for_the_cache(tmp_path):
    assert write_coco(tmp_path / "set.json", COCO.part(50)).stat().st_size > cache_module.CACHED_FROM
