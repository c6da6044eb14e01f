import cv2
import numpy as np
import pytest
from coco_files import content, index_of, save_images
from PIL import Image

from swin_yolo.errors import InputError


def test_missing_files_are_listed_up_to_ten_with_their_count(tmp_path):
    what = content()
    what["images"] += [{"id": 100 + i, "file_name": f"m{i}.jpg", "width": 9, "height": 9} for i in range(12)]
    save_images(tmp_path)
    with pytest.raises(InputError, match=r"12 of 15 images are not in .*: m0\.jpg, .*m9\.jpg, \.\.\.; ") as error:
        index_of(tmp_path, what).check_files()
    assert "m10.jpg" not in str(error.value)


def test_sound_files_pass(tmp_path):
    save_images(tmp_path)
    index_of(tmp_path).check_images()


def test_a_size_other_than_the_json_says_is_named_with_both(tmp_path):
    save_images(tmp_path)
    cv2.imwrite(str(tmp_path / "b.jpg"), np.zeros((30, 31, 3), np.uint8))
    with pytest.raises(InputError, match=r"b\.jpg: is 31 x 30 pixels .*set\.json says 30 x 30; boxes would be"):
        index_of(tmp_path).check_images()


def save_turned(file, width, height):
    exif = Image.Exif()
    exif[274] = 6  # stored on its side
    Image.new("RGB", (width, height)).save(file, exif=exif)


def test_a_photograph_turned_by_exif_counts_as_the_decoder_turns_it(tmp_path):
    save_images(tmp_path)
    save_turned(tmp_path / "a.jpg", 20, 40)  # 40 x 20 when seen upright
    index_of(tmp_path).check_images()
    save_turned(tmp_path / "a.jpg", 40, 20)
    with pytest.raises(InputError, match=r"a\.jpg: is 20 x 40 pixels .* says 40 x 20; the file carries an EXIF"):
        index_of(tmp_path).check_images()


@pytest.mark.parametrize("data", [b"", b"not an image", b"\x89PNG\r\n\x1a\n1234", b"\xff\xd8\xff\xe0"])
def test_a_file_that_is_no_image_is_named_and_nothing_is_installed_for_it(tmp_path, monkeypatch, data):
    monkeypatch.setattr("ultralytics.utils.checks.check_requirements", lambda name: pytest.fail(f"wants {name}"))
    save_images(tmp_path)
    (tmp_path / "c.jpg").write_bytes(data)
    with pytest.raises(InputError, match=r"c\.jpg: cannot be decoded as an image .*set\.json"):
        index_of(tmp_path).check_images()


def test_a_jpeg_that_was_cut_off_is_named(tmp_path):
    save_images(tmp_path)
    whole = (tmp_path / "c.jpg").read_bytes()
    (tmp_path / "c.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"c\.jpg: cannot be decoded as an image \(.*truncated"):
        index_of(tmp_path).check_image(2)


def test_bytes_behind_the_end_of_a_jpeg_do_no_harm(tmp_path):
    save_images(tmp_path)
    with (tmp_path / "c.jpg").open("ab") as stream:
        stream.write(b"camera data")
    index_of(tmp_path).check_image(2)
