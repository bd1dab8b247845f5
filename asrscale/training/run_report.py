"""RUN/report.html: curves, settings and samples of what a run recognised, made again at each evaluation and at the end.

It is made of what is on the disk, metrics.jsonl and eval/, so a run that goes on has all of it in its page.
"""

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asrscale.common import html
from asrscale.common.atomic_files import read_jsonl, write_text
from asrscale.common.html import Block, Part, Point
from asrscale.common.html_chart import chart
from asrscale.memory.gpus import GIB
from asrscale.results.metrics import Metric, aligned_pieces, both_metrics
from asrscale.training.checkpoint import RunState
from asrscale.training.config import by_section
from asrscale.training.metrics_plot import read_metrics
from asrscale.training.milestones import Milestone, milestones
from asrscale.training.run_context import RunContext

REPORT_FILE = "report.html"
SAMPLES = 6  # utterances that are shown
SAMPLED_EVALUATIONS = 8  # of which each sample shows the text
MAX_LINES = 4  # of a plot of data sets: of as many colours

Rows = Sequence[Mapping[str, Any]]


def write_report(context: RunContext, state: RunState, final: Mapping[str, float | None] | None = None) -> None:
    """Writes the page of a run up to `state`, on the main rank; where that fails, a warning is printed.

    Args:
        context: Of the run.
        state: After an evaluation.
        final: What is logged of the exported model, at the end of the run.
    """
    if not context.world.is_main:
        return
    path = context.folder / REPORT_FILE
    try:
        write_text(path, report(context, state, final))
    except Exception as error:  # a page is never worth a run
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        print(f"warning: {path} cannot be written ({reason}); the run goes on", file=sys.stderr, flush=True)


def report(context: RunContext, state: RunState, final: Mapping[str, float | None] | None = None) -> str:
    """Returns the page as HTML; the arguments are those of `write_report`."""
    rows = [row for row in read_metrics(context.folder) if row["step"] <= state.step]
    found = milestones(state, context.metric)
    sections: dict[str, Iterable[Block]] = {
        "Error rates": [_milestone_table(context, found), _final_table(context, final or {})],
        "Curves": _curves(rows, context.metric),
        "What was recognised": _samples(context.folder, state, context.metric),
        "Settings": _settings(context),
    }
    return html.page(f"{context.folder.resolve().name}", _summary(context, state, found), sections)


def _summary(context: RunContext, state: RunState, found: Iterable[Milestone]) -> str:
    """Returns the line below the title."""
    catalog = context.plan.catalog
    rates = {one.name: f"{one.rates[context.metric]:.2%}" for one in found}
    parts = [
        f"{context.config.model.model} on {catalog.hours:.2f} h",
        f"step {state.step:,} of {context.total_steps:,}",
        *([f"{context.metric.upper()} {rates['best']} at best, step {state.best_step:,}"] if "best" in rates else []),
        *([f"{rates['before']} before the first step"] if "before" in rates else []),
        time.strftime("written %Y-%m-%d %H:%M:%S"),
    ]
    return " · ".join(parts)


def _milestone_table(context: RunContext, found: Iterable[Milestone]) -> Block:
    both = both_metrics(context.metric)
    caption = f"while training, on {len(context.valid_subset):,} of {len(context.valid):,} validation utterances"
    header = ["", "step", *(name.upper() for name in both), "loss"]
    rows: list[list[html.Cell]] = [
        [
            one.name,
            one.step,
            *(f"{one.rates[name]:.2%}" for name in both),
            "" if one.loss is None else f"{one.loss:.4f}",
        ]
        for one in found
    ]
    return html.table(caption, header, rows)


def _final_table(context: RunContext, final: Mapping[str, float | None]) -> Block:
    """Returns the rates of all models that were compared at the end, or nothing before."""
    both = both_metrics(context.metric)
    kinds = {"exported": "final"} | {name: f"final/{name}" for name in ("best", "average", "ema")}
    rows = [
        [kind, *(f"{final[f'{prefix}/{name}']:.2%}" for name in both)]
        for kind, prefix in kinds.items()
        if f"{prefix}/wer" in final
    ]
    data_sets = _data_sets(final, f"final/{both[0]}/")
    rows += [[f"exported, on {name}", *(f"{final[f'final/{one}/{name}']:.2%}" for one in both)] for name in data_sets]
    block = html.table(f"all {len(context.valid):,} validation utterances", ["", *(n.upper() for n in both)], rows)
    return block if rows else {"kind": "", "caption": ""}


def _curves(rows: Rows, metric: Metric) -> Iterator[Block]:
    """Yields a plot of each quantity over the steps."""
    first, second = both_metrics(metric)
    before = f"{first.upper()} before the first step"
    percent = {
        f"{name.upper()}{', which decides' if name == first else ''}": _points(rows, f"valid/{name}", 100)
        for name in (first, second)
    }
    percent[before] = _points(rows, f"valid/{first}_before", 100)
    yield _curve("Error rates", "%", percent, level_lines=[before])
    data_sets = _data_sets([name for row in rows for name in row], f"valid/{first}/")
    for start in range(0, len(data_sets), MAX_LINES):
        names = data_sets[start : start + MAX_LINES]
        of_each = {name: _points(rows, f"valid/{first}/{name}", 100) for name in names}
        yield _curve(f"{first.upper()} of each data set", "%", of_each)
    losses = {"training": _points(rows, "train/loss"), "validation": _points(rows, "valid/loss")}
    yield _curve("Loss", "CTC loss per character (log scale)", losses, is_log=True)
    yield _curve("Learning rate", "learning rate", {"learning rate": _points(rows, "train/learning_rate")})
    norms = {"before clipping": _points(rows, "train/gradient_norm")}
    yield _curve("Gradient norm", "norm (log scale)", norms, is_log=True)
    speeds = {"all ranks": _points(rows, "train/audio_seconds_per_second")}
    yield _curve("Speed of all ranks together", "seconds of audio per second", speeds)
    memory = {
        "GPU, measured": _points(rows, "memory/device_bytes", 1 / GIB),
        "GPU, predicted": _points(rows, "memory/predicted_bytes", 1 / GIB),
        "host": _points(rows, "memory/host_bytes", 1 / GIB),
    }
    used = {name: points for name, points in memory.items() if any(y for _, y in points)}
    yield _curve("Memory of the rank that uses most", "GiB", used)


def _data_sets(names: Iterable[str], prefix: str) -> list[str]:
    """Returns the data sets whose rates are among the names of metrics, in their order."""
    return list(dict.fromkeys(name.removeprefix(prefix) for name in names if name.startswith(prefix)))


def _curve(
    caption: str,
    unit: str,
    lines: Mapping[str, Sequence[Point]],
    *,
    is_log: bool = False,
    level_lines: Iterable[str] = (),
) -> Block:
    return chart(caption, lines, x_label="optimizer step", y_label=unit, is_log=is_log, level_lines=level_lines)


def _points(rows: Rows, name: str, factor: float = 1.0) -> list[Point]:
    """Returns the values of a metric over the steps, where it was measured."""
    return [(float(row["step"]), factor * row[name]) for row in rows if row.get(name) is not None]


def _samples(folder: Path, state: RunState, metric: Metric) -> Iterator[Block]:
    """Yields for a few utterances what was said, and what was recognised at some of the evaluations."""
    texts = {step: _read_texts(path) for step, path in _evaluations(folder, state).items()}
    if not texts:
        return
    for key, (reference, _) in list(texts[max(texts)].items())[:SAMPLES]:
        rows: list[tuple[str, Sequence[Part]]] = [("reference", [(reference, "")])]
        for step, found in texts.items():
            if key in found:
                rows.append((f"step {step:,}", _marked(*found[key], metric)))
        yield html.texts(key, rows)


def _evaluations(folder: Path, state: RunState) -> dict[int, Path]:
    """Returns the files of the first, the last and some other evaluations, by step."""
    found = {int(path.stem.removeprefix("step-")): path for path in sorted(folder.glob("eval/step-????????.jsonl"))}
    steps = [step for step in found if step <= state.evaluated_step]  # later ones are of before the run went back
    count = min(len(steps), SAMPLED_EVALUATIONS)
    chosen = [steps[round(number * (len(steps) - 1) / max(1, count - 1))] for number in range(count)]
    return {step: found[step] for step in chosen}


def _read_texts(path: Path) -> dict[str, tuple[str, str]]:
    """Returns reference and hypothesis of the recorded utterances of an evaluation, by key."""
    return {row["key"]: (row["reference"], row["hypothesis"]) for row in read_jsonl(path)}


def _marked(reference: str, hypothesis: str, metric: Metric) -> list[Part]:
    """Returns a hypothesis in parts: those that are wrong are marked, and what is missing stands there as such."""
    space = " " if metric == "wer" else ""
    parts: list[Part] = []
    for expected, found in aligned_pieces(reference, hypothesis, metric):
        if found:
            parts.append((found, "" if found == expected else "wrong"))
        else:
            parts.append((expected, "missing"))
        parts.append((space, ""))
    return parts


def _settings(context: RunContext) -> Iterator[Block]:
    """Yields each section of the settings."""
    for section, values in by_section(context.config).items():
        yield html.texts(section, [(name, [(_shown(value), "")]) for name, value in values.items()])


def _shown(value: object) -> str:
    """Returns the value of a setting as its flag takes it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
