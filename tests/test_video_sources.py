from pathlib import Path

import pytest
from clips import write_pictures, write_video

from swin_yolo.errors import InputError
from swin_yolo.video.sources import find_sources


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three images, a video, and files that are neither."""
    write_pictures(tmp_path / "media", 3)
    write_video(tmp_path / "media" / "clip.avi", 2)
    (tmp_path / "media" / "notes.md").write_text("")
    (tmp_path / "media" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "media"


def names(source) -> list[str]:
    return [Path(str(each.address)).name for each in find_sources(source)]


def test_a_folder_gives_its_images_and_videos_by_name(folder):
    found = find_sources(folder)
    assert [each.kind for each in found] == ["video", "image", "image", "image"]
    assert [each.stem for each in found] == ["clip", "image00", "image01", "image02"]


def test_a_pattern_gives_the_files_that_fit(folder):
    assert names("media/image0[12].*") == ["image01.png", "image02.png"]
    assert names("**/*.avi") == ["clip.avi"]
    assert names("media/*") == names("media"), "files of other kinds are passed over"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    (folder / "image[0].png").write_bytes((folder / "image00.png").read_bytes())
    assert names("media/image[0].png") == ["image[0].png"]


def test_several_are_taken_in_the_order_given(folder):
    assert names(["media/image02.png", "media/clip.avi", "media/image00.png"]) == [
        "image02.png",
        "clip.avi",
        "image00.png",
    ]


def test_a_list_names_files_from_the_working_folder_or_from_its_own(folder):
    (folder / "list.txt").write_text("# mine\nmedia/image01.png\n\nclip.avi\nrtsp://host/live\n")
    found = find_sources("media/list.txt")
    assert [each.kind for each in found] == ["image", "video", "stream"]


def test_a_number_is_a_camera_and_a_url_a_stream(folder):
    (camera,) = find_sources("0")
    assert (camera.kind, camera.address, camera.stem, camera.shown) == ("stream", 0, "camera0", "camera 0")
    (stream,) = find_sources("rtsp://user:secret@host:554/front/live.sdp?token=1")
    assert (stream.kind, stream.stem) == ("stream", "host_live")
    assert stream.address == "rtsp://user:secret@host:554/front/live.sdp?token=1"


def test_a_url_is_shown_without_its_password():
    (stream,) = find_sources("rtsp://user:secret@host/live")
    assert stream.shown == "rtsp://host/live"


def test_files_of_the_same_name_get_stems_of_their_own(folder):
    for name in ("b/image00.png", "b/IMAGE00.jpg"):
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes((folder / "image00.png").read_bytes())
    found = find_sources([folder / "image00.png", folder / "b"])
    assert len({each.stem.lower() for each in found}) == 3
    assert found[0].stem == "image00"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("none.mp4", r"--source none.mp4: no such file, folder, camera number or URL"),
        ("media/empty", r"--source media/empty: no image or video in this folder; expected images are .*jpg"),
        ("media/notes.md", r"--source media/notes.md: expected an image, video or list, got a .md file"),
        ("media/*.mkv", r"--source media/\*.mkv: no image or video has such a name"),
        (["rtsp://u:p@a/x", "0"], r"--source: expected at most one camera or URL, got rtsp://a/x and camera 0"),
    ],
)
def test_what_cannot_be_found_is_said(folder, source, expected):
    with pytest.raises(InputError, match=f"^{expected}"):
        find_sources(source)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"clip.avi\nnone.mp4\n", r"list.txt, line 2: none.mp4: no such file"),
        (b"\n# nothing\n", r"list.txt: the list is empty"),
        (b"\xff\xfe\x00", r"list.txt: expected a text file with a source per line"),
        (b"list.txt\n", r"list.txt, line 1: a list in a list, list.txt"),
    ],
)
def test_what_is_wrong_in_a_list_is_said_with_its_line(folder, text, expected):
    (folder / "list.txt").write_bytes(text)
    with pytest.raises(InputError, match=expected):
        find_sources("media/list.txt")
