"""Checks the options of a build, reads the sources and assigns their rows to splits."""

import os
import re
from array import array
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO

import numpy as np

from asrscale.common.errors import AudioError, CliError
from asrscale.common.progress import progress
from asrscale.common.storage import is_remote
from asrscale.corpus.build_options import ShardOptions
from asrscale.corpus.checks import read_rules
from asrscale.corpus.hours import choose_hours
from asrscale.corpus.recordings import open_audio
from asrscale.corpus.sources import open_source
from asrscale.corpus.split_spool import Split
from asrscale.corpus.splits import SplitRules, assign_splits
from asrscale.speech.decoding import probe_seconds

# In dataset.json: the same folder is not built again with others.
KEPT_LIMITS = ("min_seconds", "max_seconds", "max_hours", "shard_utterances")


KEPT_OPTIONS = (*KEPT_LIMITS, "seed", "filter", "valid_fraction", "test_fraction")


def plan_build(options: ShardOptions, spool: IO[bytes]) -> list[Split]:
    """Checks the options, reads the CSVs and deals their rows to splits."""
    if not 0 <= options.valid_fraction <= options.valid_fraction + options.test_fraction < 1:
        raise CliError(f"--valid_fraction {options.valid_fraction}: give 0 to below 1, with --test_fraction together")
    if not 0 < options.min_seconds < options.max_seconds:
        raise CliError(f"--min_seconds {options.min_seconds}: give more than 0 and less than --max_seconds")
    for name, least in (("shard_utterances", 1), ("workers", 1), ("parts", 1), ("max_hours", 1e-3)):
        if (number := getattr(options, name)) is not None and number < least:
            raise CliError(f"--{name} {number}: give {least} or more")
    if not 0 <= options.part < options.parts:
        raise CliError(f"--part {options.part}: give 0 to {options.parts - 1}, one less than --parts")
    if options.original and options.codec != "flac":
        raise CliError("--original stores the bytes as they are, --codec encodes them anew: give one")
    if not 0 <= options.max_rejected <= 1:
        raise CliError(f"--max_rejected {options.max_rejected:g}: give a share from 0 to 1, or 0% to 100%")
    named = [re.fullmatch(r"(?:([a-z0-9_-]{1,64})=)?(.+)", part) for part in options.csv]
    files = {match[1]: match[2] for match in named if match}
    if len(files) != len(options.csv) or (None in files and len(files) > 1):
        raise CliError("--csv: give one file, or several as train=FILE,valid=FILE with each name once")
    rules = read_rules(options.min_seconds, options.max_seconds, options.vocab)
    splits = []
    for name, path in files.items():
        by = f"={name}" if name else options.split_by
        how = SplitRules(by, options.valid_fraction, options.test_fraction, options.seed, options.filter)
        source = open_source(path, options.audio_root)
        root = source.audio_root
        settings = {name: getattr(options, name) for name in KEPT_OPTIONS} | {
            "audio_root_from_csv": root if is_remote(root) else os.path.relpath(root, os.path.dirname(path) or "."),
            "split_by": by,
            "codec": "original" if options.original else options.codec,
            "vocab_sha256": options.vocab and sha256(repr(rules).encode()).hexdigest(),
        }
        dealt: dict[str, Split] = {}
        content = sha256()
        for row, split in assign_splits(source.read_rows, how):
            if split not in dealt:
                dealt[split] = Split(Path(options.out, split), path, root, rules, settings, spool)
            dealt[split].add(row)
            content.update(repr(vars(row) | {"source": "", "tar": None}).encode())
        settings["rows_sha256"] = content.hexdigest()
        drawn = [name for name in ("valid", "test") if getattr(options, f"{name}_fraction")]
        wanted = {"train", *drawn} if by in (None, "sentence", "speaker", "both") else set(dealt)
        if empty := wanted - {split for split in dealt if dealt[split].rows}:
            raise CliError(f"{path}: no row of it is left for {min(empty)}: give another --valid_fraction or --filter")
        splits += [dealt[split] for split in sorted(dealt)]
    if options.max_hours:
        _limit_hours(splits, options.max_hours, options.seed)
    return splits


def _limit_hours(splits: list[Split], hours: float, seed: int) -> None:
    """Leaves so many hours of all splits together, the same share of each; lengths are the source's or the header's."""

    def measured(split: Split) -> Iterator[float]:
        for row in split.read(split.rows):
            bar.advance()
            try:
                yield probe_seconds(open_audio(row, split.audio_root)) if row.seconds is None else row.seconds
            except AudioError:
                yield 0.0  # it will be rejected

    with progress(sum(len(split.rows) for split in splits), "measuring", "clips") as bar:
        seconds = [np.fromiter(measured(split), np.float64) for split in splits]
    share = hours * 3600 / max(hours * 3600, sum(map(np.sum, seconds)))
    for split, lengths in zip(splits, seconds, strict=True):
        chosen = choose_hours(lengths, lengths.sum() / 3600 * share, seed)
        if not chosen.any():
            raise CliError(f"--max_hours {hours:g} is not enough for a clip in {split.folder.name}: give more")
        rows, order = np.array(split.rows), np.array(split.order)
        split.refused.extend(rows[~chosen].tolist())
        split.rows[:], split.order[:] = array("Q", rows[chosen].tolist()), array("Q", order[chosen].tolist())
