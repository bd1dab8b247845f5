"""The choices of the planner as lines and columns of text."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from asrscale.memory.choices import CHECKPOINTING, Choice
from asrscale.memory.gpus import GIB


def header(lengths_seconds: Iterable[float]) -> list[str]:
    """Returns the names of the columns of `row`."""
    lengths = [f"{seconds:.3g} s" for seconds in sorted(lengths_seconds)]
    return ["GPU", "configuration", "cap", *lengths, "peak", "step", "× real time"]


def row(way: Choice) -> list[str]:
    """Returns a choice as the cells of a table: what fits, how much memory it takes, how fast it is."""
    every = way.activation_checkpointing
    configuration = Path(way.config).stem
    if every:
        configuration += f", checkpointing {checkpointing_text(every)}"
    if not way.cap_seconds:
        empty_cells = ["-"] * (len(way.utterances) + 3)
        return [way.gpu.name, configuration, "does not fit", *empty_cells]
    peak_gib = sum(way.peak_bytes.values()) / GIB
    return [
        way.gpu.name,
        configuration,
        f"{way.cap_seconds:,} s",
        *(f"{count:,}" for count in way.utterances.values()),
        f"{peak_gib:.1f} GiB",
        f"{way.step_seconds:.2f} s",
        f"{way.audio_seconds_per_second:,.0f}",
    ]


def checkpointing_text(every: int) -> str:
    """Returns words for the layers that recompute their activations, by --activation_checkpointing."""
    return CHECKPOINTING.get(every, f"a layer in {every}")


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows as lines of text with aligned cells: words to the left, numbers to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    # A column holds words where its last cell is one.
    alignments = ["<" if column[-1][:1].isalpha() else ">" for column in columns]
    formats = [f"{alignment}{width}" for alignment, width in zip(alignments, widths, strict=True)]
    lines = ["  ".join(map(format, cells, formats)) for cells in rows]
    return "\n".join(line.rstrip() for line in lines)


def memory_table(title: str, sizes_bytes: Mapping[str, float]) -> str:
    """Returns named sizes in GiB, a line each, under a title."""
    rows = [[f"{size / GIB:.2f}", "GiB", name] for name, size in sizes_bytes.items()]
    return f"{title}\n{aligned(rows)}"
