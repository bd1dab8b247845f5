"""Cues: what has to hold of all, and what is the best of all ways to cut a few words."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asrscale.results.subtitles import (
    MAX_CUE_SECONDS,
    MAX_LINE_CHARACTERS,
    MAX_LINES,
    MAX_PAUSE_SECONDS,
    MIN_CUE_SECONDS,
    TimedWord,
    make_cues,
)

SPOKEN = st.tuples(st.text("abcdefgh", min_size=1, max_size=50), st.floats(0.0, 3.0), st.floats(0.02, 9.0))


def spoken(*parts: tuple[str, float, float]) -> list[TimedWord]:
    """Words, each after a pause and of a duration, in seconds."""
    words, time = [], 0.0
    for text, pause, duration in parts:
        words.append(TimedWord(text, time + pause, time + pause + duration))
        time += pause + duration
    return words


@settings(deadline=None, max_examples=200)
@given(st.lists(SPOKEN, max_size=30))
def test_every_word_is_in_one_cue_at_its_time_and_can_be_read(parts: list[tuple[str, float, float]]) -> None:
    words = spoken(*parts)
    cues = make_cues(words)
    assert " ".join(line for cue in cues for line in cue.lines).split() == [word.text for word in words]
    rest = list(words)
    for cue, after in zip(cues, [*cues, None][1:], strict=True):
        count = len(" ".join(cue.lines).split())
        own, rest = rest[:count], rest[count:]
        assert cue.start_seconds == own[0].start_seconds
        assert cue.end_seconds >= own[-1].end_seconds
        assert after is None or cue.end_seconds <= after.start_seconds + 1e-9
        assert cue.end_seconds - own[-1].end_seconds <= MIN_CUE_SECONDS
        if count > 1:
            assert len(cue.lines) <= MAX_LINES
            assert own[-1].end_seconds - own[0].start_seconds <= MAX_CUE_SECONDS
            pauses = [b.start_seconds - a.end_seconds for a, b in pairwise(own)]
            assert max(pauses) <= MAX_PAUSE_SECONDS
        for line in cue.lines:
            assert len(line) <= MAX_LINE_CHARACTERS or " " not in line


def test_cuts_are_in_the_pauses() -> None:
    first = [("one", 0.0, 0.4), ("two", 0.1, 0.4), ("three", 0.1, 0.4)]
    second = [("four", 0.9, 0.4), ("five", 0.1, 0.4), ("six", 0.1, 0.4)]
    assert [cue.lines for cue in make_cues(spoken(*first, *second))] == [("one two three",), ("four five six",)]
    together = [*first, ("four", 0.2, 0.4), *second[1:]]
    assert [cue.lines for cue in make_cues(spoken(*together))] == [("one two three four five six",)]


def test_of_all_ways_to_cut_the_one_with_the_longest_pauses_is_taken() -> None:
    pauses = [0.0, 0.3, 0.1, 0.62, 0.05, 0.7, 0.2, 0.1, 0.45, 0.3]
    words = spoken(*(("abcdefghijklmnop", pause, 0.9) for pause in pauses))  # four of them fit a cue, or seven seconds

    def cost(cuts: tuple[int, ...]) -> float:
        bounds = [0, *cuts, len(words)]
        if any(end - first > 4 for first, end in pairwise(bounds)):
            return float("inf")
        return 0.5 * len(cuts) - sum(pauses[cut] for cut in cuts)

    ways = [cuts for count in range(len(words)) for cuts in combinations(range(1, len(words)), count)]
    best = min(ways, key=cost)
    starts = [words.index(word) for word in words if word.start_seconds in {c.start_seconds for c in make_cues(words)}]
    assert tuple(starts[1:]) == best


def test_lines_are_of_about_the_same_length() -> None:
    text = "the quick brown fox jumps over the lazy dog again"
    [cue] = make_cues(spoken(*((word, 0.05, 0.2) for word in text.split())))
    assert cue.lines == ("the quick brown fox jumps", "over the lazy dog again")


@pytest.mark.parametrize(("pause", "end"), [(3.0, 1.0 + MIN_CUE_SECONDS), (0.5, 1.1 + 0.5)])
def test_a_short_cue_stays_while_there_is_time(pause: float, end: float) -> None:
    words = spoken(("yes", 1.0, 0.1), ("no", pause + 0.001, 0.1))
    cues = make_cues(words)
    if pause > MAX_PAUSE_SECONDS:
        assert cues[0].end_seconds == pytest.approx(end)
    assert cues[-1].end_seconds == pytest.approx(cues[-1].start_seconds + MIN_CUE_SECONDS)


def test_without_words_there_are_no_cues() -> None:
    assert make_cues([]) == []
