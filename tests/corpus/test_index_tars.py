"""The verb `index`: foreign tars become a data set folder."""

import io
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers.sharding import ROOT, checksums, refusal, rejected, shard

from asrscale.data.index import read_index
from asrscale.data.loader import read_utterances

SHARED = ROOT.parent / "shared/data"


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
