"""What data set folders record about their shards (dataset.json), read without opening an index.

Shape legend: S shards.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from asrscale.common.addresses import clean_value
from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote, read_bytes
from asrscale.common.system_files import is_plain_name
from asrscale.speech.normalisation import NEUTRAL, TextRules, normalise, rules_from_json, steps_of
from asrscale.speech.pcm import SAMPLE_RATE_HZ

SCHEMA_VERSION = 1  # of index.parquet and dataset.json together

INDEX_FILE = "index.parquet"
DATASET_FILE = "dataset.json"  # written last: a folder that has it is whole

REBUILD = "build the folder again with asrscale.shard"

NO_ROW_GROUP = -1

_MOST = 1 << 53  # of a size or a count: an exabyte

_LONGEST_SAMPLES = 86_400 * SAMPLE_RATE_HZ  # of a day: utterances are far shorter, and memory is planned for them


@dataclass(frozen=True, eq=False)
class Catalog:
    """What data set folders record, shard by shard: enough to plan a run without reading an index."""

    shards: tuple[str, ...]  # (S,) absolute paths or URLs; the shard numbers of an Index are positions in it
    shard_bytes: npt.NDArray[np.int64]  # (S,) the size of each
    shard_sha256: tuple[str, ...]  # (S,) the hash of each
    utterances: npt.NDArray[np.int64]  # (S,) how many each holds
    samples: npt.NDArray[np.int64]  # (S,) their length together, at 16 kHz
    longest_samples: npt.NDArray[np.int64]  # (S,) the length of the longest
    # (S,) which row group of the index.parquet beside it has its rows; NO_ROW_GROUP for a shard without any
    row_groups: npt.NDArray[np.int64]
    characters: Counter[str]  # counts of the characters of all transcripts
    text_rules: tuple[TextRules, ...]  # (S,) how the transcripts of each are normalised
    weights: npt.NDArray[np.float64]  # (S,) how often an epoch visits an utterance of each, on average
    notes: tuple[str, ...] = ()  # lines about folders whose transcripts other steps normalised than those of now
    footers: dict[str, pq.FileMetaData] = field(default_factory=dict)  # of each index.parquet read so far, parsed once

    @property
    def hours(self) -> float:
        """Hours of audio, each recording counted once."""
        return float(self.samples.sum()) / SAMPLE_RATE_HZ / 3600

    @property
    def epoch_hours(self) -> float:
        """Hours of audio that an epoch visits, by the weights."""
        return float((self.samples * self.weights).sum()) / SAMPLE_RATE_HZ / 3600


@dataclass(frozen=True)
class _Shard:
    """What dataset.json records about a shard."""

    file: str
    bytes: int
    utterances: int
    samples: int
    longest_samples: int
    sha256: str


@dataclass(frozen=True)
class _Dataset:
    """What a dataset.json records."""

    shards: list[_Shard]
    characters: Counter[str]
    text: TextRules
    note: str  # why its transcripts are not as they would be now; "" where they are


def read_catalog(folders: Sequence[str]) -> Catalog:
    """Reads what data set folders record, joined in the order given, each with weight 1; opens no shard and no index.

    Raises:
        CliError: A folder, index or shard is missing, dataset.json is damaged or of an unknown schema version, nothing
            is in it, or a folder is given twice.
    """
    _check_given_once(folders)
    paths: list[str] = []
    shards: list[_Shard] = []
    row_groups: list[int] = []
    characters: Counter[str] = Counter()
    text_rules: list[TextRules] = []
    notes: list[str] = []
    for given in folders:
        folder = given.rstrip("/") if is_remote(given) else os.path.abspath(given)
        dataset = _read_dataset(folder)
        paths += [os.path.join(folder, shard.file) for shard in dataset.shards]
        shards += dataset.shards
        row_groups += _row_groups(dataset.shards)
        characters.update(dataset.characters)
        text_rules += [dataset.text] * len(dataset.shards)
        notes += [f"{given}: {dataset.note}"] if dataset.note else []
    return Catalog(
        shards=tuple(paths),
        shard_bytes=np.array([shard.bytes for shard in shards], np.int64),
        shard_sha256=tuple(shard.sha256 for shard in shards),
        utterances=np.array([shard.utterances for shard in shards], np.int64),
        samples=np.array([shard.samples for shard in shards], np.int64),
        longest_samples=np.array([shard.longest_samples for shard in shards], np.int64),
        row_groups=np.array(row_groups, np.int64),
        characters=characters,
        text_rules=tuple(text_rules),
        weights=np.ones(len(shards)),
        notes=tuple(notes),
    )


@lru_cache(maxsize=4)  # a part of an index has the shards of the whole
def names_of_data_sets(shards: tuple[str, ...]) -> tuple[str, ...]:
    """Returns (S,) what to call the folder of each shard: as many of the last parts of its path as tell it apart."""
    folders = [clean_value(os.path.dirname(shard)) for shard in shards]
    different = list(dict.fromkeys(folders))
    parts = [folder.split("/") for folder in different]
    names = dict(zip(different, different, strict=True))
    for count in range(1, max(map(len, parts), default=1)):
        shortened = ["/".join(one[-count:]) for one in parts]
        if len(set(shortened)) == len(different):
            names = dict(zip(different, shortened, strict=True))
            break
    return tuple(names[folder] for folder in folders)


def _check_given_once(folders: Sequence[str]) -> None:
    """Raises CliError where two of the paths or URLs lead to the same folder."""
    given_by_place: dict[str, str] = {}
    for given in folders:
        place = given.rstrip("/") if is_remote(given) else os.path.realpath(given)
        if place in given_by_place:
            first = given_by_place[place]
            other_name = "" if first == given else f", as {first} and as {given}"
            raise CliError(f"{given}: this data set is given twice{other_name}: give it once")
        given_by_place[place] = given


def _row_groups(shards: Sequence[_Shard]) -> list[int]:
    """Returns the row group of each shard in its folder's index: one for each shard with utterances, in their order."""
    groups = []
    next_group = 0
    for shard in shards:
        if shard.utterances:
            groups.append(next_group)
            next_group += 1
        else:
            groups.append(NO_ROW_GROUP)
    return groups


def _read_dataset(folder: str) -> _Dataset:
    """Reads the dataset.json of a folder, and checks that the files it names exist.

    Raises:
        CliError: As `read_catalog`.
    """
    try:
        dataset = _parse_dataset(folder, _read_file(folder, DATASET_FILE))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise CliError(f"{folder}: {DATASET_FILE} is damaged ({why}): {REBUILD}") from error
    if not any(shard.utterances for shard in dataset.shards):
        raise CliError(f"{folder}: the index holds no utterance: see its rejected.jsonl and build it again")
    if not is_remote(folder):
        _check_files_exist(folder, [INDEX_FILE, *(shard.file for shard in dataset.shards)])
    return dataset


def _parse_dataset(folder: str, content: bytes) -> _Dataset:
    """Parses the dataset.json of a folder.

    Raises:
        CliError: It is of another schema version.
        ValueError: It is not JSON, or a value is not what it must be; so for KeyError and TypeError.
    """
    dataset: dict[str, Any] = json.loads(content)
    version = dataset["schema_version"]
    if version != SCHEMA_VERSION:
        raise CliError(f"{folder}: schema version {version}, this asrscale reads {SCHEMA_VERSION}: {REBUILD}")
    characters = counts_of(dataset["characters"])
    text = rules_from_json(dataset["text"]) if "text" in dataset else NEUTRAL
    shards = [
        _Shard(
            file=_plain_name(shard["file"]),
            bytes=_number(shard, "bytes"),
            utterances=_number(shard, "utterances"),
            samples=_number(shard, "samples"),
            longest_samples=_number(shard, "longest_samples", most=_LONGEST_SAMPLES),
            sha256=str(shard.get("sha256", "")),
        )
        for shard in dataset["shards"]
    ]
    note = _note_of_other_steps(dataset.get("normalisation"), text, characters)
    return _Dataset(shards=shards, characters=characters, text=text, note=note)


def counts_of(value: Any) -> Counter[str]:
    """Returns how often each of some names occurs; raises ValueError where a value of JSON does not say that."""
    if not isinstance(value, dict) or not all(type(count) is int and 0 <= count <= _MOST for count in value.values()):
        raise ValueError("counts are no counts")
    return Counter(value)


def _plain_name(name: object) -> str:
    """Returns the name of a shard; raises ValueError where it leads out of the folder, to other people's data."""
    if not is_plain_name(name):
        raise ValueError(f"{name!r} is not the name of a file in the folder")
    return str(name)


def _number(shard: dict[str, Any], name: str, *, most: int = _MOST) -> int:
    """Returns a size or a count of a shard; raises ValueError where no shard has so many."""
    value = int(shard[name])
    if not 0 <= value <= most:
        raise ValueError(f"{name} is {value:,}")
    return value


def _note_of_other_steps(steps: list[str] | None, text: TextRules, characters: Counter[str]) -> str:
    """Returns what to say where other steps than those of now normalised transcripts; "" where it makes no difference.

    Args:
        steps: Those that dataset.json records.
        text: The rules, by which hypotheses will be normalised.
        characters: Of the transcripts.
    """
    if steps is None or steps == list(steps_of(text)):
        return ""
    changed = [character for character in characters if normalise(f"a{character}a", text) != f"a{character}a"]
    if all(map(str.isascii, characters)) and not changed:
        return ""  # English, for which the steps of older versions were the same
    return (
        "its transcripts were normalised by the steps of another version of asrscale: for those of now, build the "
        "folder again with asrscale.shard --language CODE"
    )


def _check_files_exist(folder: str, names: Sequence[str]) -> None:
    """Raises CliError, with the first that is missing, where a local folder does not hold all files of these names."""
    present = set(os.listdir(folder))
    missing = [name for name in names if name not in present]
    if missing:
        others = f", and {len(missing) - 1:,} more files" if len(missing) > 1 else ""
        raise CliError(f"{folder}/{missing[0]} is missing{others}: copy it again or {REBUILD}")


def _read_file(folder: str, name: str) -> bytes:
    """Reads a small file of a data set folder.

    Raises:
        CliError: It is missing.
        DataError: It is remote and cannot be read.
        OSError: It is local and cannot be read.
    """
    if is_remote(folder):
        try:
            return read_bytes(f"{folder}/{name}")
        except FileNotFoundError as error:
            raise CliError(f"{folder}: no {name} here: correct the address, or copy the whole folder there") from error
    path = Path(folder)
    if not (path / name).is_file():
        state = f"no {name} here, so no finished data set" if path.is_dir() else "no such folder"
        raise CliError(f"{folder}: {state}: {_cure(path, name)}")
    return (path / name).read_bytes()


def _cure(folder: Path, name: str) -> str:
    """Returns what to do about a local folder without the file, by where there is one: inside, or without a weight."""
    inside = sorted(f"{folder.name}/{found.parent.name}" for found in folder.glob(f"*/{name}"))
    if inside:
        return f"give one of {', '.join(inside)}"
    without_weight, equals_sign, _ = str(folder).rpartition("=")
    if equals_sign and Path(without_weight, name).is_file():
        return f"weights are for --train only: give {without_weight}"
    return "correct the path, or build it with asrscale.shard"
