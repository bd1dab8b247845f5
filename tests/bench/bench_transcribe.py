"""An hour of spoken digits in one file, by asrscale.transcribe: speed, memory, and what the windows cost.

    python tests/bench/bench_transcribe.py RUN/model       # a model of the digit strings

Strings of the train split are joined to recordings of 48 kHz as mp3 and flac. In both, the words heard are compared
with those of each string alone; and strings of dev with what asrscale.evaluate hears of the same files in shards.
"""

import csv
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import soundfile

from asrscale.evaluate import EvaluateOptions
from asrscale.evaluate import run as evaluate
from asrscale.results.metrics import count_errors
from asrscale.transcribe import TranscribeOptions
from asrscale.transcribe import run as transcribe

DIGITS = Path(__file__).parents[3] / "shared/data/digits"


def heard(model: str, files: list[Path], scratch: Path) -> list[str]:
    """The text of each file."""
    rows = scratch / "rows.jsonl"
    with redirect_stdout(io.StringIO()):
        transcribe(TranscribeOptions(model=model, audio=tuple(map(str, files)), jsonl=str(rows)))
    return [json.loads(line)["text"] for line in rows.read_text().splitlines()]


def main(model: str) -> None:
    """Prints what was measured."""
    rows, seconds, joined = list(csv.DictReader((DIGITS / "train.csv").open())), 0.0, []
    for row in rows:
        sound, rate = soundfile.read(DIGITS / row["filename"], dtype="float32")
        joined, seconds = [*joined, sound], seconds + len(sound) / rate
        if seconds > 3600:
            break
    rows = rows[: len(joined)]
    texts, clips = [row["text"] for row in rows], [DIGITS / row["filename"] for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        alone = heard(model, clips, scratch)
        print(f"{len(clips)} strings, {seconds:,.0f} s; WER alone {count_errors(texts, alone).wer:.2%}")
        for name in ("hour.flac", "hour.mp3"):
            soundfile.write(scratch / name, np.concatenate(joined), rate)
            before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
            [text] = heard(model, [scratch / name], scratch)
            took, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(
                f"{name}, {rate:,} Hz: {seconds / took:,.0f} × real time, {peak / 1024:,.0f} MiB at most (before: "
                f"{before / 1024:,.0f}), WER {count_errors([' '.join(texts)], [text]).wer:.2%}"
            )
        words = ["--csv", f"dev={DIGITS / 'dev.csv'}", "--audio_root", DIGITS, "--out", scratch / "data"]
        subprocess.run([sys.executable, "-m", "asrscale.shard", *words], check=True, capture_output=True)
        with redirect_stdout(io.StringIO()):
            evaluate(EvaluateOptions(model=model, data=(str(scratch / "data/dev"),), out=str(scratch / "eval")))
        predictions = [json.loads(line) for line in (scratch / "eval/data-dev.jsonl").read_text().splitlines()]
        in_shards = {int(row["key"].split("-")[-1]): row["hypothesis"] for row in predictions}  # by line of the table
        dev = [DIGITS / row["filename"] for row in csv.DictReader((DIGITS / "dev.csv").open())]
        same = sum(text == in_shards[line] for line, text in enumerate(heard(model, dev, scratch), start=2))
        print(f"{same} of {len(dev)} texts of single files are those of asrscale.evaluate")


if __name__ == "__main__":
    if len(sys.argv) >= 2:
        main(sys.argv[1])
    else:
        print("not measured, which needs a trained model: bench_transcribe.py RUN/model")
