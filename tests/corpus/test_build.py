"""Sources, splits and checks through the real command."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asrscale.common.storage import Range, read_ranges
from asrscale.data.index import Index, read_index
from asrscale.speech.decoding import decode_payload

SHARED = Path(__file__).parents[3] / "shared/data"
SPEECH = 0.2 * np.sin(np.cumsum(np.random.default_rng(0).random(16_000 * 20)))  # 20 s that repeat nowhere


@pytest.fixture
def shard(run_command: Callable[..., object]) -> Callable[..., str]:
    def run(*words: object, expect: int = 0) -> str:
        done = run_command(sys.executable, "-m", "asrscale.shard", *words)
        assert done.returncode == expect, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


def write_lines(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def rejects(out: Path) -> list[tuple[str, int, str]]:
    lines = map(json.loads, (out / "rejected.jsonl").read_text().splitlines())
    return [(line["split"], line["line"], line["reason"]) for line in lines]


def pcm(index: Index, i: int) -> np.ndarray:
    place = Range(index.shards[index.shard_ids[i]], int(index.offsets[i]), int(index.sizes[i]))
    [data] = read_ranges([place])
    assert isinstance(data, bytes)
    return decode_payload(data)


def test_segments_of_a_long_recording_and_recordings_behind_a_url(
    tmp_path: Path, shard: Callable[..., str], http_server: object, own_shards: Path
) -> None:
    soundfile.write(tmp_path / "long.flac", SPEECH, 16_000)
    soundfile.write(own_shards / "there.flac", SPEECH[:8_000], 16_000)
    segments = [(0.0, 1.5), (1.5, 0.75), (12.34, 2.5)]
    manifest = write_lines(
        tmp_path / "manifest.json",
        *({"audio_filepath": "long.flac", "text": "some words", "offset": o, "duration": d} for o, d in segments),
        {"audio_filepath": f"{http_server.url}/there.flac", "text": "far away"},
        {"audio_filepath": f"{http_server.url}/absent.flac", "text": "nowhere"},
        {"audio_filepath": "long.flac", "text": "past its end", "offset": 19.5, "duration": 2},
    )
    shard("--csv", f"train={manifest}", "--out", tmp_path / "out", "--max_seconds", 5, "--max_rejected", "50%")
    index = read_index([str(tmp_path / "out/train")])
    found = {key: pcm(index, i) for i, key in enumerate(index.keys.to_pylist())}
    whole, _ = soundfile.read(tmp_path / "long.flac", dtype="int16")
    for line, (start, seconds) in enumerate(segments, start=1):
        cut = whole[round(start * 16_000) : round((start + seconds) * 16_000)]
        assert np.array_equal(found[f"train-{line:08d}"], cut)
    assert np.array_equal(found["train-00000004"], whole[:8_000])
    assert rejects(tmp_path / "out") == [("train", 5, "missing file"), ("train", 6, "truncated")]


def test_recordings_and_their_table_in_a_bucket(tmp_path: Path, shard: Callable[..., str], s3_folder: str) -> None:
    import s3fs

    system, bucket = s3fs.S3FileSystem(), s3_folder.removesuffix("/data/train")
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, SPEECH[: 8_000 + 1_000 * (name == "b.wav")], 16_000)
        system.put(str(tmp_path / name), f"{bucket}/cv/clips/{name}")
    rows = ("clips/a.wav,one", f"{bucket}/cv/clips/b.wav,two", "clips/absent.wav,x", "../data/train/index.parquet,x")
    table = write_lines(tmp_path / "a.csv", "filename,text", *rows)
    system.put(str(table), f"{bucket}/cv/a.csv")
    flags = ("--csv", f"{bucket}/cv/a.csv", "--out", tmp_path / "out", "--valid_fraction", 0, "--max_rejected", "60%")
    shard(*flags)
    index = read_index([str(tmp_path / "out/train")])
    found = dict(zip(index.texts.to_pylist(), index.num_samples.tolist(), strict=True))
    assert found == {"one": 8_000, "two": 9_000}
    assert rejects(tmp_path / "out") == [("train", 4, "missing file"), ("train", 5, "path outside the audio root")]


@pytest.fixture
def common_voice(tmp_path: Path) -> Path:
    """A TSV of 80 clips: 16 speakers who read 20 sentences."""
    (tmp_path / "clips").mkdir()
    rng = np.random.default_rng(1)
    rows = []
    for number in range(80):
        seconds = rng.uniform(0.5, 1.5)
        soundfile.write(tmp_path / f"clips/{number}.wav", SPEECH[number : number + int(16_000 * seconds)], 16_000)
        rows.append(
            f"{number % 16:x}\t{number}.wav\tSentence {'abcdefghijklmnopqrst'[rng.integers(20)]}!\t{number % 5}"
        )
    return write_lines(tmp_path / "validated.tsv", "client_id\tpath\tsentence\tup_votes", *rows)


def test_no_speaker_and_no_sentence_in_two_splits(
    tmp_path: Path, shard: Callable[..., str], common_voice: Path
) -> None:
    out = tmp_path / "out"
    said = shard("--csv", common_voice, "--out", out, "--split_by", "both", "--test_fraction", 0.2)
    indexes = {name: read_index([str(out / name)]) for name in ("train", "valid", "test")}
    assert sum(map(len, indexes.values())) + len(rejects(out)) == 80
    assert {reason for _, _, reason in rejects(out)} == {"sentence held out"}
    assert said.count("share 0 sentences and 0 speakers") == 3
    shard("stats", "--data", ",".join(str(out / name) for name in indexes), "--html", tmp_path / "page.html")
    assert "sentence held out" in (tmp_path / "page.html").read_text()


def test_a_filter_and_a_number_of_hours_in_parts_as_in_one_build(
    tmp_path: Path, shard: Callable[..., str], common_voice: Path
) -> None:
    whole, parts, flags = tmp_path / "whole", tmp_path / "parts", ["--filter", "up_votes>=2", "--max_hours", 0.005]
    flags += ["--csv", common_voice, "--shard_utterances", 5]
    shard(*flags, "--out", whole)
    for part in (1, 0):
        shard(*flags, "--out", parts, "--part", part, "--parts", 2)
    shard("merge", "--out", parts)
    files = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.name[0] != "."}
    assert files == {path.relative_to(parts) for path in parts.rglob("*") if path.is_file() and path.name[0] != "."}
    for file in files:
        assert (whole / file).read_bytes() == (parts / file).read_bytes(), file
    indexes = [read_index([str(whole / name)]) for name in ("train", "valid")]
    assert 0.004 < sum(index.hours for index in indexes) <= 0.005
    reasons = [reason for _, _, reason in rejects(whole)]
    assert reasons.count("filtered") == 32
    assert reasons.count("past max_hours") == 80 - 32 - sum(map(len, indexes))
    for name in ("train", "valid"):
        about = json.loads((whole / name / "dataset.json").read_text())
        assert about["rows"] == about["utterances"] + sum(about["rejected"].values())
    assert shard(*flags, "--out", whole).count("already built") == 2
    assert "(max_hours)" in shard(*flags[:3], 0.004, *flags[4:], "--out", whole, expect=2)


def test_clips_that_the_model_cannot_learn_from(tmp_path: Path, shard: Callable[..., str]) -> None:
    texts = ["fine", "naïve", "", "a" * 30, "abcdefghij" * 5, "abcdefghij" * 3]
    soundfile.write(tmp_path / "a.wav", SPEECH[:16_000], 16_000)
    csv_file = write_lines(tmp_path / "a.csv", "filename,text", *(f"a.wav,{text}" for text in texts))
    tokens = ["<pad>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    flags = ["--csv", csv_file, "--valid_fraction", 0, "--max_rejected", "100%"]
    shard(*flags, "--out", tmp_path / "out", "--vocab", tmp_path / "vocab.json")
    # 16,000 samples are 49 frames: 30 times `a` needs 59, and a speaker of 50 characters a second is none
    wrong = [(3, "unknown characters"), (4, "empty transcript"), (5, "too short for its transcript"), (6, "too fast")]
    assert rejects(tmp_path / "out") == [("train", line, reason) for line, reason in wrong]
    shard(*flags, "--out", tmp_path / "any")
    assert rejects(tmp_path / "any") == [("train", line, reason) for line, reason in wrong[1:]]
    assert len(read_index([str(tmp_path / "any/train")])) == 3


def test_a_filter_that_cannot_be_applied_ends_before_any_work(
    tmp_path: Path, shard: Callable[..., str], common_voice: Path
) -> None:
    for flags, message in [
        (("--filter", "down_votes==0"), "no row has a value in column 'down_votes'"),
        (("--filter", "up_votes>99"), "no row of it is left for train"),
        (("--vocab", tmp_path), "vocab.json cannot be read"),
        (("--max_hours", 0), "--max_hours 0"),
        (("--max_hours", 0.001, "--valid_fraction", 0.05), "is not enough for a clip in valid"),
        (("--test_fraction", 0.8), "with --test_fraction together"),
        (("--split_by", "accent"), "'' in column 'accent' is no name of a split"),
    ]:
        assert message in shard("--csv", common_voice, "--out", tmp_path / "out", *flags, expect=2)
        assert not (tmp_path / "out").exists()


def test_real_corpora_of_other_shapes(tmp_path: Path, shard: Callable[..., str]) -> None:
    if not SHARED.exists():
        pytest.skip("../shared/data is not here")
    an4 = SHARED / "an4"
    shard("--csv", f"train={an4}/an4_train.json,valid={an4}/an4_val.json", "--out", tmp_path / "an4")
    assert [len(read_index([str(tmp_path / "an4" / name)])) for name in ("train", "valid")] == [30, 10]
    tarred = f"train={an4}/tarred_an4/tarred_audio_manifest.json,lj={SHARED}/ljspeech/manifest.json"
    shard("--csv", tarred, "--out", tmp_path / "other", "--max_rejected", "10%")
    index = read_index([str(tmp_path / "other/train")])
    assert len(index) + len(rejects(tmp_path / "other")) == 32
    assert index.num_samples[index.keys.to_pylist().index("train-00000001")] == 8_000  # offset and duration 0.5 s
    assert len(read_index([str(tmp_path / "other/lj")])) == 5
