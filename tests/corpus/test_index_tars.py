"""The verb `index`: foreign tars become a data set folder."""

import io
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from helpers.sharding import checksums, refusal, rejected, shard
from helpers.sources import SHARED, needs_shared_data, tone, write_tar

from asrscale.data.index import read_index
from asrscale.data.loader import read_utterances
from asrscale.data.source_columns import columns_of_source
from asrscale.speech.pcm import Waveform


@needs_shared_data
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
    assert len(index) == 31
    assert "five five three five" in index.texts.to_pylist()
    assert [row["reason"] for row in rejected(folder)] == ["segment"]
    assert "31 utterances in 2 shards are as they were built" in shard("verify", "--data", folder).stdout
    assert "or indexed already" in refusal(*flags)


def write_foreign_tar(path: Path, corpus: Path) -> None:
    """Packs the rows of a CSV as other programs do: any audio format, and names that look like paths out of the tar."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for line, row in enumerate(corpus.read_text().splitlines()[1:], start=2):
            name, sentence, _, _ = row.split(",")
            tar.add(corpus.parent / name, f"../../train-{line:08d}{Path(name).suffix}")
            member = tarfile.TarInfo(f"../../train-{line:08d}.txt")
            member.size = len(sentence)
            tar.addfile(member, io.BytesIO(sentence.encode()))


def read_waveforms(folder: Path) -> dict[str, Waveform]:
    """All recordings of a data set folder by their keys."""
    index = read_index([str(folder)])
    with ThreadPoolExecutor(2) as pool:
        waveforms, damaged = read_utterances(index, np.arange(len(index)), pool)
    assert not damaged
    return {index.keys[i].as_py(): waveform for i, waveform in waveforms.items()}


def test_foreign_tars_of_any_format_and_rate_load_like_a_build_of_their_clips(corpus: Path, tmp_path: Path) -> None:
    shard("--csv", corpus, "--out", tmp_path / "flac", "--valid_fraction", 0)
    folder = tmp_path / "foreign"
    folder.mkdir()
    write_foreign_tar(folder / "x.tar", corpus)

    shard("index", "--data", folder)
    left = sorted(path.name for path in folder.iterdir())
    assert left == [".lock", "dataset.json", "index.parquet", "rejected.jsonl", "x.tar"]
    ours = read_waveforms(tmp_path / "flac/train")
    theirs = read_waveforms(folder)
    assert len(theirs) == 23
    assert theirs.keys() == {f"../../{key}" for key in ours}
    for key, waveform in ours.items():
        assert np.array_equal(theirs[f"../../{key}"], waveform)
    shard("verify", "--data", folder)


def test_a_damaged_or_a_missing_foreign_tar(tmp_path: Path) -> None:
    assert "no *.tar there" in refusal("index", "--data", tmp_path)
    (tmp_path / "x.tar").write_bytes(b"this is no tar" * 100)
    assert str(tmp_path / "x.tar") in refusal("index", "--data", tmp_path)


def test_a_failed_index_leaves_the_folder_of_the_user_as_it_was(tmp_path: Path) -> None:
    members = {"a.wav": tone(0.5), "a.txt": b"one", "b.pcm": b"x", "b.txt": b"two", "c.txt": b"three"}
    write_tar(tmp_path / "x.tar", members)
    assert "more than --max_rejected 0.05 of 3 rows" in refusal("index", "--data", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "rejected.jsonl", "x.tar"]
    write_tar(tmp_path / "x.tar", {"b.pcm": b"x", "b.txt": b"two"})
    assert "every row of" in refusal("index", "--data", tmp_path, "--max_rejected", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "rejected.jsonl", "x.tar"]


def test_names_of_any_kind_in_tars_are_kept_or_rejected(tmp_path: Path) -> None:
    wav = tone(0.5)
    members = {"a.WAV": wav, "a.txt": b"one", "v1.0_b.wav": wav, "v1.0_b.JSON": b'{"text": "two", "accent": "us"}'}
    write_tar(tmp_path / "x.tar", members | {"v1.0_c.wav": wav, "v1.0_c.txt": b"three", "d.txt": b"four", "wav": wav})
    write_tar(tmp_path / "._x.tar", {})
    shard("index", "--data", tmp_path, "--max_rejected", 1)
    index = read_index([str(tmp_path)])
    assert index.keys.to_pylist() == ["a", "v1.0_b", "v1.0_c"]
    assert index.texts.to_pylist() == ["one", "two", "three"]
    assert columns_of_source(index, ["accent"]) == {"accent": ["unknown", "us", "unknown"]}
    assert {row["audio"]: row["reason"] for row in rejected(tmp_path)} == {
        "d.txt": "no recording",
        "wav": "unknown extension",
    }
    shard("verify", "--data", tmp_path)
