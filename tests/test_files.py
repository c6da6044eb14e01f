import json
from pathlib import Path

import pytest

from swin_yolo.files import sha256, write_json, written_whole


def test_sha256_of_abc(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_sha256_of_a_file_larger_than_one_read(tmp_path):
    (tmp_path / "a").write_bytes(b"a" * 1_000_000)
    (tmp_path / "b").write_bytes(b"a" * 1_100_000)
    # FIPS 180-2, appendix B.3
    assert sha256(tmp_path / "a") == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
    assert sha256(tmp_path / "a") != sha256(tmp_path / "b")


def test_a_file_is_replaced_only_when_it_is_whole(tmp_path):
    file = tmp_path / "picture.png"
    file.write_text("old")
    with written_whole(file) as unfinished:
        unfinished.write_text("new")
        assert file.read_text() == "old"
        assert unfinished.parent == tmp_path and unfinished.suffix == ".png"
    assert file.read_text() == "new"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_the_old_file_and_no_other(tmp_path, error):
    file = tmp_path / "table.csv"
    file.write_text("old")
    with pytest.raises(error), written_whole(file) as unfinished:
        unfinished.write_text("half of the n")
        raise error
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"table.csv": "old"}


def test_json_comes_back_as_it_was_and_readable(tmp_path):
    content = {"AP": 0.1, "names": ["Zelle", "白细胞"], "none": None}
    write_json(tmp_path / "a.json", content, indent=2)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == content
    assert "白细胞" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert (tmp_path / "a.json").read_text(encoding="utf-8").endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Path()])
def test_what_json_cannot_say_leaves_the_old_file(tmp_path, value):
    file = tmp_path / "metrics.json"
    file.write_text("old")
    with pytest.raises((ValueError, TypeError)):
        write_json(file, {"AP": value})
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"metrics.json": "old"}
