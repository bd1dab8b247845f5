"""The HTML page of an evaluation: its rates, what is confused, and its utterances to read and listen to."""

from collections.abc import Iterator
from typing import Any

from asrscale.common import html
from asrscale.common.html import Bar, Block, Number
from asrscale.data import players
from asrscale.data.index import Index
from asrscale.results.beside import NOTHING, Beside
from asrscale.results.breakdown_text import summarise_breakdown
from asrscale.results.comparison_page import comparison_blocks, english_table, seeds_table
from asrscale.results.confusions import Confusions, name_of
from asrscale.results.metrics import METRIC_NAMES, UNITS, Metric, both_metrics
from asrscale.results.page_data import Hypotheses, PageData, gather
from asrscale.results.rate_plots import rate_plots
from asrscale.results.reliability_plot import reliability_blocks
from asrscale.results.tally import OWN
from asrscale.results.utterance_table import utterance_table

CONFUSIONS_SHOWN = 15  # of each kind

KINDS = ("substitutions", "deletions", "insertions")


def write_evaluation_page(
    path: str, title: str, index: Index, found: dict[str, Any], hypotheses: Hypotheses, beside: Beside = NOTHING
) -> None:
    """Writes a page of an evaluation.

    Args:
        path: Of the file.
        title: Its heading.
        index: The data set.
        found: What `break_down` returned.
        hypotheses: Those that it was given.
        beside: What it was given.

    Raises:
        CliError: It cannot be written.
    """
    data = gather(index, hypotheses, found["metric"], beside)
    sounds = players.players(index, [one.number for one in data.listed])
    sections = {
        "Result": [_headline(index, found, data), *_beside_tables(found)],
        **{f"Compared with {one['other']}": comparison_blocks(one, data, found) for one in found.get("compared", [])},
        "Length and speed": rate_plots(data, [OWN], found["metric"]),
        "Groups": [_group_bars(name, groups, found["metric"]) for name, groups in found["by"].items()],
        "Confidence": reliability_blocks(found),
        **{f"Confused {UNITS[one]}s": _confusion_tables(data.confusions[one]) for one in both_metrics(found["metric"])},
        "Utterances": [utterance_table(index, data, sounds, found)],
        "How it was measured": [_method(index, found, data)],
    }
    html.write_page(path, title, _summary(index, data), sections)


def _summary(index: Index, data: PageData) -> str:
    """Returns a line about the data."""
    hours = data.seconds.sum() / 3600
    speakers = len({speaker for speaker in data.speakers.tolist() if speaker >= 0})
    parts = [f"{html.counted(len(data.numbers), 'utterance')}, {hours:,.2f} hours"]
    parts += [html.counted(speakers, "speaker")] if speakers else []
    damaged = len(index) - len(data.numbers)
    parts += [f"damaged and left out: {html.counted(damaged, 'utterance')}"] if damaged else []
    return " · ".join(parts)


def _headline(index: Index, found: dict[str, Any], data: PageData) -> Block:
    """Returns both rates with their intervals, and the errors of each kind."""
    metric: Metric = found["metric"]
    rates = [
        Number(
            METRIC_NAMES[name].capitalize(),
            f"{found[name]:.2%}",
            f"{name.upper()}, 95 % interval {found[f'{name}_low']:.2%} to {found[f'{name}_high']:.2%}",
        )
        for name in both_metrics(metric)
    ]
    totals = data.confusions[metric].totals
    size = found[f"{UNITS[metric]}s"]
    errors = sum(totals)
    kinds = [
        Number(
            kind.capitalize(),
            f"{count:,}",
            f"{count / max(1, size):.2%} of {size:,} {UNITS[metric]}s, {count / max(1, errors):.1%} of all errors",
        )
        for kind, count in zip(KINDS, totals, strict=True)
    ]
    return html.numbers("", [*rates, *kinds])


def _beside_tables(found: dict[str, Any]) -> Iterator[Block]:
    """Yields tables of what was counted beside the model's own errors: after another normaliser, of other seeds."""
    if "english" in found:
        yield english_table(found)
    if "seeds" in found:
        yield seeds_table(found)


def _group_bars(name: str, groups: dict[str, Any], metric: Metric) -> Block:
    """Returns a bar for the deciding error rate of each group."""
    units = f"{UNITS[metric]}s"
    shown = {
        f"{value.strip()} ({rates[units]:,} {units})": Bar(
            *(100 * rates[f"{metric}{end}"] for end in ("", "_low", "_high"))
        )
        for value, rates in groups.items()
    }
    caption = f"{metric.upper()} by {name.replace('_', ' ')}"
    return html.bars(caption, shown, unit=f"{metric.upper()} in %", by_size=name != "duration")


def _confusion_tables(confusions: Confusions) -> Iterator[Block]:
    """Yields a table for each kind of error: the most frequent ones."""
    inexact = "" if confusions.is_exact else "Rare ones were dropped while counting: counts may be a little too low."
    unit = UNITS[confusions.metric]
    substituted, deleted, inserted = confusions.totals
    substitutions = [
        (name_of(expected), name_of(recognised), count, f"{count / substituted:.1%}")
        for (expected, recognised), count in confusions.substitutions.most_common(CONFUSIONS_SHOWN)
    ]
    if substitutions:
        note = _note(len(substitutions), len(confusions.substitutions), substituted, "substitution", inexact)
        header = ["said", "recognised", "times", "share"]
        yield html.table(f"{unit.capitalize()}s taken for others", header, substitutions, note=note)
    for caption, kind, counter, total in (
        (f"{unit.capitalize()}s not recognised", "deletion", confusions.deletions, deleted),
        (f"{unit.capitalize()}s recognised, but not said", "insertion", confusions.insertions, inserted),
    ):
        rows = [(name_of(one), count, f"{count / total:.1%}") for one, count in counter.most_common(CONFUSIONS_SHOWN)]
        if rows:
            note = _note(len(rows), len(counter), total, kind, inexact)
            yield html.table(caption, [unit, "times", "share"], rows, note=note)


def _note(shown: int, different: int, total: int, kind: str, inexact: str) -> str:
    """Returns how much of the errors of a kind a table shows."""
    different_ones = html.counted(different, "different one")
    of_them = different_ones if shown == different else f"the {shown} commonest of {different_ones}"
    return f"{html.counted(total, kind)}, {of_them}. {inexact}".strip()


def _method(index: Index, found: dict[str, Any], data: PageData) -> Block:
    """Returns how errors were counted, in sentences."""
    listed, all_of_them = len(data.listed), len(data.numbers)
    paragraphs = [
        "WER is the number of word substitutions, deletions and insertions by the number of words that were said; CER "
        "is the same of characters, spaces included. Both are taken once over all utterances.",
        f"Intervals hold 95 % of {found['resampled']} that were resampled (bootstrap). Groups of few words have wide "
        "ones: where two overlap much, the data do not tell them apart.",
        f"{summarise_breakdown(found)}.",
    ]
    if listed < all_of_them:
        paragraphs.append(
            f"The table has {listed:,} of {all_of_them:,} utterances: the {data.worst:,} with the most errors and "
            f"{listed - data.worst:,} drawn at random from all others. All are in the JSON lines beside the rates."
        )
    return html.prose("", paragraphs)
