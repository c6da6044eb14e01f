import numpy as np
import pytest
from coco_files import content, index_of, save_images
from PIL import Image

from swin_yolo.comparison.gallery import gallery, image_quality, read_scaled, shown


def truth(*boxes, crowd=()) -> list[dict]:
    return [{"box": list(box), "class": 0, "crowd": i in crowd} for i, box in enumerate(boxes)]


def found(*boxes, score=0.9, number=0) -> list[dict]:
    return [{"box": list(box), "class": number, "score": score} for box in boxes]


A, B = (0, 0, 10, 10), (50, 50, 10, 10)


# How well an image was seen


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        (truth(A, B), found(A, B), 1.0),
        (truth(A, B), found(A), 2 / 3),  # F1 of recall 1/2 and precision 1
        (truth(A), found(A, B), 2 / 3),
        (truth(A), [], 0.0),
        ([], found(A), 0.0),
        ([], [], 1.0),
        (truth(A), found((0, 0, 10, 8)), 0.8),  # its IoU
        (truth(A), found((0, 0, 10, 4)), 0.0),  # below 0.5
        (truth(A), found(A, number=1), 0.0),
        (truth(A), found(A, score=0.2), 0.0),
        (truth(A), found(A, score=0.25), 1.0),
        (truth(A), found(A, A), 2 / 3),  # a duplicate
    ],
)
def test_quality_is_f1_with_matches_counted_by_their_iou(objects, detections, expected):
    assert image_quality(objects, detections) == pytest.approx(expected)


def test_the_surest_detection_takes_the_object_and_each_takes_the_best_free_one():
    near = (0, 0, 10, 8)
    assert image_quality(truth(A), [*found(A, score=0.5), *found(near, score=0.9)]) == pytest.approx(2 * 0.8 / 3)
    assert image_quality(truth(near, A), found(A)) == pytest.approx(2 * 1.0 / 3)


def test_a_crowd_is_no_object_and_what_lies_in_it_does_not_count():
    crowd = truth(B, (0, 0, 40, 40), crowd=[1])
    assert image_quality(crowd, found(B, A, (5, 5, 9, 9))) == 1.0
    assert image_quality(crowd, [*found(B), *found(A, number=1)]) == pytest.approx(2 / 3)
    assert image_quality(truth((0, 0, 40, 40), crowd=[0]), []) == 1.0


# Which images


@pytest.fixture
def index(tmp_path):
    save_images(tmp_path)
    return index_of(tmp_path)


def entry(image_id, bbox, category_id=1, score=0.9) -> dict:
    return {"image_id": image_id, "category_id": category_id, "bbox": list(bbox), "score": score}


def test_images_come_with_the_largest_difference_first_and_equal_ones_not_at_all(index):
    # Image 10 has a box of class one; image 5 of seven and three; image 6 has none.
    detections = {
        "vanilla": [entry(10, (10, 5, 20, 10)), entry(6, (0, 0, 9, 9))],
        "swin": [entry(10, (10, 5, 20, 10)), entry(5, (3, 6, 12, 15), 7)],
        "other": [entry(10, (10, 5, 20, 10)), entry(6, (0, 0, 9, 9))],
    }
    pictures = gallery(index, detections, "vanilla")
    assert [picture["file_name"] for picture in pictures] == ["c.jpg", "b.jpg"]
    assert pictures[0]["gain"] == {"swin": 1.0, "other": 0.0}
    assert pictures[1]["gain"] == {"swin": pytest.approx(2 / 3), "other": 0.0}
    assert [p["file_name"] for p in gallery(index, detections, "vanilla", most=1)] == ["c.jpg"]
    assert gallery(index, {"vanilla": []}, "vanilla") == []


def test_a_picture_has_its_boxes_by_class_index_and_detections_down_to_a_low_score(index):
    low = [entry(5, (1, 2, 3, 4), 3, 0.05), entry(5, (1, 2, 3, 4), 3, 0.049)]
    swin = shown([entry(5, (3, 6, 12, 15), 7), *low])
    (picture,) = gallery(index, {"vanilla": [], "swin": swin}, "vanilla")
    assert (picture["width"], picture["height"]) == (30, 30)
    # Category ids 1, 3, 7 are class indices 0, 1, 2.
    assert picture["truth"] == [
        {"box": [3, 6, 12, 15], "class": 2, "crowd": False},
        {"box": [0, 0, 6, 6], "class": 1, "crowd": False},
    ]
    assert picture["detections"] == {
        "vanilla": [],
        "swin": [
            {"box": [3, 6, 12, 15], "class": 2, "score": 0.9},
            {"box": [1, 2, 3, 4], "class": 1, "score": 0.05},
        ],
    }


# Pictures


def test_a_picture_has_at_most_640_pixels(tmp_path):
    what = content()
    what["images"][0] |= {"width": 1600, "height": 400}
    save_images(tmp_path, what)
    index = index_of(tmp_path, what)
    assert read_scaled(index, 0).shape == (160, 640, 3) and read_scaled(index, 1).shape == (30, 30, 3)
    (picture,) = gallery(index, {"vanilla": [], "swin": [entry(10, (10, 5, 20, 10))]}, "vanilla")
    assert picture["picture"].shape == (160, 640, 3)
    assert (picture["width"], picture["height"]) == (1600, 400)


def test_an_image_that_cannot_be_read_any_more_is_left_out_with_a_word(index, caplog):
    index.image_file(1).write_bytes(b"none")
    found = {"vanilla": [], "swin": [entry(10, (10, 5, 20, 10)), entry(5, (3, 6, 12, 15), 7)]}
    pictures = gallery(index, found, "vanilla")
    assert [picture["file_name"] for picture in pictures] == ["a.jpg"]
    assert f"{index.image_file(1)}: cannot be read any more, so the page does not show it" in caplog.text


def test_what_opencv_alone_does_not_read_is_shown(index):
    Image.fromarray(np.full((30, 30, 3), 90, np.uint8)).save(index.image_file(1), "AVIF")
    assert read_scaled(index, 1).shape == (30, 30, 3)


def test_of_an_image_the_hundred_best_detections_are_shown():
    scores = np.random.default_rng(0).permutation(np.linspace(0.04, 0.99, 300)).tolist()
    kept = shown([entry(10, (1, 1, 9, 9), score=score) for score in scores] + [entry(20, (1, 1, 9, 9), score=0.05)])
    assert [e["score"] for e in kept if e["image_id"] == 10] == sorted(scores, reverse=True)[:100]
    assert [e["score"] for e in kept if e["image_id"] == 20] == [0.05]
