import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from clips import HW, number, picture, read_video, small_checkpoint, write_pictures, write_video

from swin_yolo.engine.annotated import Annotator
from swin_yolo.engine.backend import open_backend
from swin_yolo.engine.detect import MEASURED_FROM, detect
from swin_yolo.engine.detector import Detections, Detector, choose_classes
from swin_yolo.engine.precision import open_in
from swin_yolo.engine.slicing import Slicing
from swin_yolo.errors import InputError
from swin_yolo.report.palette import class_colours
from swin_yolo.video.capture import frame_rate, opened
from swin_yolo.video.frames import Clip, Frame
from swin_yolo.video.sources import Source
from swin_yolo.video.writers import CODECS

CONF = 0.68
SETTINGS = {"imgsz": 64, "device": "cpu", "conf_thres": CONF}
NAMES = {0: "class 0", 1: "class 1"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_checkpoint(tmp_path_factory.mktemp("weights") / "small.pt")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "clip.avi", 23)


@pytest.fixture(scope="module")
def run(weights, video, tmp_path_factory):
    """A run over the video with everything written."""
    folder = tmp_path_factory.mktemp("runs") / "exp"
    return detect(weights, video, save_dir=folder, save_txt=True, save_csv=True, save_crop=True, **SETTINGS)


def entries(run) -> list[dict]:
    return json.loads((run.save_dir / "detections.json").read_text())


def detector_of(weights: Path, **changed) -> Detector:
    backend = open_backend(weights, device=torch.device("cpu"), imgsz=64)
    settings = {"imgsz": 64, "batch_size": 4, "conf_thres": CONF, "iou_thres": 0.45, "max_det": 300, **changed}
    return Detector(backend, **settings)


def frame_of(image_bgr: np.ndarray, name: str = "image.png") -> Frame:
    return Frame(image_bgr, Clip(Source("image", name, Path(name).stem)))


# The detections


@pytest.mark.parametrize("batch_size", [1, 4])
def test_detections_are_those_of_a_plain_loop(weights, video, tmp_path, batch_size):
    run = detect(weights, video, save_dir=tmp_path / "exp", batch_size=batch_size, **SETTINGS)
    detector, expected = detector_of(weights), []
    images = read_video(video)
    for start in range(0, len(images), batch_size):
        prepared = [detector.prepare(frame_of(image)) for image in images[start : start + batch_size]]
        for i, found in enumerate(detector.detect(prepared), start):
            for box, score, index in zip(found.boxes_xyxy, found.scores, found.class_indices, strict=True):
                wh = box[2:] - box[:2]
                expected.append((i, int(index), [round(float(v), 3) for v in (*box[:2], *wh)], round(float(score), 6)))
    assert len(expected) > 100
    assert [(e["frame"], e["category_id"], e["bbox"], e["score"]) for e in entries(run)] == expected


def test_a_frame_s_detections_do_not_depend_on_its_neighbours():
    """Frames of one batch, of two sizes in turns, against each on its own."""

    class Backend:
        names, stride, fixed_hw, end2end, device = NAMES, 32, None, False, torch.device("cpu")

        def __call__(self, images):
            brightness = images.mean((1, 2, 3))
            output = torch.zeros(len(images), 6, 1)
            output[:, :4, 0] = 32
            output[:, 4, 0] = brightness
            return output

    detector = Detector(Backend(), imgsz=64, batch_size=4, conf_thres=0.01, iou_thres=0.5, max_det=9)
    frames = [frame_of(picture(i, (48, 64) if i % 2 else (96, 40))) for i in range(7)]
    together = detector.detect([detector.prepare(frame) for frame in frames])
    alone = [detector.detect([detector.prepare(frame)])[0] for frame in frames]
    assert len({float(found.scores[0]) for found in together}) == 7
    for ours, theirs in zip(together, alone, strict=True):
        np.testing.assert_allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=1e-4)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)


def test_the_model_is_given_rgb_from_0_to_1_with_grey_around(weights):
    seen = []

    class Backend:
        names, stride, fixed_hw, end2end, device = NAMES, 32, None, False, torch.device("cpu")

        def __call__(self, images):
            seen.append(images)
            return torch.zeros(len(images), 6, 10)

    detector = Detector(Backend(), imgsz=64, batch_size=4, conf_thres=0.5, iou_thres=0.5, max_det=9)
    blue = np.zeros((32, 60, 3), np.uint8)
    blue[..., 0] = 255
    detector.detect([detector.prepare(frame_of(blue))])
    (images,) = seen
    assert images.shape == (1, 3, 64, 64) and images.is_floating_point()
    assert images[0, :, 32, 32].tolist() == [0, 0, 1]
    assert images[0, :, 0, 0].tolist() == pytest.approx([114 / 255] * 3)


def test_boxes_come_back_in_pixels_of_the_frame():
    class Backend:
        names, stride, fixed_hw, end2end, device = NAMES, 32, (64, 64), False, torch.device("cpu")

        def __call__(self, images):
            assert images.shape[2:] == (64, 64)
            output = torch.zeros(len(images), 6, 1)
            output[:, :, 0] = torch.tensor([32, 32, 64, 16, 0.1, 0.9])  # centre, size, scores
            return output

    detector = Detector(Backend(), imgsz=640, batch_size=4, conf_thres=0.5, iou_thres=0.5, max_det=9)
    (found,) = detector.detect([detector.prepare(frame_of(np.zeros((200, 400, 3), np.uint8)))])
    # 400 x 200 became 64 x 32, with 16 of grey above.
    np.testing.assert_allclose(found.boxes_xyxy, [[0, 50, 400, 150]], atol=1e-3)
    assert found.class_indices.tolist() == [1] and found.scores.tolist() == pytest.approx([0.9])


def test_thresholds_bound_the_detections(run, weights, video, tmp_path):
    least = sorted(e["score"] for e in entries(run))[run.boxes.total() // 2]
    settings = {**SETTINGS, "conf_thres": least}
    fewer = entries(detect(weights, video, save_dir=tmp_path / "a", save=False, **settings))
    assert 0 < len(fewer) < run.boxes.total() and min(e["score"] for e in fewer) >= least - 1e-6
    few = entries(detect(weights, video, save_dir=tmp_path / "b", save=False, max_det=2, **SETTINGS))
    assert {sum(e["frame"] == i for e in few) for i in range(23)} == {2}
    apart = entries(detect(weights, video, save_dir=tmp_path / "c", save=False, iou_thres=0.05, **SETTINGS))
    assert len(apart) < run.boxes.total()


@pytest.mark.parametrize("classes", [["class 1"], ["1"]])
def test_classes_are_named_or_numbered(weights, video, tmp_path, classes):
    run = detect(weights, video, save_dir=tmp_path / "exp", save=False, classes=classes, **SETTINGS)
    assert run.boxes.keys() == {"class 1"}


def test_a_class_called_by_a_number_is_meant_by_its_name():
    assert choose_classes(["7", "0"], {0: "person", 1: "7"}) == [0, 1]
    assert choose_classes(None, NAMES) is None


def test_an_unknown_class_is_named_with_the_choices():
    with pytest.raises(
        InputError, match="--classes cat 9: the model has no such class; its 2 are 0 class 0, 1 class 1"
    ):
        choose_classes(["cat", "class 0", "9"], NAMES)


# The files


def test_the_video_is_as_long_as_large_and_as_fast_as_the_source(run, video):
    (file,) = run.save_dir.glob("clip.*")
    frames = read_video(file)
    assert [image.shape for image in frames] == [(*HW, 3)] * 23
    with opened(str(file)) as capture:
        assert frame_rate(capture) == pytest.approx(10)
    assert run.faults == [] and not run.interrupted


def test_frames_are_drawn_on_in_their_order(weights, video, tmp_path):
    # Nothing is found, so that the brightness of the frames can be read.
    run = detect(weights, video, save_dir=tmp_path / "exp", **{**SETTINGS, "conf_thres": 1.0})
    (file,) = run.save_dir.glob("clip.*")
    assert [number(image) for image in read_video(file)] == [number(image) for image in read_video(video)]
    assert entries(run) == []


def test_detections_json_is_coco_results_with_frame_and_time(run, video):
    found = entries(run)
    assert len(found) == run.boxes.total() > 100 and run.frames == 23
    for entry in found:
        assert entry.keys() == {
            *("image_id", "category_id", "bbox", "score"),
            *("category_name", "file_name", "frame", "timestamp"),
        }
        left, top, width, height = entry["bbox"]
        assert 0 <= left <= left + width <= 64.001 and 0 <= top <= top + height <= 48.001
        assert entry["image_id"] == entry["frame"] and entry["timestamp"] == pytest.approx(entry["frame"] / 10)
        assert entry["category_name"] == NAMES[entry["category_id"]] and entry["file_name"] == str(video)
    assert [e["frame"] for e in found] == sorted(e["frame"] for e in found)


def test_the_table_says_what_the_json_says(run):
    head, *rows = (run.save_dir / "detections.csv").read_text().splitlines()
    columns = head.split(",")
    assert columns[:7] == ["image_id", "file_name", "frame", "timestamp", "category_id", "category_name", "score"]
    for row, entry in zip(rows, entries(run), strict=True):
        cells = dict(zip(columns, row.split(","), strict=True))
        assert [float(cells[side]) for side in ("left", "top", "width", "height")] == entry["bbox"]
        assert (cells["category_name"], float(cells["score"])) == (entry["category_name"], entry["score"])


def test_label_files_hold_the_boxes_as_fractions(run):
    found = entries(run)
    files = sorted(run.save_dir.glob("labels/*.txt"))
    assert {file.stem for file in files} == {f"clip_{e['frame']}" for e in found}
    of_frame = [e for e in found if e["frame"] == 7]
    lines = (run.save_dir / "labels" / "clip_7.txt").read_text().splitlines()
    for line, entry in zip(lines, of_frame, strict=True):
        index, *fractions = line.split()
        x, y, w, h = (float(f) * side for f, side in zip(fractions, (64, 48, 64, 48), strict=True))
        assert int(index) == entry["category_id"]
        assert [x - w / 2, y - h / 2, w, h] == pytest.approx(entry["bbox"], abs=2e-3)


def test_crops_are_the_boxes_in_a_folder_per_class(run):
    found = [e for e in entries(run) if e["frame"] == 3]
    files = list(run.save_dir.glob("crops/*/clip_3-*.jpg"))
    assert len(files) == len(found) and {file.parent.name for file in files} <= {"class 0", "class 1"}
    for entry_number, entry in enumerate(found):
        crop = cv2.imread(str(run.save_dir / "crops" / entry["category_name"] / f"clip_3-{entry_number}.jpg"))
        assert abs(crop.shape[1] - entry["bbox"][2]) <= 2 and abs(crop.shape[0] - entry["bbox"][3]) <= 2


def test_a_class_name_that_is_a_path_stays_in_the_folder(weights, video, tmp_path):
    checkpoint = torch.load(weights, weights_only=False)
    checkpoint["ema"].names = {0: "../../out/side", 1: ".."}
    torch.save(checkpoint, tmp_path / "named.pt")
    detect(tmp_path / "named.pt", video, save_dir=tmp_path / "exp", save=False, save_crop=True, **SETTINGS)
    assert {folder.name for folder in (tmp_path / "exp" / "crops").iterdir()} == {"_.._out_side", "1"}
    assert not (tmp_path / "out").exists() and {f.name for f in tmp_path.iterdir()} == {"named.pt", "exp"}


def test_images_are_written_as_images_of_their_own_kind(weights, tmp_path):
    write_pictures(tmp_path / "in", 2)
    write_pictures(tmp_path / "in", 1, suffix=".jpg")
    run = detect(weights, tmp_path / "in", save_dir=tmp_path / "exp", save_txt=True, **SETTINGS)
    names = {file.name for file in run.save_dir.iterdir()}
    assert names == {"image00.jpg", "image00-2.png", "image01.png", "detections.json", "labels"}
    assert cv2.imread(str(run.save_dir / "image01.png")).shape == (*HW, 3)
    assert [e["image_id"] for e in entries(run)][-1] == 2 and {e["timestamp"] for e in entries(run)} == {0.0}


def test_a_folder_of_images_and_videos_gives_a_file_each(weights, tmp_path):
    write_pictures(tmp_path / "in", 1)
    for name in ("b.avi", "c.avi"):
        write_video(tmp_path / "in" / name, 5)
    run = detect(weights, tmp_path / "in", save_dir=tmp_path / "exp", **SETTINGS)
    assert sorted(file.stem for file in run.save_dir.iterdir()) == ["b", "c", "detections", "image00"]
    assert [len(read_video(next(run.save_dir.glob(f"{stem}.*")))) for stem in "bc"] == [5, 5]
    assert {(Path(e["file_name"]).name, e["frame"], e["image_id"]) for e in entries(run)} == {
        *(("b.avi", i, i) for i in range(5)),
        *(("c.avi", i, i + 5) for i in range(5)),
        ("image00.png", 0, 10),
    }


def test_a_stride_keeps_the_video_s_length_in_seconds(weights, video, tmp_path):
    run = detect(weights, video, save_dir=tmp_path / "exp", vid_stride=4, **SETTINGS)
    assert {e["frame"] for e in entries(run)} == set(range(0, 23, 4))
    (file,) = run.save_dir.glob("clip.*")
    with opened(str(file)) as capture:
        assert (len(read_video(file)), frame_rate(capture)) == (6, pytest.approx(2.5))


def test_what_is_not_asked_for_is_not_written(weights, video, tmp_path):
    run = detect(weights, video, save_dir=tmp_path / "exp", save=False, **SETTINGS)
    assert [file.name for file in run.save_dir.iterdir()] == ["detections.json"]


def test_the_codec_asked_for_is_taken(weights, video, tmp_path):
    run = detect(weights, video, save_dir=tmp_path / "exp", codec="mjpeg", **SETTINGS)
    assert (run.save_dir / f"clip{CODECS['mjpeg'].suffix}").is_file()


def test_frames_are_shown_until_the_user_wants_no_more(weights, video, tmp_path, monkeypatch):
    shown = []
    for name, stand_in in (
        ("check_screen", lambda: None),
        ("close_window", lambda: shown.append(None)),
        ("show", lambda image: shown.append(image) or len(shown) < 5),
    ):
        monkeypatch.setattr(f"swin_yolo.engine.detect.{name}", stand_in)
    run = detect(weights, video, save_dir=tmp_path / "exp", save=False, view_img=True, **SETTINGS)
    assert run.frames == 5 and len(shown) == 6 and shown[-1] is None and shown[0].shape == (*HW, 3)
    assert {e["frame"] for e in entries(run)} == set(range(5))


# Drawing


@pytest.mark.parametrize("ground", [0, 255])
def test_boxes_and_labels_are_seen_on_dark_and_on_light(ground):
    image = np.full((120, 160, 3), ground, np.uint8)
    found = Detections(np.array([[40, 60, 120, 100]], np.float32), np.array([0.876], np.float32), np.array([1]))
    drawn = Annotator(NAMES).draw(frame_of(image), found)
    differing = np.abs(drawn.astype(int) - ground).max(2) > 60
    assert differing[60:101, 40].all() and differing[60, 40:121].all()
    label = drawn[40:60, 41:110].astype(int).sum(2)
    assert label.max() - label.min() > 200, "ink on ground"
    bare = Annotator(NAMES, hide_labels=True).draw(frame_of(image), found)
    assert (bare[30:56] == ground).all() and not (drawn[30:56] == ground).all()
    thick = Annotator(NAMES, hide_labels=True, line_thickness=9).draw(frame_of(image), found)
    assert (thick != image).sum() > 2 * (bare != image).sum()


def test_a_label_goes_elsewhere_rather_than_hide_a_stronger_one():
    image = np.full((120, 160, 3), 255, np.uint8)
    boxes = np.array([[40, 40, 120, 90], [44, 42, 118, 88]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 1]))
    weaker = class_colours(2)[1][::-1]
    drawn = Annotator(NAMES).draw(frame_of(image), found)
    rows = np.flatnonzero((drawn == weaker).all(2).sum(1) > 30)
    assert rows.size > 10, "all of it is seen, not only what the first one's label leaves"


@pytest.mark.parametrize(("frames", "measured"), [(MEASURED_FROM - 1, None), (MEASURED_FROM, (64, 64))])
def test_what_is_fastest_is_measured_where_there_are_frames_enough(weights, tmp_path, monkeypatch, frames, measured):
    asked = []

    def opened_in(precision, *args, measure_hw, **kwargs):
        asked.append((precision, measure_hw))
        return open_in("fp32", *args, **kwargs)

    monkeypatch.setattr("swin_yolo.engine.detect.open_in", opened_in)
    video = write_video(tmp_path / "clip.avi", frames)
    detect(weights, video, save_dir=tmp_path / "exp", precision="auto", save=False, **SETTINGS)
    assert asked == [("auto", measured)]


def test_only_a_single_video_is_taken_to_have_one_size(weights, video, tmp_path, monkeypatch):
    expected = []
    monkeypatch.setattr("swin_yolo.engine.backend.Backend.expect_one_size", lambda backend: expected.append(1))
    write_pictures(tmp_path / "in", 2)
    write_video(tmp_path / "c.avi", 2)
    for name, source in (("one", tmp_path / "in" / "image00.png"), ("all", tmp_path / "in")):
        detect(weights, source, save_dir=tmp_path / name, save=False, **SETTINGS)
    sliced = Slicing(64, 0.2)
    detect(weights, tmp_path / "c.avi", save_dir=tmp_path / "sliced", save=False, slicing=sliced, **SETTINGS)
    assert expected == []
    detect(weights, tmp_path / "c.avi", save_dir=tmp_path / "video", save=False, **SETTINGS)
    assert expected == [1]
