"""The spellings of words as a tree: which words may yet become of the beginning of one.

Shapes: W words, N nodes, E = N - 1 edges, K hypotheses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ids: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]

ROOT = 0  # no token of a word has come
NO_NODE = -1  # what has come is the beginning of no word
NO_WORD = -1


@dataclass(frozen=True, eq=False)
class Lexicon:
    """A tree of spellings, whose nodes are numbered by their depth, and within that by their edges.

    Attributes:
        vocabulary_size: How many tokens there are.
        edges: (E,) ascending: a node times `vocabulary_size`, plus a token. The edge at i leads to node i + 1.
        words: (N,) the word that ends at each node; NO_WORD where none does.
        outlooks: (N,) the best score of the words that may become of each node; zero at ROOT.
    """

    vocabulary_size: int
    edges: Ids
    words: Ids
    outlooks: Floats

    def children(self, nodes: Ids, tokens: Ids) -> Ids:
        """Returns the (K,) nodes that tokens lead to; NO_NODE where there is none."""
        wanted = nodes * self.vocabulary_size + tokens
        places = self.edges.searchsorted(wanted)
        places[places == len(self.edges)] = 0
        if not len(self.edges):
            return np.full(len(nodes), NO_NODE)
        return np.where(self.edges[places] == wanted, places + 1, NO_NODE)


def build_lexicon(
    spellings: Sequence[Sequence[int]], words: Sequence[int], scores: Sequence[float], vocabulary_size: int
) -> Lexicon:
    """Returns the tree of spellings.

    Args:
        spellings: The tokens of each word; of those that are spelled alike, the one with the best score is kept.
        words: (W,) their ids.
        scores: (W,) how likely each is.
        vocabulary_size: How many tokens there are.
    """
    order = np.argsort(np.array(scores, np.float64), kind="stable")  # what comes later replaces what is there
    lengths = np.array([len(spellings[row]) for row in order], np.int64)
    tokens = np.zeros((len(order), int(lengths.max(initial=0))), np.int64)
    for row, spelled in enumerate(order):
        tokens[row, : lengths[row]] = spellings[spelled]
    ordered_words = np.array(words, np.int64)[order]
    ordered_scores = np.array(scores, np.float64)[order]

    nodes = np.zeros(len(order), np.int64)
    edges = [np.zeros(0, np.int64)]
    word_at = [np.array([NO_WORD])]
    outlooks = [np.zeros(1)]
    first_node = 1
    for depth in range(tokens.shape[1]):
        rows = np.flatnonzero(lengths > depth)
        found, inverse = np.unique(nodes[rows] * vocabulary_size + tokens[rows, depth], return_inverse=True)
        nodes[rows] = first_node + inverse
        ends = lengths[rows] == depth + 1
        level_words = np.full(len(found), NO_WORD)
        level_words[inverse[ends]] = ordered_words[rows][ends]
        level_outlooks = np.full(len(found), -np.inf)
        np.maximum.at(level_outlooks, inverse, ordered_scores[rows])
        edges.append(found)
        word_at.append(level_words)
        outlooks.append(level_outlooks)
        first_node += len(found)
    return Lexicon(vocabulary_size, np.concatenate(edges), np.concatenate(word_at), np.concatenate(outlooks))
