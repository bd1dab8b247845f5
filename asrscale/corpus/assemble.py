"""Finished shards to whole data set folders: the list of rejects, the index, dataset.json; parts of an array job."""

import errno
import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from asrscale.common.atomic_files import read_jsonl, write_json, write_jsonl
from asrscale.common.errors import CliError
from asrscale.corpus.shard_file import Part, read_part
from asrscale.data.catalog import DATASET_FILE, INDEX_FILE, SCHEMA_VERSION
from asrscale.data.index import write_index
from asrscale.speech.normalisation import NORMALISATION_STEPS
from asrscale.speech.pcm import SAMPLE_RATE_HZ

REJECTED_FILE = "rejected.jsonl"


# A split to be, as JSON: `name` of its folder, `source` and `options` for dataset.json, `shards` by file name.
Plan: TypeAlias = dict[str, Any]


@contextmanager
def disk_errors_as_cli_errors(flag: str, folder: str) -> Iterator[None]:
    """Makes a CliError that names `flag` and place of an OSError within, such as a full disk."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        cure = "free some room and run it again" if full else "give a folder that can be written to"
        raise CliError(f"{flag} {error.filename or folder}: {error.strerror or error}: {cure}") from error


@contextmanager
def only_writer(out: str, part: str = "") -> Iterator[None]:
    """Makes the folder `out`; CliError where another build (of the same part) or the disk does not let us write."""
    with disk_errors_as_cli_errors("--out", out):
        os.makedirs(out, exist_ok=True)
        with open(Path(out, f".lock{part}"), "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # falls with the process
            except BlockingIOError:
                raise CliError(f"another build is writing to {out}: wait for it, or give another --out") from None
            yield


def part_file(out: str, part: int, parts: int) -> Path:
    """What says that every shard of task `part` of an array job is there."""
    return Path(out, f"part-{part:05d}-of-{parts:05d}.json")


def merge(out: str) -> list[str]:
    """Makes whole the folders whose shards the parts of an array job have built, like a single build, byte for byte.

    Raises:
        CliError: A part is missing, or was built with other options than another.
    """
    finished = {str(path) for path in Path(out).glob("part-*-of-*.json")}
    parts = int(max(finished, default=str(part_file(out, 0, 1)))[-10:-5])
    wanted = [part_file(out, part, parts) for part in range(parts)]
    if missing := [path.stem for path in wanted if str(path) not in finished]:
        cure = f"build every part with --out {out} --part I --parts N"
        raise CliError(f"{out}: no {', '.join(missing[:9])}: {cure}")
    with only_writer(out):
        plans: list[Plan] = json.loads(wanted[0].read_bytes())
        for path in wanted:
            if json.loads(path.read_bytes()) != plans:
                raise CliError(f"{path}: built with other options or input than part 0: build this part again")
        assemble(out, plans)
        for name in finished:
            Path(name).unlink()
    return [os.path.join(out, plan["name"]) for plan in plans]


def assemble(out: str, plans: list[Plan]) -> None:
    """Makes folders whole whose shards are there, each with its `Part` beside it; removes what other builds left there.

    Raises:
        CliError: A shard is not there, or every row of a split was rejected.
    """
    list_rejects(out, plans)
    for plan in plans:
        _make_whole(Path(out, plan["name"]), plan)
    for plan in plans:  # last: until all are whole, each `Part` is needed
        folder = Path(out, plan["name"])
        shards = [folder / name for name in plan["shards"]]
        others = {*folder.glob(f"{plan['name']}-[0-9]*.tar*"), *(Path(f"{shard}.part") for shard in shards)}
        for path in others - {*shards}:
            path.unlink(missing_ok=True)


def list_rejects(out: str, plans: list[Plan]) -> None:
    """Writes the rejects of the shards that are there; those of other splits in the same folder stay."""
    path, names = Path(out, REJECTED_FILE), {plan["name"] for plan in plans}
    before = read_jsonl(path) if path.exists() else []
    rejects = [reject for reject in before if reject["split"] not in names]
    for plan in plans:
        for part in _stored_parts(Path(out, plan["name"]), plan, missing_ok=True):
            rejects += part["rejects"] + part["refused"]
    write_jsonl(path, sorted(rejects, key=lambda reject: (reject["split"], reject["line"])))


def _stored_parts(folder: Path, plan: Plan, *, missing_ok: bool = False) -> Iterator[Part]:
    """What lies beside finished shards; one after another, since all of them may be more than memory holds."""
    for name in plan["shards"]:
        part = read_part(str(folder / name))
        if part is not None:
            yield part
        elif not missing_ok:
            raise CliError(f"{folder / name}: the shard is missing or damaged: build it again")


def _make_whole(folder: Path, plan: Plan) -> None:
    """Writes index.parquet, then dataset.json, which makes the folder whole."""
    shards: list[dict[str, Any]] = []
    characters: Counter[str] = Counter()
    rejected: Counter[str] = Counter()

    def utterances_by_shard() -> Iterator[list[dict[str, Any]]]:
        for part in _stored_parts(folder, plan):
            shards.append(part["shard"])
            rejected.update(reject["reason"] for reject in part["rejects"] + part["refused"])
            for utterance in part["utterances"]:
                characters.update(utterance["text"])
            yield part["utterances"]

    write_index(folder / INDEX_FILE, utterances_by_shard())
    utterances = sum(shard["utterances"] for shard in shards)
    if not utterances:
        every = f"every row of {plan['source']} for {folder.name} was rejected ({counts(rejected)})"
        raise CliError(f"{every}: see {folder.parent / REJECTED_FILE}")
    dataset = {
        "schema_version": SCHEMA_VERSION,
        "source": plan["source"],
        "options": plan["options"],
        "normalisation": NORMALISATION_STEPS,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "rows": utterances + rejected.total(),
        "utterances": utterances,
        "hours": sum(shard["samples"] for shard in shards) / SAMPLE_RATE_HZ / 3600,
        "rejected": dict(sorted(rejected.items())),
        "characters": dict(sorted(characters.items())),
        "shards": shards,
    }
    write_json(folder / DATASET_FILE, dataset)


def counts(rejected: Mapping[str, int]) -> str:
    """Reasons and how often, for people."""
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(rejected.items()))
