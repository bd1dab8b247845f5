"""The plan of a split: which shards its data set folder will have, and what dataset.json will record of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SplitPlan:
    """A data set folder to be made; as JSON it is also what a part of an array job leaves for `merge`.

    Names and order of the fields are those of the JSON: array jobs of older versions are merged.

    Attributes:
        name: The folder's name below --out, which is the split's.
        source: The file or folder that its rows come from, for dataset.json.
        options: What its bytes depend on, for dataset.json.
        shards: File names of all its shards, in their order.
    """

    name: str
    source: str
    options: dict[str, Any]
    shards: tuple[str, ...]

    def folder(self, out: str) -> Path:
        """The data set folder, for the --out of the build."""
        return Path(out, self.name)

    def shard_paths(self, out: str) -> list[Path]:
        """The shards, for the --out of the build."""
        return [Path(out, self.name, shard) for shard in self.shards]


def plans_to_json(plans: Sequence[SplitPlan]) -> list[dict[str, Any]]:
    """Returns plans as values that JSON can hold."""
    return [{**vars(plan), "shards": list(plan.shards)} for plan in plans]


def plans_from_json(values: Sequence[dict[str, Any]]) -> list[SplitPlan]:
    """Returns the plans that `plans_to_json` made these values of."""
    return [SplitPlan(**{**value, "shards": tuple(value["shards"])}) for value in values]
