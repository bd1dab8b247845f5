"""Rows to splits that share no sentence or no speaker; which rows to take; and the proof of both."""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asrscale.batching import hash_keys
from asrscale.errors import CliError
from asrscale.sources import Row
from asrscale.text import normalise

_COMPARE = dict(Eq=operator.eq, NotEq=operator.ne, Lt=operator.lt, LtE=operator.le, Gt=operator.gt, GtE=operator.ge)


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


def deal(read: Callable[[], tuple[Iterator[Row], str]], rules: SplitRules) -> Iterator[tuple[Row, str]]:
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
        if split != "train" and _fulfils(condition, row):
            owners[sentence] = min(split, owners.get(sentence, split))  # test before valid
    for row in read()[0]:
        split = split_of(row, by, rules)
        unseen -= row.extra.keys()
        if not _fulfils(condition, row):
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


def choose_hours(seconds: NDArray[np.float64], hours: float, seed: int) -> NDArray[np.bool_]:
    """(N,) which clips of these lengths to take for so many hours, spread over all lengths; more hours only add clips.

    Sorted by length, clips are taken in the order of a van der Corput sequence, which fills any range evenly.
    """
    count = len(seconds)
    by_length = np.lexsort((hash_keys(count, seed), seconds))
    ranks = np.arange(count) ^ int(hash_keys(1, seed)[0]) % (1 << count.bit_length())
    turns = [int(f"{rank:064b}"[::-1], 2) for rank in ranks.tolist()]
    taken = by_length[np.argsort(turns)]
    return np.isin(np.arange(count), taken[np.cumsum(seconds[taken]) <= hours * 3600])


def random_split_leak(clips: NDArray[np.integer[Any]], valid_fraction: float = 0.3) -> float:
    """The share of validation clips whose sentence is in train, as expected of a random split of the clips.

    `clips` says how many each sentence has. 70 to 30 is the split of the notebook that this project began with.
    """
    return float((clips * (1 - valid_fraction ** (clips - 1.0))).sum() / clips.sum())


def _fulfils(condition: ast.expr, row: Row) -> bool:
    try:
        return bool(_value(condition, {"text": row.text, **row.extra}))
    except (ValueError, TypeError, KeyError) as error:  # KeyError: `is`
        raise CliError(f"{row.source} line {row.line}: --filter: {error}: correct the row or the filter") from error


def _value(node: ast.expr, columns: Mapping[str, str]) -> Any:
    """What an expression is for a row; always the whole of it, so that the first row tells what is not known."""
    match node:
        case ast.Constant(value=str() | int() | float()):
            return node.value
        case ast.Name():
            return columns.get(node.id, "")
        case ast.Tuple() | ast.List():
            return [_value(item, columns) for item in node.elts]
        case ast.UnaryOp(op=ast.Not()):
            return not _value(node.operand, columns)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.BoolOp():
            return (all if isinstance(node.op, ast.And) else any)([_value(part, columns) for part in node.values])
        case ast.Compare():
            values = [_value(part, columns) for part in (node.left, *node.comparators)]
            return all(_compare(*pair) for pair in zip(node.ops, values, values[1:], strict=False))
    raise ValueError(f"'{ast.unparse(node)}' is not known")


def _compare(comparison: ast.cmpop, left: Any, right: Any) -> bool:
    if isinstance(comparison, ast.In | ast.NotIn):
        inside = left in right if isinstance(right, str) else any(_compare(ast.Eq(), left, item) for item in right)
        return inside == isinstance(comparison, ast.In)
    compare = _COMPARE[type(comparison).__name__]
    try:
        return bool(compare(float(left), float(right)))
    except ValueError:
        if isinstance(left, str) and isinstance(right, str):
            return bool(compare(left, right))
        if "" in (left, right):
            return isinstance(comparison, ast.NotEq)
        raise
