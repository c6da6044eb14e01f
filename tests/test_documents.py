"""What documents point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
every_document = pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: file.name)


@every_document
def test_files_and_headings_that_a_document_links_to_are_there(file):
    text = file.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif "://" not in target:
            assert (file.parent / target.partition("#")[0]).is_file(), target


@every_document
def test_tests_that_a_document_names_are_there(file):
    for test_file, name in re.findall(r"(tests/\w+\.py)::(\w+)", file.read_text(encoding="utf-8")):
        assert f"\ndef {name}(" in (ROOT / test_file).read_text(encoding="utf-8"), f"{test_file}::{name}"


def test_the_page_on_swin_names_a_test_for_each_mistake():
    text = (ROOT / "docs" / "swin.md").read_text(encoding="utf-8")
    mistakes = text.partition("## What the article")[2].partition("## How the pictures")[0]
    entries = re.findall(r"^- \*\*(?:.|\n(?!- |\n))*|^\| (?!---|What goes).*$", mistakes, re.MULTILINE)
    assert len(entries) == 6 + 8
    assert all("tests/test_" in entry for entry in entries)
