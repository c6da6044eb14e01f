"""The commands that help, documents and YAML headers show are commands that work."""

import re
import shlex
from pathlib import Path

import pytest

from swin_yolo import cli
from swin_yolo.paths import shipped_dir

ROOT = Path(__file__).resolve().parents[1]
WITH_PARSERS = ("train", "val", "detect", "export", "compare", "visualize", "benchmark", "convert")
COMMANDS = ("train", "val", "detect", "export", "compare", "visualize", "convert")
PARSERS = {name: getattr(cli, name).parser for name in COMMANDS}
DOCUMENTS = [*sorted(ROOT.glob("README*.md")), *sorted(ROOT.glob("docs/*.md"))]


def commands(text: str) -> list[list[str]]:
    """The arguments of our commands in a text, each from the command's name on."""
    ours = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip().startswith(("python", "swin-yolo")):
            continue
        words = shlex.split(re.split(r"    \(", line)[0], comments=True)  # help says behind a command what it is
        if len(words) > 1 and words[1].startswith("tools/"):
            assert (ROOT / words[1]).is_file(), words[1]
            ours.append([Path(words[1]).stem, *words[2:]])
        elif words[0] == "swin-yolo":
            ours.append(words[1:])
    return ours


def check_command(argv: list[str]) -> None:
    """A command parses, and the model YAML and the dataset YAML that it names are there."""
    assert argv[0] in cli.COMMANDS, argv
    if argv[0] not in PARSERS:
        return
    args = vars(PARSERS[argv[0]]().parse_args(argv[1:]))
    for flag, kind in (("cfg", "models"), ("data", "data")):
        given = args.get(flag)
        for name in given if isinstance(given, list) else [given]:
            if name and name.endswith(".yaml"):
                file = re.sub(r"yolov5[nsmlx]", "yolov5", Path(name).name)
                assert (shipped_dir(kind) / file).is_file() or file == "yolov5.yaml", name
                assert Path(name).name == name or (ROOT / name).is_file(), name


@pytest.mark.parametrize(
    "text", [cli.HELP, *(getattr(cli, name).HELP for name in PARSERS)], ids=["swin-yolo", *PARSERS]
)
def test_commands_shown_in_help_parse(text):
    shown = commands(text)
    assert shown
    for argv in shown:
        check_command(argv)


@pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)
def test_commands_shown_in_documents_parse(file):
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    shown = [argv for block in blocks for argv in commands(block)]
    assert shown or file.parent != ROOT, "a README shows commands"
    for argv in shown:
        check_command(argv)


@pytest.mark.parametrize("folder", ["models", "data"])
def test_commands_shown_in_yaml_headers_parse(folder):
    for file in shipped_dir(folder).glob("*.yaml"):
        for command in re.findall(r"^# Command: (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE):
            (argv,) = commands(command)
            check_command(argv)
