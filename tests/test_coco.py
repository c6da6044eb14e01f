import json
import math

import numpy as np
import pytest
from coco_files import CONTENT, content, index_of, save
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import swin_yolo.data.coco as coco_module
from swin_yolo.data.coco import CocoIndex, check_same_categories
from swin_yolo.errors import InputError

LIGHT = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(coco_module.LOGGER, "warning", said.append)
    return said


# What comes out


def test_boxes_are_grouped_by_image_in_the_file_order(tmp_path):
    index = index_of(tmp_path)
    assert index.image_ids.tolist() == [10, 5, 6]
    assert index.sizes_wh.tolist() == [[40, 20], [30, 30], [24, 32]]
    assert index.box_offsets.tolist() == [0, 2, 4, 4]
    assert index.annotation_ids.tolist() == [18, 19, 17, 21]
    assert index.boxes_xywh.tolist() == [[10, 5, 20, 10], [0, 0, 40, 20], [3, 6, 12, 15], [0, 0, 6, 6]]
    assert index.areas.tolist() == [200, 500, 90, 30]
    assert index.iscrowd.tolist() == [False, True, False, False]


def test_class_index_is_the_place_among_the_sorted_category_ids(tmp_path):
    index = index_of(tmp_path)
    assert (index.category_ids, index.names) == ((1, 3, 7), ("one", "three", "seven"))
    assert index.class_indices.tolist() == [0, 1, 2, 1]


def test_labels_are_fractions_of_the_image_without_crowds(tmp_path):
    classes, boxes_cxcywhn = index_of(tmp_path).labels(0)
    assert classes.tolist() == [0]
    assert boxes_cxcywhn.tolist() == [[0.5, 0.5, 0.5, 0.5]]


def test_an_image_without_boxes_has_labels_of_length_0(tmp_path):
    classes, boxes_cxcywhn = index_of(tmp_path).labels(2)
    assert (classes.shape, boxes_cxcywhn.shape) == ((0,), (0, 4))


def test_negative_ids_id_0_and_a_category_without_boxes_are_taken(tmp_path):
    what = content()
    what["categories"] += [{"id": 0, "name": "nothing"}, {"id": -4, "name": "below"}]
    what["images"][0]["id"] = 0
    for annotation in what["annotations"][1:3]:
        annotation["image_id"] = 0
    index = index_of(tmp_path, what)
    assert index.category_ids == (-4, 0, 1, 3, 7)
    assert index.labels(0)[0].tolist() == [2]


def test_roboflow_project_row_of_the_same_name_as_a_class_is_told_apart(tmp_path):
    what = content()
    what["categories"] = [
        {"id": 0, "name": "fish", "supercategory": "none"},
        *({"id": i, "name": name, "supercategory": "fish"} for i, name in ((1, "fish"), (3, "crab"), (7, "eel"))),
    ]
    assert index_of(tmp_path, what).names == ("fish (supercategory)", "fish", "crab", "eel")


def test_a_byte_order_mark_and_iscrowd_as_bool_are_read(tmp_path):
    what = content()
    what["annotations"][2]["iscrowd"] = True
    assert index_of(tmp_path, "\ufeff" + json.dumps(what)).iscrowd.tolist() == [False, True, False, False]


# Repairs that are said in one line


def test_missing_iscrowd_is_0_and_missing_area_is_width_times_height(tmp_path, warnings):
    what = content()
    del what["annotations"][0]["iscrowd"], what["annotations"][0]["area"]
    what["annotations"][3]["area"] = None
    index = index_of(tmp_path, what)
    assert index.areas.tolist() == [200, 500, 180, 36]
    assert not index.iscrowd[2]
    assert len(warnings) == 1
    assert "set.json: 2 annotations without 'area'" in warnings[0]


@pytest.mark.parametrize(
    "bbox", [[3, 6, 0, 5], [3, 6, 5, -1], [30, 0, 5, 5], [0, 31.5, 5, 5], [-9, 0, 9, 5], [0, -9, 5, 5]]
)
def test_a_box_without_a_size_inside_the_image_is_dropped_and_counted(tmp_path, warnings, bbox):
    what = content()
    what["annotations"][0]["bbox"] = bbox
    index = index_of(tmp_path, what)
    assert index.annotation_ids.tolist() == [18, 19, 21]
    assert (index.dropped, index.clipped) == (1, 0)
    assert len(warnings) == 1
    assert "1 boxes" in warnings[0]
    assert "dropped" in warnings[0]


def test_a_box_that_reaches_out_is_clipped_for_training_and_kept_for_scoring(tmp_path, warnings):
    what = content()
    what["annotations"][1]["bbox"] = [-10, 10, 30, 20]
    what["annotations"][0]["bbox"] = [-5, -5, 100, 100]
    index = index_of(tmp_path, what)
    assert index.labels(0)[1].tolist() == [[0.25, 0.75, 0.5, 0.5]]
    assert index.labels(1)[1][0].tolist() == [0.5, 0.5, 1, 1]
    assert index.boxes_xywh[0].tolist() == [-10, 10, 30, 20]
    assert (index.dropped, index.clipped) == (0, 2)
    assert len(warnings) == 1
    assert "2 boxes that reach out of the image clipped" in warnings[0]


def test_a_sound_file_gives_no_warning(tmp_path, warnings):
    what = content()
    what["annotations"][0]["bbox"] = [3, 6, 27.001, 15]  # two decimals are often all that is written
    index = index_of(tmp_path, what)
    assert (index.dropped, index.clipped, warnings) == (0, 0, [])


# Invariants


@LIGHT
@given(
    st.lists(
        st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(-5, 90), st.floats(-5, 90), st.booleans()),
        min_size=1,
        max_size=8,
    )
)
def test_labels_lie_inside_the_image_and_match_a_box_by_box_oracle(tmp_path, boxes):
    what = content()
    what["annotations"] = [
        {"id": i, "image_id": 10, "category_id": 1, "bbox": box, "area": 1, "iscrowd": int(crowd)}
        for i, (*box, crowd) in enumerate(boxes)
    ]
    what["annotations"].append({"id": 99, "image_id": 5, "category_id": 7, "bbox": [1, 1, 2, 2], "area": 4})
    expected = []
    for x, y, w, h, crowd in boxes:
        left, right, top, bottom = max(x, 0), min(x + w, 40), max(y, 0), min(y + h, 20)
        if not crowd and w > 0 and h > 0 and right > left and bottom > top:
            centre = ((left + right) / 80, (top + bottom) / 40)
            expected.append((*centre, (right - left) / 40, (bottom - top) / 20))
    boxes_cxcywhn = index_of(tmp_path, what).labels(0)[1]
    np.testing.assert_allclose(boxes_cxcywhn, np.reshape(expected, (-1, 4)), rtol=0, atol=1e-6)
    assert (boxes_cxcywhn[:, :2] - boxes_cxcywhn[:, 2:] / 2 >= -1e-6).all()
    assert (boxes_cxcywhn[:, :2] + boxes_cxcywhn[:, 2:] / 2 <= 1 + 1e-6).all()


@LIGHT
@given(st.permutations(CONTENT["images"]), st.permutations(CONTENT["categories"]))
def test_the_order_of_images_and_categories_changes_no_label(tmp_path, images, categories):
    index = index_of(tmp_path, {**CONTENT, "images": images, "categories": categories})
    found = {int(image_id): [part.tolist() for part in index.labels(i)] for i, image_id in enumerate(index.image_ids)}
    plain = index_of(tmp_path)
    expected = {
        int(image_id): [part.tolist() for part in plain.labels(i)] for i, image_id in enumerate(plain.image_ids)
    }
    assert found == expected


# Ground truth for pycocotools


def test_to_coco_holds_what_pycocotools_reads_from_the_file_and_prints_nothing(tmp_path, capsys):
    file = save(tmp_path)
    ours = CocoIndex.from_json(file, tmp_path).to_coco()
    assert capsys.readouterr().out == ""
    theirs = COCO(str(file))
    keys = ("image_id", "category_id", "bbox", "area", "iscrowd")
    for image_id in (10, 5, 6):
        of_image = [[{key: a[key] for key in keys} for a in coco.imgToAnns[image_id]] for coco in (ours, theirs)]
        assert of_image[0] == of_image[1]
    assert ours.cats.keys() == theirs.cats.keys()
    assert {i: (image["width"], image["height"]) for i, image in ours.imgs.items()} == {
        i: (image["width"], image["height"]) for i, image in theirs.imgs.items()
    }


def test_an_annotation_with_id_0_can_be_found(tmp_path):
    what = content()
    what["annotations"] = [{"id": 0, "image_id": 5, "category_id": 7, "bbox": [3, 6, 12, 15], "area": 180}]
    truth = index_of(tmp_path, what).to_coco()
    found = truth.loadRes([{"image_id": 5, "category_id": 7, "bbox": [3, 6, 12, 15], "score": 0.9}])
    scores = COCOeval(truth, found, "bbox")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)


# Files that cannot be used


def change(section, position, **fields):
    def apply(what):
        what[section][position].update(fields)

    return apply


def remove(section, position, field):
    def apply(what):
        del what[section][position][field]

    return apply


def replace(section, value):
    def apply(what):
        what[section] = value

    return apply


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param(lambda what: what.pop("images"), ["not a COCO detection file", "`images`"], id="no images key"),
        pytest.param(lambda what: what.pop("annotations"), ["`annotations`"], id="no annotations key"),
        pytest.param(remove("annotations", 2, "bbox"), ["annotation 19 (annotations[2])", "`bbox`"], id="no bbox"),
        pytest.param(remove("annotations", 2, "id"), ["annotations[2]", "`id`"], id="no annotation id"),
        pytest.param(remove("images", 1, "width"), ["image 5 (images[1])", "`width`"], id="no width"),
        pytest.param(change("images", 1, width=0), ["image 5", "width", ">= 1"], id="width 0"),
        pytest.param(change("annotations", 0, bbox=[1, 2, 3]), ["annotation 17", "length 4"], id="short bbox"),
        pytest.param(change("annotations", 0, category_id="7"), ["annotation 17", "`int`, got `str`"], id="text id"),
        pytest.param(change("annotations", 0, image_id=5.5), ["annotation 17", "`int`, got `float`"], id="float id"),
        pytest.param(change("annotations", 0, id=2**70), ["annotations[0]", "id"], id="huge id"),
        pytest.param(change("images", 0, id=5), ["image id 5", "more than one image"], id="image id twice"),
        pytest.param(change("images", 0, file_name="./b.jpg"), ["images 10 and 5", "file_name"], id="file twice"),
        pytest.param(change("annotations", 0, id=21), ["annotation id 21", "unique"], id="annotation id twice"),
        pytest.param(change("categories", 0, id=3), ["category id 3", "'seven'", "'three'"], id="category id twice"),
        pytest.param(change("categories", 0, name="one"), ["categories 1 and 7", "'one'"], id="category name twice"),
        pytest.param(change("annotations", 3, image_id=99), ["annotation 21", "image_id 99"], id="unknown image"),
        pytest.param(
            change("annotations", 3, category_id=2),
            ["annotation 21", "category_id 2", "[1, 3, 7]"],
            id="unknown category",
        ),
        pytest.param(
            change("annotations", 1, bbox=[1, math.nan, 2, 2]), ["annotation 18", "nan", "finite"], id="NaN in a box"
        ),
        pytest.param(change("annotations", 1, bbox=[1, 2, math.inf, 2]), ["annotation 18", "inf"], id="infinite box"),
        pytest.param(change("annotations", 1, area=math.nan), ["annotation 18", "area nan"], id="NaN area"),
        pytest.param(replace("images", []), ["'images' is empty"], id="no images"),
        pytest.param(replace("categories", []), ["'categories' is empty"], id="no categories"),
        pytest.param(replace("annotations", []), ["no box", "0 annotations"], id="no boxes"),
        pytest.param(replace("annotations", CONTENT["annotations"][2:3]), ["no box", "1 crowds"], id="only a crowd"),
    ],
)
def test_the_error_names_file_and_place(tmp_path, damage, words):
    what = content()
    damage(what)
    with pytest.raises(InputError) as error:
        index_of(tmp_path, what)
    assert str(error.value).startswith(f"{tmp_path / 'set.json'}: ")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


# Two splits


def test_splits_with_other_categories_are_told_apart(tmp_path):
    what = content()
    what["categories"][0]["name"] = "sieben"
    train, val = index_of(tmp_path), index_of(tmp_path, what, name="val.json")
    check_same_categories(train, index_of(tmp_path, name="other.json"))
    with pytest.raises(InputError, match=r"val\.json: 'categories' must be those of .*set\.json") as error:
        check_same_categories(train, val)
    assert "{7: 'sieben'}" in str(error.value)
    assert "{7: 'seven'}" in str(error.value)
