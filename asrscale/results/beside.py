"""What an evaluation counts beside a model's own errors: after another normaliser, and of other models."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from asrscale.data.index import Index
from asrscale.results.comparison import comparable
from asrscale.results.english import TextNormalizer
from asrscale.results.intervals import error_rates, rates_by_speaker
from asrscale.results.metrics import Amounts, Metric, aligned_differences, count_errors
from asrscale.results.other_evaluation import OtherEvaluation
from asrscale.results.paired import mean_and_scatter, paired_differences
from asrscale.results.tally import ENGLISH, OWN, Compared, Rows, Tally
from asrscale.speech.normalisation import normalise_hypothesis


@dataclass(frozen=True)
class Beside:
    """What else is counted of each utterance.

    Attributes:
        english: Another normaliser, for a second pair of rates.
        compared: Other models.
        seeds: The same model, trained with other seeds.
    """

    english: TextNormalizer | None = None
    compared: Sequence[OtherEvaluation] = ()
    seeds: Sequence[OtherEvaluation] = ()

    @property
    def others(self) -> dict[str, OtherEvaluation]:
        """The other evaluations by their columns."""
        return {other.name: other for other in (*self.compared, *self.seeds)}

    @property
    def columns(self) -> list[str]:
        """All ways in which errors are counted."""
        english = [ENGLISH] if self.english is not None else []
        return [OWN, *english, *self.others]


NOTHING = Beside()


def compare(index: Index, hypotheses: Sequence[tuple[int, str]], beside: Beside) -> Iterator[Compared]:
    """Yields utterances with the errors of all columns.

    Args:
        index: The data set.
        hypotheses: The model's own, each after the number of its utterance.
        beside: What else is counted.
    """
    references, own_texts = comparable(index, hypotheses)
    for (utterance, _), reference, own in zip(hypotheses, references, own_texts, strict=True):
        key = index.keys[utterance].as_py()
        rules = index.rules(utterance)
        texts = {OWN: own}
        for column, other in beside.others.items():
            if key in other.hypotheses:
                texts[column] = normalise_hypothesis(other.hypotheses[key], rules)
        amounts = {column: count_errors([reference], [text]).amounts for column, text in texts.items()}
        if beside.english is not None:
            english = _english_amounts(beside.english, reference, own)
            amounts |= {ENGLISH: english} if english is not None else {}
        yield Compared(key, reference, texts, amounts)


def _english_amounts(normalizer: TextNormalizer, reference: str, hypothesis: str) -> Amounts | None:
    """Returns the errors after another normaliser; None where it leaves nothing of the reference, such as of "uh".

    The Open ASR Leaderboard leaves such utterances out.
    """
    normalised = normalizer(reference)
    if not normalised:
        return None
    return count_errors([normalised], [normalizer(hypothesis)]).amounts


def rates_of(tally: Tally, column: str, rows: Rows) -> dict[str, Any]:
    """Returns what `rates_by_speaker` says of some utterances in a column."""
    return rates_by_speaker(tally.take(column, rows), tally.speakers(rows))


def english_rates(tally: Tally) -> dict[str, Any]:
    """Returns the rates after another normaliser: of all, by group, and how many references it leaves nothing of."""
    rows = tally.has(ENGLISH)
    if not rows.any():
        return {"utterances": 0, "left_out": tally.count}
    return {
        **rates_of(tally, ENGLISH, rows),
        "left_out": tally.count - int(rows.sum()),
        "by": tally.by_group(rows, lambda of_group: rates_of(tally, ENGLISH, of_group)),
    }


def differences(tally: Tally, other: str) -> dict[str, Any]:
    """Returns how the model differs from another: of all utterances that both have, and by group."""

    def of_rows(rows: Rows) -> dict[str, Any]:
        return paired_differences(tally.take(OWN, rows), tally.take(other, rows), tally.speakers(rows))

    rows = tally.has(OWN, other)
    left_out = tally.count - int(rows.sum())
    if not rows.any():
        return {"other": other, "utterances": 0, "left_out": left_out}
    return {"other": other, **of_rows(rows), "left_out": left_out, "by": tally.by_group(rows, of_rows)}


def describe_change(one: Compared, other: str, metric: Metric) -> dict[str, Any]:
    """Returns an utterance as an entry of the list of those that changed most."""
    return {
        "key": one.key,
        "more_word_edits": one.change(other, "wer"),
        "more_character_edits": one.change(other, "cer"),
        "aligned": aligned_differences(one.reference, one.hypotheses[OWN], metric),
        "other_aligned": aligned_differences(one.reference, one.hypotheses[other], metric),
    }


def seed_summary(tally: Tally, others: Iterable[str]) -> dict[str, Any]:
    """Returns mean and scatter of the error rates over the model and its runs with other seeds."""
    columns = [OWN, *others]
    rows = tally.has(*columns)
    rates = [error_rates(tally.take(column, rows).sum(axis=0)).tolist() for column in columns]
    return {
        "runs": len(columns),
        "others": columns[1:],
        "utterances": int(rows.sum()),
        "left_out": tally.count - int(rows.sum()),
        "wer": mean_and_scatter([wer for wer, _ in rates]),
        "cer": mean_and_scatter([cer for _, cer in rates]),
        "of_each": {"wer": [wer for wer, _ in rates], "cer": [cer for _, cer in rates]},
    }
