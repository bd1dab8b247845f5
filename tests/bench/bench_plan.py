"""Batches: padding and balance of this planner beside other systems' rules; speed and memory of planning.

`make bench` runs this. The corpora are in ../shared, which may be missing: then only made-up lengths are used.
"""

import csv
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from asrscale.data.epoch_plan import find_step, group_windows, plan_epoch, plan_window, window_steps
from asrscale.data.even_cuts import relative_time
from asrscale.data.hashing import Ids, hash_keys
from asrscale.data.passes import cut_step
from asrscale.speech.frames import WAV2VEC2

RATE_HZ = 16_000
SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
COMMON_VOICE_CLIPS = 100_000  # of the 195,776 in version 1
LHOTSE_CLIPS = 20_000  # each rank runs a sampler over all of them
BATCH_SECONDS = (20, 40, 80, 160)
MOST_STEPS = 400  # of this planner's, that a line of the table is measured on

LEGEND = """\
padding         share of the samples computed on
a step, a pass  mean over max of the ranks' times, where they wait for each other once a step (ZeRO-0, 1) or at every
                pass (ZeRO-2, 3); the time of a pass is its padded audio × (1 + longest / 120 s)
useful          what padding and waiting at every pass leave of the ranks' time
passes          of a rank in a step; the others' rules make one batch a rank and step, dealt to the ranks as they do"""

# One optimizer step: for each rank its passes, each the numbers of its utterances.
Step = list[list[Ids]]


# --- corpora


def common_voice() -> tuple[str, Ids]:
    """Clips as long as Common Voice v1's transcripts make one expect."""
    rng = np.random.default_rng(1)
    file = SHARED_DATA / "common_voice_v1" / "cv-valid-dev.csv"
    if file.exists():
        with file.open(encoding="utf-8", newline="") as rows:
            characters = np.array([len(row["text"]) for row in csv.DictReader(rows)])
        seconds = 0.35 + rng.choice(characters, COMMON_VOICE_CLIPS) / 13 * rng.lognormal(0, 0.25, COMMON_VOICE_CLIPS)
        name = f"Common Voice v1: {len(characters):,} real transcripts, drawn {COMMON_VOICE_CLIPS:,} times; clips of "
        name += "0.35 s + characters / 13 per second × lognormal(0, 0.25), at least 0.8 s (estimated, not measured)"
    else:
        seconds = rng.lognormal(1.3, 0.42, COMMON_VOICE_CLIPS)
        name = f"made up, ../shared is missing: {COMMON_VOICE_CLIPS:,} clips, lognormal(1.3, 0.42) s"
    return name, samples(np.clip(seconds, 0.8, 30))


def corpora() -> Iterator[tuple[str, Ids]]:
    yield common_voice()
    for name, file in (("digits", "digits/train.csv"), ("orders", "orders/cv-valid-train.csv")):
        if (SHARED_DATA / file).exists():
            with (SHARED_DATA / file).open(encoding="utf-8", newline="") as rows:
                seconds = np.array([float(row["duration"]) for row in csv.DictReader(rows)])
            yield f"{name}: measured durations", samples(seconds)
        else:
            print(f"skipped: {name}, ../shared/data/{file} is missing")


def samples(seconds: np.ndarray) -> Ids:
    return np.rint(seconds * RATE_HZ).astype(np.int64)


# --- rules: each makes the steps of an epoch for some ranks


def dealt(batches: list[Ids], ranks: int) -> list[Step]:
    """Consecutive batches go to consecutive ranks, one each a step; a last round that is not full is left out."""
    whole = len(batches) // ranks * ranks
    return [[[batch] for batch in batches[first : first + ranks]] for first in range(0, whole, ranks)]


def random_batches(lengths: Ids, ranks: int) -> list[Step]:
    mixed = np.random.default_rng(0).permutation(len(lengths))
    return dealt([mixed[first : first + 32] for first in range(0, len(mixed), 32)], ranks)


def group_by_length(lengths: Ids, ranks: int) -> list[Step]:
    import torch
    from transformers.trainer_pt_utils import LengthGroupedSampler

    generator = torch.Generator().manual_seed(0)
    order = np.array(list(LengthGroupedSampler(32, lengths=lengths.tolist(), generator=generator)))
    return dealt([order[first : first + 32] for first in range(0, len(order), 32)], ranks)


def lhotse_buckets(lengths: Ids, ranks: int, batch_seconds: int) -> list[Step]:
    from lhotse import CutSet
    from lhotse.cut import MonoCut
    from lhotse.dataset import DynamicBucketingSampler

    cuts = CutSet.from_cuts(
        MonoCut(id=str(i), start=0.0, duration=length / RATE_HZ, channel=0)
        for i, length in enumerate(lengths[:LHOTSE_CLIPS].tolist())
    )
    by_rank = []
    for rank in range(ranks):
        sampler = DynamicBucketingSampler(
            cuts, max_duration=batch_seconds, num_buckets=30, shuffle=True, seed=0, world_size=ranks, rank=rank
        )
        by_rank.append([np.array([int(cut.id.split("_")[0]) for cut in batch]) for batch in sampler])
    return [[[batch] for batch in step] for step in zip(*by_rank, strict=True)]


def speechbrain_buckets(lengths: Ids, ranks: int, batch_seconds: int) -> list[Step]:
    """The rule of speechbrain/dataio/sampler.py, DynamicBatchSampler, as its Common Voice CTC recipe sets it.

    Right boundaries are quantiles of the standard lognormal scaled so that the last is `batch_seconds`; a bucket's
    batches hold int(batch_seconds / right boundary), from 1 to 256.
    """
    buckets = 200
    normal = statistics.NormalDist()
    quantiles = np.exp([normal.inv_cdf((i + 1) / (buckets + 1)) for i in range(buckets)])
    boundaries = quantiles * batch_seconds / quantiles[-1]
    sizes = [min(256, max(1, int(batch_seconds / boundary))) for boundary in boundaries] + [1]
    bucket_of = np.searchsorted(boundaries, lengths / RATE_HZ)
    rng = np.random.default_rng(0)
    batches: list[Ids] = []
    open_batches: list[list[int]] = [[] for _ in sizes]
    for i in rng.permutation(len(lengths)).tolist():
        open_batches[bucket_of[i]].append(i)
        if len(open_batches[bucket_of[i]]) == sizes[bucket_of[i]]:
            batches.append(np.array(open_batches[bucket_of[i]]))
            open_batches[bucket_of[i]] = []
    batches += [np.array(batch) for batch in open_batches if batch]
    return dealt([batches[i] for i in rng.permutation(len(batches))], ranks)


def asrscale(
    lengths: Ids,
    ranks: int,
    batch_seconds: int,
    cap_seconds: int,
    *,
    units_per_step: int = 0,
    by_frames: bool = True,
    even_steps: bool = True,
) -> list[Step]:
    frames = WAV2VEC2.num_encoder_frames(lengths)
    plan = plan_epoch(
        lengths,
        seed=1,
        epoch=0,
        batch_samples=batch_seconds * RATE_HZ,
        units_per_step=units_per_step or ranks,
        frames=frames if by_frames else None,
        even_steps=even_steps,
    )
    cap_samples = max(cap_seconds * RATE_HZ, int(lengths.max()))
    every = max(1, plan.num_steps // MOST_STEPS)
    return [
        cut_step(plan.step(number), lengths, memory_cap_samples=cap_samples, world_size=ranks, frames=frames)
        for number in range(0, plan.num_steps, every)
    ]


# --- measures


def measure(lengths: Ids, steps: list[Step]) -> str:
    """The columns of the table."""
    audio = padded = passes = 0
    useful_time = time_sum = step_max = pass_max = 0.0
    for step in steps:
        longest = np.array([[lengths[one].max() if len(one) else 0 for one in of_rank] for of_rank in step])
        counts = np.array([[len(one) for one in of_rank] for of_rank in step])
        everything = np.concatenate([one for of_rank in step for one in of_rank])
        times = counts * relative_time(longest)
        audio += int(lengths[everything].sum())
        padded += int((counts * longest).sum())
        useful_time += relative_time(lengths[everything]).sum() / len(step)
        time_sum += times.sum() / len(step)
        step_max += times.sum(axis=1).max()
        pass_max += times.max(axis=0).sum()
        passes += times.shape[1]
    ratios = time_sum / step_max, time_sum / pass_max, useful_time / pass_max
    return f"{1 - audio / padded:8.2%}" + "".join(f"{r:8.3f}" for r in ratios) + f"{passes / len(steps):8.1f}"


def compare(name: str, lengths: Ids) -> None:
    hours = lengths.sum() / RATE_HZ / 3600
    print(f"\n{name}\n{len(lengths):,} utterances, {hours:.1f} h, mean {lengths.mean() / RATE_HZ:.2f} s")
    columns = " padding  a step  a pass  useful  passes"
    print(f"{'':34}{'8 ranks':>40}   {'64 ranks':>40}\n{'':34}{columns:>40}   {columns:>40}")
    useful = np.minimum(lengths, 10 * RATE_HZ).mean() / (10 * RATE_HZ)
    print(f"{'notebook, padded or cut to 10 s':34}{1 - useful:8.2%}{1:8.3f}{1:8.3f}{useful:8.3f}{1:8.1f}")
    line("random batches of 32", lengths, random_batches)
    if installed("transformers"):
        line("group_by_length, batches of 32", lengths, group_by_length)
    for batch_seconds in BATCH_SECONDS:

        def budgeted(rule: Callable[..., list[Step]], *more: int, s: int = batch_seconds) -> Callable[..., list[Step]]:
            return lambda lengths, ranks, **others: rule(lengths, ranks, s, *more, **others)

        if installed("lhotse"):
            line(f"lhotse, {batch_seconds} s", lengths, budgeted(lhotse_buckets), ranks=(8,))
        line(f"SpeechBrain's rule, {batch_seconds} s", lengths, budgeted(speechbrain_buckets))
        line(
            f"asrscale, {batch_seconds} s, any units a step",
            lengths,
            partial(budgeted(asrscale, 1_000), even_steps=False),
        )
        line(f"asrscale, {batch_seconds} s", lengths, budgeted(asrscale, 1_000))
        if batch_seconds > 40:
            line(f"asrscale, {batch_seconds} s, passes ≤ 40 s", lengths, budgeted(asrscale, 40))


def line(title: str, lengths: Ids, rule: Callable[[Ids, int], list[Step]], ranks: tuple[int, ...] = (8, 64)) -> None:
    all_steps = [rule(lengths, count) for count in ranks]
    cells = [measure(lengths, steps) if steps else f"{'too few batches':>40}" for steps in all_steps]
    print(f"{title:34}{'   '.join(cells)}", flush=True)


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


# --- passes without padded frames


def equal_frames() -> None:
    """Prints how much of the audio is in passes whose utterances have equally many frames, and what it costs."""
    lengths = np.tile(common_voice()[1], 2)
    lengths += hash_keys(len(lengths), 5).astype(np.int64) % 320  # twice the clips, but none twice
    print(f"\n{len(lengths):,} clips like Common Voice's: audio in passes without padded frames")
    print(
        f"{'units':>8} {'ranks':>6} {'cap':>8}   {'along the lengths, any a step':>44}   {'by frames, like a step':>44}"
    )
    columns = "   equal padding  a step  a pass  useful  passes"
    print(f"{'':24}   {columns:>44}   {columns:>44}")
    for batch_seconds, ranks, units, cap_seconds in (
        (20, 8, 8, 1_000), (40, 8, 8, 1_000), (160, 8, 8, 1_000), (160, 8, 8, 40), (20, 1, 4, 20), (40, 1, 4, 40),
        (160, 1, 4, 160), (160, 8, 9, 1_000), (160, 64, 64, 1_000),
    ):  # fmt: skip
        cells = []
        for now in (False, True):
            steps = asrscale(
                lengths, ranks, batch_seconds, cap_seconds, units_per_step=units, by_frames=now, even_steps=now
            )
            cells.append(f"{share_of_equal_frames(lengths, steps):8.3f}{measure(lengths, steps)}")
        print(f"{batch_seconds:6} s {units:2}/{ranks:2} {cap_seconds:6} s   {'   '.join(cells)}", flush=True)


def share_of_equal_frames(lengths: Ids, steps: list[Step]) -> float:
    frames = WAV2VEC2.num_encoder_frames(lengths)
    passes = [one for step in steps for of_rank in step for one in of_rank if len(one)]
    audio = np.array([lengths[one].sum() for one in passes])
    is_equal = np.array([np.ptp(frames[one]) == 0 for one in passes])
    return float((audio * is_equal).sum() / audio.sum())


# --- speed and memory


def planning_speed() -> None:
    lengths = common_voice()[1]
    million = lengths[hash_keys(1_000_000, 1).astype(np.int64) % len(lengths)]
    print("\nplanning 1,000,000 utterances on one core       cutting a step of one unit a rank, passes ≤ 40 s")
    for batch_seconds in (6, 12, *BATCH_SECONDS):
        planned, cut = [], []
        for ranks in (8, 64):
            started = time.process_time()
            frames = WAV2VEC2.num_encoder_frames(million)
            plan = plan_epoch(
                million,
                seed=1,
                epoch=0,
                batch_samples=batch_seconds * RATE_HZ,
                units_per_step=ranks,
                frames=frames,
            )
            planned.append(time.process_time() - started)
            took = []
            for number in range(50):
                started = time.perf_counter()
                cut_step(plan.step(number), million, memory_cap_samples=40 * RATE_HZ, world_size=ranks, frames=frames)
                took.append(time.perf_counter() - started)
            cut.append(f"{statistics.median(took) * 1e3:6.2f} ms at {ranks} ranks")
        print(f"{batch_seconds:6} s units: {1 / min(planned):5.1f} million a second    {'   '.join(cut)}", flush=True)


def simulate(utterances: int) -> None:
    """Plans an epoch of shards whose lengths are hashed when they are needed, window by window; prints JSON."""
    shard_utterances = 10_000
    table = np.sort(common_voice()[1])[:: COMMON_VOICE_CLIPS // 1_000]

    def shard_lengths(shard: int) -> Ids:
        return table[hash_keys(shard_utterances, 2, shard).astype(np.int64) % len(table)]

    shards = utterances // shard_utterances
    shard_samples = np.array([shard_lengths(shard).sum() for shard in range(shards)])
    started = time.process_time()
    windows = group_windows(shard_samples, seed=1, window_samples=1_000_000 * int(table.mean()))
    counts = np.full(shards, shard_utterances)
    steps = window_steps(windows, shard_samples, counts, batch_samples=160 * RATE_HZ, units_per_step=8)
    seconds = time.process_time() - started
    number = visited = 0
    while number < steps.sum():
        epoch, window, _ = find_step(steps, number, seed=1)
        lengths = np.concatenate([shard_lengths(shard) for shard in windows[window].tolist()])
        started = time.process_time()
        frames = WAV2VEC2.num_encoder_frames(lengths)
        plan = plan_window(
            lengths, seed=1, epoch=epoch, window=window, steps=int(steps[window]), units_per_step=8, frames=frames
        )
        visited += sum(len(unit) for step in range(plan.num_steps) for unit in plan.step(step))
        seconds += time.process_time() - started
        number += plan.num_steps
    started = time.perf_counter()
    for i in range(100):
        find_step(steps, i * 7_919, seed=1)
    found = (time.perf_counter() - started) / 100
    results = dict(windows=len(windows), visited=visited, seconds=seconds, find_seconds=found, peak_mib=peak_mib())
    print(json.dumps(results))


def peak_mib() -> float:
    """The most memory this process has held; on Linux from /proc, because getrusage counts the parent's there."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory() -> None:
    print("\nan epoch of a simulated data set, every step visited, in windows of a million utterances or a bit more")
    for utterances in (1_000_000, 10_000_000, 100_000_000):
        command = [sys.executable, __file__, str(utterances)]
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert result["visited"] == utterances
        print(
            f"{utterances:12,} utterances: {result['windows']:4} windows, {result['seconds']:5.1f} s, "
            f"{utterances / result['seconds'] / 1e6:5.1f} million a second, peak memory {result['peak_mib']:4.0f} MiB, "
            f"a step is found in {result['find_seconds'] * 1e6:.0f} µs",
            flush=True,
        )


def main() -> None:
    warnings.filterwarnings("ignore")  # lhotse would rather stream
    for package in ("transformers", "lhotse"):
        if not installed(package):
            print(f"skipped: {package} is not installed")
    print(LEGEND)
    for name, lengths in corpora():
        compare(name, lengths)
    equal_frames()
    planning_speed()
    memory()


if __name__ == "__main__":
    if sys.argv[1:]:
        simulate(int(sys.argv[1]))
    else:
        main()
