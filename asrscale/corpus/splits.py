"""Decides the split of each row, so that no two splits share a sentence or a speaker, and the rows that are used."""

import ast
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b

from asrscale.common.errors import CliError
from asrscale.corpus.row_filter import filter_columns, parse_filter, row_matches
from asrscale.sources.line_errors import LineError, refuse_all_mistakes
from asrscale.sources.rows import Row
from asrscale.speech.normalisation import NEUTRAL, TextRules, normalise

# What no two splits share, where the split of a row is drawn.
DRAWN_BY = ("sentence", "speaker", "both")


@dataclass(frozen=True)
class SplitRules:
    """What decides the split of a row.

    Attributes:
        by: What no two splits share: `sentence`, `speaker`, or `both` (drawn by speaker; where a sentence is read in
            several splits, only its clips in test stay, or else those in valid). `=NAME` puts all rows into that split.
            Any other word is the column that names the split. None is `speaker` where every row has one and no split
            is empty for that, else `sentence`.
        valid_fraction: Share of the sentences or speakers that valid gets; its share of the rows is nearly the same.
        test_fraction: Likewise for test.
        seed: Decides which sentences or speakers these are.
        filter: What rows have to fulfil, such as `up_votes>=2 and down_votes==0`; see `row_filter`.
        text: How transcripts are normalised: those that are then equal are the same sentence.
    """

    by: str | None
    valid_fraction: float
    test_fraction: float
    seed: int
    filter: str | None = None
    text: TextRules = NEUTRAL


def assign_splits(read_rows: Callable[[], Iterable[Row]], rules: SplitRules) -> Iterator[tuple[Row, str]]:
    """Yields the rows in their order, each with its split.

    The `refused` of a row is filled in where the row is to be left out. The split depends on the row's sentence or
    speaker and the rules alone, so that adding data moves no clip from one split to another.

    Args:
        read_rows: Returns all rows of a source from the first on; called up to three times, so that no row needs to be
            kept in memory.
        rules: What decides.

    Raises:
        CliError: A row has no speaker or no usable split, or the filter is wrong or names a column that no row fills.
    """
    condition = parse_filter(rules.filter)
    by = rules.by or _default_grouping(read_rows(), condition, rules)
    owners: dict[str, str] = {}
    if by == "both":
        owners = _owners_of_held_out_sentences(read_rows(), condition, rules)

    missing_columns = filter_columns(condition)
    for row, split in refuse_all_mistakes(_rows_with_split(read_rows(), by, rules)):
        missing_columns -= row.extra.keys()
        why_refused = _why_refused(row, split, condition, owners, rules)
        yield (replace(row, refused=why_refused) if why_refused else row), split

    if missing_columns:
        column = min(missing_columns)
        raise CliError(f"--filter '{rules.filter}': no row has a value in column '{column}': name one that has")


def wanted_splits(rules: SplitRules) -> set[str]:
    """Returns the splits that must not be empty where they are drawn."""
    wanted = {"train"}
    if rules.valid_fraction:
        wanted.add("valid")
    if rules.test_fraction:
        wanted.add("test")
    return wanted


def _default_grouping(rows: Iterable[Row], condition: ast.expr, rules: SplitRules) -> str:
    """Returns `speaker` where every row has one and each split gets one, else `sentence`.

    Prints so where there are speakers, but too few of them.
    """
    splits: dict[str, str] = {}  # by speaker
    for row in rows:
        if row.unusable:
            continue
        if not row.speaker:
            return "sentence"
        if row.speaker not in splits and row_matches(condition, row):
            splits[row.speaker] = _draw_split(row.speaker, rules)

    empty = wanted_splits(rules) - set(splits.values())
    if splits and empty:
        speakers = "speaker" if len(splits) == 1 else "speakers"
        print(
            f"split by sentence: by speaker, {len(splits):,} {speakers} would leave none for {min(empty)}",
            file=sys.stderr,
        )
        return "sentence"
    return "speaker"


def _rows_with_split(rows: Iterable[Row], by: str, rules: SplitRules) -> Iterator[tuple[Row, str] | LineError]:
    """Yields each row with its split, or its mistake."""
    for row in rows:
        try:
            yield row, split_of(row, by, rules)
        except LineError as error:
            yield error


def _owners_of_held_out_sentences(rows: Iterable[Row], condition: ast.expr, rules: SplitRules) -> dict[str, str]:
    """Returns the one split that keeps each sentence that is held out: test before valid."""
    owners: dict[str, str] = {}
    for row in rows:
        if row.unusable or not row.speaker or not row_matches(condition, row):
            continue  # rows without a speaker are refused later, all of them together
        split = split_of(row, "both", rules)
        if split == "train":
            continue
        sentence = normalise(row.text, rules.text)
        if owners.get(sentence) != "test":
            owners[sentence] = split
    return owners


def _why_refused(row: Row, split: str, condition: ast.expr, owners: Mapping[str, str], rules: SplitRules) -> str:
    """Returns why the row is left out, as `reason: detail` for rejected.jsonl; empty for a row that is used.

    One that is unusable will be rejected with its own reason.
    """
    if row.unusable:
        return ""
    if not row_matches(condition, row):
        return f"filtered: {rules.filter}"
    if owners:
        owner = owners.get(normalise(row.text, rules.text), split)
        if owner != split:
            return f"sentence held out: it is in {owner}, its speaker in {split}"
    return ""


def split_of(row: Row, by: str, rules: SplitRules) -> str:
    """Returns the split of a row; `by` is as in `SplitRules`, which explains it, but not None.

    Raises:
        LineError: The row has no speaker, or its column holds no name of a split.
    """
    if by.startswith("="):
        return by.removeprefix("=")
    if by == "sentence" and not rules.valid_fraction and not rules.test_fraction:
        return "train"  # to normalise each transcript for this would be 2 % of a build
    if by in DRAWN_BY:
        return _draw_split(_group_of(row, by, rules.text), rules)
    return _split_in_column(row, by)


def _group_of(row: Row, by: str, text: TextRules) -> str:
    """Returns what may not be in two splits: the row's normalised sentence, or its speaker."""
    if by == "sentence":
        return normalise(row.text, text)
    if row.speaker is None and row.unusable:
        return ""
    if row.speaker is None:
        raise LineError(row.source, row.line, "has no speaker", "complete the row, or --split_by sentence")
    return row.speaker


def _draw_split(group: str, rules: SplitRules) -> str:
    """Returns the split that a hash of the group draws.

    Valid has the lowest hashes and test the highest, so that a larger fraction of either only adds groups to it.
    """
    digest = blake2b(f"{rules.seed} {group}".encode(), digest_size=8).digest()
    draw = int.from_bytes(digest, "little")  # even over 0 … 2^64 - 1
    end_of_valid = int(rules.valid_fraction * 2**64)
    start_of_test = int((1 - rules.test_fraction) * 2**64)
    if draw < end_of_valid:
        return "valid"
    return "test" if draw >= start_of_test else "train"


def _split_in_column(row: Row, column: str) -> str:
    """Returns the split that the row names itself, which will name a folder."""
    name = row.extra.get(column, "")
    if not re.fullmatch(r"[a-z0-9_-]{1,64}", name):
        cure = "give sentence, speaker, both or a column of names such as train and valid"
        raise LineError(row.source, row.line, f"'{name}' in column '{column}' is no name of a split", cure)
    return name
