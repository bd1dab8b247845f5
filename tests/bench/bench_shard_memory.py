"""Peak memory of a build of N and 10 N rows, parent and workers apart: it must not grow with the corpus.

`make bench` runs this; the recordings are one short clip, since how many there are does not matter to a worker.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import REPOSITORY, speak

ROWS = 3_000


def peak_megabytes(pid: int | str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0  # it has ended
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")), 0.0)


def build(folder: Path, rows: int) -> tuple[float, float, float]:
    """Peak megabytes of the parent and of its largest worker, and how long it took."""
    table = folder / f"{rows}.csv"
    content = (f"a.wav,this is sentence number {number},somebody number {number % 999}\n" for number in range(rows))
    table.write_text("filename,text,client_id\n" + "".join(content))
    command = [sys.executable, "-m", "asrscale.shard", "--csv", str(table), "--out", str(folder / str(rows))]
    began, parent, workers = time.monotonic(), 0.0, 0.0
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None:
        parent = max(parent, peak_megabytes(process.pid))
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        except OSError:
            children = []
        workers = max([workers, *map(peak_megabytes, children)])
        time.sleep(0.05)
    assert process.returncode == 0
    return parent, workers, time.monotonic() - began


def main() -> None:
    print(f"{'rows':>9} {'parent MB':>10} {'worker MB':>10} {'seconds':>8}")
    measured = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        soundfile.write(folder / "a.wav", speak("bad dog " * 3, 0), 16_000)
        for rows in (ROWS, 10 * ROWS):
            measured.append(build(folder, rows))
            print(f"{rows:9,} {measured[-1][0]:10.1f} {measured[-1][1]:10.1f} {measured[-1][2]:8.1f}", flush=True)
    growth = (measured[1][0] - measured[0][0]) * 1e6 / (9 * ROWS)
    ratios = [large / small for small, large in zip(*measured, strict=True)]
    print(f"ratio     {ratios[0]:10.2f} {ratios[1]:10.2f}; the parent grows by {growth:,.0f} bytes a row")


if __name__ == "__main__":
    main()
