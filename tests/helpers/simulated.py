"""Data set folders of any size for little: real files that the real code reads, all of whose shards are one tar."""

import json
import tarfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from asrscale.data.catalog import DATASET_FILE, INDEX_FILE, SCHEMA_VERSION
from asrscale.data.index import INDEX_SCHEMA, open_index_writer
from asrscale.speech.encoding import encode
from asrscale.speech.pcm import SAMPLE_RATE_HZ

TEXT = pa.large_string()
CLIPS, SENTENCES = 200, 1_000  # different ones, of which each shard has all


def simulate(folder: Path, *, shards: int, shard_utterances: int) -> None:
    """Clips of 5 s in the mean, 1 to 15 s, with sentences of 40 characters."""
    rng = np.random.default_rng(0)
    lengths = (np.clip(rng.lognormal(1.5, 0.4, CLIPS), 1, 15) * SAMPLE_RATE_HZ).astype(np.int64)
    payloads = [encode(rng.integers(-40, 40, length).astype(np.int16), "flac") for length in lengths]
    tar_file = folder / "all.tar"
    with tarfile.open(tar_file, "w") as tar:
        for number, payload in enumerate(payloads):
            member = tarfile.TarInfo(f"{number}.flac")
            member.size = len(payload)
            tar.addfile(member, BytesIO(payload))
    with tarfile.open(tar_file) as tar:
        offsets = np.array([member.offset_data for member in tar])
    clip = rng.integers(0, CLIPS, shard_utterances)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz      "))
    sentences = ["a" + "".join(rng.choice(letters, 38)) + "z" for _ in range(SENTENCES)]
    numbers = pa.array([f"-{number:08d}" for number in range(shard_utterances)], TEXT)
    columns = {
        "offset": pa.array(offsets[clip]),
        "size": pa.array(np.array([len(payload) for payload in payloads])[clip]),
        "crc32": pa.array(np.array([zlib.crc32(payload) for payload in payloads], np.uint32)[clip]),
        "num_samples": pa.array(lengths[clip]),
        "text": pa.array(sentences, TEXT).take(rng.integers(0, SENTENCES, shard_utterances)),
        "speaker": pa.nulls(shard_utterances, TEXT),
    }
    entries = []
    sums = {
        "bytes": tar_file.stat().st_size,
        "utterances": shard_utterances,
        "samples": int(lengths[clip].sum()),
        "longest_samples": int(lengths[clip].max()),
    }
    with open_index_writer(folder / INDEX_FILE) as writer:
        for number in range(shards):
            name = f"train-{number:06d}"
            own = columns | {
                "key": pc.binary_join_element_wise(pa.scalar(name, TEXT), numbers, pa.scalar("", TEXT)),
                "shard": pa.array([f"{name}.tar"], TEXT).take(np.zeros(shard_utterances, np.int64)),
            }
            writer.write_table(pa.table([own[field.name] for field in INDEX_SCHEMA], INDEX_SCHEMA))
            (folder / f"{name}.tar").symlink_to(tar_file)
            entries.append({"file": f"{name}.tar", **sums})
    dataset = {"schema_version": SCHEMA_VERSION, "characters": {"a": 1}, "shards": entries}
    (folder / DATASET_FILE).write_text(json.dumps(dataset))


def bytes_read() -> int:
    """What this process has read so far, from disk or from the page cache."""
    counters = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counters["rchar"])
