"""CTC prefix beam search (Hannun et al., 2014, "First-pass large vocabulary continuous speech recognition").

A hypothesis is a text, by the tokens that it is made of. Its probability is the sum over all paths that say it; two
numbers keep those apart that end with a blank from those that end with its last token, since only behind a blank can
the same token come again. A language model scores each word when it ends; until then, a word counts as the likeliest
that may become of it.

The score of a text is ln P(text | audio) + lm_weight · ln P(text) + word_bonus · words + the weights of its hot words.

Shapes: F frames, V tokens, K hypotheses, A tokens that a frame may add.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from asrscale.decoding.lexicon import NO_NODE, ROOT, Floats, Ids
from asrscale.decoding.scoring import ALONE, LETTER, Scorer

_HASH_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd: 2**64 divided by the golden ratio, as Knuth hashes
_HASH_STEP = np.uint64(0xD1B54A32D192ED03)

Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Pruning:
    """What is not looked at.

    Attributes:
        beam: The most hypotheses that are kept.
        worse: How much worse than the best one a hypothesis may be, in nats.
        token: How much less likely than the best one a token of a frame may be, in nats.
    """

    beam: int
    worse: float
    token: float


@dataclass(frozen=True, eq=False)
class Beam:
    """Hypotheses, all arrays (K,).

    Attributes:
        blank: ln of the probability of all paths that end with a blank.
        token: … of those that end with the last token.
        scores: Of finished words: language model, bonus and hot words.
        nodes: Where the unfinished word is in the lexicon.
        lengths: How many tokens the unfinished word has.
        last: The last token; at the beginning the word delimiter, which there may be none of.
        states: Of the language model.
        hot: Of the hot words.
        hashes: Of all tokens.
        parents: Hash of all tokens but the last.
        entries: The last entry in the list of tokens.
    """

    blank: Floats
    token: Floats
    scores: Floats
    nodes: Ids
    lengths: Ids
    last: Ids
    states: Ids
    hot: Ids
    hashes: Hashes
    parents: Hashes
    entries: Ids

    def __len__(self) -> int:
        return len(self.blank)


@dataclass(frozen=True, eq=False)
class Found:
    """A text that a search found: its tokens, and ln of the probability of its paths and its other scores apart."""

    tokens: list[int]
    acoustic: float
    others: float

    @property
    def score(self) -> float:
        """All together."""
        return self.acoustic + self.others


class _Tokens:
    """The tokens of all hypotheses, as a list of entries with a link to the entry before."""

    def __init__(self) -> None:
        self.links: list[int] = [-1]
        self.tokens: list[int] = [-1]

    def add(self, links: Ids, tokens: Ids) -> Ids:
        """Returns the new entries."""
        first = len(self.links)
        self.links += links.tolist()
        self.tokens += tokens.tolist()
        return np.arange(first, len(self.links))

    def behind(self, entry: int) -> list[int]:
        """Returns all tokens up to an entry."""
        tokens = []
        while entry > 0:
            tokens.append(self.tokens[entry])
            entry = self.links[entry]
        return tokens[::-1]


def search(log_probabilities: npt.NDArray[np.floating], scorer: Scorer, pruning: Pruning) -> list[Found]:
    """Returns the best texts of an utterance, the best first; texts that are made of other tokens may be the same.

    Args:
        log_probabilities: (F, V) natural logarithms.
        scorer: Says what tokens mean, and scores words.
        pruning: What is not looked at.
    """
    frames = np.asarray(log_probabilities, np.float64)
    blank = scorer.blank
    likely = frames > frames.max(axis=1, keepdims=True) - pruning.token
    likely[:, blank] = False
    is_active = likely.any(axis=1)
    tokens = _Tokens()
    beam = _first_beam(scorer)
    for frame, active, is_likely in zip(frames, is_active.tolist(), likely, strict=True):
        if active:
            beam = _advance(beam, frame, np.flatnonzero(is_likely), scorer, pruning, tokens)
        else:
            beam = _stay(beam, frame[blank])
    return _finish(beam, scorer, tokens)


def _first_beam(scorer: Scorer) -> Beam:
    zero = np.zeros(1, np.int64)
    return Beam(
        blank=np.zeros(1),
        token=np.full(1, -np.inf),
        scores=np.zeros(1),
        nodes=zero + ROOT,
        lengths=zero,
        last=zero + (scorer.blank if scorer.delimiter is None else scorer.delimiter),
        states=zero + scorer.start,
        hot=zero,
        hashes=np.ones(1, np.uint64),
        parents=np.zeros(1, np.uint64),
        entries=zero,
    )


def _stay(beam: Beam, blank: float) -> Beam:
    """Returns the beam behind a frame in which only the blank is likely."""
    total = np.logaddexp(beam.blank, beam.token)
    return replace(beam, blank=total + blank, token=np.full(len(beam), -np.inf))


def _advance(beam: Beam, frame: Floats, added: Ids, scorer: Scorer, pruning: Pruning, tokens: _Tokens) -> Beam:
    """Returns the beam behind a frame.

    Args:
        beam: Before it.
        frame: (V,) log-probabilities.
        added: (A,) the tokens that may be added, ascending.
        scorer: As for `search`.
        pruning: As for `search`.
        tokens: Of all hypotheses; those that are added become entries.
    """
    total = np.logaddexp(beam.blank, beam.token)
    longer = np.where(beam.last[:, None] == added, beam.blank[:, None], total[:, None]) + frame[added]
    stays = replace(beam, blank=total + frame[scorer.blank], token=beam.token + frame[beam.last])
    if scorer.delimiter is not None:
        _absorb_delimiters(stays, longer, beam.last == scorer.delimiter, added == scorer.delimiter)
    _merge(stays, longer, added)

    stay_totals = _total(stays, scorer)
    worst = max(stay_totals.max(), (longer + beam.scores[:, None]).max()) - pruning.worse
    rows, columns = np.nonzero(longer + beam.scores[:, None] > worst)
    grown = _extend(beam, rows, added[columns], longer[rows, columns], scorer)
    return _keep_best(stays, stay_totals, grown, _total(grown, scorer), pruning, tokens)


def _absorb_delimiters(
    stays: Beam, longer: Floats, ends_so: npt.NDArray[np.bool_], is_delimiter: npt.NDArray[np.bool_]
) -> None:
    """Has a further delimiter change nothing: several between two words, or before the first, are as one.

    Args:
        stays: Hypotheses to which nothing is added; changed.
        longer: (K, A) log-probabilities of adding each token; changed.
        ends_so: (K,) whether hypotheses end with a delimiter.
        is_delimiter: (A,) whether that is it.
    """
    for column in np.flatnonzero(is_delimiter):
        stays.token[ends_so] = np.logaddexp(stays.token[ends_so], longer[ends_so, column])
        longer[ends_so, column] = -np.inf


def _merge(stays: Beam, longer: Floats, added: Ids) -> None:
    """Gives the probability of adding a token to the hypothesis that already has it, where that is in the beam."""
    order = np.argsort(stays.hashes)
    places = np.minimum(np.searchsorted(stays.hashes[order], stays.parents), len(order) - 1)
    parents = order[places]
    columns = np.minimum(np.searchsorted(added, stays.last), len(added) - 1)
    rows = np.flatnonzero((stays.hashes[parents] == stays.parents) & (added[columns] == stays.last))
    parents, columns = parents[rows], columns[rows]
    stays.token[rows] = np.logaddexp(stays.token[rows], longer[parents, columns])
    longer[parents, columns] = -np.inf


def _total(beam: Beam, scorer: Scorer) -> Floats:
    """Returns the (K,) scores by which hypotheses are compared, with the outlook for unfinished words and phrases."""
    outlook = scorer.outlook(beam.nodes, beam.lengths) + scorer.hot_words.loans[beam.hot]
    return np.logaddexp(beam.blank, beam.token) + beam.scores + outlook


def _extend(beam: Beam, rows: Ids, added: Ids, log_probabilities: Floats, scorer: Scorer) -> Beam:
    """Returns hypotheses with a token more.

    Args:
        beam: Where they come from.
        rows: (K,) which hypothesis of the beam each continues.
        added: (K,) tokens.
        log_probabilities: (K,) of the paths that end with these.
        scorer: As for `search`.
    """
    kinds = scorer.kinds[added]
    is_letter = kinds == LETTER
    nodes = np.where(is_letter, scorer.lexicon.children(beam.nodes[rows], added), ROOT)
    scores = beam.scores[rows]
    states = beam.states[rows]
    for place in np.flatnonzero(~is_letter).tolist():
        row = rows[place]
        if beam.lengths[row]:
            gained, states[place] = scorer.end_word(int(beam.nodes[row]), int(beam.lengths[row]), int(states[place]))
            scores[place] += gained
        if kinds[place] == ALONE:
            gained, states[place] = scorer.add_token(int(added[place]), int(states[place]))
            scores[place] += gained
    if scorer.closed:
        scores[is_letter & (nodes == NO_NODE)] = -np.inf
    hot = scorer.hot_words.following[beam.hot[rows], added]
    scores += np.where(is_letter, 0.0, scorer.hot_words.complete[beam.hot[rows]]) + scorer.hot_words.at_once[hot]
    parents = beam.hashes[rows]
    return Beam(
        blank=np.full(len(rows), -np.inf),
        token=log_probabilities,
        scores=scores,
        nodes=nodes,
        lengths=np.where(is_letter, beam.lengths[rows] + 1, 0),
        last=added,
        states=states,
        hot=hot,
        hashes=(parents + added.astype(np.uint64) * _HASH_STEP + np.uint64(1)) * _HASH_FACTOR,
        parents=parents,
        entries=beam.entries[rows],
    )


def _keep_best(
    stays: Beam, stay_totals: Floats, grown: Beam, grown_totals: Floats, pruning: Pruning, tokens: _Tokens
) -> Beam:
    """Returns the best hypotheses of those that stay as they are and those that have grown."""
    totals = np.concatenate([stay_totals, grown_totals])
    kept = np.flatnonzero(totals > totals.max() - pruning.worse)
    if len(kept) > pruning.beam:
        best = np.argpartition(totals[kept], -pruning.beam)[-pruning.beam :]
        kept = np.sort(kept[best])
    old = kept[kept < len(stays)]
    new = kept[len(old) :] - len(stays)
    entries = tokens.add(grown.entries[new], grown.last[new])
    return Beam(
        np.concatenate([stays.blank[old], grown.blank[new]]),
        np.concatenate([stays.token[old], grown.token[new]]),
        np.concatenate([stays.scores[old], grown.scores[new]]),
        np.concatenate([stays.nodes[old], grown.nodes[new]]),
        np.concatenate([stays.lengths[old], grown.lengths[new]]),
        np.concatenate([stays.last[old], grown.last[new]]),
        np.concatenate([stays.states[old], grown.states[new]]),
        np.concatenate([stays.hot[old], grown.hot[new]]),
        np.concatenate([stays.hashes[old], grown.hashes[new]]),
        np.concatenate([stays.parents[old], grown.parents[new]]),
        np.concatenate([stays.entries[old], entries]),
    )


def _finish(beam: Beam, scorer: Scorer, tokens: _Tokens) -> list[Found]:
    """Returns the texts of a beam with their last words and their ends scored, the best first."""
    found: dict[tuple[int, ...], Found] = {}
    acoustic = np.logaddexp(beam.blank, beam.token)
    for row in range(len(beam)):
        text = tokens.behind(int(beam.entries[row]))
        others, state = float(beam.scores[row]), int(beam.states[row])
        length = int(beam.lengths[row])
        if length:
            gained, state = scorer.end_word(int(beam.nodes[row]), length, state)
            if gained == -np.inf:  # the beginning of a word, where only whole ones are allowed
                text, gained = text[:-length], 0.0
            others += gained
        others += scorer.end_text(state) + float(scorer.hot_words.complete[beam.hot[row]] if length else 0.0)
        while text and text[-1] == scorer.delimiter:
            text.pop()
        before = found.get(tuple(text))
        if before is None:
            found[tuple(text)] = Found(text, float(acoustic[row]), others)
        else:
            total = float(np.logaddexp(before.acoustic, acoustic[row]))
            found[tuple(text)] = Found(text, total, max(others, before.others))
    return sorted(found.values(), key=lambda one: -one.score)
