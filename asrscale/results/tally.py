"""The errors of every utterance as arrays: of a model's own text, and of what is counted beside it.

Shapes: N utterances of the index. A column is one way to count the errors: of the model's own text, of it after another
normaliser, or of another model's text.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from asrscale.data.source_columns import UNKNOWN
from asrscale.results.grouping import GROUPINGS
from asrscale.results.intervals import NO_SPEAKER
from asrscale.results.metrics import Amounts, Metric

Rows: TypeAlias = NDArray[np.bool_]  # (N,) which utterances

# Columns; all others are named by the files of other evaluations, whose names have no NUL.
OWN = "\0own"
ENGLISH = "\0english"

NOT_COUNTED = -1


@dataclass(frozen=True)
class Compared:
    """An utterance whose reference was compared with one or several hypotheses.

    Attributes:
        key: Its name.
        reference: Normalised, as the hypotheses.
        hypotheses: By columns.
        amounts: By columns; without those in which the utterance is not counted.
    """

    key: str
    reference: str
    hypotheses: Mapping[str, str]
    amounts: Mapping[str, Amounts]

    def change(self, column: str, metric: Metric) -> int:
        """Returns how many edits more the model's own text has than that of a column."""
        if column not in self.amounts:
            return 0
        return self.amounts[OWN].edits(metric) - self.amounts[column].edits(metric)


@dataclass(eq=False)
class Tally:
    """What is kept of every utterance: 16 bytes for each column, and its group in each of eight groupings, 32 bytes.

    The arrays are as long as the index, and are filled from the front; `count` utterances are in.
    """

    amounts: dict[str, NDArray[np.int32]]  # for each column (N, 4) in the order of `Amounts`, or NOT_COUNTED
    members: dict[str, NDArray[np.int32]]  # for each grouping (N,) the number of the utterance's group
    groups: dict[str, dict[str, int]]  # for each grouping the numbers of its groups
    count: int = 0

    def add(self, compared: Sequence[Compared], values: Mapping[str, Sequence[str]]) -> None:
        """Adds utterances; `values` are their groups in each grouping, of which new ones get the next number."""
        rows = slice(self.count, self.count + len(compared))
        nothing = (NOT_COUNTED,) * len(Amounts._fields)
        for column, amounts in self.amounts.items():
            amounts[rows] = [one.amounts.get(column, nothing) for one in compared]
        for name, groups in self.groups.items():
            self.members[name][rows] = [groups.setdefault(value, len(groups)) for value in values[name]]
        self.count += len(compared)

    def has(self, *columns: str) -> Rows:
        """Returns which utterances are counted in all of these columns."""
        rows: Rows = np.ones(self.count, np.bool_)
        for column in columns:
            rows &= self.amounts[column][: self.count, 0] != NOT_COUNTED
        return rows

    def take(self, column: str, rows: Rows) -> NDArray[np.int32]:
        """Returns the amounts of some utterances in a column, (rows, 4)."""
        return self.amounts[column][: self.count][rows]

    def speakers(self, rows: Rows) -> NDArray[np.int32]:
        """Returns the speakers of some utterances, (rows,)."""
        return self.members["speaker"][: self.count][rows]

    def by_group(self, rows: Rows, describe: Callable[[Rows], dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Returns what `describe` says of the part of `rows` in each group, where a grouping has several groups."""
        found: dict[str, dict[str, Any]] = {}
        for name, groups in self.groups.items():
            members = self.members[name][: self.count]
            if len(np.unique(members[rows])) < 2:
                continue
            found[name] = {}
            for value, number in sorted(groups.items()):
                of_group = rows & (members == number)
                if of_group.any():  # the unknown speaker may have none
                    found[name][value] = describe(of_group)
        return found


def new_tally(size: int, columns: Iterable[str]) -> Tally:
    """Returns a tally for `size` utterances."""
    groups: dict[str, dict[str, int]] = {name: {} for name in GROUPINGS}
    groups["speaker"][UNKNOWN] = NO_SPEAKER
    return Tally(
        amounts={column: np.zeros((size, len(Amounts._fields)), np.int32) for column in columns},
        members={name: np.zeros(size, np.int32) for name in GROUPINGS},
        groups=groups,
    )
