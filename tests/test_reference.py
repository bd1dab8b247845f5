"""docs/reference.md is what the code says, of every command, on any machine."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "docs"))

import make_reference

NOT_COMMANDS = {"__init__", "__main__", "api"}


def test_every_command_is_in_the_reference() -> None:
    modules = {path.stem for path in (REPOSITORY / "asrscale").glob("*.py")} - NOT_COMMANDS
    described = {command.title.split()[0] for command in make_reference.commands()}
    assert described == modules


def test_every_flag_is_in_the_reference_once() -> None:
    for command in make_reference.commands():
        names = [flag.name for flag in make_reference.flags_of(command.schema) if not flag.words]
        text = make_reference.describe(command)
        for name in set(names) - make_reference._hidden_names(command):
            assert text.count(f"| `--{name}` |") == 1, (command.title, name)


def test_the_page_does_not_depend_on_the_machine(
    run_command: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_reference.reference()
    monkeypatch.chdir(REPOSITORY)
    elsewhere = run_command(
        sys.executable,
        "-c",
        "import os; os.sched_getaffinity = lambda pid: set(range(97)); os.cpu_count = lambda: 97\n"
        "import sys; sys.path.insert(0, 'docs')\n"
        "import make_reference; print(make_reference.reference(), end='')",
        CUDA_VISIBLE_DEVICES="",
        HOME=os.sep,
    )
    assert elsewhere.stdout == here


def test_a_stale_page_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_reference, "PAGE", tmp_path / "reference.md")
    monkeypatch.setattr(sys, "argv", ["make_reference.py", "--check"])
    assert make_reference.main() == 1
    monkeypatch.setattr(sys, "argv", ["make_reference.py"])
    assert make_reference.main() == 0
    monkeypatch.setattr(sys, "argv", ["make_reference.py", "--check"])
    assert make_reference.main() == 0
    with make_reference.PAGE.open("a") as file:
        file.write("a line by hand\n")
    assert make_reference.main() == 1
