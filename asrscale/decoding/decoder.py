"""A decoder: log-probabilities of frames to the best text, and to the path that says it.

Shapes: F frames, V tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asrscale.decoding.beam_search import Found, Pruning, search
from asrscale.decoding.scoring import Scorer
from asrscale.speech.ctc_text import text_of_path

LogProbabilities = npt.NDArray[np.float32]

# A recording is searched a piece at a time: pieces of so many frames end in the longest pause of their last half.
PIECE_FRAMES = 1_500


@dataclass(frozen=True, eq=False)
class Decoder:
    """Finds the best text.

    Attributes:
        scorer: Scores words and says what tokens mean.
        pruning: What is not looked at.
    """

    scorer: Scorer
    pruning: Pruning

    def texts(self, log_probabilities: LogProbabilities) -> list[tuple[str, float]]:
        """Returns the best texts of (F, V) log-probabilities with their scores, the best first."""
        best: dict[str, float] = {}
        for found in search(log_probabilities, self.scorer, self.pruning):
            text = self._text(found)
            best[text] = float(np.logaddexp(best[text], found.score)) if text in best else found.score
        return sorted(best.items(), key=lambda pair: -pair[1])

    def text(self, log_probabilities: LogProbabilities) -> str:
        """Returns the best text of (F, V) log-probabilities."""
        return self.texts(log_probabilities)[0][0]

    def _text(self, found: Found) -> str:
        path = [id for token in found.tokens for id in (token, self.scorer.blank)]
        return text_of_path(path, self.scorer.vocabulary)

    def path(self, log_probabilities: LogProbabilities) -> list[int]:
        """Returns the likeliest path that says the best text: a token for each of (F, V) frames, of any number."""
        path: list[int] = []
        for piece, ends_word in self._pieces(log_probabilities):
            tokens = search(piece, self.scorer, self.pruning)[0].tokens
            aligned = _align(piece, tokens, self.scorer.blank)
            if ends_word and self.scorer.delimiter is not None and aligned[-1] in (self.scorer.blank, *aligned[-2:-1]):
                aligned[-1] = self.scorer.delimiter  # a text ends without one, but here more follows
            path += aligned
        return path

    def _pieces(self, log_probabilities: LogProbabilities) -> Iterator[tuple[LogProbabilities, bool]]:
        """Yields the frames of a recording in pieces that end in pauses, and whether a word ends there for certain."""
        rest = log_probabilities
        while len(rest) > PIECE_FRAMES:
            best = rest[:PIECE_FRAMES].argmax(-1)
            end, ends_word = _find_end(best, self.scorer.blank, self.scorer.delimiter)
            yield rest[:end], ends_word
            rest = rest[end:]
        yield rest, False


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
