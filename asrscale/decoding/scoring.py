"""What tokens mean to a beam search, and what words add to the score of a text.

Shapes: V tokens, K hypotheses.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from asrscale.decoding.hot_words import HotWords, build_hot_words
from asrscale.decoding.lexicon import NO_NODE, NO_WORD, Floats, Ids, Lexicon, build_lexicon
from asrscale.ngrams.model import EMPTY, NgramModel
from asrscale.ngrams.tokens import SENTENCE_END, SPECIAL_WORDS, UNKNOWN, is_word_by_itself, words_of
from asrscale.speech.vocabulary import Vocabulary

LETTER, DELIMITER, ALONE = 0, 1, 2  # kinds of tokens: part of a word, between words, a word by itself

_LN_10 = math.log(10)
_MOST_KNOWN = 1_000_000  # scores of words that are kept: some 200 MB


@dataclass(frozen=True)
class Weights:
    """What the parts of a score count.

    Attributes:
        lm_weight: Of the language model's ln P.
        word_bonus: Added for each word, which the language model makes unlikely.
    """

    lm_weight: float = 0.0
    word_bonus: float = 0.0


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores what tokens make: words of a language model, unknown words, hot words.

    Attributes:
        vocabulary: The tokens.
        lexicon: The spellings of all known words.
        model: Scores words; None for hot words alone.
        weights: What the parts count.
        closed: Whether words that are not in the lexicon are impossible.
        hot_words: None for none.
        known: Scores of words that were asked for, by state and word.
    """

    vocabulary: Vocabulary
    lexicon: Lexicon
    model: NgramModel | None
    weights: Weights
    closed: bool
    hot_words: HotWords
    known: dict[tuple[int, int], tuple[float, int]] = field(default_factory=dict, repr=False)

    @property
    def blank(self) -> int:
        """The id of CTC's blank."""
        return self.vocabulary.blank_id

    @property
    def delimiter(self) -> int | None:
        """The id of the token between words; None where there is none."""
        return self.vocabulary.delimiter_id

    @cached_property
    def start(self) -> int:
        """The state of the language model at the beginning of a text."""
        return self.model.start if self.model else EMPTY

    @cached_property
    def kinds(self) -> Ids:
        """(V,) LETTER, DELIMITER or ALONE."""
        return token_kinds(self.vocabulary)

    @cached_property
    def alone_words(self) -> Ids:
        """(V,) the word that each token is by itself; NO_WORD for others."""
        nodes = self.lexicon.children(np.zeros(len(self.kinds), np.int64), np.arange(len(self.kinds)))
        return np.where(nodes == NO_NODE, NO_WORD, self.lexicon.words[nodes])

    @cached_property
    def ln_letter(self) -> float:
        """How likely a letter of an unknown word is: as likely as any other; certain without a model."""
        if self.model is None:
            return 0.0
        return -math.log(max(2, int((self.kinds == LETTER).sum())))

    def outlook(self, nodes: Ids, lengths: Ids) -> Floats:
        """Returns (K,) what unfinished words may add to the score at best, by what one word alone is worth.

        Args:
            nodes: Of the lexicon.
            lengths: Tokens of the unfinished words.
        """
        unknown = self._ln_unknown + lengths * self.ln_letter
        return self.weights.lm_weight * np.where(nodes == NO_NODE, unknown, self.lexicon.outlooks[nodes])

    @cached_property
    def _ln_unknown(self) -> float:
        return self._ln_word(EMPTY, UNKNOWN)[0]

    def end_word(self, node: int, length: int, state: int) -> tuple[float, int]:
        """Returns what a finished word adds to the score, and the state behind it.

        Args:
            node: Where the word ends in the lexicon; NO_NODE for one that is not there.
            length: Its tokens.
            state: Of the language model before it.
        """
        word = NO_WORD if node == NO_NODE else int(self.lexicon.words[node])
        if word == NO_WORD and self.closed:
            return -math.inf, state
        score, state = self.add_word(max(word, UNKNOWN), state)
        if word == NO_WORD:
            score += self.weights.lm_weight * length * self.ln_letter
        return score, state

    def add_token(self, token: int, state: int) -> tuple[float, int]:
        """Returns what a token that is a word by itself adds to the score, and the state behind it."""
        word = int(self.alone_words[token])
        if word == NO_WORD and self.closed:
            return -math.inf, state
        return self.add_word(max(word, UNKNOWN), state)

    def add_word(self, word: int, state: int) -> tuple[float, int]:
        """Returns what a word adds to the score, and the state behind it."""
        ln_word, state = self._ln_word(state, word)
        return self.weights.lm_weight * ln_word + self.weights.word_bonus, state

    def end_text(self, state: int) -> float:
        """Returns what the end of a text adds to its score."""
        return self.weights.lm_weight * self._ln_word(state, SENTENCE_END)[0]

    def _ln_word(self, state: int, word: int) -> tuple[float, int]:
        if self.model is None:
            return 0.0, state
        found = self.known.get((state, word))
        if found is None:
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()
            log10, behind = self.model.advance(state, word)
            found = self.known[state, word] = (log10 * _LN_10, behind)
        return found


def token_kinds(vocabulary: Vocabulary) -> Ids:
    """Returns the (V,) kinds of tokens."""
    kinds = np.full(len(vocabulary.tokens), LETTER)
    for id, token in enumerate(vocabulary.tokens):
        if id == vocabulary.delimiter_id:
            kinds[id] = DELIMITER
        elif vocabulary.spaced or is_word_by_itself(token):
            kinds[id] = ALONE
    return kinds


def build_scorer(
    vocabulary: Vocabulary,
    model: NgramModel | None,
    weights: Weights,
    *,
    closed: bool = False,
    hot_phrases: Mapping[str, float] | None = None,
) -> tuple[Scorer, int]:
    """Returns a scorer, and how many words of the language model the vocabulary has no tokens for.

    Args:
        vocabulary: The tokens.
        model: Scores words.
        weights: What the parts count.
        closed: Whether only words of the model, and of hot phrases, may be found.
        hot_phrases: The weight of each, by its normalised text, all of which the vocabulary has tokens for.
    """
    phrases = hot_phrases or {}
    ids = {word: UNKNOWN for phrase in phrases for word in words_of(phrase)}
    if model is not None:
        ids |= {word: id for id, word in enumerate(model.words) if id >= len(SPECIAL_WORDS)}
    spellings, words, scores = [], [], []
    unspelled = 0
    for word, id in ids.items():
        if vocabulary.unknown_characters(word):
            unspelled += 1
            continue
        spellings.append(vocabulary.encode(word))
        words.append(id)
        scores.append(_LN_10 * float(model.log10_probabilities[1 + id]) if model else 0.0)
    kinds = token_kinds(vocabulary)
    hot_words = build_hot_words(
        {tuple(vocabulary.encode(phrase)): weight for phrase, weight in phrases.items()},
        vocabulary_size=len(vocabulary.tokens),
        delimiter=vocabulary.delimiter_id,
        alone=np.flatnonzero(kinds == ALONE).tolist(),
    )
    lexicon = build_lexicon(spellings, words, scores, len(vocabulary.tokens))
    return Scorer(vocabulary, lexicon, model, weights, closed, hot_words), unspelled
