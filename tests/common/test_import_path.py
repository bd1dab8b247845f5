"""Nothing of the folder that one stands in is imported, whichever way a command is started."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY, write_corpus

import asrscale

Run = Callable[..., subprocess.CompletedProcess[str]]

# Names of libraries, and of modules of Python that the commands and their workers import: files, packages, built ones.
HIDING = ("soundfile.py", "fire/__init__.py", "numpy.pyc", "setproctitle.abi3.so", "typing.py", "pickle.py")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a corpus, modules that leave a trace when they are imported, and files that are innocent."""
    csv_file = write_corpus(tmp_path / "corpus", utterances=8)
    for name in HIDING:
        path = csv_file.parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write(__name__ + ' ')")
    (csv_file.parent / "wandb" / "run-1").mkdir(parents=True)  # as W&B leaves it
    (csv_file.parent / "test.py").touch()
    (csv_file.parent / "my_own.py").touch()
    (csv_file.parent / "numpy.wav").touch()
    return csv_file.parent


def nothing_was_imported(data: Path) -> bool:
    """Whether no module of the folder has left its trace."""
    return not (data.parent / "imported").exists()


def build(run_command: Run, data: Path, *start: object) -> subprocess.CompletedProcess[str]:
    """Builds shards in a worker process, standing in the folder of the corpus."""
    flags = ("--csv", "corpus.csv", "--out", "../shards", "--workers", 1, "--valid_fraction", "50%")
    return run_command(*start, *flags, cwd=data, PYTHONSAFEPATH="")


def test_python_m_and_its_workers_import_nothing_and_name_what_they_leave_alone(data: Path, run_command: Run) -> None:
    done = build(run_command, data, sys.executable, "-m", "asrscale.shard")
    assert done.returncode == 0, done.stderr
    assert nothing_was_imported(data)
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("warning:")]
    named = warning.removeprefix("warning: ").partition(" in this folder")[0]
    assert named.split(", ") == ["fire", "numpy.pyc", "pickle.py", "setproctitle.abi3.so", "soundfile.py", "typing.py"]


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """The script that pip makes of [project.scripts], away from the data."""
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    module, function = scripts["asrscale"].split(":")
    script = tmp_path / "bin" / "asrscale"
    script.parent.mkdir()
    script.write_text(f"from {module} import {function}\nif __name__ == '__main__':\n    {function}()\n")
    return script


def test_the_command_imports_nothing(data: Path, command: Path, run_command: Run) -> None:
    done = run_command(sys.executable, command, "shard", "--csv", "no.csv", "--out", "o", cwd=data, PYTHONSAFEPATH="")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: no.csv")
    assert nothing_was_imported(data)


@pytest.mark.slow
def test_workers_of_the_command_import_nothing(data: Path, command: Path, run_command: Run) -> None:
    done = build(run_command, data, sys.executable, command, "shard")
    assert done.returncode == 0, done.stderr
    assert nothing_was_imported(data) and "warning" not in done.stderr


def test_the_command_lists_its_commands_and_names_a_wrong_one(command: Path, run_command: Run) -> None:
    done = run_command(sys.executable, command)
    assert done.returncode == 0
    listed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  asrscale ")]
    modules = {path.stem for path in (REPOSITORY / "asrscale").glob("*.py")} - {"__init__", "__main__", "api"}
    assert set(listed) == modules
    done = run_command(sys.executable, command, "shards", "--csv", "no.csv")
    assert (done.returncode, done.stderr) == (2, f"error: no command 'shards': choose one of {', '.join(listed)}\n")


@pytest.mark.parametrize("start", [("-m", "asrscale.evaluate"), (REPOSITORY / "launch" / "train.py",)])
def test_a_path_that_has_the_folder_itself_is_refused_in_one_line(
    start: tuple[object, ...], data: Path, run_command: Run
) -> None:
    path = f"{REPOSITORY}{os.pathsep}"  # an empty entry is the folder that one stands in
    done = run_command(sys.executable, *start, "--help", cwd=data, PYTHONPATH=path, PYTHONSAFEPATH="")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: fire, numpy.pyc, pickle.py, setproctitle.abi3.so, soundfile.py, typing.py in")
    assert nothing_was_imported(data)


def test_a_checkout_that_is_not_installed_works_until_something_in_it_hides_a_module(
    tmp_path: Path, run_command: Run
) -> None:
    (tmp_path / "asrscale").symlink_to(REPOSITORY / "asrscale")
    words = (sys.executable, "-m", "asrscale.demo", "--help")
    path = str(tmp_path / "nothing")
    done = run_command(*words, cwd=tmp_path, PYTHONPATH=path, PYTHONSAFEPATH="")
    assert (done.returncode, done.stderr) == (0, "")

    (tmp_path / "fire.py").touch()
    done = run_command(*words, cwd=tmp_path, PYTHONPATH=f"{tmp_path}{os.pathsep}{path}", PYTHONSAFEPATH="")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: fire.py in this folder would be imported in the place of the module of that name" in done.stderr


def test_a_program_that_imports_the_package_keeps_its_own_modules(data: Path, run_command: Run) -> None:
    (data / "my_own.py").write_text("where = 'beside the program'")
    (data / "program.py").write_text("import asrscale\nimport my_own\nprint(asrscale.__version__, my_own.where)")
    for name in HIDING:
        (data / name).unlink()
    for start in (("program.py",), ("-m", "program")):
        done = run_command(sys.executable, *start, cwd=data, PYTHONSAFEPATH="")
        assert done.stdout == f"{asrscale.__version__} beside the program\n", done.stderr


@pytest.mark.parametrize("script", sorted((REPOSITORY / "slurm").glob("*.sbatch")), ids=lambda path: path.stem)
def test_batch_scripts_keep_the_folder_out_of_whatever_python_they_start(script: Path) -> None:
    before, _, after = script.read_text(encoding="utf-8").partition("export PYTHONSAFEPATH=1")
    assert after and "\npython " not in before and "srun " not in before.partition("set -euo pipefail")[2]
