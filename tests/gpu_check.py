"""Measures on a machine with GPUs what was only predicted without one; writes a page, its figures and the card's speed.

make gpu-check                  # or: python tests/gpu_check.py [MINUTES]
python tests/gpu_check.py cpu   # tries every part where there is no GPU: its figures mean nothing

Each part runs in a process of its own, the most telling first, until the time (10 minutes) is over; what a part has
found by then is kept. Written to build/gpu-check: page.html, results.json, and calibration.json for
`python -m asrscale.plan --calibration`.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

if "cpu" in sys.argv:
    os.environ["GPU_CHECK_ON_CPU"] = "1"

import torch
from gpu.compiling import compiling
from gpu.kernels import kernels
from gpu.losses import losses
from gpu.machine import ON_CPU, Finding, card_name, print_findings
from gpu.memory import memory
from gpu.ranks import ranks
from gpu.runs import runs
from gpu.speed import speed

from asrscale.common import html

OUT = Path(__file__).parents[1] / "build/gpu-check"
MINUTES = 10.0

# The most telling first. The seconds are the most that a part may take of them.
PARTS: dict[str, tuple[Callable[[], Iterator[Finding]], float]] = {
    "kernels": (kernels, 60),
    "speed": (speed, 180),
    "losses": (losses, 150),
    "memory": (memory, 90),
    "runs": (runs, 180),
    "compiling": (compiling, 90),
    "ranks": (ranks, 180),
}


def main(words: list[str]) -> int:
    """Runs all parts; returns the exit code: 1 where something is outside its bounds or did not come to its end."""
    if not ON_CPU and not torch.cuda.is_available():
        print("gpu-check: torch finds no GPU on this machine, so nothing was checked")
        return 0
    minutes = [float(word) for word in words if word.replace(".", "").isdigit()]
    end_seconds = time.monotonic() + 60 * (minutes[0] if minutes else MINUTES)
    count = 2 if ON_CPU else torch.cuda.device_count()
    print(f"{count} x {card_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}\n")
    found: dict[str, list[Finding]] = {}
    for name, (_, most_seconds) in PARTS.items():
        left_seconds = end_seconds - time.monotonic()
        found[name] = list(run_part(name, min(most_seconds * (10 if ON_CPU else 1), left_seconds)))
        for finding in found[name]:
            print(f"{'WRONG  ' if finding.is_wrong else ''}{finding.name}: {finding.text}", flush=True)
        write_results(found)  # after each part: time may run out
    return int(any(finding.is_wrong for findings in found.values() for finding in findings))


def run_part(name: str, limit_seconds: float) -> Iterator[Finding]:
    """Yields what a part finds in a process of its own within a time."""
    if limit_seconds < 5:
        yield Finding(name, "was not begun: the time is over")
        return
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([sys.executable, __file__, "part", name], stdout=output, stderr=errors)
        try:
            code = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            code = 0
            yield Finding(name, f"did not come to its end within {limit_seconds:.0f} s")
        output.seek(0)
        for line in output:
            if line.startswith('{"name": '):  # libraries print, too
                yield Finding(**json.loads(line))
        if code:
            errors.seek(0)
            yield Finding(name, f"exit code {code}: {errors.read()[-1_500:]}", is_wrong=True)


def write_results(found: dict[str, list[Finding]]) -> None:
    """Writes the page, the figures, and the speed of the card."""
    OUT.mkdir(parents=True, exist_ok=True)
    content = {name: [asdict(finding) for finding in findings] for name, findings in found.items()}
    about = {"card": card_name(), "torch": torch.__version__, "cuda": torch.version.cuda, "time": time.time()}
    (OUT / "results.json").write_text(json.dumps(about | {"parts": content}, indent=2))
    slowdowns = sorted(
        finding.numbers["slowdown"] for finding in found.get("speed", []) if "slowdown" in finding.numbers
    )
    if slowdowns:
        likely = slowdowns[len(slowdowns) // 2]
        times = {"least": slowdowns[0], "likely": likely, "most": slowdowns[-1]}
        (OUT / "calibration.json").write_text(json.dumps({"card": card_name(), "slowdown": times}))
    sections = {name.capitalize(): [table_of(findings)] for name, findings in found.items()}
    html.write_page(str(OUT / "page.html"), "gpu-check", f"{card_name()}, torch {torch.__version__}", sections)


def table_of(findings: list[Finding]) -> html.Block:
    """The findings of a part."""
    rows = [(one.name, f"WRONG: {one.text}" if one.is_wrong else one.text) for one in findings]
    return html.table("", ["what", "found"], rows)


if __name__ == "__main__":
    if "part" in sys.argv:
        work, _ = PARTS[sys.argv[-1]]
        print_findings(work())
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
