"""Tunes a language model's weights and the temperatures of confidences: the model runs once, the search often."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.common.shard_cache import Cache
from asrscale.data.index import Index
from asrscale.decoding.decoder import Decoder, LogProbabilities
from asrscale.decoding.scoring import Weights
from asrscale.model.recognizer import Recognizer
from asrscale.results.comparison import comparable
from asrscale.results.evaluation import choose_subset, evaluate
from asrscale.results.frame_texts import keeping_reader
from asrscale.results.metrics import ErrorCounts, Metric, count_errors
from asrscale.results.totals import Totals
from asrscale.results.tuned_confidence import fit_best_paths, fit_search

MOST_UTTERANCES = 500  # as many decide as well as more, and take a minute

LM_WEIGHTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
WORD_BONUSES = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 5.0)
_MOST_ROUNDS = 3


_MOST_BYTES = 1 << 30  # of log-probabilities that are kept: hours with an alphabet, less with thousands of characters


@dataclass(frozen=True)
class Tuned:
    """What was found.

    Attributes:
        utterances: How many decided.
        greedy: Errors of the best paths.
        temperature: Of the confidences of the best paths; None where too few words are right, or wrong.
        search: What was found of a search; None without one.
    """

    utterances: int
    greedy: ErrorCounts
    temperature: float | None
    search: "TunedSearch | None"


@dataclass(frozen=True)
class TunedSearch:
    """What was found of a search.

    Attributes:
        weights: The best ones; without a language model there are none to be found.
        before: Errors with the weights at the beginning.
        after: Errors with the best ones.
        temperature: Of its confidences, as that of the best paths.
    """

    weights: Weights
    before: ErrorCounts
    after: ErrorCounts
    temperature: float | None = None


def tune(
    recognizer: Recognizer,
    decoder: Decoder | None,
    index: Index,
    metric: Metric,
    world: World,
    *,
    memory_cap_seconds: float,
    threads: int,
    cache: Cache | None,
) -> Tuned:
    """Returns the weights with the lowest error rate, found one after the other until neither changes; a collective.

    And the temperatures of confidences.

    Args:
        recognizer: Its model is on the device of this rank.
        decoder: Whose weights are the first to be tried; None for the temperature of the best paths alone.
        index: The data set, of which a sample decides where it is large.
        metric: What is to be low.
        world: The ranks.
        memory_cap_seconds: As for `evaluate`.
        threads: As for `evaluate`.
        cache: As for `evaluate`.
    """
    sample = choose_subset(index, _most_utterances(recognizer, index))
    kept: list[tuple[int, LogProbabilities]] = []
    greedy = evaluate(
        recognizer.model,
        recognizer,
        sample,
        world,
        memory_cap_seconds=memory_cap_seconds,
        threads=threads,
        title="reading what to tune on",
        cache=cache,
        read_texts=keeping_reader(recognizer, kept),
    )
    temperature = fit_best_paths(recognizer.vocabulary, sample, kept, world)
    if decoder is None:
        return Tuned(greedy.errors.utterances, greedy.errors, temperature, search=None)
    search = _search(decoder, sample, kept, metric, world)
    search_temperature = fit_search(with_weights(decoder, search.weights), sample, kept, world)
    return Tuned(greedy.errors.utterances, greedy.errors, temperature, replace(search, temperature=search_temperature))


def _most_utterances(recognizer: Recognizer, index: Index) -> int:
    """Returns how many utterances of average length decide at most."""
    frames = float(index.num_samples.mean()) / recognizer.geometry.stride_samples
    bytes_of_one = max(1.0, frames) * len(recognizer.vocabulary.tokens) * 4
    return max(1, min(MOST_UTTERANCES, int(_MOST_BYTES / bytes_of_one)))


def _search(
    decoder: Decoder,
    index: Index,
    frames: Sequence[tuple[int, LogProbabilities]],
    metric: Metric,
    world: World,
) -> TunedSearch:
    """Returns the best weights, of this rank's log-probabilities after the numbers of their utterances.

    A search without a language model keeps its own.
    """
    tried: dict[Weights, ErrorCounts] = {}

    def rate(weights: Weights) -> float:
        if weights not in tried:
            tried[weights] = _errors(decoder, weights, index, frames, world)
        return tried[weights].rate(metric)

    first = best = decoder.scorer.weights
    rate(first)
    rounds = _MOST_ROUNDS if decoder.scorer.model is not None else 0
    for _ in range(rounds):
        before = best
        of_model = [replace(best, lm_weight=weight) for weight in LM_WEIGHTS]
        best = min([best, *of_model], key=rate)
        of_words = [replace(best, word_bonus=bonus) for bonus in WORD_BONUSES]
        best = min([best, *of_words], key=rate)
        if best == before:
            break
    return TunedSearch(best, tried[first], tried[best])


def with_weights(decoder: Decoder, weights: Weights) -> Decoder:
    """Returns a decoder with other weights."""
    return replace(decoder, scorer=replace(decoder.scorer, weights=weights))


def _errors(
    decoder: Decoder,
    weights: Weights,
    index: Index,
    frames: Sequence[tuple[int, LogProbabilities]],
    world: World,
) -> ErrorCounts:
    """Returns the errors of all ranks with these weights."""
    weighted = with_weights(decoder, weights)
    references, texts = comparable(index, ((utterance, weighted.text(found)) for utterance, found in frames))
    own = count_errors(references, texts) if references else ErrorCounts()
    sums = distributed.all_reduce_sum(Totals(own).to_vector(), world)
    return Totals.from_vector(sums).errors
