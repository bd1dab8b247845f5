"""Rows that are in no shard: the lines of rejected.jsonl."""

from collections.abc import Mapping
from dataclasses import dataclass

from asrscale.common.addresses import clean_value
from asrscale.sources.rows import Row

REJECTED_FILE = "rejected.jsonl"


@dataclass(frozen=True)
class Reject:
    """A line of rejected.jsonl; its fields are the members of the JSON object, in this order."""

    split: str
    source: str
    line: int
    audio: str
    text: str
    reason: str
    detail: str


def reject_row(split: str, row: Row, why: str) -> Reject:
    """Returns the line for a row that is left out, without secrets of addresses.

    Args:
        split: Name of the split that the row belongs to.
        row: The row.
        why: `reason: detail`, as in the message of an AudioError; only reasons are counted.
    """
    reason, _, detail = why.partition(": ")
    return Reject(
        split=split,
        source=clean_value(row.source),
        line=row.line,
        audio=clean_value(row.audio),
        text=clean_value(row.text),
        reason=reason,
        detail=clean_value(detail),
    )


def format_counts(counts: Mapping[str, int]) -> str:
    """Returns reasons and how often each occurs, as in `silent 2, too short 1,024`."""
    return ", ".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
