"""asrscale beside the notebook, Trainer, lhotse and SpeechBrain, in one run: `make bench-peers`.

    python tests/bench/bench_peers.py [--data digits=DIR,demo=DIR] [--parts speed,equal-time,tripled,equal-steps]

DIR is a folder of shards with the splits train and dev (or valid); by default tones are made, which are good for speed
only. peers_ways.py says what the ways have in common, and peers_samplers.py how the settings of samplers are chosen.
Each run is a process of one thread, and one computes at a time; seconds are those of the processor, of all threads,
while it trains: start-up, saving and evaluation are left out. Parts:

`speed`: the ways take turns, a block of steps each: audio seconds in a second of the processor, from the same weights.
`equal-time`: each way trains for `seconds`, as many steps as the measured speed leaves, with the learning rates of a
run of that length; WER on all of dev. `equal-steps`: as many steps as asrscale takes in that time. `tripled`: the
notebook in three times that time. They need the results of `speed`.

Each result is a line of `results` as soon as it is there; what has one, of a data set of the same name and with the
same settings, is not run again. The tables are those of all.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from asrscale.common import cli

Row: TypeAlias = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
OURS, NOTEBOOK = "asrscale", "notebook"
WAYS = (OURS, NOTEBOOK, "trainer-grouped", "trainer-rebalanced", "lhotse", "speechbrain")

# Settings of an architecture of random weights, whether its stem is frozen, and the audio of a turn in seconds.
MODELS: dict[str, tuple[Row, bool, int]] = {
    "2.7m": (dict(hidden_size=256, num_hidden_layers=3, intermediate_size=1024), False, 240),
    "base-4": (dict(num_hidden_layers=4), True, 24),
}


@dataclass(frozen=True)
class Options:
    """Prints the speed of each way, and the WER that it reaches."""

    data: tuple[str, ...] = cli.setting((), help="NAME=DIR of each data set; by default tones")
    parts: tuple[str, ...] = cli.setting(("speed",), help="of speed, equal-time, tripled and equal-steps, in order")
    models: tuple[str, ...] = cli.setting(("2.7m",), help="of 2.7m and base-4; WER is measured with the first")
    ways: tuple[str, ...] = cli.setting(
        WAYS, help="what is compared; also asrscale-one-unit, asrscale-zero0 and asrscale-one-unit-zero0"
    )
    seeds: tuple[int, ...] = cli.setting((1, 2, 3), help="of weights and order")
    blocks: int = cli.setting(5, help="turns that each way takes where speed is measured")
    epochs_before: int = cli.setting(
        0, help="of asrscale before its first turn: in the first one it reads and decodes what it then keeps"
    )
    seconds: float = cli.setting(90.0, help="of the processor, of a run of equal-time")
    step_seconds: float = cli.setting(24.0, help="audio of a step, on average")
    learning_rate: float = cli.setting(1.5e-3, help="peak")
    results: str = cli.setting("build/peers.jsonl", help="where results are kept")
    inner: str | None = cli.setting(None, help="inner use: one way, with the settings in this file")


@dataclass(frozen=True)
class Corpus:
    """A data set, and what was prepared of it."""

    name: str
    folder: str
    dev: str
    audio_seconds: float  # of the training split
    scratch: Path
    fits: dict[str, Row]  # settings of lhotse's and SpeechBrain's samplers


def main(options: Options) -> None:
    """Runs the parts one after the other, and prints the tables."""
    if options.inner:
        from peers_ways import Case, run_way

        return run_way(Case(**json.loads(Path(options.inner).read_text())))
    os.environ["OMP_NUM_THREADS"] = "1"
    Path(options.results).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for named in options.data or (f"tones={tones(scratch)}",):
            corpus = prepare(options, *named.split("=", 1), Path(scratch))
            for part in options.parts:
                PARTS[part](options, corpus)
    print_tables(read_results(options))
    return None


def tones(scratch: str) -> str:
    """Makes shards of the tests' tones; returns their folder."""
    from bench_loop import build_tones

    return build_tones(Path(scratch))


def prepare(options: Options, name: str, folder: str, scratch: Path) -> Corpus:
    """Writes what all ways of a data set start from, and chooses the settings of the samplers."""
    from peers_samplers import SAMPLERS, best_fit
    from peers_ways import write_audio

    folders = {split.name for split in Path(folder).iterdir()}
    own = scratch / name
    for model in options.models:
        for seed in options.seeds:
            write_initial(model, folder, seed, own / model / str(seed))
    seconds = write_audio(str(own / options.models[0] / str(options.seeds[0])), folder, own / "audio")
    fits = {sampler: asdict(best_fit(sampler, seconds, options.step_seconds)) for sampler in SAMPLERS}
    print(f"{name}: {len(seconds):,} utterances of {seconds.mean():.2f} s; {fits}", flush=True)
    return Corpus(name, folder, "dev" if "dev" in folders else "valid", float(seconds.sum()), own, fits)


def write_initial(model: str, data: str, seed: int, out: Path) -> None:
    """Writes random weights with a head for the characters of the data."""
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    from asrscale.data.catalog import read_catalog
    from asrscale.model.architectures import DROPOUT_SETTINGS, TINY
    from asrscale.model.building import build_recognizer

    settings, is_frozen, _ = MODELS[model]
    start = "tiny"
    if is_frozen:
        start = str(out.with_name(f"{out.name}-encoder"))
        no_dropout = dict.fromkeys((*DROPOUT_SETTINGS, "layerdrop", "mask_time_prob"), 0.0)
        Wav2Vec2ForCTC(Wav2Vec2Config(**settings, **no_dropout)).wav2vec2.save_pretrained(start)
    else:
        TINY.update(settings)
    build_recognizer(start, read_catalog([f"{data}/train"]).characters, seed=seed, dropout=0.0).save(out)


# --- the parts -------------------------------------------------------------------------------------------------------


def measure_speed(options: Options, corpus: Corpus) -> None:
    """Lets the ways take turns with each model."""
    from turns import take_turn

    for model in options.models:
        if find(options, part="speed", data=corpus.name, model=model):
            continue
        *_, block_audio = MODELS[model]
        block_steps = max(1, round(block_audio / options.step_seconds))
        epoch_steps = round(corpus.audio_seconds / options.step_seconds)
        running = {}
        for way in options.ways:
            epochs_before = options.epochs_before if way.startswith(OURS) else 0
            warm_up_steps = min(6, block_steps) + epochs_before * epoch_steps
            steps = warm_up_steps + options.blocks * block_steps + 1
            length = dict(steps=steps, block_steps=block_steps, warm_up_steps=warm_up_steps)
            running[way] = start_way(options, corpus, way, model, options.seeds[0], "speed", **length)
        turns = []
        for _ in range(options.blocks):
            turns.append({way: take_turn([process])[0] for way, process in running.items()})
        for way, process in running.items():
            process.kill()
            process.wait()
            reports = [turn[way] for turn in turns]
            keep(options, part="speed", data=corpus.name, model=model, way=way, steps=block_steps, reports=reports)


def train_in_equal_time(options: Options, corpus: Corpus) -> None:
    """Trains with each way for the same time."""
    for seed in options.seeds:
        for way in options.ways:
            train_one(options, corpus, "equal-time", way, seed, steps_in(options, corpus, way, options.seconds))


def train_notebook_three_times_as_long(options: Options, corpus: Corpus) -> None:
    """Trains the notebook's way in three times the time of the others."""
    for seed in options.seeds:
        steps = steps_in(options, corpus, NOTEBOOK, 3 * options.seconds)
        train_one(options, corpus, "tripled", NOTEBOOK, seed, steps)


def train_with_equal_steps(options: Options, corpus: Corpus) -> None:
    """Trains all others for as many steps as asrscale takes in its time."""
    for seed in options.seeds:
        for way in options.ways:
            if way != OURS:
                train_one(options, corpus, "equal-steps", way, seed, steps_in(options, corpus, OURS, options.seconds))


PARTS = {
    "speed": measure_speed,
    "equal-time": train_in_equal_time,
    "tripled": train_notebook_three_times_as_long,
    "equal-steps": train_with_equal_steps,
}


def steps_in(options: Options, corpus: Corpus, way: str, seconds: float) -> int:
    """How many steps a way takes in a time, by its measured speed."""
    found = find(options, part="speed", data=corpus.name, model=options.models[0], way=way)
    assert found, f"the speed of {way} is not measured: --parts speed first"
    reports = found[0]["reports"]
    step_cpu = sum(report["cpu"] for report in reports) / len(reports) / found[0]["steps"]
    return round(seconds / step_cpu)


def train_one(options: Options, corpus: Corpus, part: str, way: str, seed: int, steps: int) -> None:
    """Trains once, and keeps its time and its WER."""
    from turns import take_turn

    key = dict(part=part, data=corpus.name, model=options.models[0], way=way, seed=seed)
    if find(options, **key):
        return
    length = dict(steps=steps, block_steps=steps, warm_up_steps=0)
    process = start_way(options, corpus, way, options.models[0], seed, part, **length)
    [report] = take_turn([process])
    process.communicate()  # it goes on where nobody is left to wait for, and saves the model
    assert process.returncode == 0, f"{way} has failed: see {process.args[-1]}"  # type: ignore[index]
    wer = word_error_rate(Path(process.args[-1]).parent / "model", f"{corpus.folder}/{corpus.dev}")  # type: ignore[index]
    row = keep(options, **key, steps=steps, wer=wer, **report)
    print(f"{part} {corpus.name} {way} seed {seed}: {steps:,} steps, {row['cpu']:.1f} s, WER {wer:.2%}", flush=True)


def word_error_rate(model: Path, data: str) -> float:
    """That of asrscale, for all ways."""
    from asrscale.api import load_model

    return float(load_model(model).evaluate(data, show_progress=False).wer)


def start_way(
    options: Options, corpus: Corpus, way: str, model: str, seed: int, part: str, **length: int
) -> "subprocess.Popen[str]":
    """Starts the process of a way, and waits until it is ready for its first turn."""
    from peers_ways import Case
    from turns import wait

    out = corpus.scratch / part / model / f"{way}-{seed}"
    out.mkdir(parents=True)
    fit = corpus.fits.get(way, {})
    case = Case(
        way=way, model=str(corpus.scratch / model / str(seed)), frozen_stem=MODELS[model][1],
        data=corpus.folder, dev=corpus.dev, audio=str(corpus.scratch / "audio"), out=str(out), seed=seed, **length,
        step_seconds=options.step_seconds, learning_rate=options.learning_rate,
        **{name: fit[name] for name in ("max_seconds", "num_buckets") if fit},
    )  # fmt: skip
    settings = out / "case.json"
    settings.write_text(json.dumps(asdict(case)))
    process = subprocess.Popen(
        [sys.executable, __file__, "--inner", str(settings)], cwd=REPOSITORY, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(out / "log").open("w"),
    )  # fmt: skip
    wait([process])
    return process


# --- results ---------------------------------------------------------------------------------------------------------


def read_results(options: Options) -> list[Row]:
    """Those so far."""
    path = Path(options.results)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def find(options: Options, **key: object) -> list[Row]:
    """Returns the results that have these values, of runs with the same settings."""
    key |= same_settings(options)
    return [row for row in read_results(options) if all(row.get(name) == value for name, value in key.items())]


def same_settings(options: Options) -> Row:
    """The settings that a result depends on beside its own."""
    return {name: getattr(options, name) for name in ("seconds", "step_seconds", "learning_rate", "epochs_before")}


def keep(options: Options, **row: Any) -> Row:
    """Writes a result."""
    row |= same_settings(options)
    with Path(options.results).open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def print_tables(rows: list[Row]) -> None:
    """Prints the speeds, then the WERs."""
    speeds = [row for row in rows if row["part"] == "speed"]
    if speeds:
        print("\n| data | model | way | step, s | ms a step | audio s / s | asrscale's / its | least, most |")
        print("|---|---|---|---|---|---|---|---|")
    for row in speeds:
        print(speed_cells(row, partial(speed_of_ours, speeds, row)))
    trained = [row for row in rows if row["part"] != "speed"]
    if trained:
        print("\n| part | data | seed | way | steps | s of the processor | s of the clock | audio, min | WER |")
        print("|---|---|---|---|---|---|---|---|---|")
    for row in sorted(trained, key=lambda row: (row["part"], row["data"], row["seed"])):
        audio_minutes = row["audio"] / 16_000 / 60
        cells = f"{row['part']} | {row['data']} | {row['seed']} | {row['way']} | {row['steps']:,} | {row['cpu']:.1f}"
        print(f"| {cells} | {row['clock']:.1f} | {audio_minutes:.0f} | {row['wer']:.2%} |")


def speeds_of(row: Row) -> list[float]:
    """Audio seconds in a second of the processor, of each turn."""
    return [report["audio"] / 16_000 / report["cpu"] for report in row["reports"]]


def speed_of_ours(speeds: list[Row], row: Row) -> Row:
    """The row of asrscale in the same comparison."""
    same = ("data", "model", "seconds", "step_seconds", "learning_rate", "epochs_before")
    return next(one for one in speeds if one["way"] == OURS and all(one.get(name) == row.get(name) for name in same))


def speed_cells(row: Row, ours: Any) -> str:
    """One line of the table of speeds."""

    def total(of: Row, what: str) -> float:
        return float(sum(report[what] for report in of["reports"]))

    def speed(of: Row) -> float:
        return total(of, "audio") / 16_000 / total(of, "cpu")

    steps = row["steps"] * len(row["reports"])
    ratios = [mine / its for mine, its in zip(speeds_of(ours()), speeds_of(row), strict=True)]
    cells = [
        row["data"], row["model"], row["way"], f"{total(row, 'audio') / 16_000 / steps:.1f}",
        f"{total(row, 'cpu') / steps * 1000:.0f}", f"{speed(row):.3g}", f"{speed(ours()) / speed(row):.2f}",
        f"{min(ratios):.2f}, {max(ratios):.2f}",
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    cli.run(Options, main)
