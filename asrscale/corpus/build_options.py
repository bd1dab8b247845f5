"""The options of a build, and what they may be."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from asrscale.common.cli import setting
from asrscale.common.errors import CliError
from asrscale.corpus.text_options import TextOptions

# A value of --csv that names a split: SPLIT=FILE.
_NAMED_FILE = re.compile(r"([a-z0-9_-]{1,64})=(.+)")


@dataclass(frozen=True)
class ShardOptions:
    """Builds WebDataset shards of 16 kHz audio from a CSV with the columns filename and text, or another corpus.

    Others: Common Voice of any release, NeMo's JSON lines, Parquet (local or hf://datasets/…), audio folders, Kaldi's
    and lhotse's manifests, LJSpeech, LibriSpeech, WebDataset tars; docs/guide/data.md has them all.

    Other verbs: `verify`, `index`, `stats` and `merge`; `python -m asrscale.shard VERB --help` describes them.
    """

    csv: tuple[str, ...] = setting(help="a CSV or other corpus, which is split; or train=FILE,valid=FILE,…")
    out: str = setting(help="folder to build in: a folder for each split, and rejected.jsonl")
    audio_root: tuple[str, ...] | None = setting(
        None,
        help="folders that file names in the CSV start from and may lead to; by default the CSV's",
    )
    split_by: str | None = setting(None, help="sentence, speaker (default where known), both, or the split's column")
    audio_column: str | None = setting(None, help="the column of recordings; by default a known name such as filename")
    text_column: str | None = setting(None, help="the column of transcripts; by default a known name such as text")
    speaker_column: str | None = setting(None, help="the column of speakers; by default client_id, speaker or the like")
    split_column: str | None = setting(None, help="the column that names each row's split; the same as --split_by NAME")
    valid_fraction: float = setting(0.3, help="share of the sentences or speakers for valid where the CSV is split")
    test_fraction: float = setting(0.0, help="share of them for test")
    filter: str | None = setting(None, help="which rows to take, such as 'up_votes>=2 and down_votes==0'")
    max_hours: float | None = setting(
        None, help="take so many hours of all; lengths are spread as they are among all rows"
    )
    vocab: str | None = setting(
        None, help="checkpoint folder, Hugging Face id or vocab.json: clips it cannot learn from are rejected"
    )
    seed: int = setting(42, help="decides the split, and what goes into which shard")
    min_seconds: float = setting(0.1, help="shorter clips are rejected")
    max_seconds: float = setting(20.0, help="longer clips are rejected, never cut")
    codec: Literal["flac", "wav", "opus"] = setting("flac", help="how audio is stored; opus is lossy, slow to decode")
    original: bool = setting(False, help="store the bytes of the source files; training decodes and resamples them")
    shard_utterances: int = setting(1000, help="rows in a shard, before rejects")
    max_rejected: float = setting(0.05, help="share of the rows, as 5%; the build fails when more are rejected")
    on_error: Literal["quarantine", "stop"] = setting(
        "quarantine", help="where asrscale itself fails over a row: reject the row, or stop"
    )
    part: int = setting(0, help="of an array job, which share of the shards to build: 0 to --parts - 1; then `merge`")
    parts: int = setting(1, help="how many shares the array job has")
    workers: int | None = setting(None, help="how many processes; by default one for each usable core")
    transcripts: TextOptions = field(default_factory=TextOptions)

    def __post_init__(self) -> None:
        _check_fractions(self)
        _check_split_by(self)
        _check_lengths(self)
        _check_at_least("shard_utterances", self.shard_utterances, least=1)
        _check_at_least("workers", self.workers, least=1)
        _check_at_least("parts", self.parts, least=1)
        _check_at_least("max_hours", self.max_hours, least=1e-3)
        _check_part(self)
        _check_codec(self)
        _check_max_rejected(self)


def _check_fractions(options: ShardOptions) -> None:
    # Some of the rows have to be left for train.
    held_out = options.valid_fraction + options.test_fraction
    if options.valid_fraction < 0 or options.test_fraction < 0 or held_out >= 1:
        raise CliError(f"--valid_fraction {options.valid_fraction}: give 0 to below 1, with --test_fraction together")


def _check_split_by(options: ShardOptions) -> None:
    if options.split_by and options.split_column:
        raise CliError("--split_by and --split_column both say how the corpus is split: give one")


def _check_lengths(options: ShardOptions) -> None:
    if not 0 < options.min_seconds < options.max_seconds:
        raise CliError(f"--min_seconds {options.min_seconds}: give more than 0 and less than --max_seconds")


def _check_at_least(name: str, number: float | None, *, least: float) -> None:
    if number is not None and number < least:
        raise CliError(f"--{name} {number}: give {least} or more")


def _check_part(options: ShardOptions) -> None:
    if not 0 <= options.part < options.parts:
        raise CliError(f"--part {options.part}: give 0 to {options.parts - 1}, one less than --parts")


def _check_codec(options: ShardOptions) -> None:
    if options.original and options.codec != "flac":
        raise CliError("--original stores the bytes as they are, --codec encodes them anew: give one")


def _check_max_rejected(options: ShardOptions) -> None:
    if not 0 <= options.max_rejected <= 1:
        raise CliError(f"--max_rejected {options.max_rejected:g}: give a share from 0 to 1, or 0% to 100%")


def source_files(csv: Sequence[str]) -> dict[str | None, str]:
    """Returns the paths given as --csv by the name of their split; None is the name of one that is to be split.

    Raises:
        CliError: A name is given twice, or one of several paths has no name.
    """
    named_paths = [_name_and_path(word) for word in csv]
    files = dict(named_paths)
    is_unnamed_among_several = None in files and len(files) > 1
    if len(files) != len(csv) or is_unnamed_among_several:
        raise CliError("--csv: give one file, or several as train=FILE,valid=FILE with each name once")
    return files


def _name_and_path(word: str) -> tuple[str | None, str]:
    """Returns the split's name, or None, and the path of a value of --csv; an existing path may have a `=` in it."""
    match = _NAMED_FILE.fullmatch(word)
    if not match or (os.path.exists(word) and not os.path.exists(match[2])):
        return None, word
    return match[1], match[2]
