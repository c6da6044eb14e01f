import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
from clips import cut_off, number, picture, write_pictures, write_video

from swin_yolo.video import reading, stream
from swin_yolo.video.capture import opened, silent_opencv
from swin_yolo.video.frames import Remarks
from swin_yolo.video.reading import count_frames, read_frames
from swin_yolo.video.sources import find_sources


@pytest.fixture
def told():
    return []


@pytest.fixture
def remarks(told):
    return Remarks(told.append)


def read(source, remarks, *, vid_stride=1, reconnect_seconds=1.0, stopping=None):
    stopping = stopping or threading.Event()
    with silent_opencv():
        yield from read_frames(
            find_sources(source),
            vid_stride=vid_stride,
            remarks=remarks,
            reconnect_seconds=reconnect_seconds,
            stopping=stopping,
        )


# Files


@pytest.mark.parametrize(("name", "fourcc"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v"), ("clip.webm", "VP80")])
@pytest.mark.parametrize("stride", [1, 3])
def test_a_video_gives_its_frames_with_number_and_time(tmp_path, remarks, name, fourcc, stride):
    frames = list(read(write_video(tmp_path / name, 20, fourcc=fourcc), remarks, vid_stride=stride))
    expected = list(range(0, 20, stride))
    assert [number(frame.image_bgr) for frame in frames] == expected
    assert [frame.index for frame in frames] == expected
    assert [frame.seconds for frame in frames] == pytest.approx([i / 10 for i in expected], abs=1e-3)
    assert frames[0].clip.fps == pytest.approx(10 / stride) and len({frame.clip for frame in frames}) == 1
    assert remarks.faults == []


def test_images_are_read_in_colour_whatever_they_are(tmp_path, remarks):
    write_pictures(tmp_path, 2)
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((20, 30), 77, np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((20, 30, 4), 77 << 8, np.uint16))
    frames = list(read(tmp_path, remarks))
    assert [frame.clip.source.stem for frame in frames] == ["deep", "grey", "image00", "image01"]
    assert all(frame.image_bgr.dtype == np.uint8 and frame.image_bgr.shape[2] == 3 for frame in frames)
    assert frames[0].image_bgr[0, 0].tolist() == frames[1].image_bgr[0, 0].tolist() == [77] * 3
    assert (frames[2].image_bgr == picture(0)).all() and frames[2].clip.fps is None


def test_frames_are_counted_before_they_are_read(tmp_path):
    write_pictures(tmp_path, 3)
    write_video(tmp_path / "a.avi", 20)
    write_video(tmp_path / "b.mp4", 7, fourcc="mp4v")
    sources = find_sources(tmp_path)
    assert count_frames(sources, vid_stride=1) == 30
    assert count_frames(sources, vid_stride=3) == 3 + 7 + 3
    assert count_frames(find_sources(["rtsp://host/live"]), vid_stride=1) is None


def test_what_cannot_be_read_is_left_out_and_named(tmp_path, remarks):
    write_pictures(tmp_path, 2)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8nothing")
    (tmp_path / "empty.png").touch()
    (tmp_path / "empty.mp4").touch()
    write_video(tmp_path / "none.avi", 0)
    (tmp_path / "text.mkv").write_text("no video")
    frames = list(read(tmp_path, remarks))
    assert [frame.clip.source.stem for frame in frames] == ["image00", "image01"]
    assert remarks.faults == [
        f"{tmp_path}/broken.jpg: skipped, cannot be decoded as an image",
        f"{tmp_path}/empty.mp4: skipped, cannot be opened as a video",
        f"{tmp_path}/empty.png: skipped, cannot be decoded as an image",
        f"{tmp_path}/none.avi: skipped, not one frame of it can be decoded",
        f"{tmp_path}/text.mkv: skipped, cannot be opened as a video",
    ]


@pytest.mark.parametrize(("name", "fourcc"), [("clip.avi", "MJPG"), ("clip.webm", "VP80")])
def test_of_a_video_that_breaks_off_what_there_is_is_kept(tmp_path, remarks, name, fourcc):
    file = cut_off(write_video(tmp_path / name, 40, fourcc=fourcc), 0.5)
    frames = list(read(file, remarks))
    assert 5 < len(frames) < 35
    assert [number(frame.image_bgr) for frame in frames[:-1]] == list(range(len(frames) - 1))
    assert remarks.faults == [
        f"{file}: ends after {len(frames)} of 40 frames, it is cut off or damaged; those are kept"
    ]


def test_a_video_that_does_not_say_its_frame_rate_gets_a_usual_one(tmp_path, remarks, told, monkeypatch):
    monkeypatch.setattr(reading, "frame_rate", lambda capture: None)
    file = write_video(tmp_path / "clip.avi", 2)
    assert {frame.clip.fps for frame in read(file, remarks)} == {25.0}
    assert told == [f"{file}: does not say its frame rate, taken as 25 frames/s"]


def test_bad_files_print_nothing_of_opencv_s(tmp_path, remarks, capfd):
    (tmp_path / "text.mp4").write_text("no video")
    cut_off(write_video(tmp_path / "cut.mp4", 20, fourcc="mp4v"), 0.5)
    assert list(read(tmp_path, remarks)) == [] and len(remarks.faults) == 2
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


# Streams, served here on loopback


@contextmanager
def served(connections: list[int | None], *, pause: float = 0.03) -> Iterator[str]:
    """URL of a camera as MJPEG over HTTP: connection i gives so many frames and drops; None is turned away."""
    taken = iter(connections)
    sent = [0]

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self):
            frames = next(taken, None)
            if frames is None:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            for _ in range(frames):
                data = cv2.imencode(".jpg", picture(sent[0]))[1].tobytes()
                sent[0] += 1
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                self.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(pause)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://user:secret@127.0.0.1:{server.server_port}/live.mjpg"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(stream, "FIRST_WAIT", 0.05)


def test_a_stream_gives_frames_in_order_until_it_is_gone_for_long(remarks, told, impatient):
    with served([12]) as url:
        start = time.monotonic()
        frames = list(read(url, remarks, reconnect_seconds=0.5))
        assert 0.5 < time.monotonic() - start < 15
    indices = [frame.index for frame in frames]
    assert len(frames) >= 5 and indices == sorted(set(indices))
    assert [number(frame.image_bgr) for frame in frames] == indices
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(seconds) and seconds[-1] < 10
    assert all(frame.clip.live and frame.clip.fps for frame in frames)
    shown = url.replace("user:secret@", "")
    assert len(remarks.faults) == 1
    assert remarks.faults[0].startswith(f"{shown}: gave up, no frame for ")
    assert remarks.faults[0].endswith(" s (--reconnect 0.5)")
    assert told[0].startswith(f"{shown}: no more frames after ") and "secret" not in str(told)


def test_a_stream_that_drops_is_reached_again(remarks, told, impatient):
    with served([8, None, None, 8]) as url:
        frames = list(read(url, remarks, reconnect_seconds=1.0))
    numbers = [number(frame.image_bgr) for frame in frames]
    assert numbers[0] < 8 and numbers[-1] >= 8 and numbers == sorted(set(numbers))
    assert len({id(frame.clip) for frame in frames}) == 1, "it goes on in the same video"
    waits = [float(line.split(" in ")[1].split()[0]) for line in told]
    assert waits[:3] == sorted(waits[:3]), "it waits longer each time"


def test_frames_that_no_one_asks_for_in_time_are_dropped(remarks, impatient):
    with served([30], pause=0.02) as url:
        frames = read(url, remarks, reconnect_seconds=0.1)
        first = next(frames)
        time.sleep(0.3)
        assert next(frames).index > first.index + 3
        frames.close()


def test_a_stride_on_a_stream_takes_every_nth_frame(remarks, impatient):
    with served([16]) as url:
        indices = [frame.index for frame in read(url, remarks, vid_stride=4, reconnect_seconds=0.1)]
    assert indices and all(index % 4 == 0 for index in indices)


def test_waiting_for_a_stream_ends_when_told(remarks):
    stopping = threading.Event()
    with served([3]) as url:
        threading.Timer(1.0, stopping.set).start()
        start = time.monotonic()
        list(read(url, remarks, reconnect_seconds=60, stopping=stopping))
        assert time.monotonic() - start < 10
    assert remarks.faults == []


@pytest.mark.parametrize("source", ["http://127.0.0.1:9/live", "97"])
def test_a_stream_that_is_not_there_is_said_at_once(remarks, source):
    start = time.monotonic()
    assert list(read(source, remarks, reconnect_seconds=60)) == []
    assert time.monotonic() - start < 10
    assert remarks.faults[0].endswith("cannot be opened; is it there, and is the address right?")


def test_a_video_file_behind_a_url_is_read_to_its_end_like_a_file(tmp_path, remarks, told):
    data = write_video(tmp_path / "clip.avi", 20).read_bytes()

    class Files(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            start = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
            self.send_response(206)
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            # As file servers say: without these FFmpeg, after a seek, sometimes finds no frame.
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data[start:])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    frames = list(read(f"http://127.0.0.1:{server.server_port}/clip.avi", remarks))
    server.shutdown()
    server.server_close()
    assert [number(frame.image_bgr) for frame in frames] == list(range(20))
    assert remarks.faults == told == []


def test_a_capture_is_released_whatever_happens(tmp_path):
    with pytest.raises(ValueError, match="x"), opened(str(write_video(tmp_path / "clip.avi", 2))) as capture:
        raise ValueError("x")
    assert not capture.isOpened()
