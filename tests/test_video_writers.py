import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from clips import HW, number, picture, read_video

from swin_yolo.errors import InputError
from swin_yolo.video import writers
from swin_yolo.video.capture import frame_rate, opened
from swin_yolo.video.frames import Remarks
from swin_yolo.video.writers import CODECS, VideoOutput, can_write, check_room, choose_codecs, fitted


@pytest.fixture
def told():
    return []


@pytest.fixture
def remarks(told):
    return Remarks(told.append)


ABLE = [name for name, codec in CODECS.items() if can_write(codec)]


def written(folder, remarks, codec="mpeg4", frames=12, hw=HW, fps=10.0):
    video = VideoOutput(folder / "clip", fps=fps, codecs=[CODECS[codec]], remarks=remarks)
    for i in range(frames):
        video.write(picture(i, hw))
    video.close()
    return video.file


@pytest.mark.parametrize("codec", ABLE)
@pytest.mark.parametrize("fps", [10.0, 29.97])
def test_a_video_has_the_frames_size_and_rate_that_went_in(tmp_path, remarks, told, codec, fps):
    file = written(tmp_path, remarks, codec, fps=fps)
    assert file == tmp_path / f"clip{CODECS[codec].suffix}"
    frames = read_video(file)
    assert [number(frame) for frame in frames] == list(range(12)) and frames[0].shape == (*HW, 3)
    with opened(str(file)) as capture:
        assert frame_rate(capture) == pytest.approx(fps, abs=0.01)
    assert told == []


def test_the_first_codec_that_can_be_written_is_taken_and_the_others_said(monkeypatch, remarks, told):
    monkeypatch.setattr(writers, "can_write", lambda codec: codec.fourcc in ("mp4v", "MJPG"))
    assert choose_codecs(None, remarks) == [CODECS["mpeg4"], CODECS["mjpeg"]]
    assert told == ["video: MPEG-4 Part 2 (.mp4), since this build of OpenCV writes no H.264, VP8"]


def test_nothing_is_said_where_the_first_codec_is_there(monkeypatch, remarks, told):
    monkeypatch.setattr(writers, "can_write", lambda codec: True)
    assert choose_codecs(None, remarks) == list(CODECS.values()) and told == []


@pytest.mark.parametrize(("codec", "expected"), [("h264", "--codec h264: .* writes no H.264"), (None, "video: this")])
def test_a_codec_that_cannot_be_written_is_a_mistake(monkeypatch, remarks, codec, expected):
    monkeypatch.setattr(writers, "can_write", lambda codec: False)
    with pytest.raises(InputError, match=expected):
        choose_codecs(codec, remarks)


def test_a_codec_that_does_not_open_for_this_size_gives_way_to_the_next(tmp_path, remarks, monkeypatch):
    real = writers.open_writer
    closed = SimpleNamespace(isOpened=lambda: False, release=lambda: None)
    monkeypatch.setattr(writers, "open_writer", lambda f, c, *args: closed if c.name == "VP8" else real(f, c, *args))
    video = VideoOutput(tmp_path / "clip", fps=10, codecs=[CODECS["vp8"], CODECS["mpeg4"]], remarks=remarks)
    video.write(picture(0))
    video.close()
    assert video.file == tmp_path / "clip.mp4" and len(read_video(video.file)) == 1
    nothing = VideoOutput(tmp_path / "none", fps=10, codecs=[CODECS["vp8"]], remarks=remarks)
    with pytest.raises(OSError, match="OpenCV opens no writer for it; tried VP8"):
        nothing.write(picture(0))


def test_a_frame_of_another_size_is_fitted_into_the_first_and_said_once(tmp_path, remarks, told):
    video = VideoOutput(tmp_path / "clip", fps=10, codecs=[CODECS["mjpeg"]], remarks=remarks)
    for hw in ((48, 64), (96, 64), (96, 64), (48, 64)):
        video.write(np.full((*hw, 3), 200, np.uint8))
    video.close()
    frames = read_video(video.file)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 4
    tall = frames[1].mean(2)  # 32 x 48 in the middle
    assert tall[:, 18:46].min() > 180 and tall[:, :14].max() < 20 and tall[:, 50:].max() < 20
    assert told == [f"{video.file}: frame 1 is 64 x 96, the first was 64 x 48; fitted into that"]


@pytest.mark.parametrize(("hw", "inner"), [((10, 10), (slice(0, 48), slice(8, 56))), ((6, 600), None)])
def test_fitting_keeps_proportions(hw, inner):
    image = fitted(np.full((*hw, 3), 255, np.uint8), (64, 48))
    assert image.shape == (48, 64, 3)
    if inner:
        assert image[inner].min() == 255 and image.sum() == 48 * 48 * 3 * 255
    else:
        assert image.any(2).any(1).sum() == 1, "at least one row is left"


def test_odd_sides_are_said(tmp_path, remarks, told):
    file = written(tmp_path, remarks, hw=(49, 65))
    assert read_video(file)[0].shape == (48, 64, 3)
    assert told == [f"{file}: is 64 x 48, without the last row or column: codecs take even sides"]


def test_copies_are_as_many_frames(tmp_path, remarks):
    video = VideoOutput(tmp_path / "clip", fps=10, codecs=[CODECS["mpeg4"]], remarks=remarks)
    for i, copies in enumerate((1, 3, 0, 2)):
        video.write(picture(i), copies=copies)
    video.close()
    assert [number(frame) for frame in read_video(video.file)] == [0, 1, 1, 1, 3, 3]


def test_a_video_that_could_not_be_written_whole_is_noticed(tmp_path, remarks):
    video = VideoOutput(tmp_path / "clip", fps=10, codecs=[CODECS["mjpeg"]], remarks=remarks)
    for i in range(12):
        video.write(picture(i))
    video.frames += 10  # as if OpenCV had swallowed that many
    with pytest.raises(OSError, match=r"clip.avi: holds 12 of the 22 frames written, is the disk full\?"):
        video.close()


def test_a_nearly_full_disk_is_an_error_while_there_is_room_to_close(tmp_path, monkeypatch):
    check_room(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5 << 20))
    with pytest.raises(OSError, match=re.escape(f"{tmp_path}: the disk is full, 5 MiB are left")):
        check_room(tmp_path)


def test_trying_codecs_prints_nothing(tmp_path, capfd):
    can_write.cache_clear()
    assert any(can_write(codec) for codec in CODECS.values())
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
