"""Transcribed utterances as rows, and the table of error rates."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asrscale.data.index import Index
from asrscale.decoding.confidence import confidence_of_text
from asrscale.results.evaluation import Evaluation
from asrscale.results.frame_texts import Hypothesis
from asrscale.results.metrics import ErrorCounts, Metric, both_metrics
from asrscale.speech.pcm import SAMPLE_RATE_HZ

TOGETHER = "all data"  # the line of the table about all utterances of several data sets


def predictions(index: Index, hypotheses: Iterable[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    """Yields a row for each hypothesis, given after its number in the index: key, seconds, reference, hypothesis.

    The keys of several folders begin with the names of these.
    """
    for utterance, text in hypotheses:
        yield {
            "key": index.unique_key(utterance),
            "seconds": float(index.num_samples[utterance] / SAMPLE_RATE_HZ),
            "reference": index.texts[utterance].as_py(),
            "hypothesis": text,
        }


def predictions_with_confidences(
    index: Index, hypotheses: Iterable[tuple[int, Hypothesis]]
) -> Iterator[dict[str, Any]]:
    """Yields the rows of `predictions` with the confidence of each text, None without words, and of its words.

    And with the best texts and their scores, where the decoder was asked for several.
    """
    for utterance, hypothesis in hypotheses:
        [row] = predictions(index, [(utterance, hypothesis.text)])
        confidence = confidence_of_text(hypothesis.confidences)
        row["confidence"] = None if confidence is None else round(confidence, 4)
        row["word_confidences"] = hypothesis.confidences
        if hypothesis.alternatives:
            row["alternatives"] = [{"text": text, "score": score} for text, score in hypothesis.alternatives]
        yield row


@dataclass(frozen=True)
class Row:
    """A line of the table of error rates.

    Attributes:
        errors: Of all utterances of a data set.
        hours: Of audio.
        damaged: How many utterances are left out.
    """

    errors: ErrorCounts
    hours: float
    damaged: int = 0

    def __add__(self, other: "Row") -> "Row":
        return Row(self.errors + other.errors, self.hours + other.hours, self.damaged + other.damaged)


def row_of(index: Index, result: Evaluation) -> Row:
    """Returns the line of an evaluation of all utterances of an index."""
    return Row(result.errors, index.hours, len(result.damaged))


def table(
    rows: Mapping[str, Row],
    metric: Metric,
    english: Mapping[str, Mapping[str, float]] | None = None,
) -> str:
    """Returns the results of several data sets as text: a line each, then a line where utterances were damaged.

    Args:
        rows: What was found in each data set.
        metric: The deciding rate, which comes first; substitutions, deletions and insertions are those that it counts.
        english: The rates of each data set after Whisper's English normaliser, for two more columns.
    """
    width = max(len("data"), *map(len, rows))
    first, second = both_metrics(metric)
    header = f"{'data':{width}}  utterances   hours     {first.upper()}     {second.upper()}   sub   del   ins"
    lines = [header + (f"  {first.upper()} english  {second.upper()} english" if english else "")]
    for name, row in rows.items():
        errors = row.errors
        substitutions, deletions, insertions = errors.kinds(metric)
        line = (
            f"{name:{width}}  {errors.utterances:>10,}  {row.hours:>6.2f}  "
            f"{errors.rate(first):>6.2%}  {errors.rate(second):>6.2%}  "
            f"{substitutions:>4}  {deletions:>4}  {insertions:>4}"
        )
        lines.append(line + (_english_columns(english[name], metric) if english else ""))
    for name, row in rows.items():
        if row.damaged:
            lines.append(f"{name}: {row.damaged:,} damaged utterances are left out")
    return "\n".join(lines)


def _english_columns(rates: Mapping[str, float], metric: Metric) -> str:
    """Returns two more columns of a line of the table; none of an evaluation of nothing."""
    shown = [f"{rates[name]:.2%}" if name in rates else "none" for name in both_metrics(metric)]
    return "".join(f"  {rate:>11}" for rate in shown)


def print_damaged(index: Index, result: Evaluation) -> None:
    """Prints each utterance that could not be read, with the reason, to stderr."""
    for one in result.damaged:
        print(f"{index.name(one.utterance)} is left out: {one.reason}", file=sys.stderr, flush=True)
