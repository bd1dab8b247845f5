"""The wheel, installed away from any checkout: every command works in any folder, training included."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY
from helpers.training import free_port

Run = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("--model", "tiny", "--max_steps", "4", "--warmup_steps", "1", "--wandb", "off")
COMMANDS = ("shard", "plan", "train", "evaluate", "transcribe", "demo")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH with what `pip install` makes of the wheel; its libraries are those of the tests."""
    pytest.importorskip("hatchling", reason="needs hatchling: pip install 'asrscale[dev]'")
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, REPOSITORY]
    subprocess.run(wheel, check=True, capture_output=True)
    [file] = folder.glob("*.whl")
    install = [*pip, "install", "--no-deps", "--no-index", "--target", folder / "site", file]
    subprocess.run(install, check=True, capture_output=True)
    return folder / "site"


@pytest.fixture
def run_installed(installed: Path, tmp_path: Path, run_command: Run) -> Run:
    """Runs a command in an empty folder where only the wheel is asrscale."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return run_command(*words, cwd=elsewhere, PYTHONPATH=str(installed))

    return run


def test_the_package_is_the_installed_one(installed: Path, run_installed: Run) -> None:
    done = run_installed(sys.executable, "-c", "import asrscale; print(asrscale.__file__)")
    assert done.stdout.strip() == str(installed / "asrscale" / "__init__.py")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_its_flags(command: str, run_installed: Run) -> None:
    done = run_installed(sys.executable, "-m", f"asrscale.{command}", "--help")
    assert done.returncode == 0, done.stderr
    assert "  --" in done.stdout


def test_all_commands_are_one_too(installed: Path, run_installed: Run) -> None:
    script = installed / "bin" / "asrscale"
    done = run_installed(sys.executable, script, "demo", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run_installed(sys.executable, "-m", "asrscale.demo", "--help").stdout
    assert done.stdout == run_installed(sys.executable, "-m", "asrscale", "demo", "--help").stdout


def test_the_planner_finds_the_shipped_configurations(run_installed: Run) -> None:
    done = run_installed(
        sys.executable, "-m", "asrscale.plan", "--model", "tiny", "--gpu", "8", "--gpus", "2", "--json"
    )
    assert done.returncode == 0, done.stderr
    tried = {Path(way["config"]).stem for way in json.loads(done.stdout)}
    assert tried == {"zero1", "zero2", "zero3", "zero2_offload"}


@pytest.mark.parametrize("launcher", ["python", "deepspeed", "torchrun"])
def test_training_works_under_every_launcher(
    launcher: str, tone_shards: Path, tmp_path: Path, run_installed: Run
) -> None:
    # Without the two dashes before its module, torchrun takes `--run` for a flag of its own.
    start = {
        "python": [sys.executable, "-m", "asrscale.train"],
        "deepspeed": ["deepspeed", "--num_gpus", "2", "--master_port", free_port(), "--module", "asrscale.train"],
        "torchrun": ["torchrun", "--nproc-per-node", "2", "--master-port", free_port(), "-m", "--", "asrscale.train"],
    }[launcher]
    folder = tmp_path / "run"
    data = ["--train", tone_shards / "train", "--valid", tone_shards / "valid"]
    done = run_installed(*start, "--config", "zero1", *data, *SHORT, "--run", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "model" / "model.safetensors").is_file()
    assert json.loads((folder / "config.json").read_text())["config"] == "zero1"
    assert "ZeRO stage 0 in place of 1: " in done.stderr  # as the file that came with the wheel says
    assert json.loads((folder / "ds_config.json").read_text())["zero_optimization"]["stage"] == 0


def test_a_wrong_flag_is_refused_in_one_line(run_installed: Run) -> None:
    done = run_installed(sys.executable, "-m", "asrscale.train", "--epoch", "3")
    assert (done.returncode, done.stderr.count(os.linesep)) == (2, 1)
    assert "unknown flag --epoch: did you mean --epochs?" in done.stderr
