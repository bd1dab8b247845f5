"""Rows to splits that share no sentence or no speaker; which rows to take; and the proof of both."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b

from asrscale.common.errors import CliError
from asrscale.corpus.row_filter import row_matches
from asrscale.corpus.rows import Row
from asrscale.speech.normalisation import normalise


@dataclass(frozen=True)
class SplitRules:
    """What decides the split of a row.

    Attributes:
        by: What no two splits share: `sentence`, `speaker`, or `both` (by speaker; where a sentence is read in several
            splits, only its clips in test stay, or else those in valid). `=NAME` puts all into that split. Any other
            word is the column that names the split. None is `speaker` where every row has one, else `sentence`.
        valid_fraction: Share of the groups for valid; of the rows nearly so. `test_fraction` likewise.
        seed: Decides which groups.
        filter: What rows have to fulfil, such as `up_votes>=2 and down_votes==0`. Nothing of it is executed. It knows
            columns by their names, the transcript as `text`, numbers, strings, lists, comparisons, `in`, `and`, `or`,
            `not`. What both sides spell as numbers is compared as numbers. An empty cell equals "", and no number.
    """

    by: str | None
    valid_fraction: float
    test_fraction: float
    seed: int
    filter: str | None = None


def assign_splits(read: Callable[[], tuple[Iterator[Row], str]], rules: SplitRules) -> Iterator[tuple[Row, str]]:
    """The rows in their order, each with its split; `refused` says of some why they are to be left out.

    The split depends on the row's group and the rules alone: adding data moves no clip from one to another. `read`
    gives the rows, from the first, as `read_source` does; it is called up to three times.

    Raises:
        CliError: A row has no group or no usable split, or the filter is wrong or names a column that no row fills.
    """
    by = rules.by or ("speaker" if all(row.speaker for row in read()[0]) else "sentence")
    try:
        condition = ast.parse((rules.filter or "1").strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CliError(f"--filter '{rules.filter}': {error}: write it as 'up_votes>=2 and down_votes==0'") from error
    unseen = {node.id for node in ast.walk(condition) if isinstance(node, ast.Name)} - {"text"}
    owners: dict[str, str] = {}  # of the sentences that are held out
    for row in read()[0] if by == "both" else ():
        split, sentence = split_of(row, by, rules), normalise(row.text)
        if split != "train" and row_matches(condition, row):
            owners[sentence] = min(split, owners.get(sentence, split))  # test before valid
    for row in read()[0]:
        split = split_of(row, by, rules)
        unseen -= row.extra.keys()
        if not row_matches(condition, row):
            row = replace(row, refused=f"filtered: {rules.filter}")
        elif owners and (owner := owners.get(normalise(row.text), split)) != split:
            row = replace(row, refused=f"sentence held out: it is in {owner}, its speaker in {split}")
        yield row, split
    if unseen:
        raise CliError(f"--filter '{rules.filter}': no row has a value in column '{min(unseen)}': name one that has")


def split_of(row: Row, by: str, rules: SplitRules) -> str:
    """The split of a row; see `SplitRules`."""
    if by.startswith("="):
        return by[1:]
    if by not in ("sentence", "speaker", "both"):
        if not re.fullmatch(r"[a-z0-9_-]{1,64}", name := row.extra.get(by, "")):
            cure = "give sentence, speaker, both or a column of names such as train and valid"
            raise CliError(f"{row.source} line {row.line}: '{name}' in column '{by}' is no name of a split: {cure}")
        return name
    if (group := normalise(row.text) if by == "sentence" else row.speaker) is None:
        raise CliError(f"{row.source} line {row.line}: has no speaker: complete the row, or --split_by sentence")
    draw = int.from_bytes(blake2b(f"{rules.seed} {group}".encode(), digest_size=8).digest(), "little")
    if draw < int(rules.valid_fraction * 2**64):
        return "valid"
    return "test" if draw >= int((1 - rules.test_fraction) * 2**64) else "train"
