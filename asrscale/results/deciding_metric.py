"""Which of the two error rates decides: the one that was asked for, or the one that suits the script of the texts."""

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import regex

from asrscale.data.index import Index
from asrscale.results.metrics import Metric
from asrscale.speech.characters import UNSPACED
from asrscale.speech.normalisation import TextRules

MetricChoice: TypeAlias = Literal["auto", "wer", "cer"]

# Vowel signs and tones of Thai, Khmer or Burmese are marks.
_LETTER = regex.compile(r"[\p{L}\p{M}]")
_UNSPACED_LETTER = regex.compile(rf"[[\p{{L}}\p{{M}}]&&[{UNSPACED}]]", regex.V1)


def metric_of_texts(characters: Mapping[str, int], text_rules: Iterable[TextRules] = ()) -> Metric:
    """Returns `cer` where most letters are of scripts that are written without spaces between words, else `wer`.

    In Chinese, Japanese, Thai, Lao, Khmer, Burmese or Tibetan a "word" between spaces is a phrase or a whole sentence:
    the word error rate is then that of sentences, and says little about which model is better.

    Args:
        characters: How often each character occurs in the references.
        text_rules: How these are normalised. Where spaces stand between labels such as phones, the word error rate is
            that of labels, whatever their script.
    """
    rules = list(text_rules)
    if rules and all(one.form == "characters" for one in rules):
        return "wer"
    return "cer" if share_without_spaces(characters) > 0.5 else "wer"


def share_without_spaces(characters: Mapping[str, int]) -> float:
    """Returns the share of letters, by how often each character occurs, that are of scripts without spaces."""
    letters = {one: count for one, count in characters.items() if _LETTER.match(one)}
    unspaced = sum(count for one, count in letters.items() if _UNSPACED_LETTER.match(one))
    return unspaced / max(1, sum(letters.values()))


def choose_metric(choice: MetricChoice, references: Index) -> Metric:
    """Returns the metric that was chosen by --metric, or with `auto` the one that suits the references."""
    if choice != "auto":
        return choice
    return metric_of_texts(references.characters, references.text_rules)


def describe_choice(choice: MetricChoice, references: Index) -> str:
    """Returns which metric decides and why, as one line."""
    metric = choose_metric(choice, references)
    if choice != "auto":
        return f"{metric.upper()} decides, by --metric"
    share = share_without_spaces(references.characters)
    other = "wer" if metric == "cer" else "cer"
    return (
        f"{metric.upper()} decides: {share:.0%} of the letters of the references are of scripts without spaces between "
        f"words; --metric {other} has the other decide"
    )
