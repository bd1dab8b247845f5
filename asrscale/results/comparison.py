"""References and hypotheses in the form in which they are compared: both after the steps of the data set."""

from collections.abc import Iterable

from asrscale.data.index import Index
from asrscale.speech.normalisation import normalise, normalise_hypothesis


def comparable(index: Index, hypotheses: Iterable[tuple[int, str]]) -> tuple[list[str], list[str]]:
    """Returns the references of utterances and their hypotheses, both normalised as the data set's transcripts are.

    References are normalised again: it changes nothing in those of this version, and those of older ones are compared
    by the same steps as the hypotheses.

    Args:
        index: The data set.
        hypotheses: Each after the number of its utterance in the index.
    """
    references = []
    compared = []
    for utterance, text in hypotheses:
        rules = index.rules(utterance)
        references.append(normalise(index.texts[utterance].as_py(), rules))
        compared.append(normalise_hypothesis(text, rules))
    return references, compared
