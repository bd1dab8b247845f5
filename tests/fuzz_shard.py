"""Damaged recordings and tables, and tars of any members, through the real builder.

Each row must be in a shard or in rejected.jsonl, or one line must say why nothing is built. `python tests/fuzz_shard.py
[SEED]` damages, joins, cuts and tags 5,000 recordings, damages 500 tables, and writes tars of 5,000 keys;
tests/corpus/test_fuzz_shard.py takes a few of each.
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
from helpers.audio import apev2_tag, encoded, encoded_by_ffmpeg, id3v2_tag
from helpers.sources import write_tar

from asrscale.common import cli
from asrscale.common.errors import EXIT_COMPLETE, EXIT_USAGE
from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.index_tars import IndexOptions, index
from asrscale.data.index import read_index
from asrscale.data.tars import MAX_MEMBER_BYTES
from asrscale.sources.opening import open_source

FORMATS = {"wav": "WAV", "flac": "FLAC", "mp3": "MP3", "ogg": "OGG", "aiff": "AIFF", "au": "AU", "w64": "W64"}
# ffmpeg's names of the container and the encoder, by the extension.
OF_FFMPEG = {"m4a": ("mp4", "aac"), "aac": ("adts", "aac"), "wv": ("wv", "wavpack"), "tta": ("tta", "tta")}
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


def intact_recordings() -> dict[str, bytes]:
    """A recording in each of many encodings, by the extension of its file."""
    sound = speak("bad dog age", 0)
    at_48khz = np.repeat(sound, 3)
    return {
        **{kind: encoded(sound, 16_000, format) for kind, format in FORMATS.items()},
        "bare.mp3": encoded_by_ffmpeg(sound, 16_000, "mp3", "libmp3lame", {"write_xing": "0", "id3v2_version": "0"}),
        "opus": encoded_by_ffmpeg(at_48khz, 48_000, "ogg", "libopus"),
        "webm": encoded_by_ffmpeg(at_48khz, 48_000, "webm", "libopus"),
        **{kind: encoded_by_ffmpeg(sound, 16_000, *how) for kind, how in OF_FFMPEG.items()},
    }


def recombined(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """A recording joined with another or itself, cut off, or with tags before, between and behind."""
    size = int(2 ** rng.uniform(0, 17))
    tags = [b"", bytes(size), id3v2_tag(size), apev2_tag(size), apev2_tag(size, has_header=False), b"TAG" + bytes(125)]
    before, between, behind = (tags[rng.integers(len(tags))] for _ in range(3))
    match rng.integers(0, 4):
        case 0:
            return data + between + data
        case 1:
            return before + data + other + behind
        case 2:
            return before + data[: int(rng.integers(0, len(data)))] + between + data
        case _:
            return before + data[: int(rng.integers(0, len(data)))] + behind


def write_damaged_recordings(folder: Path, count: int, rng: np.random.Generator) -> Path:
    """Recordings of all encodings in turn, each damaged, recombined, or both; returns their table."""
    intact = intact_recordings()
    kinds = list(intact)
    lines = ["filename,text"]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        other = kinds[rng.integers(len(kinds))]
        content = intact[kind] if rng.random() < 1 / 3 else recombined(intact[kind], intact[other], rng)
        is_damaged = content is intact[kind] or rng.random() < 1 / 3
        name = f"{number}.{other if rng.random() < 0.05 else kind}"
        (folder / name).write_bytes(damaged(content, rng) if is_damaged else content)
        lines.append(f"{name},bad dog {number}")
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


def kinds_of_key(key: str, wav: bytes, rng: np.random.Generator) -> list[tuple[int, dict[str, bytes]]]:
    """The members of a key in a foreign tar, right or wrong in one way: for each kind how many rows they are, and they.

    The last kind, transcripts of a megabyte, is to be rare.
    """
    text = {f"{key}.txt": b"bad dog"}
    sound = {f"{key}.wav": wav}
    no_text = rng.choice(["NaN", "true", '["bad dog"]', "1.5"])
    odd_extension = rng.choice(["pcm", "xyz", "wavv", ""])
    several = {f"{key}.{n}_b.{end}": content for n in range(3) for end, content in (("wav", wav), ("txt", b"bad dog"))}
    return [
        (1, sound | text),
        (1, {f"{key}.WAV": wav, f"{key}.TXT": b"bad dog"}),
        (1, {f"{key}.5_b.wav": wav, f"{key}.5_b.txt": b"bad dog"}),
        (3, several),
        (1, text),
        (1, sound),
        (1, {f"{key}.{odd_extension}": wav, **text}),
        (2, sound | text | {f"{key}.flac": wav}),
        (1, sound | text | {f"{key}.json": b'{"text": "good dog"}'}),
        (1, sound | {f"{key}.json": damaged(b'{"text": "bad dog", "offset": 0}', rng)}),
        (1, sound | {f"{key}.txt": damaged("b\u00e4d dog".encode(), rng)}),
        (1, {key: wav}),
        (0, {f"._{key}.wav": wav, f"__MACOSX/{key}.txt": b"bad dog", f"{key}/Thumbs.db": b"x"}),
        (1, text | {f"{key}.wav": damaged(wav, rng)}),
        (1, {f"x/{key}.wav": wav, f"x/{key}.json": b'{"sentence": "bad dog", "start": 7, "end": 9}'}),
        (1, sound | {f"{key}.json": f'{{"text": {no_text}}}'.encode()}),
        (1, sound | text | {f"{key}.jpg": b"a picture", f"{key}.cls": b"7"}),
        (1, sound | {f"{key}.{rng.choice(['txt', 'json'])}": b" " * (MAX_MEMBER_BYTES + 1)}),
    ]


def write_tars_of_any_keys(folder: Path, count: int, rng: np.random.Generator) -> int:
    """Four tars whose members are in random order; returns how many rows they are."""
    folder.mkdir(parents=True)
    buffer = io.BytesIO()
    soundfile.write(buffer, speak("bad dog", 0), 16_000, format="WAV")
    num_rows = 0
    for tar_number in range(4):
        members: list[tuple[str, bytes]] = []
        for number in range(tar_number, count, 4):
            *kinds, rare_kind = kinds_of_key(f"key{number}", buffer.getvalue(), rng)
            num_rows_of_key, members_of_key = kinds[number % len(kinds)] if number % 100 else rare_kind
            members += members_of_key.items()
            num_rows += num_rows_of_key
        shuffled = {members[i][0]: members[i][1] for i in rng.permutation(len(members))}
        write_tar(folder / f"{tar_number}.tar", shuffled)
    return num_rows


def fuzz_tars(folder: Path, count: int, seed: int) -> Counter[str]:
    """Builds and indexes tars of `count` keys; returns how many rows were built, and rejected for which reason."""
    tars = folder / "tars"
    num_rows = write_tars_of_any_keys(tars, count, np.random.default_rng(seed))
    out = folder / "out"
    code, stderr = run_build("--csv", f"train={tars}", "--out", out, "--max_rejected", 1, "--on_error", "stop")
    assert code == EXIT_COMPLETE, stderr
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        index(IndexOptions(data=str(tars), max_rejected=1, workers=2))

    found = Counter[str]()
    for data, rejects in ((out / "train", out), (tars, tars)):
        lines = [json.loads(line) for line in (rejects / "rejected.jsonl").read_text().splitlines()]
        keys = read_index([str(data)]).keys.to_pylist()
        assert len(keys) + len(lines) == num_rows
        assert len(set(keys)) == len(keys)
        reasons = Counter(line["reason"].replace(" ", "_") for line in lines)
        assert not reasons["fault"]
        found = Counter(built=len(keys), **reasons)
    return found


def kind_of_error(error: str) -> str:
    """An error's message without quotations, paths and numbers."""
    general = re.sub(r"'.*?'|\S*/\S*|\d+", "", error)
    return re.sub(r"\W+", "_", general)[:60]


def main() -> None:
    seed = int(sys.argv[1]) if sys.argv[1:] else 0
    for fuzz, count in ((fuzz_recordings, 5_000), (fuzz_tables, 500), (fuzz_tars, 5_000)):
        with tempfile.TemporaryDirectory() as folder:
            found = fuzz(Path(folder), count, seed=seed)
        counts = ", ".join(f"{name} {number}" for name, number in found.most_common())
        print(f"{fuzz.__name__}: {found.total():,}: {counts}")


if __name__ == "__main__":
    main()
