"""Which words of hypotheses are right, how sure the model was of them, and the best of several texts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from asrscale.data.index import Index
from asrscale.results.calibration import Reliability
from asrscale.results.comparison import comparable
from asrscale.results.frame_texts import Hypothesis
from asrscale.results.metrics import ErrorCounts, count_errors, right_words


@dataclass
class WordChecks:
    """What was counted of the words of all hypotheses.

    Attributes:
        calibrated: By their confidences.
        uncalibrated: By those at a temperature of 1.
        uncounted: Utterances whose texts have other words once they are normalised as transcripts are.
        oracle: Errors of the best of the alternatives of each utterance.
    """

    calibrated: Reliability = field(default_factory=Reliability)
    uncalibrated: Reliability = field(default_factory=Reliability)
    uncounted: int = 0
    oracle: ErrorCounts = field(default_factory=ErrorCounts)


def check_words(index: Index, hypotheses: Iterable[tuple[int, Hypothesis]]) -> WordChecks:
    """Returns the counts of hypotheses, each after the number of its utterance in the index."""
    checks = WordChecks()
    for utterance, hypothesis in hypotheses:
        [reference], [compared] = comparable(index, [(utterance, hypothesis.text)])
        right = right_words(reference, compared)
        if len(right) == len(hypothesis.confidences):
            checks.calibrated.add(hypothesis.confidences, right)
            checks.uncalibrated.add(hypothesis.uncalibrated, right)
        else:
            checks.uncounted += 1
        if hypothesis.alternatives:
            checks.oracle += _least_errors(index, utterance, hypothesis)
    return checks


def _least_errors(index: Index, utterance: int, hypothesis: Hypothesis) -> ErrorCounts:
    """Returns the errors of the alternative with the fewest of words, then of characters."""
    counted = []
    for text, _ in hypothesis.alternatives:
        references, compared = comparable(index, [(utterance, text)])
        counted.append(count_errors(references, compared))
    return min(counted, key=lambda errors: (errors.amounts.word_edits, errors.amounts.character_edits))


def describe_oracle(checks: WordChecks, alternatives: int) -> dict[str, Any]:
    """Returns the error rates of the best of the alternatives."""
    return {"nbest": alternatives, "wer": checks.oracle.wer, "cer": checks.oracle.cer}
