"""Phrases that are likelier than a language model knows: names, products, words of a trade.

A phrase counts wherever it stands in a text as whole words, with its weight added to the score of the text. While a
hypothesis may still become a phrase, it has a part of the weight on loan, so that it is not given up before its end: an
automaton after Aho and Corasick (1975), "Efficient string matching", whose matches begin with words, over tokens.

Shapes: S states, V tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asrscale.decoding.lexicon import Floats, Ids

START = 0  # a word may begin, and no phrase has
INSIDE = 1  # inside of a word with which no phrase goes on


@dataclass(frozen=True, eq=False)
class HotWords:
    """What each token makes of phrases that have begun.

    Attributes:
        following: (S, V) the state behind each token.
        complete: (S,) weights of the phrases that end here, if the word does.
        at_once: (S,) weights of the phrases that end here with a token that is a word by itself.
        loans: (S,) the part of a phrase's weight that its beginning has.
    """

    following: Ids
    complete: Floats
    at_once: Floats
    loans: Floats


def build_hot_words(
    phrases: Mapping[tuple[int, ...], float], *, vocabulary_size: int, delimiter: int | None, alone: Sequence[int]
) -> HotWords:
    """Returns the automaton of phrases.

    Args:
        phrases: The weight of each, by its tokens.
        vocabulary_size: How many tokens there are.
        delimiter: The token that ends a word; None where there is none.
        alone: Tokens that are words by themselves.
    """
    children = _tree(phrases)
    size = len(children)
    following = np.zeros((size, vocabulary_size), np.int64)
    following[[START, INSIDE]] = INSIDE
    ends_word = [*alone, *([] if delimiter is None else [delimiter])]
    following[:2, ends_word] = START
    complete, at_once, loans = np.zeros(size), np.zeros(size), np.zeros(size)
    shorter = [START] * size
    is_alone = set(alone)
    # Children of START first, then theirs: what is shorter comes before what is longer.
    for token, state in children[START].items():
        shorter[state] = START if token in ends_word else INSIDE
        following[START, token] = state
        if token in is_alone:
            following[INSIDE, token] = state
    for state in range(2, size):
        following[state] = following[shorter[state]]
        for token, child in children[state].items():
            shorter[child] = int(following[shorter[state], token])
            following[state, token] = child
    for tokens, weight in phrases.items():
        state = START
        for depth, token in enumerate(tokens, 1):
            state = children[state][token]
            share = weight * depth / len(tokens)
            loans[state] = share if loans[state] == 0 else max(loans[state], share)
        (at_once if tokens[-1] in is_alone else complete)[state] += weight
    for state in range(2, size):
        complete[state] += complete[shorter[state]]
        at_once[state] += at_once[shorter[state]]
    return HotWords(following, complete, at_once, loans)


def _tree(phrases: Mapping[tuple[int, ...], float]) -> list[dict[int, int]]:
    """Returns the children of each state by their tokens, numbered by their depth; those of INSIDE are none."""
    children: list[dict[int, int]] = [{}, {}]
    states = dict.fromkeys(phrases, START)
    for depth in range(max(map(len, phrases), default=0)):
        for tokens in phrases:
            if depth < len(tokens):
                parent = children[states[tokens]]
                if tokens[depth] not in parent:
                    parent[tokens[depth]] = len(children)
                    children.append({})
                states[tokens] = parent[tokens[depth]]
    return children
