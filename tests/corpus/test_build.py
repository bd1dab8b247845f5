"""Whole builds of sources of many kinds, through the real command."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.sharding import rejected, shard
from helpers.sources import SHARED, needs_shared_data

from asrscale.common.storage import Range, read_ranges
from asrscale.data.index import Index, read_index
from asrscale.speech.decoding import decode_payload
from asrscale.speech.pcm import Pcm

SPEECH = 0.2 * np.sin(np.cumsum(np.random.default_rng(0).random(16_000 * 20)))  # 20 s that repeat nowhere


def write_lines(path: Path, *lines: object) -> Path:
    """Writes a line of text, or of JSON, for each of `lines`."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def rejects(out: Path) -> list[tuple[str, int, str]]:
    """Split, line and reason of each row that is in no shard."""
    return [(line["split"], line["line"], line["reason"]) for line in rejected(out)]


def read_recording(index: Index, i: int) -> Pcm:
    place = Range(index.shards[index.shard_ids[i]], int(index.offsets[i]), int(index.sizes[i]))
    [data] = read_ranges([place])
    assert isinstance(data, bytes)
    return decode_payload(data)


def test_segments_of_a_long_recording_and_recordings_behind_a_url(
    tmp_path: Path, http_server: object, own_shards: Path
) -> None:
    soundfile.write(tmp_path / "long.flac", SPEECH, 16_000)
    soundfile.write(own_shards / "there.flac", SPEECH[:8_000], 16_000)
    segments = [(0.0, 1.5), (1.5, 0.75), (12.34, 2.5)]
    manifest = write_lines(
        tmp_path / "manifest.json",
        *[
            {"audio_filepath": "long.flac", "text": "some words", "offset": start, "duration": seconds}
            for start, seconds in segments
        ],
        {"audio_filepath": f"{http_server.url}/there.flac", "text": "far away"},
        {"audio_filepath": f"{http_server.url}/absent.flac", "text": "nowhere"},
        {"audio_filepath": "long.flac", "text": "past its end", "offset": 19.5, "duration": 2},
    )
    out = tmp_path / "out"
    flags = ("--csv", f"train={manifest}", "--out", out, "--max_seconds", 5, "--max_rejected", "50%")
    shard(*flags, "--audio_root", f"{tmp_path},{http_server.url}")

    index = read_index([str(out / "train")])
    found = {key: read_recording(index, i) for i, key in enumerate(index.keys.to_pylist())}
    recording, _ = soundfile.read(tmp_path / "long.flac", dtype="int16")
    for line, (start, seconds) in enumerate(segments, start=1):
        segment = recording[round(start * 16_000) : round((start + seconds) * 16_000)]
        assert np.array_equal(found[f"train-{line:08d}"], segment)
    assert np.array_equal(found["train-00000004"], recording[:8_000])
    assert rejects(out) == [("train", 5, "missing file"), ("train", 6, "segment")]


def test_recordings_and_their_table_in_a_bucket(tmp_path: Path, s3_folder: str) -> None:
    import s3fs

    system = s3fs.S3FileSystem()
    bucket = s3_folder.removesuffix("/data/train")
    for name, num_samples in (("a.wav", 8_000), ("b.wav", 9_000)):
        soundfile.write(tmp_path / name, SPEECH[:num_samples], 16_000)
        system.put(str(tmp_path / name), f"{bucket}/cv/clips/{name}")
    table = write_lines(
        tmp_path / "a.csv",
        "filename,text",
        "clips/a.wav,one",
        f"{bucket}/cv/clips/b.wav,two",
        "clips/absent.wav,x",
        "../data/train/index.parquet,x",
    )
    system.put(str(table), f"{bucket}/cv/a.csv")

    out = tmp_path / "out"
    shard("--csv", f"{bucket}/cv/a.csv", "--out", out, "--valid_fraction", 0, "--max_rejected", "60%")
    index = read_index([str(out / "train")])
    lengths = dict(zip(index.texts.to_pylist(), index.num_samples.tolist(), strict=True))
    assert lengths == {"one": 8_000, "two": 9_000}
    assert rejects(out) == [("train", 4, "missing file"), ("train", 5, "path outside the audio root")]


@pytest.fixture
def common_voice(tmp_path: Path) -> Path:
    """A TSV of 80 clips: 16 speakers who read 20 sentences."""
    (tmp_path / "clips").mkdir()
    rng = np.random.default_rng(1)
    rows = []
    for number in range(80):
        seconds = rng.uniform(0.5, 1.5)
        recording = SPEECH[number : number + int(16_000 * seconds)]
        soundfile.write(tmp_path / f"clips/{number}.wav", recording, 16_000)
        letter = "abcdefghijklmnopqrst"[rng.integers(20)]
        rows.append(f"{number % 16:x}\t{number}.wav\tSentence {letter}!\t{number % 5}")
    return write_lines(tmp_path / "validated.tsv", "client_id\tpath\tsentence\tup_votes", *rows)


def test_no_speaker_and_no_sentence_in_two_splits(tmp_path: Path, common_voice: Path) -> None:
    out = tmp_path / "out"
    printed = shard("--csv", common_voice, "--out", out, "--split_by", "both", "--test_fraction", 0.2).stdout
    folders = [str(out / name) for name in ("train", "valid", "test")]
    assert sum(len(read_index([folder])) for folder in folders) + len(rejects(out)) == 80
    assert {reason for _, _, reason in rejects(out)} == {"sentence held out"}
    assert printed.count("share 0 sentences and 0 speakers") == 3

    shard("stats", "--data", ",".join(folders), "--html", tmp_path / "page.html")
    assert "sentence held out" in (tmp_path / "page.html").read_text()


def visible_files(folder: Path) -> dict[str, bytes]:
    """The content of each file below a folder, by its path; locks are left out."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_filter_and_a_number_of_hours_in_parts_as_in_one_build(tmp_path: Path, common_voice: Path) -> None:
    single = tmp_path / "single"
    parts = tmp_path / "parts"
    flags = ["--csv", common_voice, "--shard_utterances", 5, "--filter", "up_votes>=2"]
    shard(*flags, "--max_hours", 0.005, "--out", single)
    for part in (1, 0):
        shard(*flags, "--max_hours", 0.005, "--out", parts, "--part", part, "--parts", 2)
    shard("merge", "--out", parts)
    assert visible_files(single) == visible_files(parts)

    indexes = [read_index([str(single / name)]) for name in ("train", "valid")]
    assert 0.004 < sum(index.hours for index in indexes) <= 0.005
    reasons = [reason for _, _, reason in rejects(single)]
    assert reasons.count("filtered") == 32
    assert reasons.count("past max_hours") == 80 - 32 - sum(len(index) for index in indexes)
    for name in ("train", "valid"):
        dataset = json.loads((single / name / "dataset.json").read_text())
        assert dataset["rows"] == dataset["utterances"] + sum(dataset["rejected"].values())

    assert shard(*flags, "--max_hours", 0.005, "--out", single).stdout.count("already built") == 2
    assert "(max_hours)" in shard(*flags, "--max_hours", 0.004, "--out", single, expect=2).stderr


def test_clips_that_the_model_cannot_learn_from(tmp_path: Path) -> None:
    texts = ["fine", "naïve", "", "a" * 30, "abcdefghij" * 5, "abcdefghij" * 3]
    soundfile.write(tmp_path / "a.wav", SPEECH[:16_000], 16_000)
    table = write_lines(tmp_path / "a.csv", "filename,text", *(f"a.wav,{text}" for text in texts))
    tokens = ["<pad>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    vocab = tmp_path / "vocab.json"
    vocab.write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    flags = ["--csv", table, "--valid_fraction", 0, "--max_rejected", "100%"]

    shard(*flags, "--out", tmp_path / "out", "--vocab", vocab)
    # 16,000 samples are 49 frames: 30 times `a` needs 59, and nobody speaks 50 characters a second.
    unlearnable = [
        ("train", 3, "unknown characters"),
        ("train", 4, "empty transcript"),
        ("train", 5, "too short for its transcript"),
        ("train", 6, "too fast"),
    ]
    assert rejects(tmp_path / "out") == unlearnable

    shard(*flags, "--out", tmp_path / "any")
    assert rejects(tmp_path / "any") == unlearnable[1:]
    assert len(read_index([str(tmp_path / "any/train")])) == 3


def test_what_cannot_be_done_ends_before_any_work(tmp_path: Path, common_voice: Path) -> None:
    for flags, message in [
        (("--filter", "down_votes==0"), "no row has a value in column 'down_votes'"),
        (("--filter", "up_votes>99"), "no row of it is left for train"),
        (("--vocab", tmp_path), "has no vocab.json"),
        (("--max_hours", 0), "--max_hours 0"),
        (("--max_hours", 0.001, "--valid_fraction", 0.05), "is not enough for a clip in valid"),
        (("--test_fraction", 0.8), "with --test_fraction together"),
        (("--split_by", "accent"), "'' in column 'accent' is no name of a split"),
    ]:
        done = shard("--csv", common_voice, "--out", tmp_path / "out", *flags, expect=2)
        assert message in done.stderr
        assert not (tmp_path / "out").exists()


@needs_shared_data
def test_real_corpora_of_other_shapes(tmp_path: Path) -> None:
    an4 = SHARED / "an4"
    shard("--csv", f"train={an4}/an4_train.json,valid={an4}/an4_val.json", "--out", tmp_path / "an4")
    assert [len(read_index([str(tmp_path / "an4" / name)])) for name in ("train", "valid")] == [30, 10]

    sources = f"train={an4}/tarred_an4/tarred_audio_manifest.json,lj={SHARED}/ljspeech/manifest.json"
    out = tmp_path / "other"
    shard("--csv", sources, "--out", out, "--max_rejected", "10%")
    index = read_index([str(out / "train")])
    assert len(index) + len(rejects(out)) == 32
    first = index.keys.to_pylist().index("train-00000001")
    assert index.num_samples[first] == 8_000  # offset and duration 0.5 s
    assert len(read_index([str(out / "lj")])) == 5
