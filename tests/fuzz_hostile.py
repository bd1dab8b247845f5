"""Hostile inputs of all kinds through the commands: none costs more memory or time than its bound, or a traceback.

`python tests/fuzz_hostile.py [SEED]` makes 2,000 inputs and prints what became of them; tests/test_hostile.py takes a
few. tests/fuzz_shard.py has damages that are no attack, by the thousand.
"""

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))
from conftest import speak, write_corpus
from helpers.forked_commands import Ended, ForkedCommands
from helpers.hostile_inputs import (
    MEBIBYTE,
    Rng,
    hostile_archive,
    hostile_parquet,
    hostile_table,
    hostile_tar,
    intact_recordings,
    recording,
    spoil_checkpoint,
    spoil_index,
    spoil_json,
    spoil_shard,
)
from helpers.hostile_server import ANSWERS, serve_hostile
from helpers.models import untrained_recognizer

# Beyond what the commands have in memory before they begin: what is decoded at once, 8 million samples of all channels
# as float32, several times; a page of Parquet; a record.
PEAK_BYTES = 640 * MEBIBYTE

SHARD = "asrscale.shard"
WITH_MODEL = ("asrscale.evaluate", "asrscale.transcribe", "helpers.read_steps")
BUILD = ("--max_rejected", 1, "--workers", 1, "--on_error", "stop")

LIMIT_SECONDS = 120.0  # of a command, on a busy machine


@dataclass
class Tally:
    """What became of the inputs.

    Attributes:
        outcomes: By kind of input, how many had which outcome.
        peak_bytes: By kind of input, the most memory that a command took.
        seconds: By kind of input, the longest that a command took.
        faults: What is promised and did not hold, with the commands.
    """

    outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    peak_bytes: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def inputs(self) -> int:
        return sum(counts["inputs"] for counts in self.outcomes.values())


@dataclass(frozen=True)
class Fuzz:
    """Where it takes place.

    Attributes:
        commands: Those that need little memory themselves, and those that need a model's, by their modules.
        folder: For the inputs.
        model: The folder of a model.
        data: A data set of 12 utterances.
        corpus: The recordings that it was made of.
        tally: What became of the inputs so far.
    """

    commands: dict[str, ForkedCommands]
    folder: Path
    model: Path
    data: Path
    corpus: Path
    tally: Tally

    def run(self, kind: str, module: str, *words: object) -> Ended:
        """Runs a command on an input of a kind, and checks what is promised of all."""
        ended = self.commands[module].run(module, *words, limit_seconds=LIMIT_SECONDS)
        errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
        holds = {
            f"exit code {ended.code}": ended.code in (0, 2),
            "a traceback": "Traceback" not in ended.stderr,
            "not one line": len(errors) == (ended.code == 2),
            "more than one line": ended.code != 2 or ended.stderr.splitlines()[-1].startswith("error: "),
            "a line of a page": all(len(line) < 5_000 for line in errors),
            f"{ended.peak_bytes / MEBIBYTE:,.0f} MiB": ended.peak_bytes < PEAK_BYTES,
        }
        wrong = [name for name, is_held in holds.items() if not is_held]
        if wrong:
            command = " ".join(map(str, (module, *words)))
            what = f"{kind}: {', '.join(wrong)} after {ended.seconds:.1f} s: {command}\n{ended.stderr[-3_000:]}"
            self.tally.faults.append(what)
            print(what, file=sys.stderr)
        self.tally.peak_bytes[kind] = max(self.tally.peak_bytes[kind], ended.peak_bytes)
        self.tally.seconds[kind] = max(self.tally.seconds[kind], round(ended.seconds, 1))
        return ended

    def count(self, kind: str, *outcomes: str, inputs: int = 1) -> None:
        counts = self.tally.outcomes.setdefault(kind, Counter())
        counts.update(outcomes)
        counts["inputs"] += inputs


def fuzz_recordings(fuzz: Fuzz, count: int, rng: Rng) -> None:
    """Builds, and transcribes, recordings, many at once."""
    kind = "recordings"
    for first in range(0, count, 100):
        folder = fuzz.folder / f"recordings-{first}"
        folder.mkdir()
        number_of = min(100, count - first)
        files = [recording(folder / str(number), rng) for number in range(number_of)]
        table = folder / "a.csv"
        table.write_text("filename,text\n" + "".join(f"{file.name},bad dog\n" for file in files))
        ended = fuzz.run(kind, SHARD, "--csv", f"train={table}", "--out", folder / "out", *BUILD)
        built = 0
        if ended.code == 0:
            rejected = len((folder / "out/rejected.jsonl").read_text().splitlines())
            built = number_of - rejected
        fuzz.count(kind, *["built"] * built, *["rejected"] * (number_of - built), inputs=number_of)
        taken = [file for file in files if file.stat().st_size < 8 * MEBIBYTE][: 25 if count > 100 else 6]
        ended = fuzz.run(kind, "asrscale.transcribe", "--model", fuzz.model, *taken, "--jsonl", folder / "t.jsonl")
        texts = len((folder / "t.jsonl").read_text().splitlines())
        fuzz.count(kind, *["transcribed"] * texts, *["left out of transcribing"] * (len(taken) - texts), inputs=0)
        shutil.rmtree(folder)


def fuzz_tars(fuzz: Fuzz, count: int, rng: Rng) -> None:
    """Builds from tars, and indexes them."""
    kind = "tars"
    for number in range(count):
        folder = fuzz.folder / f"tar-{number}"
        folder.mkdir()
        (folder / "a.tar").write_bytes(hostile_tar(rng))
        verb = (
            ("index", "--data", folder)
            if number % 2
            else ("--csv", f"train={folder / 'a.tar'}", "--out", folder / "out")
        )
        ended = fuzz.run(kind, SHARD, *verb, "--max_rejected", 1, "--workers", 1)
        fuzz.count(kind, "built" if ended.code == 0 else "refused")
        shutil.rmtree(folder)


def fuzz_archives(fuzz: Fuzz, count: int, rng: Rng) -> None:
    """Builds from archives."""
    kind = "archives"
    for number in range(count):
        folder = fuzz.folder / f"archive-{number}"
        folder.mkdir()
        archive = hostile_archive(folder / "a", rng)
        ended = fuzz.run(kind, SHARD, "--csv", archive, "--out", folder / "out", *BUILD)
        fuzz.count(kind, "built" if ended.code == 0 else "refused")
        shutil.rmtree(folder)


def fuzz_tables(fuzz: Fuzz, count: int, rng: Rng) -> None:
    """Builds from tables and manifests."""
    kind = "tables and manifests"
    sound = speak("bad dog", 0)
    for number in range(count):
        folder = fuzz.folder / f"table-{number}"
        folder.mkdir()
        soundfile.write(folder / "c.wav", sound, 16_000)
        name, content = hostile_table(rng)
        (folder / name).write_bytes(content)
        ended = fuzz.run(kind, SHARD, "--csv", f"train={folder / name}", "--out", folder / "out", *BUILD)
        fuzz.count(kind, "built" if ended.code == 0 else "refused")
        shutil.rmtree(folder)


def fuzz_parquet(fuzz: Fuzz, count: int, rng: Rng) -> None:
    """Builds from Parquet files."""
    kind = "Parquet"
    for number in range(count):
        folder = fuzz.folder / f"parquet-{number}"
        folder.mkdir()
        (folder / "a.parquet").write_bytes(hostile_parquet(rng))
        ended = fuzz.run(kind, SHARD, "--csv", f"train={folder / 'a.parquet'}", "--out", folder / "out", *BUILD)
        fuzz.count(kind, "built" if ended.code == 0 else "refused")
        shutil.rmtree(folder)


def fuzz_data_sets(fuzz: Fuzz, count: int, rng: Rng) -> None:
    """Verifies, reads for training, counts and evaluates data sets."""
    kind = "data sets"
    for number in range(count):
        folder = fuzz.folder / f"data-{number}"
        shutil.copytree(fuzz.data, folder)
        [shard] = folder.glob("*.tar")
        spoil: list[tuple[Callable[[Path, Rng], None], Path]] = [
            (spoil_json, folder / "dataset.json"),
            (spoil_index, folder / "index.parquet"),
            (spoil_shard, shard),
        ]
        function, path = spoil[number % 3]
        function(path, rng)
        commands: list[tuple[str, ...]] = [
            (SHARD, "verify", "--data"),
            ("helpers.read_steps", "--data"),
            (SHARD, "stats", "--data"),
            ("asrscale.evaluate", "--model", str(fuzz.model), "--out", str(folder / "eval"), "--data"),
        ]
        for command in commands:
            ended = fuzz.run(kind, *command, folder)
            verb = command[1] if command[0] == SHARD else command[0].rpartition(".")[2]
            fuzz.count(kind, f"{verb} {'done' if ended.code == 0 else 'refused'}", inputs=0)
        fuzz.count(kind)
        shutil.rmtree(folder)


def fuzz_checkpoints(fuzz: Fuzz, count: int, rng: Rng) -> None:
    """Transcribes with checkpoints."""
    kind = "checkpoints"
    clip = next(fuzz.corpus.glob("*.wav"))
    for number in range(count):
        folder = fuzz.folder / f"model-{number}"
        shutil.copytree(fuzz.model, folder)
        spoil_checkpoint(folder, rng)
        ended = fuzz.run(kind, "asrscale.transcribe", "--model", folder, clip)
        fuzz.count(kind, "used" if ended.code == 0 else "refused")
        shutil.rmtree(folder)


def fuzz_answers(fuzz: Fuzz, count: int, rng: Rng) -> None:
    """Builds from a server that answers as it likes."""
    kind = "HTTP answers"
    for number in range(count):
        folder = fuzz.folder / f"http-{number}"
        folder.mkdir()
        files = {"/a.csv": b"filename,text\nc.wav,bad dog\n", "/c.wav": intact_recordings()["wav"]}
        with serve_hostile(files, ANSWERS[number % len(ANSWERS)]) as url:
            ended = fuzz.run(kind, SHARD, "--csv", f"train={url}/a.csv", "--out", folder / "out", *BUILD)
        fuzz.count(kind, "built" if ended.code == 0 else "refused")
        shutil.rmtree(folder)


KINDS: dict[Callable[[Fuzz, int, Rng], None], float] = {
    fuzz_recordings: 0.35,
    fuzz_tars: 0.12,
    fuzz_archives: 0.06,
    fuzz_tables: 0.15,
    fuzz_parquet: 0.08,
    fuzz_data_sets: 0.12,
    fuzz_checkpoints: 0.10,
    fuzz_answers: 0.02,
}


def fuzz_all(
    folder: Path, count: int, seed: int, kinds: dict[Callable[[Fuzz, int, Rng], None], float] = KINDS
) -> Tally:
    """Makes about `count` inputs of a seed; returns what became of them."""
    corpus = write_corpus(folder / "corpus", utterances=12).parent
    untrained_recognizer().save(folder / "model")
    tally = Tally()
    with (
        ForkedCommands(folder / "light", SHARD) as light,
        ForkedCommands(folder / "heavy", *WITH_MODEL) as heavy,
    ):
        commands = {SHARD: light, **dict.fromkeys(WITH_MODEL, heavy)}
        fuzz = Fuzz(commands, folder, folder / "model", folder / "shards/train", corpus, tally)
        flags = ("--out", folder / "shards", "--workers", 1)
        ended = light.run(SHARD, "--csv", f"train={corpus / 'corpus.csv'}", *flags)
        assert ended.code == 0, ended.stderr
        for number, function in enumerate(KINDS):
            if function in kinds:
                function(fuzz, max(1, round(kinds[function] * count)), np.random.default_rng([seed, number]))
    return tally


def main() -> None:
    """Prints what became of each kind as soon as it is done; `SEED COUNT NAME …` takes some kinds only."""
    seed = int(sys.argv[1]) if sys.argv[1:] else 0
    count = int(sys.argv[2]) if sys.argv[2:] else 2_000
    names = sys.argv[3:] or [function.__name__ for function in KINDS]
    inputs = faults = 0
    for function, share in KINDS.items():
        if function.__name__ in names:
            with tempfile.TemporaryDirectory() as folder:
                tally = fuzz_all(Path(folder), count, seed, {function: share})
            inputs += tally.inputs
            faults += len(tally.faults)
            [(kind, counts)] = tally.outcomes.items()
            outcomes = ", ".join(f"{name} {number:,}" for name, number in counts.most_common())
            peak = f"{tally.peak_bytes[kind] / MEBIBYTE:,.0f} MiB, {tally.seconds[kind]:.1f} s at most"
            print(f"{kind}: {outcomes}; {peak}; faults {len(tally.faults)}", flush=True)
    print(f"{inputs:,} inputs of seed {seed}, {faults} faults")


if __name__ == "__main__":
    main()
