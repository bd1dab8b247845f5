"""Damaged recordings and tables through the real builder: a row is in a shard or in rejected.jsonl, or one line tells.

`python tests/fuzz_shard.py [SEED]` damages 2,100 recordings and 500 tables; tests/test_fuzz_shard.py a few of each.
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
        size = max(1, len(content))
        # Half of the damages strike the first bytes, where headers are.
        start = int(rng.integers(0, min(size, 64) if rng.random() < 0.5 else size))
        end = min(size, start + int(2 ** rng.uniform(0, 10)))
        match rng.integers(0, 6):
            case 0:
                content[start : start + 1] = bytes([(content[start] if content else 0) ^ (1 << int(rng.integers(8)))])
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
    return bytes(content)


def run_build(*flags: object) -> tuple[int, str]:
    """Exit code and standard error of a build in this process and its workers."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        try:
            cli.main(ShardOptions, build, list(map(str, flags)))
        except SystemExit as end:
            return int(end.code or 0), err.getvalue()


def fuzz_recordings(folder: Path, count: int, seed: int) -> Counter[str]:
    """Builds shards of `count` damaged recordings; returns how many were built, and rejected for which reason."""
    rng, sound = np.random.default_rng(seed), speak("bad dog age", 0)
    intact = {}
    for kind, format in FORMATS.items():
        buffer = io.BytesIO()
        soundfile.write(buffer, sound, 16_000, format=format)
        intact[kind] = buffer.getvalue()
    with (folder / "a.csv").open("w") as table:
        table.write("filename,text\n")
        for number in range(count):
            kind = list(FORMATS)[number % len(FORMATS)]
            (folder / f"{number}.{kind}").write_bytes(damaged(intact[kind], rng))
            table.write(f"{number}.{kind},bad dog {number}\n")
    out = folder / "out"
    flags = ("--csv", folder / "a.csv", "--out", out, "--valid_fraction", 0, "--max_rejected", 1, "--workers", 2)
    code, stderr = run_build(*flags, "--on_error", "stop", "--shard_utterances", 100)
    assert code == EXIT_COMPLETE and "Traceback" not in stderr, stderr
    rejects = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    keys = {int(key.rpartition("-")[2]) for key in read_index([str(out / "train")]).keys.to_pylist()}
    lines = {reject["line"] for reject in rejects}
    assert keys | lines == set(range(2, count + 2)) and not keys & lines
    return Counter(built=len(keys), **Counter(reject["reason"].replace(" ", "_") for reject in rejects))


def fuzz_tables(folder: Path, count: int, seed: int) -> Counter[str]:
    """Builds shards of `count` damaged tables; returns how many were built, and refused for which reason."""
    rng, found = np.random.default_rng(seed), Counter[str]()
    for number in range(count):
        name = list(TABLES)[number % len(TABLES)]
        corpus = folder / str(number)
        for place in ("", "clips", "wavs"):
            (corpus / place).mkdir(parents=True, exist_ok=True)
            soundfile.write(corpus / place / "c.wav", speak("bad dog age", 0), 16_000)
        for clip in ("1-2-0000", "1-2-0001"):
            soundfile.write(corpus / f"{clip}.flac", speak("bad dog age", 0), 16_000)
        table = corpus / name
        table.write_bytes(damaged(TABLES[name].encode(), rng))
        flags = ("--csv", f"train={table}", "--out", corpus / "out", "--max_rejected", 1, "--workers", 1)
        code, stderr = run_build(*flags, "--on_error", "stop")
        errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
        if code == EXIT_COMPLETE:
            rows = len(list(open_source(str(table)).read_rows()))
            rejects = (corpus / "out/rejected.jsonl").read_text().splitlines()
            assert len(read_index([str(corpus / "out/train")])) + len(rejects) == rows
            found["built"] += 1
        else:
            assert code == EXIT_USAGE and len(errors) == 1 and "Traceback" not in stderr, (table, stderr)
            assert str(corpus) in errors[0], errors
            found[re.sub(r"\W+", "_", re.sub(r"'.*?'|\S*/\S*|\d+", "", errors[0]))[:60]] += 1
    return found


def main() -> None:
    for fuzz, count in ((fuzz_recordings, 2_100), (fuzz_tables, 500)):
        with tempfile.TemporaryDirectory() as folder:
            found = fuzz(Path(folder), count, seed=int(sys.argv[1]) if sys.argv[1:] else 0)
        print(f"{fuzz.__name__}: {found.total():,}: " + ", ".join(f"{name} {n}" for name, n in found.most_common()))


if __name__ == "__main__":
    main()
