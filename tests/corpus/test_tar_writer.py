"""The members of a shard, as other programs read them."""

import io
import tarfile
from pathlib import Path

import pytest
import soundfile
from helpers.sharding import shard

from asrscale.corpus.payload import Payload
from asrscale.corpus.tar_writer import write_end, write_utterance
from asrscale.data.index import read_index
from asrscale.sources.rows import Row


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


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 70_000])
@pytest.mark.parametrize("split", ["t", "a" * 64])
def test_a_tar_is_what_tarfile_would_write(tmp_path: Path, size: int, split: str) -> None:
    row = Row(line=7, source="ä.csv", audio="7.mp3", text="Öl", extra={"speaker": "ann", "note": "ß"})
    payload = Payload(
        extension="flac", audio=bytes(range(256)) * (size // 256) + bytes(size % 256), num_samples=1, text="öl"
    )
    written = io.BytesIO()
    for number in (1, 2):
        offset = write_utterance(written, f"{split}-{number:08d}", row, payload)
        assert written.getvalue()[offset:][:size] == payload.audio
    write_end(written)

    expected = io.BytesIO()
    about = '{"audio": "7.mp3", "note": "ß", "source": "ä.csv", "speaker": "ann"}'
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in (1, 2):
            for name, content in (("flac", payload.audio), ("json", about.encode()), ("txt", "öl".encode())):
                member = tarfile.TarInfo(f"{split}-{number:08d}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    ours = written.getvalue()
    assert ours == expected.getvalue()[: len(ours)]
    assert not any(expected.getvalue()[len(ours) :])  # tarfile fills up to a whole record
