"""Mistakes in the lines of a source: all of a kind are counted before the source is refused."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from asrscale.common.errors import CliError

Item = TypeVar("Item")

NAMED_LINES = 5  # of a kind of mistake, besides the first


class LineError(CliError):
    """A line of a source that cannot be used: `SOURCE line LINE: PROBLEM: CURE`."""

    def __init__(self, source: str, line: int, problem: str, cure: str) -> None:
        super().__init__(f"{source} line {line}: {problem}: {cure}")
        self.line = line
        self.cure = cure  # which mistakes of a kind have in common


def refuse_all_mistakes(items: Iterable[Item | LineError]) -> Iterator[Item]:
    """Yields items up to the first mistake; reads on to count the others, and then raises.

    Raises:
        CliError: There is a mistake. Names the first, how many more are of its kind and where, and how many of others.
    """
    first: LineError | None = None
    lines_of_kind: list[int] = []
    others = 0
    for item in items:
        if not isinstance(item, LineError):
            if first is None:
                yield item
        elif first is None:
            first = item
        elif item.cure == first.cure:
            lines_of_kind.append(item.line)
        else:
            others += 1
    if first is not None:
        raise CliError(f"{first}{_and_others(lines_of_kind, others)}") from first


def _and_others(lines: list[int], others: int) -> str:
    """Returns what a message says about the mistakes after the first: of its kind on `lines`, and of other kinds."""
    counts: list[str] = []
    if lines:
        named = ", ".join(str(line) for line in lines[:NAMED_LINES])
        dots = ", …" if len(lines) > NAMED_LINES else ""
        word = "line" if len(lines) == 1 else "lines"
        counts.append(f"{len(lines):,} more {word} of this kind: {named}{dots}")
    if others:
        counts.append(f"{others:,} with other mistakes")
    return f" ({'; '.join(counts)})" if counts else ""
