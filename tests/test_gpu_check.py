"""Every line of `make gpu-check`, on a CPU."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REPOSITORY

from asrscale.memory.card_speed import read_calibration

PARTS = ("kernels", "speed", "losses", "memory", "runs", "compiling", "ranks")


@pytest.mark.slow
def test_all_parts_come_to_their_ends_without_a_gpu(run_command: Callable[..., object]) -> None:
    out = REPOSITORY / "build/gpu-check"
    done = run_command(sys.executable, "tests/gpu_check.py", "cpu", "15", limit_seconds=1_200)
    assert done.returncode == 0, done.stdout + done.stderr  # type: ignore[attr-defined]
    results = json.loads((out / "results.json").read_text())
    assert tuple(results["parts"]) == PARTS
    findings = {one["name"]: one for part in results["parts"].values() for one in part}
    assert len(findings) > 25 and not any(one["is_wrong"] for one in findings.values())
    assert all("did not come to its end" not in one["text"] for one in findings.values())
    slowdown = read_calibration(str(out / "calibration.json"))
    assert slowdown.source == "as measured on a CPU" and 0 < slowdown.least <= slowdown.most
    page = (out / "page.html").read_text()
    assert all(name in page for name in ("out of memory", "zero3, base, 2 ranks", "Trainer, large"))


def test_without_a_gpu_nothing_is_checked_and_that_is_said(run_command: Callable[..., object]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    done = run_command(sys.executable, Path("tests/gpu_check.py"))
    assert done.returncode == 0  # type: ignore[attr-defined]
    assert done.stdout == "gpu-check: torch finds no GPU on this machine, so nothing was checked\n"  # type: ignore[attr-defined]
