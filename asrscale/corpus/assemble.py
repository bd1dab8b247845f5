"""Finished shards to data set folders: the list of rejects, the index, and dataset.json, which completes a folder."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asrscale.common.atomic_files import read_jsonl, write_json, write_jsonl
from asrscale.common.errors import CliError
from asrscale.corpus.rejects import REJECTED_FILE, format_counts
from asrscale.corpus.shard_inputs import join_inputs
from asrscale.corpus.shard_record import ShardEntry, ShardRecord, read_record, record_path
from asrscale.corpus.split_plan import SplitPlan
from asrscale.data.catalog import DATASET_FILE, INDEX_FILE, SCHEMA_VERSION
from asrscale.data.index import write_index
from asrscale.speech.normalisation import TextRules, labels_in, rules_in, steps_of
from asrscale.speech.pcm import SAMPLE_RATE_HZ


def assemble(out: str, plans: Sequence[SplitPlan]) -> None:
    """Completes the folders of a build whose shards are finished, and removes what other builds left in them.

    Raises:
        CliError: A shard is missing, or every row of a split was rejected.
    """
    list_rejects(out, plans)
    for plan in plans:
        _complete_folder(out, plan)
    for plan in plans:  # last: until all folders are complete, each record is needed
        _remove_leftovers(out, plan)


def list_rejects(out: str, plans: Sequence[SplitPlan]) -> None:
    """Writes rejected.jsonl for the shards that are finished; its lines for splits that are not in `plans` stay."""
    path = Path(out, REJECTED_FILE)
    names = {plan.name for plan in plans}
    before = read_jsonl(path) if path.exists() else []
    lines = [line for line in before if line["split"] not in names]
    for plan in plans:
        for record in _finished_shards(out, plan):
            lines += [vars(reject) for reject in record.left_out]
    lines.sort(key=lambda line: (line["split"], line["line"]))
    write_jsonl(path, lines)


def _finished_shards(out: str, plan: SplitPlan) -> Iterator[ShardRecord]:
    """Yields the records of those shards that are finished, one at a time: all may be more than memory holds."""
    for path in plan.shard_paths(out):
        record = read_record(path)
        if record is not None:
            yield record


def _all_shards(out: str, plan: SplitPlan) -> Iterator[ShardRecord]:
    """Yields the record of each shard, one at a time; raises CliError where a shard is not finished."""
    for path in plan.shard_paths(out):
        record = read_record(path)
        if record is None:
            raise CliError(f"{path}: the shard is missing or damaged: build it again")
        yield record


@dataclass(frozen=True)
class FolderTotals:
    """Sums over the shards of a folder.

    Attributes:
        text: How its transcripts are normalised.
        shards: Their entries in dataset.json.
        characters: How often each occurs in the transcripts; with `--text characters` labels such as phones.
        rejected: How many rows are left out, by reason.
        markup: How often each annotation, tag and HTML entity was in the transcripts of the source.
        symbols: How often each symbol, such as %, was in these and is left out.
    """

    text: TextRules
    shards: list[ShardEntry] = field(default_factory=list)
    characters: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    markup: Counter[str] = field(default_factory=Counter)
    symbols: Counter[str] = field(default_factory=Counter)

    def add(self, record: ShardRecord) -> None:
        """Adds a shard."""
        self.shards.append(record.shard)
        self.rejected.update(reject.reason for reject in record.left_out)
        self.markup.update(record.markup)
        self.symbols.update(record.symbols)
        for utterance in record.utterances:
            self.characters.update(labels_in(utterance.text, self.text))

    @property
    def utterances(self) -> int:
        """How many utterances the shards hold."""
        return sum(shard.utterances for shard in self.shards)

    @property
    def hours(self) -> float:
        """How much audio the shards hold."""
        return sum(shard.samples for shard in self.shards) / SAMPLE_RATE_HZ / 3600


def _complete_folder(out: str, plan: SplitPlan) -> None:
    """Writes index.parquet, then dataset.json, with which the folder is complete."""
    folder = plan.folder(out)
    join_inputs(out, plan.name, plan.shard_paths(out))
    totals = FolderTotals(rules_in(plan.options))
    write_index(folder / INDEX_FILE, _index_rows(out, plan, totals))
    if not totals.utterances:
        (folder / INDEX_FILE).unlink()
        every_row = f"every row of {plan.source} for {folder.name} was rejected ({format_counts(totals.rejected)})"
        raise CliError(f"{every_row}: see {folder.parent / REJECTED_FILE}")
    write_json(folder / DATASET_FILE, _dataset(plan, totals))


def _index_rows(out: str, plan: SplitPlan, totals: FolderTotals) -> Iterator[list[dict[str, Any]]]:
    """Yields the rows of index.parquet, a list for each shard, and adds the shards to `totals` on the way."""
    for record in _all_shards(out, plan):
        totals.add(record)
        yield [vars(utterance) for utterance in record.utterances]


def _dataset(plan: SplitPlan, totals: FolderTotals) -> dict[str, Any]:
    """Returns the content of dataset.json."""
    return {
        "schema_version": SCHEMA_VERSION,
        "source": plan.source,
        "options": plan.options,
        "text": totals.text.to_json(),
        "normalisation": list(steps_of(totals.text)),
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "rows": totals.utterances + totals.rejected.total(),
        "utterances": totals.utterances,
        "hours": totals.hours,
        "rejected": dict(sorted(totals.rejected.items())),
        "characters": dict(sorted(totals.characters.items())),
        "markup": dict(totals.markup.most_common()),
        "symbols": dict(totals.symbols.most_common()),
        "shards": [vars(shard) for shard in totals.shards],
    }


def remove_records(out: str, plan: SplitPlan) -> None:
    """Removes what is recorded of a folder's shards, with which an interrupted build would go on."""
    for shard in plan.shard_paths(out):
        record_path(shard).unlink(missing_ok=True)


def _remove_leftovers(out: str, plan: SplitPlan) -> None:
    """Removes the records of a folder's shards, and all shards and unfinished files that are not of this build."""
    shards = plan.shard_paths(out)
    records = {record_path(shard) for shard in shards}
    named_like_shards = set(plan.folder(out).glob(f"{plan.name}-[0-9]*.tar*"))
    for path in (named_like_shards | records) - set(shards):
        path.unlink(missing_ok=True)
