"""Shard building through its real command line."""

import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.sharding import (
    COMMAND,
    ROOT,
    checksums,
    long_corpus,
    read_member,
    refusal,
    refusal_in_process,
    rejected,
    shard,
    start,
    start_build,
    write_clip,
    write_csv,
)

from asrscale.data.index import read_index
from asrscale.data.loader import read_utterances
from asrscale.speech import decoding, pcm

SHARED = ROOT.parent / "shared/data"


def test_a_build_from_end_to_end(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = shard("--csv", corpus, "--out", out, "--shard_utterances", 5)
    index = read_index([str(out / "train"), str(out / "valid")])
    assert len(index) == 23
    assert rejected(out) == []
    assert len(read_index([str(out / "train")]).shards) == -(-len(read_index([str(out / "train")])) // 5)

    lines = corpus.read_text().splitlines()
    for i in range(len(index)):
        path = index.shards[index.shard_ids[i]]
        with open(path, "rb") as file:
            file.seek(index.offsets[i])
            payload = file.read(index.sizes[i])
        assert zlib.crc32(payload) == index.crc32[i]
        samples = decoding.decode_payload(payload)
        assert len(samples) == index.num_samples[i]
        with tarfile.open(path) as tar:
            key = index.keys[i].as_py()
            flac, text, about_json = (read_member(tar, f"{key}.{name}") for name in ("flac", "txt", "json"))
        assert flac == payload
        assert text.decode() == index.texts[i].as_py()
        about = json.loads(about_json)
        name, sentence, votes, speaker = lines[int(key.rpartition("-")[2]) - 1].split(",")
        assert index.texts[i].as_py() == sentence.lower().removesuffix("!")
        assert (about["source"], about["audio"], about["up_votes"]) == (str(corpus), name, votes)
        assert about["speaker"] == index.speakers[i].as_py() == (speaker or None)
        waveform, rate = decoding.decode(corpus.parent / name, 20)
        assert np.array_equal(pcm.to_pcm16(pcm.resample(waveform, rate)), samples)

    dataset = json.loads((out / "train/dataset.json").read_text())
    train = read_index([str(out / "train")])
    assert dataset["utterances"] == len(train) == sum(part["utterances"] for part in dataset["shards"])
    assert dataset["hours"] == pytest.approx(train.hours)
    assert dataset["characters"]["s"] == sum(text.count("s") for text in train.texts.to_pylist())
    for part in dataset["shards"]:
        data = (out / "train" / part["file"]).read_bytes()
        assert (part["bytes"], part["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())

    assert f"{len(train)} utterances" in done.stdout
    assert "are in train too" not in done.stdout
    assert "23/23 clips" in done.stderr


def test_plain_webdataset_reads_the_shards(corpus: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    shard("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0, "--shard_utterances", 10)
    index = read_index([str(tmp_path / "out/train")])
    samples = list(webdataset.WebDataset(list(index.shards), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == index.keys.to_pylist()
    assert [sample["txt"].decode() for sample in samples] == index.texts.to_pylist()
    for sample, num_samples in zip(samples, index.num_samples, strict=True):
        pcm, rate = soundfile.read(io.BytesIO(sample["flac"]), dtype="int16")
        assert (rate, pcm.shape) == (16_000, (num_samples,))


def test_output_is_the_same_for_one_worker_and_many(corpus: Path, tmp_path: Path) -> None:
    with corpus.open("a") as file:
        file.write("clips/absent.wav,gone,,\n")
    for workers in (1, 3):
        flags = ("--shard_utterances", 4, "--workers", workers)
        shard("--csv", corpus, "--out", tmp_path / f"out{workers}", *flags)
    assert checksums(tmp_path / "out1") == checksums(tmp_path / "out3")
    assert "train/train-000003.tar" in checksums(tmp_path / "out1")


def test_every_kind_of_reject_is_listed_with_its_reason(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    for name in ("good1.wav", "good2.wav", "blank.wav"):
        write_clip(clips / name)
    write_clip(clips / "cut.mp3", 2)
    (clips / "cut.mp3").write_bytes((clips / "cut.mp3").read_bytes()[:5_000])
    (clips / "noise.mp3").write_bytes(b"this is no mp3")
    write_clip(clips / "none.wav", 0)
    write_clip(clips / "short.wav", 0.05)
    write_clip(clips / "long.wav", 3)
    write_clip(clips / "silent.wav", level=1e-4)
    soundfile.write(clips / "constant.wav", np.full(8_000, 0.25, np.float32), 16_000)
    broken = np.full(8_000, 0.1, np.float32)
    broken[100] = np.nan
    soundfile.write(clips / "nan.wav", broken, 16_000, subtype="FLOAT")
    write_clip(tmp_path / "outside.wav")
    expected = {
        "cut.mp3": "truncated",
        "noise.mp3": "unreadable",
        "none.wav": "empty",
        "short.wav": "too short",
        "long.wav": "too long",
        "silent.wav": "silent",
        "constant.wav": "silent",
        "nan.wav": "non-finite",
        "blank.wav": "empty transcript",
        "absent.wav": "missing file",
        "../outside.wav": "path outside the audio root",
    }
    rows = [("good1.wav", "One."), *((name, "!?" if name == "blank.wav" else "Two") for name in expected)]
    csv = write_csv(tmp_path / "a.csv", [*rows, ("good2.wav", "three")])
    flags = ("--audio_root", clips, "--valid_fraction", 0, "--max_seconds", 2.5, "--max_rejected", "100%")
    done = shard("--csv", csv, "--out", tmp_path / "out", *flags)

    rejects = rejected(tmp_path / "out")
    assert {reject["audio"]: reject["reason"] for reject in rejects} == expected
    assert [reject["line"] for reject in rejects] == list(range(3, 14))
    assert rejects[0]["text"] == "Two"
    assert all(reject["source"] == str(csv) and reject["detail"] for reject in rejects)
    assert read_index([str(tmp_path / "out/train")]).texts.to_pylist() in (["one", "three"], ["three", "one"])
    dataset = json.loads((tmp_path / "out/train/dataset.json").read_text())
    assert dataset["rejected"]["silent"] == 2
    assert dataset["rows"] == dataset["utterances"] + sum(dataset["rejected"].values()) == 13
    assert "rejected: 11 of 13 rows  empty 1, empty transcript 1, missing file 1" in done.stdout


def test_rejects_do_not_move_the_other_rows(corpus: Path, tmp_path: Path) -> None:
    flags = ("--valid_fraction", 0, "--shard_utterances", 6)
    shard("--csv", corpus, "--out", tmp_path / "whole", *flags)
    (tmp_path / "clips/4.wav").write_bytes(b"damaged")
    shard("--csv", corpus, "--out", tmp_path / "holed", *flags)
    whole, holed = read_index([str(tmp_path / "whole/train")]), read_index([str(tmp_path / "holed/train")])
    lost = f"train-{4 + 2:08d}"
    kept = [(key, id) for key, id in zip(whole.keys.to_pylist(), whole.shard_ids, strict=True) if key != lost]
    assert kept == list(zip(holed.keys.to_pylist(), holed.shard_ids, strict=True))


def test_named_splits_and_sentences_in_two_of_them(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_clip(tmp_path / name)
    train = write_csv(tmp_path / "t.csv", [("a.wav", "Same words!"), ("b.wav", "other words")])
    test = write_csv(tmp_path / "e.csv", [("c.wav", "same words"), ("c.wav", "new words")])
    done = shard("--csv", f"train={train},test-clean={test}", "--out", tmp_path / "out")
    assert f"warning: 1 sentences of {tmp_path}/out/test-clean are in {tmp_path}/out/train too" in done.stdout
    assert read_index([str(tmp_path / "out/test-clean")]).keys[0].as_py().startswith("test-clean-0000000")


def test_a_second_build_does_nothing_and_other_options_are_refused(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shard("--csv", corpus, "--out", out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert "already built" in shard("--csv", corpus, "--out", out).stdout
    for changed in (("--seed", 7), ("--max_seconds", 10)):
        line = refusal_in_process(capsys, "--csv", corpus, "--out", out, *changed)
        assert "--out" in line and changed[0].removeprefix("--") in line
    with corpus.open("a") as file:
        file.write("clips/0.wav,one more,,\n")
    assert "rows_sha256" in refusal_in_process(capsys, "--csv", corpus, "--out", out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_killed_build_goes_on_shard_by_shard_to_the_same_bytes(tmp_path: Path) -> None:
    flags = ("--csv", long_corpus(tmp_path, 40), "--valid_fraction", 0, "--workers", 1, "--shard_utterances", 4)
    shard(*flags, "--out", tmp_path / "undisturbed")
    out, folder = tmp_path / "out", tmp_path / "out/train"
    process = start_build(*flags, "--out", out, until=lambda: len(list(folder.glob("*.part"))) >= 4)
    process.kill()
    process.communicate(timeout=120)
    finished = sorted(path.with_suffix("") for path in folder.glob("*.part"))
    assert 4 <= len(finished) < 10 and not (folder / "dataset.json").exists()
    damaged, torn, lost, *kept = finished
    damaged.write_bytes(damaged.read_bytes().replace(b"sentence", b"sEntence"))
    Path(f"{torn}.part").write_text('{"made_of": "')
    lost.unlink()
    (folder / "train-000099.tar").write_bytes(b"of an interrupted build with smaller shards")
    before = {path: path.stat().st_mtime_ns for path in kept}
    shard(*flags, "--out", out)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert checksums(out) == checksums(tmp_path / "undisturbed")


def test_what_an_interrupted_build_with_other_options_left_is_not_used(tmp_path: Path) -> None:
    flags = ("--csv", long_corpus(tmp_path, 40), "--valid_fraction", 0, "--workers", 1, "--shard_utterances", 4)
    folder = tmp_path / "out/train"
    process = start_build(*flags, "--out", tmp_path / "out", until=lambda: bool(list(folder.glob("*.part"))))
    process.kill()
    process.communicate(timeout=120)
    assert not (folder / "dataset.json").exists()
    for out in ("out", "undisturbed"):
        shard(*flags, "--out", tmp_path / out, "--seed", 7)
    assert checksums(tmp_path / "out") == checksums(tmp_path / "undisturbed")


def test_bad_input_through_the_real_command_line(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.wav")
    good = write_csv(tmp_path / "good.csv", [("a.wav", "one"), ("a.wav", "two")])
    empty = tmp_path / "empty.csv"
    empty.touch()
    out = ("--out", tmp_path / "out", "--valid_fraction", 0)
    absent = tmp_path / "absent"
    for flags, words in (
        (("--csv", absent, *out), f"{absent}: No such file"),
        (("--csv", empty, *out), f"{empty} line 1: needs one column 'filename'"),
        (("--csv", good, *out, "--shards", 3), "unknown flag --shards"),
        (("--csv", good, *out, "--audio_root", absent), f"no file {absent / 'a.wav'} (2 of 2 "),
        (("--csv", good, *out, "--audio_root", "/usr"), "set --audio_root to the folder that 'a.wav' is in"),
    ):
        line = refusal(*flags)
        assert line.startswith("error: ") and words in line, line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("", "missing flag --csv"),
        ("--csv {good}", "missing flag --out"),
        ("--csv {good} --out {out} --seed x", "--seed x: give a whole number"),
        ("--csv {good} --out {out} --valid_fraction 1", "--valid_fraction 1.0"),
        ("--csv {good} --out {out} --valid_fraction 0.0001", "no row of it is left for valid"),
        ("--csv {good} --out {out} --min_seconds 30", "--min_seconds 30.0"),
        ("--csv {good} --out {out} --min_seconds 0", "--min_seconds 0.0"),
        ("--csv {good} --out {out} --workers 0", "--workers 0"),
        ("--csv {good} --out {out} --shard_utterances 0", "--shard_utterances 0"),
        ("--csv {good},{good} --out {out}", "--csv: give one file"),
        ("--csv train={good},train={good} --out {out}", "--csv: give one file"),
        ("--csv train={good},{good} --out {out}", "--csv: give one file"),
        ("--csv train={good} --out {good}", "give a folder that can be written to"),
        ("--csv train={good} --out /proc/out", "give a folder that can be written to"),
    ],
)
def test_bad_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: str, words: str) -> None:
    write_clip(tmp_path / "a.wav")
    good = write_csv(tmp_path / "good.csv", [("a.wav", "one"), ("a.wav", "two")])
    assert words in refusal_in_process(capsys, *flags.format(good=good, out=tmp_path / "out").split())
    assert not (tmp_path / "out").exists()


def test_it_starts_without_torch() -> None:
    code = "import sys, asrscale.shard; sys.exit('torch' in sys.modules or 'webdataset' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")
def test_real_recordings(tmp_path: Path) -> None:
    done = shard("--csv", f"dev={SHARED}/orders/cv-valid-dev.csv", "--out", tmp_path / "out")
    index = read_index([str(tmp_path / "out/dev")])
    assert len(index) == 50
    assert "rejected: 0 of 50 rows" in done.stdout
    assert "sharding: 50/50 clips" in done.stderr and len(done.stderr.splitlines()) == 1  # mpg123 kept quiet


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")
def test_real_rows_without_their_recordings(tmp_path: Path) -> None:
    csv = SHARED / "common_voice_v1/cv-valid-dev.csv"
    line = refusal("--csv", csv, "--out", tmp_path / "out")
    assert f"{csv} line 2: no file {csv.parent}/cv-valid-dev/sample-000000.mp3" in line
    assert not (tmp_path / "out").exists()


def test_too_many_rejects_end_the_build_with_their_reasons(corpus: Path, tmp_path: Path) -> None:
    for number in range(0, 20, 4):
        (tmp_path / f"clips/{number}.wav").write_bytes(b"damaged")
    flags = ("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0)
    line = refusal(*flags, "--max_rejected", "20%")
    assert "more than --max_rejected 0.2 of 23 rows were rejected (unreadable 5)" in line
    assert {row["reason"] for row in rejected(tmp_path / "out")} == {"unreadable"}
    assert not (tmp_path / "out/train/dataset.json").exists()
    shard(*flags, "--max_rejected", "25%")
    assert len(read_index([str(tmp_path / "out/train")])) == 18


@pytest.mark.parametrize("flags", [("--codec", "wav"), ("--codec", "opus"), ("--original",)])
def test_codecs(corpus: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    shard("--csv", corpus, "--out", tmp_path / "flac", "--valid_fraction", 0)
    shard("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0, *flags)
    flac, other = read_index([str(tmp_path / "flac/train")]), read_index([str(tmp_path / "out/train")])
    assert flac.keys.equals(other.keys) and np.array_equal(flac.num_samples, other.num_samples)
    waveforms = []
    for index in (flac, other):
        shard_bytes = Path(index.shards[0]).read_bytes()
        spans = zip(index.offsets, index.sizes, strict=True)
        waveforms.append([decoding.decode_payload(shard_bytes[start : start + size]) for start, size in spans])
    for one, another in zip(*waveforms, strict=True):
        assert len(one) == len(another)
        assert flags == ("--codec", "opus") or np.array_equal(one, another)
    shard("verify", "--data", tmp_path / "out/train")


def test_verify_names_what_is_damaged(corpus: Path, tmp_path: Path) -> None:
    shard("--csv", corpus, "--out", tmp_path / "out", "--valid_fraction", 0, "--shard_utterances", 8)
    folder = tmp_path / "out/train"
    assert "23 utterances in 3 shards are as they were built" in shard("verify", "--data", folder).stdout
    index = read_index([str(folder)])
    tar = folder / "train-000001.tar"
    sound = bytearray(tar.read_bytes())
    payload = int(index.offsets[9]) + int(index.sizes[9]) // 2
    text = sound.index(b"sentence")
    header = int(index.offsets[12]) - 512
    for place, found in (
        (payload, [f"{index.keys[9]}: the checksum is not that of the index"]),
        (text, []),
        (header, ["no header and no end at byte"]),
    ):
        damaged = sound.copy()
        damaged[place] ^= 1
        tar.write_bytes(damaged)
        done = shard("verify", "--data", folder, expect=2)
        assert "faults in" in done.stderr
        for words in ["the checksum is not that of dataset.json" if not found or place == payload else "", *found]:
            assert words in done.stdout
        assert str(tar) in done.stdout and "train-000000.tar" not in done.stdout
    tar.write_bytes(sound[:-20_000])
    assert "train-000001.tar: the shard has" in shard("verify", "--data", folder, expect=2).stdout


def test_stats_tell_what_folders_share(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        write_clip(tmp_path / name)
    header = "filename,text,client_id"
    train = [("a.wav", "Same words!", "ann"), ("b.wav", "other words", "bob"), ("a.wav", "said again", "ann")]
    one = write_csv(tmp_path / "t.csv", train, header)
    two = write_csv(tmp_path / "e.csv", [("c.wav", "same words", "bob"), ("b.wav", "new words", "eve")], header)
    built = shard("--csv", f"train={one},test={two}", "--out", tmp_path / "out").stdout
    told = shard("stats", "--data", f"{tmp_path}/out/train,{tmp_path}/out/test").stdout
    for said in (built, told):
        assert re.findall(r"repeated audio: (\d+) clips", said) == ["1", "0"]
        assert "of all utterances: train 60.0%, test 40.0%" in said
        assert (
            f"{tmp_path}/out/train and {tmp_path}/out/test share 1 sentences and 1 speakers, and 1 recordings" in said
        )


def test_a_place_for_the_rows_that_cannot_be_written_to(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tempfile, "tempdir", str(tmp_path / "absent")
    )  # where $TMPDIR and the usual places are of no use
    line = refusal_in_process(capsys, "--csv", corpus, "--out", tmp_path / "out")
    assert f"TMPDIR {tmp_path}/absent" in line and "give a folder that can be written to" in line
    assert not (tmp_path / "out").exists()


def test_an_unknown_verb(tmp_path: Path) -> None:
    assert "no verb 'biuld': choose one of build, verify" in refusal("biuld", "--out", tmp_path)


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data is not here")
def test_foreign_tars_of_nemo_get_an_index_and_stay_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "an4"
    shutil.copytree(SHARED / "an4/tarred_an4", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    before = checksums(folder)
    flags = ("index", "--data", folder, "--manifest", folder / "tarred_audio_manifest.json")
    assert "(segment 1)" in refusal(*flags, "--max_rejected", "1%")
    shard(*flags)
    assert before.items() <= checksums(folder).items()
    assert not list(folder.glob("*.part"))
    index = read_index([str(folder)])
    assert len(index) == 31 and "five five three five" in index.texts.to_pylist()
    assert [row["reason"] for row in rejected(folder)] == ["segment"]
    assert "31 utterances in 2 shards are as they were built" in shard("verify", "--data", folder).stdout
    assert "or indexed already" in refusal(*flags)


def test_foreign_tars_of_any_format_and_rate_load_like_a_build_of_their_clips(corpus: Path, tmp_path: Path) -> None:
    shard("--csv", corpus, "--out", tmp_path / "flac", "--valid_fraction", 0)
    folder = tmp_path / "foreign"
    folder.mkdir()
    with tarfile.open(folder / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for line, row in enumerate(corpus.read_text().splitlines()[1:], start=2):
            name, sentence, _, _ = row.split(",")
            tar.add(tmp_path / name, f"../../train-{line:08d}{Path(name).suffix}")  # no path, whatever it looks like
            member = tarfile.TarInfo(f"../../train-{line:08d}.txt")
            member.size = len(sentence)
            tar.addfile(member, io.BytesIO(sentence.encode()))
    shard("index", "--data", folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "dataset.json", "index.parquet", "rejected.jsonl", "x.tar",
    ]  # fmt: skip
    built, indexed = read_index([str(tmp_path / "flac/train")]), read_index([str(folder)])
    with ThreadPoolExecutor(2) as pool:
        ours, none = read_utterances(built, np.arange(23), pool)
        theirs, damaged = read_utterances(indexed, np.arange(23), pool)
    assert not none and not damaged
    by_key = {f"../../{built.keys[i]}": waveform for i, waveform in ours.items()}
    for i, waveform in theirs.items():
        assert np.array_equal(by_key[indexed.keys[i].as_py()], waveform)
    shard("verify", "--data", folder)


def test_a_damaged_or_a_missing_foreign_tar(tmp_path: Path) -> None:
    assert "no *.tar there" in refusal("index", "--data", tmp_path)
    (tmp_path / "x.tar").write_bytes(b"this is no tar" * 100)
    assert str(tmp_path / "x.tar") in refusal("index", "--data", tmp_path)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_to_the_same_bytes(tmp_path: Path, kills: int) -> None:
    table = long_corpus(tmp_path, 60)
    flags = ("--csv", table, "--valid_fraction", 0.3, "--workers", 2, "--shard_utterances", 5)
    began = time.monotonic()
    shard(*flags, "--out", tmp_path / "undisturbed")
    seconds, whole = time.monotonic() - began, checksums(tmp_path / "undisturbed")
    rng, out = np.random.default_rng(kills), tmp_path / "out"
    for _ in range(kills):
        process = start(*flags, "--out", out)
        time.sleep(rng.uniform(0.1, 0.9) * seconds)
        process.kill()
        process.communicate(timeout=60)
        found = checksums(out) if out.exists() else {}
        for name in found:  # whatever has its name is whole
            assert not name.endswith((".tar", "dataset.json", "rejected.jsonl")) or found[name] == whole[name]
        if any(name.endswith("dataset.json") for name in found):  # done: the next one begins anew
            shutil.rmtree(out)
    shard(*flags, "--out", out)
    assert checksums(out) == whole


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_a_file_that_decodes_to_hours_is_rejected_before_it_fills_the_memory(tmp_path: Path, kind: str) -> None:
    soundfile.write(tmp_path / f"bomb.{kind}", np.zeros(48_000 * 60, np.float32), 48_000)
    if kind == "mp3":  # players and decoders go on over what was appended
        minute = (tmp_path / "bomb.mp3").read_bytes()
        (tmp_path / "bomb.mp3").write_bytes(minute * 200)
    else:
        with soundfile.SoundFile(tmp_path / "bomb.flac", "w", 48_000, 1) as file:
            for _ in range(200):  # 3.3 hours: 2.3 GB as floats
                file.write(np.zeros(48_000 * 60, np.int16))
    assert (tmp_path / f"bomb.{kind}").stat().st_size < 200_000_000
    table = write_csv(tmp_path / "a.csv", [(f"bomb.{kind}", "boom"), ("a.wav", "fine")])
    write_clip(tmp_path / "a.wav")
    limited = ["bash", "-c", 'ulimit -v 1500000; exec "$@"', "bash", *COMMAND]  # kB
    flags = ["--csv", table, "--out", tmp_path / "out", "--valid_fraction", 0, "--max_rejected", "50%", "--workers", 1]
    done = subprocess.run([*limited, *map(str, flags)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert [row["reason"] for row in rejected(tmp_path / "out")] == ["too long"]
