import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import torch
from small_detectors import detector

import swin_yolo

ROOT = Path(__file__).resolve().parents[1]


def checked(*command: object, cwd: Path, **environment: str) -> str:
    """What a command prints; its own words where it fails."""
    command = [str(word) for word in command]
    around = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env={**around, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from this checkout without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", folder]
    checked(sys.executable, "-m", "pip", "wheel", *options, ROOT, cwd=folder)
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin folder of a fresh virtual environment with the wheel in it, and the packages of this one beside it.

    Those come by a .pth file, in which .pth files of their own are not read: an editable install of ours is not seen.
    """
    venv = tmp_path_factory.mktemp("clean") / "venv"
    checked(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv.parent)
    binaries = venv / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / "python"
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(checked(python, "-c", asked, cwd=venv).strip())
    packages = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site_packages / "packages_of_the_tests.pth").write_text("\n".join(packages))
    options = ["--no-deps", "--no-index", "--force-reinstall", "--quiet"]
    checked(python, "-m", "pip", "install", *options, wheel, cwd=venv)
    return binaries


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_s_top_level_is_the_package_alone(wheel):
    top = {name.split("/")[0] for name in names_in(wheel)}
    assert top == {"swin_yolo", f"swin_yolo-{swin_yolo.__version__}.dist-info"}


def test_the_wheel_carries_every_yaml(wheel):
    names = names_in(wheel)
    models = {f"swin_yolo/_shipped/models/{f.name}" for f in (ROOT / "models" / "yaml").glob("*.yaml")}
    sets = {f"swin_yolo/_shipped/data/{f.name}" for f in (ROOT / "data").glob("*.yaml")}
    assert len(models) >= 6 and len(sets) >= 5
    assert models | sets | {"swin_yolo/engine/recipe.yaml"} <= names
    assert {n for n in names if n.endswith(".yaml")} == models | sets | {"swin_yolo/engine/recipe.yaml"}


def test_the_wheel_carries_every_module_and_the_licence(wheel):
    names = names_in(wheel)
    modules = {str(f.relative_to(ROOT)) for f in (ROOT / "swin_yolo").rglob("*.py")}
    assert modules <= names
    assert any(re.fullmatch(r"swin_yolo-.*\.dist-info/licenses/LICENSE", name) for name in names)


def test_the_console_script_of_the_wheel_prints_a_shipped_model(installed, tmp_path):
    argv = ["train", "--cfg", "yolov5n-swin.yaml", "--summary", "--imgsz", "64"]
    printed = checked(installed / "swin-yolo", *argv, cwd=tmp_path)
    assert "SwinStage" in printed and re.search(r"^yolov5n-swin: [\d,]+ parameters", printed, re.MULTILINE)


def test_the_wheel_finds_its_own_yamls_in_any_working_folder(installed, tmp_path):
    (tmp_path / "datasets" / "bccd").mkdir(parents=True)
    lines = [
        "import swin_yolo",
        "from swin_yolo.data.config import load_config",
        "from swin_yolo.engine.recipe import load_recipe",
        "print(swin_yolo.__file__, load_config('bccd.yaml').source, sep='\\n')",
        "print(load_config('bccd.yaml').split('test').annotations, load_recipe()['optimizer'])",
    ]
    printed = checked(installed / "python", "-c", "\n".join(lines), cwd=tmp_path, SWIN_YOLO_DATA="")
    package, source, used = printed.splitlines()
    assert Path(package).is_relative_to(installed.parent) and Path(source).is_relative_to(installed.parent)
    assert used == "datasets/bccd/annotations/instances_test.json AdamW"


def test_the_wheel_reads_a_checkpoint_that_this_checkout_wrote(installed, tmp_path):
    torch.save({"model": detector()}, tmp_path / "best.pt")
    lines = [
        "from swin_yolo.engine.model import load_model",
        "from ultralytics import YOLO",
        "import swin_yolo",
        "models = load_model('best.pt'), YOLO('best.pt').model",
        "print(swin_yolo.__file__, *(type(model.model[3]).__name__ for model in models))",
    ]
    printed = checked(installed / "python", "-c", "\n".join(lines), cwd=tmp_path)
    package, *layers = printed.split()
    assert Path(package).is_relative_to(installed.parent) and layers == ["SwinStage", "SwinStage"]
