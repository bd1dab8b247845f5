"""Packing one shard: members, bytes, and what happens to a row that our code or a worker dies over."""

import hashlib
import io
import json
import os
import tarfile
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import asrscale
from asrscale.corpus.checks import Rules
from asrscale.corpus.shard_file import build_shard
from asrscale.corpus.shard_record import read_record
from asrscale.corpus.shard_task import Task
from asrscale.data.tars import read_records
from asrscale.sources.rows import Row
from asrscale.speech import decoding
from asrscale.speech.normalisation import NEUTRAL, steps_of


def make_task(folder: Path, max_seconds: float = 20) -> Task:
    soundfile.write(folder / "a.wav", 0.5 * np.sin(np.arange(16_000) / 10), 16_000)
    rows = tuple(Row(line, "a.csv", "a.wav", f"text {line}", {"speaker": "ann"}) for line in (5, 3, 9))
    return Task(str(folder / "train-000000.tar"), "train", rows, str(folder), Rules(0.1, max_seconds))


def test_members_stand_in_the_order_of_the_rows_and_say_nothing_of_who_wrote_them(tmp_path: Path) -> None:
    begun: list[int] = []
    task = make_task(tmp_path)
    assert build_shard(task, begun.append) == Counter()
    assert begun == [0, 1, 2, 0, 1, 2]  # their texts, then their recordings
    with tarfile.open(tmp_path / "train-000000.tar") as tar:
        members = tar.getmembers()
    names = [f"train-{line:08d}.{kind}" for line in (5, 3, 9) for kind in ("flac", "json", "txt")]
    assert [member.name for member in members] == names
    about = {(member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) for member in members}
    assert about == {(0, 0, 0, "", "", 0o644)}
    payloads = [(member.offset_data, member.size) for member in members if member.name.endswith(".flac")]
    record = read_record(task.path)
    assert record is not None
    assert [(utterance.offset, utterance.size) for utterance in record.utterances] == payloads
    assert [utterance.speaker for utterance in record.utterances] == ["ann"] * 3
    assert record.rejects == ()
    assert record.shard.bytes == (tmp_path / "train-000000.tar").stat().st_size


def test_columns_that_no_command_would_read_are_rejected(tmp_path: Path) -> None:
    """A KEY.json has a megabyte at most, where it is read."""
    task = make_task(tmp_path)
    first, second, third = task.rows
    larger = [replace(second, extra={"note": "x" * 2**20}), replace(third, extra={"\x01" * 100_000: "\x01" * 100_000})]
    rows = (replace(first, extra={"note": "x" * 900_000}), *larger)
    assert build_shard(replace(task, rows=rows), lambda _: None) == Counter({"columns": 2})
    assert [record["note"] for record in read_records(task.path).values()] == ["x" * 900_000]


@pytest.mark.parametrize("codec", ["wav", "opus", "original"])
@pytest.mark.parametrize("name", ["a.mp3", "a.wav", "b.TXT"])
def test_offsets_are_right_for_every_codec_and_extension(tmp_path: Path, codec: str, name: str) -> None:
    time_seconds = np.arange(15 * 48_000) / 48_000  # long enough to say a text of more than a tar's block
    soundfile.write(tmp_path / name, np.sin(3_000 * time_seconds) / 2, 48_000, format="mp3" if "3" in name else "wav")
    rows = tuple(Row(line, "a.csv", name, "text " * 110, {"note": "x" * 600}) for line in (2, 3))
    task = Task(str(tmp_path / "t-000000.tar"), "t", rows, str(tmp_path), Rules(0.1, 20), codec)  # type: ignore[arg-type]
    build_shard(task, lambda _: None)
    record = read_record(task.path)
    assert record is not None and len(record.utterances) == 2
    shard = Path(task.path).read_bytes()
    with tarfile.open(task.path) as tar:
        sounds = {m.offset_data: m for m in tar if not m.name.endswith((".json", ".txt"))}
    for utterance in record.utterances:
        payload = shard[utterance.offset :][: utterance.size]
        assert sounds[utterance.offset].size == utterance.size
        assert zlib.crc32(payload) == utterance.crc32
        assert len(decoding.decode_payload(payload)) == utterance.num_samples == 15 * 16_000
        if codec == "original":
            assert payload == (tmp_path / name).read_bytes()
        else:
            assert soundfile.info(io.BytesIO(payload)).samplerate == 16_000


def fault(task: Task) -> Task:
    return replace(task, codec="tape")  # type: ignore[arg-type]  # our code raises


def test_a_fault_over_a_row_rejects_it(tmp_path: Path) -> None:
    task = fault(make_task(tmp_path))
    assert build_shard(task, lambda _: None) == Counter({"fault": 3})
    record = read_record(task.path)
    assert record is not None and "KeyError" in record.rejects[0].detail


def test_a_fault_over_a_row_can_stop_the_build_and_leaves_nothing(tmp_path: Path) -> None:
    task = replace(fault(make_task(tmp_path)), stop=True)
    with pytest.raises(RuntimeError, match=r"a\.csv line 5 \(a\.wav\): KeyError"):
        build_shard(task, lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_row_over_which_two_workers_died_is_rejected(tmp_path: Path) -> None:
    task = make_task(tmp_path)
    assert build_shard(replace(task, deaths=(1,)), lambda _: None) == Counter()
    (tmp_path / "train-000000.tar.part").unlink()
    assert build_shard(replace(task, deaths=(1, 1, 2)), lambda _: None) == Counter({"fault": 1})
    assert build_shard(task, lambda _: None) == Counter({"fault": 1})  # known from its record, not tried again
    part = json.loads((tmp_path / "train-000000.tar.part").read_text())
    assert [reject["line"] for reject in part["rejects"]] == [3]


def test_what_a_shard_depends_on_is_hashed_with_names_and_order_of_fields_and_the_steps_of_normalisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a build that a version with the same fields and steps began goes on, and another begins anew."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", 0.5 * np.sin(np.arange(8_000) / 10), 16_000)
    os.utime("a.wav", ns=(0, 10**18))
    rows = (
        Row(line=5, source="a.csv", audio="a.wav", text="text", extra={"speaker": "ann"}),
        Row(line=6, source="a.csv", audio="absent.wav", text="text", extra={}),
    )
    task = Task("train-000000.tar", "train", rows, ".", Rules(0.1, 20.0), stop=True, deaths=(1,))
    build_shard(task, lambda _: None)
    hashed = (
        f"('{asrscale.__version__}', Task(path='train-000000.tar', split='train', rows=("
        "Row(line=5, source='a.csv', audio='a.wav', text='text', extra={'speaker': 'ann'}, start_seconds=None, "
        "seconds=None, tar=None, tar_offset=0, tar_size=0, refused=''), "
        "Row(line=6, source='a.csv', audio='absent.wav', text='text', extra={}, start_seconds=None, "
        "seconds=None, tar=None, tar_offset=0, tar_size=0, refused='')), audio_root='.', "
        "rules=Rules(min_seconds=0.1, max_seconds=20.0, vocabulary=None, "
        "stem=ConvStem(kernels=(10, 3, 3, 3, 3, 2, 2), strides=(5, 2, 2, 2, 2, 2, 2))), "
        "codec='flac', stop=False, deaths=(), refused=()), [(16044, 1000000000000000000), None], "
        "TextRules(language='', form='words', keep_case=False, keep_punctuation=False, hyphens=None, markup='drop', "
        f"numbers='keep'), {tuple(steps_of(NEUTRAL))})"
    )
    part = json.loads(Path("train-000000.tar.part").read_text())
    assert part["made_of"] == hashlib.sha256(hashed.encode()).hexdigest()
    assert list(part) == ["utterances", "rejects", "made_of", "shard", "refused"]
    assert list(part["shard"]) == ["file", "bytes", "sha256", "utterances", "samples", "longest_samples"]
    wanted = ["key", "shard", "text", "speaker", "offset", "size", "crc32", "num_samples"]
    assert list(part["utterances"][0]) == wanted
    assert list(part["rejects"][0]) == ["split", "source", "line", "audio", "text", "reason", "detail"]
