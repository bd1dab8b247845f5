"""The loader beside the bare FLAC decode and beside what others use, all on the same cores. `make bench` runs this.

Every row delivers the same utterances as batches of this process, once; the ratio is to the bare decode, which
delivers nothing. Workers are started before the clock, and the best of a few rounds counts.
"""

import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio
import webdataset
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))
from conftest import write_corpus

from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.data.batches import collate
from asrscale.data.epoch_plan import plan_epoch
from asrscale.data.hashing import Ids
from asrscale.data.index import Index, read_index
from asrscale.data.loader import LoadedStep, load_steps, read_utterances
from asrscale.data.passes import cut_step
from asrscale.speech.decoding import decode_payload
from asrscale.speech.pcm import PCM_SCALE, SAMPLE_RATE_HZ
from asrscale.speech.vocabulary import build_vocabulary

CORES = len(os.sched_getaffinity(0))
UTTERANCES, ROUNDS, BATCH = 2400, 6, 16
PADDED_SAMPLES = 10 * SAMPLE_RATE_HZ  # what the notebook pads every clip to
DIGITS = Path(__file__).parents[3] / "shared" / "data" / "digits"
VOCABULARY = build_vocabulary("")


def bare_decode(index: Index) -> Callable[[], int]:
    """Payloads in memory already, in shard order, nothing checked, nothing collated."""
    shards = [Path(shard).read_bytes() for shard in index.shards]
    payloads = [
        shards[shard][offset : offset + size]
        for shard, offset, size in zip(index.shard_ids, index.offsets, index.sizes, strict=True)
    ]

    def once() -> int:
        with ThreadPoolExecutor(CORES) as pool:
            return len(list(pool.map(decode_payload, payloads)))

    return once


def plan(index: Index) -> list[list[Ids]]:
    """The passes of each step of an epoch."""
    samples = 40 * SAMPLE_RATE_HZ
    epoch = plan_epoch(index.num_samples, seed=0, epoch=0, batch_samples=samples, units_per_step=4)
    return [
        cut_step(epoch.step(number), index.num_samples, memory_cap_samples=samples, world_size=1)[0]
        for number in range(epoch.num_steps)
    ]


def count(steps: Iterable[LoadedStep]) -> int:
    return sum(len(batch.utterances) for step in steps for batch in step.batches)


def loader(index: Index) -> Callable[[], int]:
    """A whole epoch: plan, cut, read, check, decode, collate."""
    return lambda: count(load_steps(index, VOCABULARY, plan(index), threads=CORES))


class StepDataset(Dataset[LoadedStep]):
    """The loader's work for DataLoader's worker processes."""

    def __init__(self, index: Index) -> None:
        self.index, self.steps = index, plan(index)

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, number: int) -> LoadedStep:
        passes = self.steps[number]
        with ThreadPoolExecutor(1) as pool:
            waveforms, damaged = read_utterances(self.index, np.concatenate(passes), pool)
        return LoadedStep([collate(self.index, VOCABULARY, ids, waveforms) for ids in passes], damaged)


def in_workers(dataset: object, number: Callable[[object], int] = len, **options: object) -> Callable[[], int]:
    """An epoch through DataLoader, a worker process a core, which live on between epochs."""
    workers = DataLoader(dataset, num_workers=CORES, persistent_workers=True, **options)
    return lambda: sum(map(number, workers))


def loader_in_processes(index: Index) -> Callable[[], int]:
    return in_workers(StepDataset(index), lambda step: count([step]), batch_size=None)


def pad(waveforms: list[torch.Tensor]) -> torch.Tensor:
    return pad_sequence(waveforms, batch_first=True)


def plain_webdataset(index: Index) -> Callable[[], int]:
    """The same shards as its manual reads them: decode, shuffle, batch what comes, float32."""

    def decode(sample: dict[str, bytes]) -> torch.Tensor:
        return torch.from_numpy(decode_payload(sample["flac"]).astype(np.float32) / PCM_SCALE)

    samples = webdataset.WebDataset(list(index.shards), shardshuffle=False).map(decode).shuffle(200)
    return in_workers(samples.batched(BATCH, collation_fn=pad, partial=True), batch_size=None)


class NotebookDataset(Dataset[torch.Tensor]):
    """One mp3 an item: decode, resample, pad to 10 s."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> torch.Tensor:
        samples, rate = soundfile.read(self.files[number], dtype="float32")
        waveform = torchaudio.functional.resample(torch.from_numpy(samples), rate, SAMPLE_RATE_HZ)[:PADDED_SAMPLES]
        return torch.nn.functional.pad(waveform, (0, PADDED_SAMPLES - len(waveform)))


def notebook(files: list[Path]) -> Callable[[], int]:
    return in_workers(NotebookDataset(files), batch_size=BATCH, shuffle=True)


def lhotse_shar(index: Index, folder: Path) -> Callable[[], int]:
    """Its own tar shards of the same FLAC, bucketed by length, as its manual trains."""
    from lhotse import CutSet, Recording
    from lhotse.dataset import DynamicBucketingSampler
    from lhotse.dataset.collation import collate_audio
    from lhotse.dataset.iterable_dataset import IterableDatasetWrapper

    class Audio(Dataset[torch.Tensor]):
        def __getitem__(self, cuts: CutSet) -> torch.Tensor:
            return collate_audio(cuts)[0]

    folder.mkdir()
    cuts = []
    for number in range(len(index)):
        with open(index.shards[index.shard_ids[number]], "rb") as file:
            payload = os.pread(file.fileno(), int(index.sizes[number]), int(index.offsets[number]))
        cuts.append(Recording.from_bytes(payload, recording_id=f"utterance-{number}").to_cut())
    CutSet.from_cuts(cuts).to_shar(folder, fields={"recording": "flac"}, shard_size=len(cuts) // (2 * CORES))
    read = CutSet.from_shar(in_dir=folder, split_for_dataloading=True, shuffle_shards=True, seed=0)
    sampler = DynamicBucketingSampler(
        read, max_duration=40.0, num_buckets=10, shuffle=True, buffer_size=500, rank=0, world_size=1
    )
    return in_workers(IterableDatasetWrapper(Audio(), sampler), batch_size=None)


def corpus(folder: Path) -> tuple[Path, list[Path]]:
    """A CSV of UTTERANCES recordings, and their mp3 files if there are any."""
    if not DIGITS.is_dir():
        return write_corpus(folder / "corpus", utterances=UTTERANCES), []
    with (DIGITS / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:UTTERANCES]
    with (folder / "part.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder / "part.csv", [DIGITS / row["filename"] for row in rows]


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        csv_file, files = corpus(folder)
        per_shard = UTTERANCES // (2 * CORES)
        audio_root = (str(DIGITS),) if files else None
        csvs = (f"part={csv_file}",)
        build(ShardOptions(csv=csvs, audio_root=audio_root, out=f"{name}/shards", shard_utterances=per_shard))
        index = read_index([f"{name}/shards/part"])
        makers: dict[str, Callable[[], Callable[[], int]]] = {
            "bare FLAC decode": lambda: bare_decode(index),
            "loader, threads": lambda: loader(index),
            "loader, DataLoader processes": lambda: loader_in_processes(index),
            "WebDataset + DataLoader": lambda: plain_webdataset(index),
            "lhotse Shar (FLAC)": lambda: lhotse_shar(index, folder / "shar"),
            "notebook (mp3, pad to 10 s)": lambda: notebook(files),
        }
        rows: dict[str, Callable[[], int]] = {}
        for title, make in makers.items():
            if title.startswith("notebook") and not files:
                print(f"{title}: skipped, no mp3 corpus in {DIGITS}", file=sys.stderr)
                continue
            try:
                rows[title] = make()
                delivered = rows[title]()  # starts the workers
            except ImportError as error:
                print(f"{title}: skipped, {error}: make bench installs it", file=sys.stderr)
                continue
            expected = len(files) if title.startswith("notebook") else len(index)
            assert delivered == expected, f"{title}: {delivered} of {expected} utterances"
        seconds: dict[str, list[float]] = {title: [] for title in rows}
        for _ in range(ROUNDS):
            for title, once in rows.items():
                started = time.perf_counter()
                once()
                seconds[title].append(time.perf_counter() - started)

    audio_seconds = index.hours * 3600
    print(f"\n{len(index):,} utterances, {audio_seconds:,.0f} s of audio, {CORES} cores, best of {ROUNDS}")
    print(f"{'':30}{'x real time':>12}{'of bare decode':>16}")
    bare = min(seconds["bare FLAC decode"])
    for title, times in seconds.items():
        print(f"{title:30}{audio_seconds / min(times):12,.0f}{bare / min(times):16.2f}")


if __name__ == "__main__":
    main()
