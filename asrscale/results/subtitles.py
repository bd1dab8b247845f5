"""Words with times to subtitles: cues of readable length that begin and end where the speaker pauses.

Shapes: N words, C cues.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

# Netflix, Timed Text Style Guide, General Requirements: two lines, from 5/6 of a second to 7 s; English: 42 characters
# a line.
MAX_LINES = 2
MAX_LINE_CHARACTERS = 42
MIN_CUE_SECONDS = 5 / 6
MAX_CUE_SECONDS = 7.0

# A silence that is not read over: those between the words of a sentence are shorter (Campione and Véronis 2002, "A
# large-scale multilingual study of silent pause duration").
MAX_PAUSE_SECONDS = 2.0

# What a cue costs, in seconds of pause at its end that are worth one cue more.
_CUE_COST_SECONDS = 0.5


@dataclass(frozen=True)
class TimedWord:
    """A word, when it is spoken, and, if these are known, how sure it is and who says it."""

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float | None = None
    speaker: str = ""


@dataclass(frozen=True)
class Cue:
    """Lines that are shown together for a while, and, if known, their words' mean confidence and who says them."""

    lines: tuple[str, ...]
    start_seconds: float
    end_seconds: float
    confidence: float | None = None
    speaker: str = ""


def make_cues(words: Sequence[TimedWord]) -> list[Cue]:
    """Returns words as cues.

    Of all ways to cut the words, this one has its cuts in the longest pauses, with as few cues as that allows. No cue
    is longer than two lines or than `MAX_CUE_SECONDS`, unless one word alone is; and none goes on over a pause longer
    than `MAX_PAUSE_SECONDS`. A short cue stays a little longer, where there is time before the next.

    Args:
        words: Of one speaker, in the order of their times.
    """
    bounds = _best_cuts(words)
    cues = []
    for first, end in pairwise(bounds):
        own = words[first:end]
        next_start = words[end].start_seconds if end < len(words) else inf
        shown_until = max(own[-1].end_seconds, min(own[0].start_seconds + MIN_CUE_SECONDS, next_start))
        lines = _break_lines([word.text for word in own])
        cues.append(Cue(lines, own[0].start_seconds, shown_until, _mean_confidence(own), own[0].speaker))
    return cues


def _mean_confidence(words: Sequence[TimedWord]) -> float | None:
    known = [word.confidence for word in words if word.confidence is not None]
    return sum(known) / len(known) if known else None


def _best_cuts(words: Sequence[TimedWord]) -> list[int]:
    """Returns where cues begin, and where the last ends, by dynamic programming over the last cut."""
    best_costs = [0.0]
    best_starts = [0]
    for end in range(1, len(words) + 1):
        pause = words[end].start_seconds - words[end - 1].end_seconds if end < len(words) else 0.0
        cost_of_cut = _CUE_COST_SECONDS - min(pause, MAX_PAUSE_SECONDS)
        options = [(best_costs[start] + cost_of_cut, start) for start in _possible_starts(words, end)]
        cost, start = min(options)
        best_costs.append(cost)
        best_starts.append(start)
    bounds = [len(words)]
    while bounds[-1] > 0:
        bounds.append(best_starts[bounds[-1]])
    return bounds[::-1]


def _possible_starts(words: Sequence[TimedWord], end: int) -> list[int]:
    """Returns where a cue that ends before word `end` may begin; one word alone always may be a cue."""
    starts = [end - 1]
    for start in range(end - 2, -1, -1):
        pause = words[start + 1].start_seconds - words[start].end_seconds
        duration = words[end - 1].end_seconds - words[start].start_seconds
        texts = [word.text for word in words[start:end]]
        if pause > MAX_PAUSE_SECONDS or duration > MAX_CUE_SECONDS or not _fits(texts):
            break
        starts.append(start)
    return starts


def _fits(texts: Sequence[str]) -> bool:
    """Whether words fit the lines of a cue."""
    return len(_fill_lines(texts, MAX_LINE_CHARACTERS)) <= MAX_LINES


def _break_lines(texts: Sequence[str]) -> tuple[str, ...]:
    """Returns words as lines of about the same length, no more of them than are needed."""
    fewest = len(_fill_lines(texts, MAX_LINE_CHARACTERS))
    width = MAX_LINE_CHARACTERS
    while width > 1 and len(_fill_lines(texts, width - 1)) == fewest:
        width -= 1
    return tuple(_fill_lines(texts, width))


def _fill_lines(texts: Sequence[str], width: int) -> list[str]:
    """Returns words as lines, each filled as far as `width` allows; a longer word is a line of its own."""
    lines: list[str] = []
    for text in texts:
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
    return lines
