"""The documents name files and flags that exist, and the README can be read in two minutes."""

import re
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docs"))

import make_reference

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
# Flags of other programs that the documents name.
FOREIGN_FLAGS = {
    "deepspeed": {"num_gpus", "master_port", "include", "hostfile", "module"},
    "torchrun": {"nproc-per-node", "nnodes", "node-rank", "master-addr", "master-port", "max-restarts"},
    "srun, sbatch, scancel": {
        "job-name", "nodes", "array", "batch", "signal", "ntasks-per-node", "gpus-per-node", "kill-on-bad-exit", "wait",
    },
    "pip, uv, make, properdocs": {
        "index-url", "strict", "require-hashes", "no-deps", "no-build-isolation", "upgrade",
    },
    "tensorboard": {"logdir"},
    "of every command": {"help", "flag", "some_flag", "some-flag", "noflag"},
}  # fmt: skip


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


@pytest.mark.parametrize("document", DOCUMENTS)
def test_flags_that_a_document_names_exist(document: str) -> None:
    known = {flag.name for command in make_reference.commands() for flag in make_reference.flags_of(command.schema)}
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w-])--([a-z][\w-]*)", text))
    foreign = set().union(*FOREIGN_FLAGS.values())
    assert {name for name in named if name.replace("-", "_") not in known} - foreign == set()


def test_every_package_and_command_is_in_the_architecture() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    commands = {path.stem for path in (REPOSITORY / "asrscale").glob("*.py")} - {"__init__"}
    for name in [*(f"asrscale/{package}" for package in PACKAGES), *commands]:
        assert f"`{name}`" in text, name


def test_documents_that_the_code_names_exist() -> None:
    folders = ("asrscale", "tests", "slurm", "launch")
    files = [
        path for folder in folders for path in (REPOSITORY / folder).rglob("*") if path.suffix in (".py", ".sbatch")
    ]
    for path in files:
        for document in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8")):
            assert (REPOSITORY / document).is_file(), f"{path}: {document}"


def test_the_readme_can_be_read_in_two_minutes() -> None:
    assert len(Path(REPOSITORY, "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


@pytest.mark.parametrize("name", ["evaluate", "stats", "plan"])
def test_each_page_has_a_small_picture(name: str) -> None:
    picture = REPOSITORY / "docs" / "images" / f"{name}.png"
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size < 200_000
    documents = "".join(path.read_text("utf-8") for path in (REPOSITORY / "docs" / "guide").glob("*.md"))
    assert f"(../images/{name}.png)" in documents
