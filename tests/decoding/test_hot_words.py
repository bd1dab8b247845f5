import numpy as np
import pytest

from asrscale.decoding.hot_words import build_hot_words

LETTERS = "abcdefghijklmnopqrstuvwxyz "
SPACE = LETTERS.index(" ")


def score(text: str, phrases: dict[str, float]) -> float:
    """What the automaton adds to the score of a text."""
    automaton = build_hot_words(
        {tuple(map(LETTERS.index, phrase)): weight for phrase, weight in phrases.items()},
        vocabulary_size=len(LETTERS),
        delimiter=SPACE,
        alone=[],
    )
    state, total = 0, 0.0
    for token in map(LETTERS.index, text):
        if token == SPACE:
            total += automaton.complete[state]
        state = automaton.following[state, token]
    return float(total + automaton.complete[state])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("new york", 5),
        ("anew york", 0),
        ("new yorker", 0),
        ("new york city", 5 + 7 + 1),
        ("york city", 7 + 1),
        ("new new york", 5),
        ("new york new york", 10),
        ("city", 1),
        ("cityscape", 0),
        ("", 0),
    ],
)
def test_phrases_count_as_whole_words_wherever_they_stand(text: str, expected: float) -> None:
    assert score(text, {"new york": 5, "york city": 7, "city": 1}) == expected


def test_a_beginning_has_its_part_of_the_weight_on_loan() -> None:
    automaton = build_hot_words({(0, 1): 4.0, (0,): -2.0}, vocabulary_size=3, delimiter=2, alone=[])
    state = automaton.following[0, 0]
    assert automaton.loans[state] == 2.0 and automaton.complete[state] == -2.0
    assert automaton.loans[automaton.following[state, 1]] == 4.0
    assert not np.any(automaton.loans[[0, 1]])
