"""The same utterances in several formats, through the command line: the same shards come of them."""

import csv
import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from helpers.audio import sine
from helpers.sharding import shard

from asrscale.common.storage import read_ranges
from asrscale.data.index import read_index

NAMES = [f"utt{number}" for number in range(6)]
TEXTS = {name: f"sentence {name[-1]}" for name in NAMES}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav of 22.05 kHz for each name, each of another length."""
    folder = tmp_path_factory.mktemp("wavs")
    for number, name in enumerate(NAMES):
        soundfile.write(folder / f"{name}.wav", sine(300 + 50 * number, 22_050, 0.5 + number / 10), 22_050)
    return folder


def as_csv(recordings: Path, folder: Path) -> Path:
    shutil.copytree(recordings, folder / "clips")
    with (folder / "a.csv").open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "text"])
        writer.writerows([f"clips/{name}.wav", text] for name, text in TEXTS.items())
    return folder / "a.csv"


def as_parquet(recordings: Path, folder: Path) -> Path:
    audio = [{"bytes": (recordings / f"{name}.wav").read_bytes(), "path": f"{name}.wav"} for name in NAMES]
    pq.write_table(pa.table({"audio": audio, "text": [*TEXTS.values()]}), folder / "a.parquet", row_group_size=2)
    return folder / "a.parquet"


def as_archive(recordings: Path, folder: Path) -> Path:
    table = as_csv(recordings, folder)
    table.rename(folder / "metadata.csv")
    with tarfile.open(folder / "a.tar.gz", "w:gz") as tar:
        tar.add(folder / "metadata.csv", "corpus/metadata.csv")
        tar.add(folder / "clips", "corpus/clips")
    shutil.rmtree(folder / "clips")
    (folder / "metadata.csv").unlink()
    return folder / "a.tar.gz"


def as_kaldi(recordings: Path, folder: Path) -> Path:
    (folder / "wav.scp").write_text("".join(f"{name} {recordings}/{name}.wav\n" for name in NAMES))
    (folder / "text").write_text("".join(f"{name} {text}\n" for name, text in TEXTS.items()))
    return folder


def as_cuts(recordings: Path, folder: Path) -> Path:
    lines = []
    for name in NAMES:
        seconds = soundfile.info(recordings / f"{name}.wav").duration
        source = {"type": "file", "channels": [0], "source": str(recordings / f"{name}.wav")}
        recording = {"id": name, "sources": [source], "sampling_rate": 22_050, "num_samples": 1, "duration": seconds}
        supervision = {"id": name, "recording_id": name, "start": 0, "duration": seconds, "channel": 0}
        cut = {"id": name, "start": 0, "duration": seconds, "channel": 0, "type": "MonoCut", "recording": recording}
        lines.append(json.dumps(cut | {"supervisions": [supervision | {"text": TEXTS[name]}]}))
    (folder / "cuts.jsonl").write_text("\n".join(lines))
    return folder / "cuts.jsonl"


FORMATS = {"parquet": as_parquet, "archive": as_archive, "kaldi": as_kaldi, "cuts": as_cuts}


def sound_by_text(folder: Path) -> dict[str, object]:
    """The bytes of each utterance of a data set folder, by its text."""
    index = read_index([str(folder)])
    flacs = read_ranges([index.payload(number) for number in range(len(index))])
    return dict(zip(index.texts.to_pylist(), flacs, strict=True))


@pytest.fixture(scope="module")
def of_csv(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The sound of the same utterances from a CSV."""
    folder = tmp_path_factory.mktemp("csv")
    shard("--csv", as_csv(recordings, folder), "--valid_fraction", 0, "--workers", 1, "--out", folder / "out")
    return sound_by_text(folder / "out/train")


@pytest.mark.parametrize("name", FORMATS)
def test_the_sound_and_text_of_each_format_are_those_of_a_csv(
    recordings: Path, of_csv: dict[str, object], tmp_path: Path, name: str
) -> None:
    (tmp_path / "source").mkdir()
    source = FORMATS[name](recordings, tmp_path / "source")
    flags = ("--csv", source, "--valid_fraction", 0, "--shard_utterances", 4, "--workers", 1)
    flags += ("--audio_root", recordings) if name in ("kaldi", "cuts") else ()
    shard(*flags, "--out", tmp_path / "out")
    found = sound_by_text(tmp_path / "out/train")
    assert found == of_csv
    assert set(found) == set(TEXTS.values())
    assert "already built" in shard(*flags, "--out", tmp_path / "out").stdout


@pytest.mark.parametrize("name", ["parquet", "archive"])
def test_parts_of_a_build_that_unpacks(recordings: Path, tmp_path: Path, name: str) -> None:
    """An array job's parts share what is unpacked; where that was deleted, it is unpacked again, to the same shards."""
    (tmp_path / "source").mkdir()
    source = FORMATS[name](recordings, tmp_path / "source")
    flags = ("--csv", source, "--valid_fraction", 0, "--shard_utterances", 2, "--workers", 1)
    for part in range(2):
        shard(*flags, "--out", tmp_path / "parts", "--part", part, "--parts", 2)
    shard("merge", "--out", tmp_path / "parts")
    printed = shard(*flags, "--out", tmp_path / "one").stdout
    assert f"{tmp_path}/one/.unpacked: recordings that were unpacked for the build: delete it" in printed
    for file in ("train/train-000000.tar", "train/train-000002.tar", "train/index.parquet", "train/dataset.json"):
        assert (tmp_path / "parts" / file).read_bytes() == (tmp_path / "one" / file).read_bytes()
    shutil.rmtree(tmp_path / "one/.unpacked")
    assert "already built" in shard(*flags, "--out", tmp_path / "one").stdout
