"""What data set folders hold, and which sentences, speakers and recordings they share.

Shape legend: N utterances of a folder.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asrscale.common.errors import CliError
from asrscale.common.storage import read_bytes
from asrscale.data.catalog import DATASET_FILE, REBUILD, Catalog, counts_of, read_catalog
from asrscale.data.index import Index, read_shards
from asrscale.speech.normalisation import TextRules
from asrscale.speech.pcm import SAMPLE_RATE_HZ

Hashes: TypeAlias = NDArray[np.uint64]


@dataclass(frozen=True)
class FolderStatistics:
    """What a data set folder holds.

    Attributes:
        path: The folder.
        utterances: How many it holds.
        hours: Their length together.
        longest_seconds: Length of the longest.
        shards: How many it has.
        shard_bytes: Their size together.
        rows: How many rows of the source were meant for it.
        rejected: How many of these it does not hold, by reason.
        characters: How often each occurs in the transcripts.
        markup: How often each annotation, tag and HTML entity was in the transcripts of the source.
        symbols: How often each symbol, such as %, was in these and is left out.
        text: How transcripts are normalised.
        note: Where other steps than those of now normalised them, the line that says so; else empty.
        speakers: How many the source names.
        repeated_clips: Utterances whose recording is the same as another's.
    """

    path: str
    utterances: int
    hours: float
    longest_seconds: float
    shards: int
    shard_bytes: int
    rows: int
    rejected: Mapping[str, int]
    characters: Mapping[str, int]
    markup: Mapping[str, int]
    symbols: Mapping[str, int]
    text: TextRules
    note: str
    speakers: int
    repeated_clips: int

    @property
    def name(self) -> str:
        """The folder's name, which is that of its split."""
        return os.path.basename(self.path.rstrip("/"))

    @property
    def mean_seconds(self) -> float:
        """Mean length of the utterances."""
        return self.hours * 3600 / self.utterances

    @property
    def digits(self) -> int:
        """How many digits the transcripts have: they are kept, and not spelled as words."""
        return sum(count for character, count in self.characters.items() if character.isdigit())


@dataclass(frozen=True)
class SharedContent:
    """How many different sentences, speakers and recordings are in two folders."""

    one: FolderStatistics
    other: FolderStatistics
    sentences: int
    speakers: int
    recordings: int


@dataclass(frozen=True)
class Statistics:
    """What data set folders hold and share.

    Attributes:
        folders: Each folder, in the order given.
        shared: Each pair of them.
        random_split_leak: See `random_split_leak`, of all folders together.
    """

    folders: tuple[FolderStatistics, ...]
    shared: tuple[SharedContent, ...]
    random_split_leak: float


@dataclass(frozen=True)
class Fingerprints:
    """64 bits of each utterance's properties, by which they are compared.

    Attributes:
        sentences: (N,) of the transcripts.
        speakers: Of the speakers, where they are known: at most N.
        recordings: (N,) of the audio: size and CRC-32 of its bytes.
    """

    sentences: Hashes
    speakers: Hashes
    recordings: Hashes


def read_statistics(folders: Sequence[str]) -> Statistics:
    """Reads what data set folders hold and share; keeps 24 bytes of each utterance in memory.

    Raises:
        CliError: A folder is not complete.
    """
    statistics: list[FolderStatistics] = []
    fingerprints: list[Fingerprints] = []
    for path in folders:
        catalog = read_catalog([path])
        own_fingerprints = _read_fingerprints(catalog)
        statistics.append(_folder_statistics(path, catalog, own_fingerprints))
        fingerprints.append(own_fingerprints)
    return Statistics(
        folders=tuple(statistics),
        shared=_shared_content(statistics, fingerprints),
        random_split_leak=random_split_leak(_clips_of_each_sentence(fingerprints)),
    )


def random_split_leak(clips: NDArray[np.integer[Any]], valid_fraction: float = 0.3) -> float:
    """Returns the share of validation clips whose sentence is in train, as expected of a random split of the clips.

    Args:
        clips: How many clips each sentence has.
        valid_fraction: Share of the clips for validation; 70 to 30 is the split of the notebook that this project
            began with.
    """
    share_leaked = 1 - valid_fraction ** (clips - 1.0)  # of each sentence: not all of its other clips are in valid too
    return float((clips * share_leaked).sum() / clips.sum())


def _folder_statistics(path: str, catalog: Catalog, fingerprints: Fingerprints) -> FolderStatistics:
    dataset = json.loads(read_bytes(os.path.join(path, DATASET_FILE)))
    try:
        counts = [counts_of(dataset.get(name, {})) for name in ("rejected", "markup", "symbols")]
        rows = counts_of({"rows": dataset["rows"]})["rows"]
    except (KeyError, ValueError) as error:
        raise CliError(f"{path}: {DATASET_FILE} is damaged ({error}): {REBUILD}") from error
    rejected, markup, symbols = counts  # older versions looked for no markup and no symbols
    utterances = int(catalog.utterances.sum())
    recordings = len(np.unique(fingerprints.recordings))
    return FolderStatistics(
        path=path,
        utterances=utterances,
        hours=catalog.hours,
        longest_seconds=catalog.longest_samples.max() / SAMPLE_RATE_HZ,
        shards=len(catalog.shards),
        shard_bytes=int(catalog.shard_bytes.sum()),
        rows=rows,
        rejected=rejected,
        characters=catalog.characters,
        markup=markup,
        symbols=symbols,
        text=catalog.text_rules[0],
        note=" ".join(catalog.notes),
        speakers=len(np.unique(fingerprints.speakers)),
        repeated_clips=utterances - recordings,
    )


def _read_fingerprints(catalog: Catalog) -> Fingerprints:
    """Reads the index of a folder, a shard at a time."""
    by_shard = [_fingerprints(read_shards(catalog, [number])) for number in range(len(catalog.shards))]
    return Fingerprints(
        sentences=np.concatenate([one.sentences for one in by_shard]),
        speakers=np.concatenate([one.speakers for one in by_shard]),
        recordings=np.concatenate([one.recordings for one in by_shard]),
    )


def _fingerprints(index: Index) -> Fingerprints:
    size_bits = index.sizes.astype(np.uint64) << np.uint64(32)
    return Fingerprints(
        sentences=_hash_texts(index.texts.to_pylist()),
        speakers=_hash_texts(index.speakers.drop_null().to_pylist()),
        recordings=size_bits | index.crc32,
    )


def _hash_texts(texts: Iterable[str]) -> Hashes:
    """Returns 64 bits of a hash of each text."""
    digests = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts]
    return np.frombuffer(b"".join(digests), np.uint64)


def _shared_content(
    statistics: Sequence[FolderStatistics], fingerprints: Sequence[Fingerprints]
) -> tuple[SharedContent, ...]:
    """Returns what each two folders share."""
    folders = list(zip(statistics, fingerprints, strict=True))
    return tuple(
        SharedContent(
            one=one,
            other=other,
            sentences=_count_common(ours.sentences, theirs.sentences),
            speakers=_count_common(ours.speakers, theirs.speakers),
            recordings=_count_common(ours.recordings, theirs.recordings),
        )
        for (one, ours), (other, theirs) in combinations(folders, 2)
    )


def _count_common(ours: Hashes, theirs: Hashes) -> int:
    """Returns how many different values are in both arrays."""
    return len(np.intersect1d(ours, theirs))


def _clips_of_each_sentence(fingerprints: Sequence[Fingerprints]) -> NDArray[np.int64]:
    """Returns how many utterances of all folders together have each different sentence."""
    sentences = np.concatenate([one.sentences for one in fingerprints])
    _, counts = np.unique(sentences, return_counts=True)
    return counts
