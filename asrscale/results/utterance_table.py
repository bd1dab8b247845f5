"""The table of utterances on the page of an evaluation: what was said, what was recognised, and the sound."""

from collections.abc import Iterator, Mapping
from typing import Any

from asrscale.common import html
from asrscale.common.html import Block, Cell, Part
from asrscale.data import players
from asrscale.data.index import Index
from asrscale.results.metrics import UNITS, Metric, aligned_pieces
from asrscale.results.page_data import ListedUtterance, PageData
from asrscale.results.tally import OWN
from asrscale.speech.pcm import SAMPLE_RATE_HZ


def utterance_table(index: Index, data: PageData, sounds: Mapping[int, Block], found: dict[str, Any]) -> Block:
    """Returns a table of utterances, those with the most errors first, to search, sort and listen to.

    Args:
        index: The data set.
        data: Of the page.
        sounds: Players of some utterances, by their numbers.
        found: What `break_down` returned.
    """
    metric: Metric = found["metric"]
    others = [one["other"] for one in found.get("compared", [])]
    unit = UNITS[metric]
    of_sound = ["sound"] * bool(sounds)
    header = ["utterance", *of_sound, "seconds", f"{unit} errors", f"{metric.upper()} %", "said and recognised"]
    for number, _ in enumerate(others, start=1):
        which = "the other model" if len(others) == 1 else f"model {number}"
        header += [f"{unit} errors there", which]
    rows = [list(_cells(index, one, sounds, metric, others)) for one in data.listed]
    caption = "What was said and what was recognised"
    return html.table(caption, header, rows, note=_note(data, len(sounds)), is_searchable=True)


def _note(data: PageData, num_sounds: int) -> str:
    """Returns which utterances are shown, and how to read them."""
    listed, all_of_them = len(data.listed), len(data.numbers)
    if listed == all_of_them:
        which = f"All utterances, {listed:,}, those with the most errors first."
    else:
        which = (
            f"{listed:,} of {all_of_them:,} utterances: the {data.worst:,} with the most errors, then "
            f"{listed - data.worst:,} drawn at random from all others."
        )
    hours = players.SOUND_SECONDS / 3600
    why = f"a page holds {hours:.0f} hours of it, and what cannot be read has none"
    sound = "" if num_sounds == listed else f" {num_sounds:,} of them have their sound: {why}."
    return f"{which}{sound} Struck out is what was said and not recognised, coloured what was recognised and not said."


def _cells(
    index: Index, one: ListedUtterance, sounds: Mapping[int, Block], metric: Metric, others: list[str]
) -> Iterator[Cell]:
    """Yields the cells of an utterance."""
    compared = one.compared
    amounts = compared.amounts[OWN]
    size = amounts.words if metric == "wer" else amounts.characters
    yield index.unique_key(one.number)
    if sounds:
        yield sounds.get(one.number)
    yield float(index.num_samples[one.number] / SAMPLE_RATE_HZ)
    yield amounts.edits(metric)
    yield 100 * amounts.edits(metric) / size if size else float("nan")
    yield html.marked(difference_parts(compared.reference, compared.hypotheses[OWN], metric))
    for other in others:
        if other in compared.hypotheses:
            yield compared.amounts[other].edits(metric)
            yield html.marked(difference_parts(compared.reference, compared.hypotheses[other], metric))
        else:
            yield from (None, "damaged there")


def difference_parts(reference: str, hypothesis: str, metric: Metric) -> Iterator[Part]:
    """Yields two texts as one: what is only in the reference is missing, what is only in the hypothesis is wrong."""
    space = " " if metric == "wer" else ""
    for expected, found in aligned_pieces(reference, hypothesis, metric):
        if expected == found:
            yield found + space, ""
            continue
        if expected:
            yield expected, "missing"
            yield space, ""
        if found:
            yield found, "wrong"
            yield space, ""
