"""The documents name files that exist, and the README can be read in two minutes."""

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY

README_LINES = 150

# What was measured names the modules of its time; the changelog those of a version.
OF_THEIR_TIME = ("docs/experiments/", "CHANGELOG.md")
DOCUMENTS = sorted(
    str(path.relative_to(REPOSITORY))
    for path in [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    if not str(path.relative_to(REPOSITORY)).startswith(OF_THEIR_TIME)
)
ROOTS = ("asrscale", "tests", "docs", "slurm", "launch", "ds_configs")
# Packages of asrscale whose modules are named without it, as in `data/loader.py`.
PACKAGES = sorted(path.parent.name for path in (REPOSITORY / "asrscale").glob("*/__init__.py"))


def named_files(document: str) -> set[str]:
    """The files in backticks of a document, by their paths in the repository."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    found = set()
    for word in re.findall(r"`([\w./-]+/[\w./-]*)`", text):
        if re.search("[A-Z]{2}", word) and not word.endswith(".md"):
            continue  # PACKAGE/MODULE.py stands for any
        first = word.split("/")[0]
        if first in ROOTS:
            found.add(word)
        elif first in PACKAGES and word.endswith((".py", "/")):
            found.add(f"asrscale/{word}")
    return found


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(document: str) -> None:
    missing = [name for name in named_files(document) if not (REPOSITORY / name).exists()]
    assert missing == []


def test_every_package_and_command_is_in_the_architecture() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    commands = {path.stem for path in (REPOSITORY / "asrscale").glob("*.py")} - {"__init__"}
    for name in [*(f"asrscale/{package}" for package in PACKAGES), *commands]:
        assert f"`{name}`" in text, name


def test_the_readme_can_be_read_in_two_minutes() -> None:
    assert len(Path(REPOSITORY, "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES
