import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from clips import picture, small_checkpoint, write_video

from swin_yolo.engine import packages
from swin_yolo.engine.annotated import Annotator
from swin_yolo.engine.detect import detect
from swin_yolo.engine.detector import Detections
from swin_yolo.engine.tracking import TRACKERS, Tracker, least_score
from swin_yolo.errors import InputError
from swin_yolo.video.frames import Clip, Frame
from swin_yolo.video.sources import Source

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
COCO_WEIGHTS, VIDEO = SHARED / "yolov5n_coco" / "yolov5n.pt", SHARED / "video" / "one-by-one-person-detection.mp4"
CLIP = Clip(Source("video", "clip.mp4", "clip"), fps=10)


def crossing(i: int, *, score: float = 0.9) -> Detections:
    """Frame i of two objects that pass each other, one to the right and one to the left, 30 pixels apart."""
    boxes = np.array([[10 + 6 * i, 20, 40 + 6 * i, 60], [180 - 6 * i, 90, 210 - 6 * i, 130]], np.float32)
    return Detections(boxes, np.array([score, 0.8], np.float32), np.array([0, 1]))


def frame(i: int, clip: Clip = CLIP) -> Frame:
    return Frame(picture(i, (160, 240)), clip, i, i / 10)


@pytest.mark.parametrize("name", TRACKERS)
def test_an_object_keeps_its_id_while_it_moves(name):
    tracker = Tracker(name, conf_thres=0.25)
    for i in range(20):
        found, tracked = crossing(i), tracker.update(frame(i), crossing(i))
        assert dict(zip(tracked.track_ids.tolist(), tracked.class_indices.tolist(), strict=True)) == {1: 0, 2: 1}
        assert tracked.scores.tolist() == found.scores.tolist()
        np.testing.assert_allclose(tracked.boxes_xyxy, found.boxes_xyxy, atol=8)
        assert tracked.boxes_xyxy.dtype == np.float32


@pytest.mark.parametrize("name", TRACKERS)
def test_an_object_that_is_gone_for_some_frames_gets_its_id_back(name):
    tracker = Tracker(name, conf_thres=0.25)
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    for i in range(16):
        tracked = tracker.update(frame(i), nothing if 8 <= i < 11 else crossing(i))
        assert len(tracked) == (0 if 8 <= i < 11 else 2)
    assert set(tracked.track_ids.tolist()) == {1, 2}


def test_ids_start_again_in_each_video_but_not_in_each_image():
    tracker = Tracker("bytetrack", conf_thres=0.25)
    other = Clip(Source("video", "other.mp4", "other"), fps=10)
    for clip, start in ((CLIP, 0), (other, 20)):  # far from where they were
        for i in range(start, start + 3):
            assert set(tracker.update(frame(i, clip), crossing(i)).track_ids.tolist()) == {1, 2}
    for i in range(4):
        image = Clip(Source("image", f"{i}.png", str(i)))
        tracked = tracker.update(frame(i, image), crossing(i))
    assert set(tracked.track_ids.tolist()) == {1, 2}


def test_a_weak_box_carries_on_a_track_but_starts_none():
    tracker = Tracker("bytetrack", conf_thres=0.5)
    assert least_score(0.5) == 0.1 and least_score(0.03) == 0.03
    assert tracker.update(frame(0), crossing(0, score=0.3)).class_indices.tolist() == [1]
    tracker = Tracker("bytetrack", conf_thres=0.5)
    for i in range(8):
        tracked = tracker.update(frame(i), crossing(i, score=0.9 if i < 4 else 0.3))
        assert len(tracked) == 2
    assert tracked.scores.tolist() == pytest.approx([0.8, 0.3]), "by falling score"


def test_boxes_of_tracks_stay_in_the_frame():
    tracker = Tracker("bytetrack", conf_thres=0.25)
    for i in range(12):
        box = np.array([[200 + 4 * i, 20, 236 + 4 * i, 60]], np.float32).clip(0, 240)
        one = Detections(box, np.array([0.9], np.float32), np.array([0]))
        for left, top, right, bottom in tracker.update(frame(i), one).boxes_xyxy:
            assert 0 <= left <= right <= 240 and 0 <= top <= bottom <= 160


def test_labels_carry_the_id():
    tracked = Detections(np.zeros((1, 4), np.float32), np.array([0.5], np.float32), np.array([0]), np.array([17]))
    assert Annotator({0: "person"})._labels(tracked) == ["person #17 0.50"]


def test_without_the_package_of_the_trackers_its_name_is_said(monkeypatch):
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="--track: needs lap, which is not installed; pip install lap"):
        Tracker("bytetrack", conf_thres=0.25)


def test_ids_are_written_everywhere(tmp_path):
    weights, video = small_checkpoint(tmp_path / "small.pt"), write_video(tmp_path / "clip.avi", 12)
    settings = {"imgsz": 64, "device": "cpu", "conf_thres": 0.68, "save": False, "save_txt": True, "save_csv": True}
    run = detect(weights, video, save_dir=tmp_path / "exp", track="bytetrack", **settings)
    entries = json.loads((run.save_dir / "detections.json").read_text())
    assert entries and all(entry["track_id"] >= 1 for entry in entries)
    rows = (run.save_dir / "detections.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[-1]) for row in rows] == [entry["track_id"] for entry in entries]
    labels = (run.save_dir / "labels" / "clip_11.txt").read_text().splitlines()
    last = [entry["track_id"] for entry in entries if entry["frame"] == 11]
    assert [int(line.split()[-1]) for line in labels] == last
    assert any(entry["score"] < 0.68 for entry in entries), "weak boxes reach the tracker"


@pytest.mark.skipif(not (COCO_WEIGHTS.is_file() and VIDEO.is_file()), reason="needs the COCO weights and a real video")
@pytest.mark.parametrize("name", TRACKERS)
def test_a_person_of_a_real_video_keeps_one_id(tmp_path, name):
    import cv2

    capture = cv2.VideoCapture(str(VIDEO))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 100)
    writer = cv2.VideoWriter(str(tmp_path / "part.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (768, 432))
    for _ in range(30):
        writer.write(capture.read()[1])
    writer.release()
    settings = {"imgsz": 320, "device": "cpu", "classes": ["person"], "save": False}
    run = detect(COCO_WEIGHTS, tmp_path / "part.avi", save_dir=tmp_path / "exp", track=name, **settings)
    frames_of = defaultdict(list)
    for entry in json.loads((run.save_dir / "detections.json").read_text()):
        frames_of[entry["track_id"]].append(entry["frame"])
    assert max(len(frames) for frames in frames_of.values()) >= 20 and len(frames_of) <= 3, dict(frames_of)
