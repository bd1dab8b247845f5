"""A decoder: log-probabilities of frames to the best text, and to the path that says it.

Shapes: F frames, V tokens.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asrscale.decoding.beam_search import Found, Pruning, search
from asrscale.decoding.confidence import posterior_confidences
from asrscale.decoding.scoring import Scorer
from asrscale.speech.ctc_text import SpokenWord, text_of_path, words_of_path

LogProbabilities = npt.NDArray[np.float32]

# A recording is searched a piece at a time: pieces of so many frames end in the longest pause of their last half.
PIECE_FRAMES = 1_500


@dataclass(frozen=True, eq=False)
class Reading:
    """What is recognised in a recording.

    Attributes:
        path: (F,) a token for each frame.
        confidences: Of each word of the path, as `ctc_text.words_of_path` finds them.
        alternatives: The best texts with their scores, the best first, as many as the decoder was asked for.
    """

    path: list[int]
    confidences: list[float]
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Decoder:
    """Finds the best text.

    Attributes:
        scorer: Scores words and says what tokens mean.
        pruning: What is not looked at.
        temperature: Of the shares of texts, by which words have confidences.
        alternatives: How many of the best texts are wanted beside the best.
    """

    scorer: Scorer
    pruning: Pruning
    temperature: float = 1.0
    alternatives: int = 0

    def texts(self, log_probabilities: LogProbabilities) -> list[tuple[str, float]]:
        """Returns the best texts of (F, V) log-probabilities with their scores, the best first."""
        return self._distinct(search(log_probabilities, self.scorer, self.pruning))

    def _distinct(self, found: list[Found]) -> list[tuple[str, float]]:
        """Returns texts, each once, with the scores of all token sequences that say them together; the best first."""
        best: dict[str, float] = {}
        for one in found:
            text = self._text(one)
            best[text] = float(np.logaddexp(best[text], one.score)) if text in best else one.score
        return sorted(best.items(), key=lambda pair: -pair[1])

    def text(self, log_probabilities: LogProbabilities) -> str:
        """Returns the best text of (F, V) log-probabilities."""
        return self.texts(log_probabilities)[0][0]

    def _text(self, found: Found) -> str:
        path = [id for token in found.tokens for id in (token, self.scorer.blank)]
        return text_of_path(path, self.scorer.vocabulary)

    def path(self, log_probabilities: LogProbabilities) -> list[int]:
        """Returns the likeliest path that says the best text: a token for each of (F, V) frames, of any number."""
        return self.read(log_probabilities).path

    def read(self, log_probabilities: LogProbabilities) -> Reading:
        """Returns what is recognised in (F, V) frames, of any number: the likeliest path that says the best text."""
        path: list[int] = []
        starts: list[int] = []  # of each word of a piece
        confidences: list[float] = []
        alternatives = [("", 0.0)]
        for piece, ends_word in self._pieces(log_probabilities):
            found = search(piece, self.scorer, self.pruning)
            aligned = _align(piece, found[0].tokens, self.scorer.blank)
            words = words_of_path(aligned, self.scorer.vocabulary)
            texts = self._distinct(found)
            starts += [len(path) + word.start_frame for word in words]
            confidences += posterior_confidences([word.text for word in words], texts, self.temperature)
            alternatives = _join(alternatives, texts, self.alternatives)
            if ends_word and self.scorer.delimiter is not None and aligned[-1] in (self.scorer.blank, *aligned[-2:-1]):
                aligned[-1] = self.scorer.delimiter  # a text ends without one, but here more follows
            path += aligned
        whole = words_of_path(path, self.scorer.vocabulary)
        of_whole = [_least(starts, confidences, word) for word in whole]
        return Reading(path, of_whole, tuple(alternatives if self.alternatives else ()))

    def _pieces(self, log_probabilities: LogProbabilities) -> Iterator[tuple[LogProbabilities, bool]]:
        """Yields the frames of a recording in pieces that end in pauses, and whether a word ends there for certain."""
        rest = log_probabilities
        while len(rest) > PIECE_FRAMES:
            best = rest[:PIECE_FRAMES].argmax(-1)
            end, ends_word = _find_end(best, self.scorer.blank, self.scorer.delimiter)
            yield rest[:end], ends_word
            rest = rest[end:]
        yield rest, False


def _join(
    texts: Sequence[tuple[str, float]], more: Sequence[tuple[str, float]], wanted: int
) -> list[tuple[str, float]]:
    """Returns the best texts of a recording's beginning with those of its next piece behind them, as many as wanted."""
    joined = [
        (" ".join(filter(None, (text, behind))), score + score_behind)
        for text, score in texts
        for behind, score_behind in more[:wanted]
    ]
    return sorted(joined, key=lambda pair: -pair[1])[:wanted]


def _least(starts: Sequence[int], confidences: Sequence[float], word: SpokenWord) -> float:
    """Returns the least confidence of what starts within a word: in two pieces it may be two."""
    return min(confidences[bisect_left(starts, word.start_frame) : bisect_left(starts, word.end_frame)])


def _find_end(path: npt.NDArray[np.int64], blank: int, delimiter: int | None) -> tuple[int, bool]:
    """Returns a frame of the longest pause in the last half of a path, and whether it is behind a delimiter.

    Pauses between words come first, and end behind their delimiter; then the middle of others; then the path's end.
    """
    first = len(path) // 2
    is_delimiter = path[first:] == delimiter
    is_pause = (path[first:] == blank) | is_delimiter
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_pause, [False]])))
    pauses = [
        (bool(is_delimiter[start:end].any()), int(end - start), int(start))
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]
    if not pauses:
        return len(path), False
    ends_word, length, start = max(pauses)
    if ends_word:
        return first + start + int(is_delimiter[start:].argmax()) + 1, True
    return max(1, first + start + length // 2), False


def _align(log_probabilities: LogProbabilities, tokens: list[int], blank: int) -> list[int]:
    """Returns the likeliest path that says these tokens, which may be none: the algorithm of Viterbi.

    Its states are the tokens with a blank before each and behind the last. A frame stays, or goes on by one state, or
    by two where that leaves out a blank between different tokens.
    """
    states = np.full(2 * len(tokens) + 1, blank)
    states[1::2] = tokens
    may_skip = np.zeros(len(states), bool)
    may_skip[3::2] = states[3::2] != states[1:-2:2]
    scores = np.full(len(states), -np.inf)
    scores[0] = 0.0
    steps = np.zeros((len(log_probabilities), len(states)), np.int8)  # by how many states each frame went on
    for frame, log_probability in enumerate(log_probabilities):
        by_one = np.concatenate([[-np.inf], scores[:-1]])
        by_two = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], scores])[: len(states)], -np.inf)
        ways = np.stack([scores, by_one, by_two])
        steps[frame] = ways.argmax(0)
        scores = ways.max(0) + log_probability[states]
    # The first frame is in the first blank or in the first token: from before the first blank, by none or by one.
    state = len(states) - 1
    if len(states) > 1 and scores[-2] > scores[-1]:
        state -= 1
    path = []
    for frame in reversed(range(len(log_probabilities))):
        path.append(int(states[state]))
        state -= int(steps[frame, state])
    return path[::-1]
