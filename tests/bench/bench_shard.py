"""How close a build is to its floor, where its time goes, what the codecs cost, and what two others need.

The floor is bare decode + resample + encode of the same files in as many processes: no tar, no checks, no index. Given
are wall time and processor time a clip and their share of the floor's in the same round, as the machine is not equally
fast all the time: medians of ROUNDS, with the least and the most. Start-up of processes counts, too, which is why there
are CLIPS of them (real ones under several names); what needs less has fewer. `make bench` runs this.
"""

import contextlib
import csv
import io
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import soundfile
import soxr

sys.path.insert(
    0, str(Path(__file__).parents[1])
)  # asrscale is imported where it is used: the floor's processes do not

ROOT = Path(__file__).parents[2]
CORES = len(os.sched_getaffinity(0))
CLIPS, DECODED_CLIPS, PEER_CLIPS, ROUNDS = 100_000, 10_000, 2_400, 3  # Common Voice v1 has 195,776
DIGITS = ROOT.parent / "shared/data/digits/train.csv"  # real 48 kHz mp3s


def corpus(folder: Path) -> tuple[Path, list[str]]:
    """A CSV and its recordings, 48 kHz mp3s."""
    if DIGITS.exists():
        with DIGITS.open() as file:
            clips = [(DIGITS.parent / row["filename"], row["text"]) for row in csv.DictReader(file)]
    else:
        from conftest import speak

        clips = [(folder / f"spoken{number}.mp3", f"bad dog {number}") for number in range(600)]
        for number, (path, _) in enumerate(clips):
            soundfile.write(path, soxr.resample(speak("bad dog age " * 4, number), 16_000, 48_000), 48_000)
    first = [Path(shutil.copyfile(path, folder / f"first{number}.mp3")) for number, (path, _) in enumerate(clips)]
    paths = [folder / f"{number}.mp3" for number in range(CLIPS)]
    for number, path in enumerate(paths):
        os.link(first[number % len(clips)], path)
    table = folder / "corpus.csv"
    texts = (clips[number % len(clips)][1] for number in range(CLIPS))
    lines = (f"{path.name},{text}\n" for path, text in zip(paths, texts, strict=True))
    table.write_text("filename,text\n" + "".join(lines))
    return table, list(map(str, paths))


def bare(path: str) -> int:
    """The floor for one clip."""
    waveform, rate = soundfile.read(path, dtype="float32")
    pcm = (soxr.resample(waveform, rate, 16_000, quality="HQ") * 32_767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, 16_000, format="FLAC", subtype="PCM_16")
    return len(buffer.getvalue())


def decode_only(path: str) -> int:
    return len(soundfile.read(path, dtype="float32")[0])


def in_processes(work: Callable[[str], int], paths: list[str]) -> None:
    with multiprocessing.get_context("spawn").Pool(CORES, initializer=silence) as pool:
        for _ in pool.imap_unordered(work, paths, chunksize=25):
            pass


def silence() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # mpg123 writes there


def build(table: Path, out: Path, *flags: str) -> None:
    command = [sys.executable, "-m", "asrscale.shard", "--csv", str(table), "--out", str(out), "--valid_fraction", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, *flags], check=True, capture_output=True, env=environment)


def huggingface(paths: list[str], out: Path) -> None:
    """`datasets.map` to 16 kHz arrays, as the notebook that this project began with did, in as many processes."""
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"path": paths})
    rows.map(array_16khz, num_proc=CORES, cache_file_name=str(out / "cache.arrow"))


def array_16khz(row: dict[str, str]) -> dict[str, np.ndarray]:
    waveform, rate = soundfile.read(row["path"], dtype="float32")
    return {"input_values": soxr.resample(waveform, rate, 16_000, quality="HQ")}


def lhotse_shar(paths: list[str], out: Path) -> None:
    """lhotse's Shar with FLAC: a job for each core, 1,000 clips a shard."""
    with multiprocessing.get_context("spawn").Pool(CORES, initializer=silence) as pool:
        shares = [(paths[core::CORES], str(out / str(core))) for core in range(CORES)]
        pool.starmap(lhotse_job, shares)


def lhotse_job(paths: list[str], out: str) -> None:
    import torch
    from lhotse import CutSet, Recording, SupervisionSegment
    from lhotse.cut import MonoCut

    torch.set_num_threads(1)  # it resamples with torch, whose threads would fight over the cores
    cuts = []
    Path(out).mkdir()
    for number, path in enumerate(paths):
        recording = Recording.from_file(path, recording_id=str(number)).resample(16_000)
        text = SupervisionSegment(str(number), str(number), 0, recording.duration, text="text")
        cuts.append(MonoCut(str(number), 0, recording.duration, 0, recording=recording, supervisions=[text]))
    CutSet.from_cuts(cuts).to_shar(out, fields={"recording": "flac"}, shard_size=1_000, num_jobs=1)


def measured(work: Callable[[Path], None]) -> tuple[float, float]:
    """Wall and processor seconds of one run with its processes, in a folder that is deleted."""
    folder = Path(tempfile.mkdtemp())
    used, began = cpu_seconds(), time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        work(folder)
    spent = time.monotonic() - began, cpu_seconds() - used
    shutil.rmtree(folder)
    return spent


def cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def print_throughput(table: Path, paths: list[str], hours: float) -> None:
    some, few = paths[:DECODED_CLIPS], paths[:PEER_CLIPS]
    contenders: dict[str, tuple[int, Callable[[Path], None]]] = {
        "decode only": (len(some), lambda _: in_processes(decode_only, some)),
        "floor: decode, resample, encode": (len(paths), lambda _: in_processes(bare, paths)),
        "asrscale.shard": (len(paths), lambda out: build(table, out)),
        "datasets.map to 16 kHz arrays": (len(few), lambda out: huggingface(few, out)),
        "lhotse Shar, FLAC": (len(few), lambda out: lhotse_shar(few, out)),
    }
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, (clips, work) in contenders.items():
            try:
                spent[name].append(measured(work))
                wall, cpu = spent[name][-1]
                print(f"  {name}: {clips:,} clips in {wall:.1f} s, CPU {cpu:.1f} s", file=sys.stderr, flush=True)
            except ImportError as error:
                print(f"left out: {name} ({error})")
    each = {name: np.array(times) / contenders[name][0] for name, times in spent.items() if times}  # (ROUNDS, 2)
    floor = each["floor: decode, resample, encode"]
    print(f"{hours:.2f} h, {CORES} processes; ms are of a clip")
    print(f"{'':34} {'clips':>6} {'wall ms':>7} {'of floor':>19} {'CPU ms':>7} {'of floor':>19} {'x real time':>11}")
    for name, seconds in each.items():
        line = f"{name:34} {contenders[name][0]:6,}"
        for times, shares in zip(seconds.T, (floor / seconds).T, strict=True):
            spread = f"({shares.min():.2f} to {shares.max():.2f})"
            line += f" {np.median(times) * 1e3:7.2f} {np.median(shares):4.2f} {spread}"
        print(f"{line} {hours * 3600 / len(paths) / np.median(seconds[:, 0]):11,.0f}")


def print_stages(paths: list[str]) -> None:
    """Where one process spends its time."""
    from asrscale.corpus.checks import Rules, check_audio
    from asrscale.corpus.shard_file import build_shard
    from asrscale.corpus.shard_task import Task
    from asrscale.sources.rows import Row
    from asrscale.speech import decoding, encoding, pcm

    seconds: dict[str, float] = {}
    results: list[object] = list(paths)

    def stage(name: str, work: Callable[..., object], results: Iterable[object]) -> list[object]:
        began = time.process_time()
        done = [work(result) for result in results]
        seconds[name] = time.process_time() - began
        return done

    results = stage("decode", lambda path: decoding.decode(path, 60), results)
    stage("checks", lambda one: check_audio(one[0]), results)  # type: ignore[index]
    results = stage("resample", lambda one: pcm.resample(*one), results)  # type: ignore[misc]
    results = stage("16 bits", pcm.to_pcm16, results)
    results = stage("encode", lambda pcm: encoding.encode(pcm, "flac"), results)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        rows = tuple(Row(line, "a.csv", path, "some words", {}) for line, path in enumerate(paths))
        began = time.process_time()
        build_shard(Task(f"{folder}/a-000000.tar", "a", rows, "/", Rules(0.1, 60)), lambda _: None)
        seconds["the rest: files, texts, tar, hash"] = time.process_time() - began - sum(seconds.values())
    for name, spent in seconds.items():
        print(f"  {name:34} {spent / sum(seconds.values()):6.1%}")


def print_codecs(table: Path) -> None:
    from asrscale.data.index import read_index
    from asrscale.speech import decoding, pcm

    print(f"{'codec':10} {'MB an hour':>10} {'of FLAC':>8} {'loads at x real time, one thread':>33} {'of FLAC':>8}")
    flac = (0.0, 0.0)
    for codec in ("flac", "wav", "opus", "original"):
        flags = ["--original"] if codec == "original" else ["--codec", codec]
        with tempfile.TemporaryDirectory() as folder:
            build(table, Path(folder), *flags)
            index = read_index([f"{folder}/train"])
            payloads = []
            for i in range(400):
                with open(index.shards[index.shard_ids[i]], "rb") as shard:
                    shard.seek(index.offsets[i])
                    payloads.append(shard.read(index.sizes[i]))
        megabytes = float(index.sizes.sum()) / 1e6 / index.hours
        best = float("inf")
        for _ in range(ROUNDS):
            began = time.process_time()
            samples = sum(len(decoding.decode_payload(payload)) for payload in payloads)
            best = min(best, time.process_time() - began)
        speed = samples / pcm.SAMPLE_RATE_HZ / best
        flac = flac if flac[0] else (megabytes, speed)
        print(f"{codec:10} {megabytes:10.1f} {megabytes / flac[0]:8.2f} {speed:33,.0f} {speed / flac[1]:8.2f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        table, paths = corpus(Path(folder))
        hours = sum(soundfile.info(path).duration for path in paths) / 3600
        print_throughput(table, paths, hours)
        print("of a worker's time:")
        with contextlib.redirect_stderr(None):
            print_stages(paths[:600])
        few = table.with_name("few.csv")
        few.write_text("".join(table.read_text().splitlines(keepends=True)[: PEER_CLIPS + 1]))
        print_codecs(few)


if __name__ == "__main__":
    main()
