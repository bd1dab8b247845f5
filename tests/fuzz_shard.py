"""Damaged recordings and tables through the real builder.

Each row must be in a shard or in rejected.jsonl, or one line must say why nothing is built. `python tests/fuzz_shard.py
[SEED]` damages 2,100 recordings and 500 tables; tests/corpus/test_fuzz_shard.py damages a few of each.
"""

import contextlib
import io
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parent))
from conftest import speak

from asrscale.common import cli
from asrscale.common.errors import EXIT_COMPLETE, EXIT_USAGE
from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.sources import open_source
from asrscale.data.index import read_index

FORMATS = {"wav": "WAV", "flac": "FLAC", "mp3": "MP3", "ogg": "OGG", "aiff": "AIFF", "au": "AU", "w64": "W64"}
TABLES = {
    "a.csv": 'filename,text,up_votes\nc.wav,one two,3\nc.wav,"three, four",\nc.wav,five,1\n',
    "b.tsv": 'client_id\tpath\tsentence\tup_votes\nann\tc.wav\tone two\t2\nbob\tc.wav\tthree "four"\t\n',
    "c.json": '{"audio_filepath": "c.wav", "text": "one", "duration": 0.5}\n{"audio_filepath": "c.wav", "text": "two", '
    '"offset": 0.1, "duration": 0.3}\n',
    "metadata.csv": "c|One, two.|one two\nc|Three|three\n",
    "1-2.trans.txt": "1-2-0000 ONE TWO\n1-2-0001 THREE\n",
}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One to four damages: bits flipped, bytes overwritten, zeroed, cut out, repeated, or the end cut off."""
    content = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        damage(content, rng)
    return bytes(content)


def damage(content: bytearray, rng: np.random.Generator) -> None:
    """One damage of a random kind, at a random place."""
    size = max(1, len(content))
    strikes_header = rng.random() < 0.5
    start = int(rng.integers(0, min(size, 64) if strikes_header else size))
    end = min(size, start + int(2 ** rng.uniform(0, 10)))
    match rng.integers(0, 6):
        case 0:
            byte = content[start] if content else 0
            content[start : start + 1] = bytes([byte ^ (1 << int(rng.integers(8)))])
        case 1:
            content[start:end] = rng.bytes(end - start)
        case 2:
            content[start:end] = bytes(end - start)
        case 3:
            del content[start:end]
        case 4:
            content[start:start] = content[start:end] * int(rng.integers(1, 4))
        case 5:
            del content[int(rng.integers(0, size)) :]


def run_build(*flags: object) -> tuple[int, str]:
    """Exit code and standard error of a build in this process and its workers."""
    stderr = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stderr):
        try:
            cli.main(ShardOptions, build, [str(flag) for flag in flags])
        except SystemExit as end:
            return int(end.code or 0), stderr.getvalue()


def write_damaged_recordings(folder: Path, count: int, rng: np.random.Generator) -> Path:
    """Recordings of all formats in turn, each damaged; returns their table."""
    sound = speak("bad dog age", 0)
    intact: dict[str, bytes] = {}
    for kind, format in FORMATS.items():
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 16_000, format=format)
        intact[kind] = buffer.getvalue()

    kinds = list(FORMATS)
    lines = ["filename,text"]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        (folder / f"{number}.{kind}").write_bytes(damaged(intact[kind], rng))
        lines.append(f"{number}.{kind},bad dog {number}")
    table = folder / "a.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def fuzz_recordings(folder: Path, count: int, seed: int) -> Counter[str]:
    """Builds shards of `count` damaged recordings; returns how many were built, and rejected for which reason."""
    table = write_damaged_recordings(folder, count, np.random.default_rng(seed))
    out = folder / "out"
    flags = ("--csv", table, "--out", out, "--valid_fraction", 0, "--max_rejected", 1, "--workers", 2)
    code, stderr = run_build(*flags, "--on_error", "stop", "--shard_utterances", 100)
    assert code == EXIT_COMPLETE, stderr
    assert "Traceback" not in stderr, stderr

    rejects = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    rejected_lines = {reject["line"] for reject in rejects}
    keys = read_index([str(out / "train")]).keys.to_pylist()
    built_lines = {int(key.rpartition("-")[2]) for key in keys}
    assert built_lines | rejected_lines == set(range(2, count + 2))
    assert not built_lines & rejected_lines
    reasons = Counter(reject["reason"].replace(" ", "_") for reject in rejects)
    return Counter(built=len(keys), **reasons)


def write_corpus_of_damaged_table(corpus: Path, name: str, rng: np.random.Generator) -> Path:
    """A damaged table with intact recordings wherever its format looks for them; returns the table."""
    sound = speak("bad dog age", 0)
    for place in ("", "clips", "wavs"):
        (corpus / place).mkdir(parents=True, exist_ok=True)
        soundfile.write(corpus / place / "c.wav", sound, 16_000)
    for clip in ("1-2-0000", "1-2-0001"):
        soundfile.write(corpus / f"{clip}.flac", sound, 16_000)
    table = corpus / name
    table.write_bytes(damaged(TABLES[name].encode(), rng))
    return table


def fuzz_tables(folder: Path, count: int, seed: int) -> Counter[str]:
    """Builds shards of `count` damaged tables; returns how many were built, and refused for which reason."""
    rng = np.random.default_rng(seed)
    names = list(TABLES)
    found = Counter[str]()
    for number in range(count):
        corpus = folder / str(number)
        table = write_corpus_of_damaged_table(corpus, names[number % len(names)], rng)
        out = corpus / "out"
        flags = ("--csv", f"train={table}", "--out", out, "--max_rejected", 1, "--workers", 1)
        code, stderr = run_build(*flags, "--on_error", "stop")
        if code == EXIT_COMPLETE:
            num_rows = len(list(open_source(str(table)).read_rows()))
            num_rejects = len((out / "rejected.jsonl").read_text().splitlines())
            assert len(read_index([str(out / "train")])) + num_rejects == num_rows
            found["built"] += 1
        else:
            assert code == EXIT_USAGE, (table, stderr)
            assert "Traceback" not in stderr, (table, stderr)
            [error] = [line for line in stderr.splitlines() if line.startswith("error: ")]
            assert str(corpus) in error
            found[kind_of_error(error)] += 1
    return found


def kind_of_error(error: str) -> str:
    """An error's message without quotations, paths and numbers."""
    general = re.sub(r"'.*?'|\S*/\S*|\d+", "", error)
    return re.sub(r"\W+", "_", general)[:60]


def main() -> None:
    seed = int(sys.argv[1]) if sys.argv[1:] else 0
    for fuzz, count in ((fuzz_recordings, 2_100), (fuzz_tables, 500)):
        with tempfile.TemporaryDirectory() as folder:
            found = fuzz(Path(folder), count, seed=seed)
        counts = ", ".join(f"{name} {number}" for name, number in found.most_common())
        print(f"{fuzz.__name__}: {found.total():,}: {counts}")


if __name__ == "__main__":
    main()
