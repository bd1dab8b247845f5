"""Host memory: of an evaluation and its breakdown by the utterances, of the loader by the audio of a step.

`make bench` runs this; the recordings are few and visited again and again, since memory does not see the difference.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import REPOSITORY, write_corpus
from helpers.resident import MALLOC, resident_bytes

from asrscale.common import distributed
from asrscale.data.index import Index, read_index
from asrscale.data.loader import load_steps
from asrscale.data.passes import cut_step
from asrscale.memory.host_memory import LOADER_BYTES_PER_SECOND
from asrscale.model.building import build_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.results.breakdown import break_down
from asrscale.results.evaluation import evaluate
from asrscale.speech.pcm import SAMPLE_RATE_HZ

UTTERANCES, STEP_SECONDS = (5_000, 20_000), (160, 640, 2560)
# Else oneDNN keeps what it compiles for a convolution's shape, 1,024 of them, which hides what grows with utterances.
FEW_KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1"}


def repeated(index: Index, count: int) -> Index:
    return index.take(np.resize(np.arange(len(index)), count))


def measure_evaluation(index: Index, recognizer: Recognizer, count: int) -> str:
    with distributed.joined_ranks() as world:
        how = dict(memory_cap_seconds=40.0, threads=2, title=None)
        evaluate(recognizer.model, recognizer, repeated(index, 500), world, **how)  # type: ignore[arg-type]
        whole, before = repeated(index, count), resident_bytes("VmRSS")
        result = evaluate(recognizer.model, recognizer, whole, world, **how)  # type: ignore[arg-type]
        break_down(whole, result.hypotheses(), "wer")
    grown = max(0, resident_bytes("VmHWM") - before)
    return f"| evaluation | {count:,} utterances | {grown / 1e6:,.1f} | {grown / count:,.0f} bytes an utterance |"


def measure_loader(index: Index, recognizer: Recognizer, seconds: int) -> str:
    count = int(seconds * SAMPLE_RATE_HZ / index.num_samples.mean())
    whole = repeated(index, 4 * count)
    steps = [
        cut_step([ids], whole.num_samples, memory_cap_samples=40 * SAMPLE_RATE_HZ, world_size=1)[0]
        for ids in np.array_split(np.arange(len(whole)), 4)
    ]
    for _ in load_steps(index, recognizer.vocabulary, [[np.arange(4)]], threads=2):
        pass
    before = resident_bytes("VmRSS")
    for _ in load_steps(whole, recognizer.vocabulary, steps, threads=2):
        pass
    grown, planned = resident_bytes("VmHWM") - before, LOADER_BYTES_PER_SECOND * seconds
    return f"| loader | steps of {seconds:,} s | {grown / 1e6:,.1f} | planned at most {planned / 1e6:,.1f} |"


def main() -> None:
    print("| | | MB more than before | |\n|---|---|---|---|")
    environment = os.environ | MALLOC | FEW_KEPT | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        csv_file = write_corpus(Path(folder, "corpus"), utterances=300)
        shards = f"{folder}/shards"
        command = [sys.executable, "-m", "asrscale.shard", "--csv", str(csv_file), "--out", shards]
        subprocess.run(command, env=environment, check=True, capture_output=True)
        for what, sizes in (("evaluation", UTTERANCES), ("loader", STEP_SECONDS)):
            for size in sizes:
                words = [sys.executable, __file__, what, str(size), f"{shards}/train"]
                done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
                print(next(line for line in done.stdout.splitlines() if line.startswith("|")), flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        torch.set_num_threads(1)
        one = {"evaluation": measure_evaluation, "loader": measure_loader}[sys.argv[1]]
        print(one(read_index([sys.argv[3]]), build_recognizer("tiny", "abcdegiou"), int(sys.argv[2])), flush=True)
    else:
        main()
