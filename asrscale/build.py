"""Recordings and transcripts to WebDataset shards: the verb `build` of `python -m asrscale.shard`.

The output depends on the input and the options alone, byte for byte, and not on the number of workers or interruptions.
Rows lie in a temporary file and not in memory, where 16 bytes of each are kept. Imports no torch.
"""

import json
import os
import re
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b, sha256
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from asrscale.assemble import Plan, assemble, counts, disk_faults_told, list_rejects, only_writer, part_file
from asrscale.audio import probe_seconds
from asrscale.cli import setting
from asrscale.errors import EXIT_INTERRUPTED, AudioError, CliError
from asrscale.files import write_json
from asrscale.index import DATASET_FILE, read_index
from asrscale.lint import Rules, read_rules
from asrscale.pack import DEATHS_TO_BLAME, Task, build_shard
from asrscale.progress import progress
from asrscale.report import print_stats
from asrscale.sources import Row, open_audio, read_source
from asrscale.splits import SplitRules, choose_hours, deal
from asrscale.storage import is_remote
from asrscale.workers import run_tasks, usable_cores

# In dataset.json: the same folder is not built again with others.
KEPT_LIMITS = ("min_seconds", "max_seconds", "max_hours", "shard_utterances")
KEPT_OPTIONS = (*KEPT_LIMITS, "seed", "filter", "valid_fraction", "test_fraction")
PROBED_ROWS = 1_000  # of each split are looked for before anything is decoded: a wrong audio root misses nearly all
MAX_DEATHS = 20  # of workers over one shard, each at another row: then it is the machine, not the rows


@dataclass(frozen=True)
class ShardOptions:
    """Builds WebDataset shards of 16 kHz audio from a CSV with the columns filename and text, or another corpus.

    Such are: Common Voice's TSV, NeMo's JSON lines, LJSpeech's metadata.csv, folders of *.trans.txt or WebDataset tars.

    Other verbs: `verify`, `index`, `stats` and `merge`; `python -m asrscale.shard VERB --help` tells of them.
    """

    csv: tuple[str, ...] = setting(help="a CSV or other corpus, which is split; or train=FILE,valid=FILE,…")
    out: str = setting(help="folder to build in: a folder a split, and rejected.jsonl")
    audio_root: str | None = setting(None, help="folder that file names in the CSV start from; by default the CSV's")
    split_by: str | None = setting(None, help="sentence, speaker (default where known), both, or the split's column")
    valid_fraction: float = setting(0.3, help="share of the sentences or speakers for valid where the CSV is split")
    test_fraction: float = setting(0.0, help="share of them for test")
    filter: str | None = setting(None, help="which rows to take, such as 'up_votes>=2 and down_votes==0'")
    max_hours: float | None = setting(None, help="take so many hours of all, with lengths spread as they are in all")
    vocab: str | None = setting(None, help="checkpoint folder or vocab.json: clips it cannot learn from are rejected")
    seed: int = setting(42, help="decides the split, and what goes into which shard")
    min_seconds: float = setting(0.1, help="shorter clips are rejected")
    max_seconds: float = setting(20.0, help="longer clips are rejected, never cut")
    codec: Literal["flac", "wav", "opus"] = setting("flac", help="how audio is stored; opus is lossy, slow to decode")
    original: bool = setting(False, help="store the bytes of the source files; training decodes and resamples them")
    shard_utterances: int = setting(1000, help="rows a shard, before rejects")
    max_rejected: float = setting(0.05, help="share of the rows, as 5%; the build fails when more are rejected")
    on_error: Literal["quarantine", "stop"] = setting("quarantine", help="on a fault of ours: reject the row, or stop")
    part: int = setting(0, help="of an array job, which share of the shards to build: 0 to --parts - 1; then `merge`")
    parts: int = setting(1, help="how many shares the array job has")
    workers: int | None = setting(None, help="processes; by default one a usable core")


@dataclass(frozen=True)
class Split:
    """A data set folder to be, with all that its bytes depend on except the recordings themselves."""

    folder: Path
    source: str
    audio_root: str
    rules: Rules
    settings: dict[str, Any]
    spool: IO[bytes]
    rows: "array[int]" = field(default_factory=lambda: array("Q"))  # where each starts in `spool`, a JSON line
    order: "array[int]" = field(default_factory=lambda: array("Q"))  # a hash of each: so they fill the shards
    refused: "array[int]" = field(default_factory=lambda: array("Q"))  # where rows start that are in no shard

    def add(self, row: Row) -> None:
        """Spools a row; its place is decided before anything is decoded, so that no reject moves another row."""
        salted = f"{self.settings['seed']} {self.folder.name} {row.line}"
        (self.refused if row.refused else self.rows).append(self.spool.tell())
        if not row.refused:
            self.order.append(int.from_bytes(blake2b(salted.encode(), digest_size=16).digest()[:8], "big"))
        self.spool.write(json.dumps([*vars(row).values()]).encode() + b"\n")

    def read(self, positions: Any) -> Iterator[Row]:
        """Rows from the spool."""
        for position in positions:
            self.spool.seek(position)
            yield Row(*json.loads(self.spool.readline()))

    def plan(self) -> Plan:
        """What is left to know once the shards are there."""
        name, size = self.folder.name, self.settings["shard_utterances"]
        files = [f"{name}-{number:06d}.tar" for number in range(-(-len(self.rows) // size))]
        return {"name": name, "source": self.source, "options": self.settings, "shards": files}


def build(options: ShardOptions) -> int | None:
    """Builds every split that is not there yet, or one part of them, and prints a summary.

    Raises:
        CliError: Bad options or input, a folder built with other options or being built, a full disk, more rejects than
            allowed, or a split that has no utterance.
    """
    started_seconds = time.monotonic()
    with disk_faults_told("TMPDIR", os.environ.get("TMPDIR", "/tmp")):
        spool = tempfile.TemporaryFile()  # noqa: SIM115  # closed below; without a name, nothing is left of it
        splits = _plan(options, spool)
    with spool:
        todo = [split for split in splits if not _is_built(split)]
        for split in todo:
            _check_recordings(split)
        try:
            clips = _build_splits(todo, options) if todo else 0
        except KeyboardInterrupt:
            print(f"interrupted: run the same command again to finish {options.out}", file=sys.stderr)
            return EXIT_INTERRUPTED
    if options.parts == 1:
        print_stats([str(split.folder) for split in splits])
    if todo:
        seconds = time.monotonic() - started_seconds
        print(f"{clips:,} clips in {seconds:.1f} s: {clips / seconds:,.0f} clips/s")
    return None


def _plan(options: ShardOptions, spool: IO[bytes]) -> list[Split]:
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
        read = partial(read_source, path, options.audio_root)
        root = read()[1]
        settings = {name: getattr(options, name) for name in KEPT_OPTIONS} | {
            "audio_root_from_csv": root if is_remote(root) else os.path.relpath(root, os.path.dirname(path) or "."),
            "split_by": by,
            "codec": "original" if options.original else options.codec,
            "vocab_sha256": options.vocab and sha256(repr(rules).encode()).hexdigest(),
        }
        dealt: dict[str, Split] = {}
        content = sha256()
        for row, split in deal(read, how):
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


def _is_built(split: Split) -> bool:
    """Whether the folder is whole and made by these settings; raises CliError where it was made by others."""
    try:
        found = json.loads((split.folder / DATASET_FILE).read_bytes())["options"]
        changed = sorted({key for key, _ in found.items() ^ split.settings.items()})
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        changed = [f"{DATASET_FILE} is damaged: {error!r}"]
    if changed:
        cure = "give another --out or delete the folder"
        raise CliError(f"{split.folder} was built with other options or input ({', '.join(changed)}): {cure}")
    try:
        read_index([str(split.folder)])
    except CliError as error:
        print(f"building {split.folder} again: {error}", file=sys.stderr)
        return False
    print(f"{split.folder}: already built")
    return True


def _check_recordings(split: Split) -> None:
    """Raises CliError where most of the recordings are not there, as when the audio root is wrong."""
    probed = list(split.read(split.rows[:: -(-len(split.rows) // PROBED_ROWS)]))
    paths = [(row, row.tar or os.path.join(split.audio_root, row.audio)) for row in probed]
    missing = [row for row, path in paths if "://" not in path and not os.path.exists(path)]
    if 2 * len(missing) > len(probed):
        row = missing[0]
        raise CliError(
            f"{row.source} line {row.line}: no file {os.path.join(split.audio_root, row.audio)} ({len(missing):,} of "
            f"{len(probed):,} files looked for are missing): set --audio_root to the folder that '{row.audio}' is in"
        )


def _build_splits(splits: list[Split], options: ShardOptions) -> int:
    """Builds the shards that are ours; with all of them, makes the folders whole. Returns how many rows they have."""
    part = part_file(options.out, options.part, options.parts) if options.parts > 1 else None
    plans = [split.plan() for split in splits]
    rows = sum(len(share) for split in splits for share in _shares(split, options))
    tasks = (task for split, plan in zip(splits, plans, strict=True) for task in _tasks(split, plan, options))
    with only_writer(options.out, part.stem if part else ""):
        for split in splits:
            split.folder.mkdir(parents=True, exist_ok=True)
            (split.folder / DATASET_FILE).unlink(missing_ok=True)  # from here on the folder is not whole
        do_tasks(tasks, rows, options.workers, options.max_rejected, options.out, plans)
        if part:
            write_json(part, plans)
        else:
            assemble(options.out, plans)
    return rows


def do_tasks(
    tasks: Iterable[Task], rows: int, workers: int | None, max_rejected: float, out: str, plans: list[Plan]
) -> None:
    """Builds shards in workers, by default one a core; CliError where too much is rejected, or workers keep dying."""
    rejected = Counter[str]()
    with (
        progress(rows, "sharding", "clips") as bar,
        closing(run_tasks(build_shard, tasks, workers or usable_cores(), _on_death, bar)) as built,
    ):
        for rejects in built:
            rejected.update(rejects)
            if rejected.total() > max_rejected * rows:
                break
    if rejected.total() > max_rejected * rows:
        list_rejects(out, plans)
        too_many = f"more than --max_rejected {max_rejected:.4g} of {rows:,} rows were rejected"
        raise CliError(f"{too_many} ({counts(rejected)}): see rejected.jsonl in {out}")


def _shares(split: Split, options: ShardOptions) -> Iterator[range]:
    """The places, in the split's order, of the rows of each shard that is ours."""
    size = options.shard_utterances
    for start in range(options.part * size, len(split.rows), options.parts * size):
        yield range(start, min(start + size, len(split.rows)))


def _tasks(split: Split, plan: Plan, options: ShardOptions) -> Iterator[Task]:
    """Reads the rows of each shard that is ours from the spool when a worker is free for it."""
    order = np.argsort(np.frombuffer(split.order, np.uint64), kind="stable")
    rows = np.frombuffer(split.rows, np.uint64)
    for share in _shares(split, options):
        number, shards = share.start // options.shard_utterances, plan["shards"]
        yield Task(
            path=str(split.folder / shards[number]),
            split=plan["name"],
            rows=tuple(split.read(rows[order[share.start : share.stop]].tolist())),
            audio_root=split.audio_root,
            rules=split.rules,
            codec=plan["options"]["codec"],
            stop=options.on_error == "stop",
            refused=tuple(split.read(split.refused[number :: len(shards)])),
        )


def _on_death(task: Task, number: int, exit_code: int) -> Task:
    """The shard again; a row over which workers keep dying is rejected then, or ends the build."""
    row, deaths = task.rows[number], (*task.deaths, number)
    named = f"{row.source} line {row.line} ({row.audio}): the worker process died over it (exit code {exit_code})"
    if task.stop and deaths.count(number) >= DEATHS_TO_BLAME:
        raise CliError(f"{named}, again when it was tried again: remove the row, or give --on_error quarantine")
    if len(deaths) > MAX_DEATHS:
        raise CliError(f"{named}, and over {MAX_DEATHS} rows before: is memory short? try fewer --workers")
    return replace(task, deaths=deaths)
