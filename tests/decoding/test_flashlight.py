"""The search in a lexicon, beside that of flashlight-text, with KenLM's own reading of the language model."""

import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.scoring import Weights, build_scorer
from asrscale.ngrams.arpa import write_arpa
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import NgramModel
from asrscale.speech.vocabulary import Vocabulary

decoders = pytest.importorskip(
    "flashlight.lib.text.decoder", reason="flashlight-text is not installed: it has wheels for Python 3.11 and 3.12"
)
kenlm = pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="this flashlight-text has no KenLM")
dictionaries = pytest.importorskip("flashlight.lib.text.dictionary", reason="flashlight-text is not installed")

LETTERS = Vocabulary(("a", "b", "c", "|", "[UNK]", "[PAD]"))
WORDS = ("a", "ab", "abba", "b", "ba", "baa", "bab", "c", "ca", "cab", "cc")
NOTHING_PRUNED = Pruning(10_000, 1_000.0, 1_000.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NgramModel:
    folder = tmp_path_factory.mktemp("model")
    random = Random(1)
    texts = [random.choices(WORDS, k=random.randint(1, 6)) for _ in range(80)]
    return build_model(write_corpus(texts, folder / "ids"), 3, [0, 0, 0], folder)[0]


def frames_that_end_a_word(seed: int) -> np.ndarray:
    """(F, V) ln of probabilities; flashlight ends a word with a delimiter, so the last frame is surely one."""
    rng = np.random.default_rng(seed)
    frames = np.log(rng.dirichlet(np.full(len(LETTERS.tokens), 0.3), rng.integers(2, 12)))
    end = np.full((1, len(LETTERS.tokens)), -60.0)
    end[0, LETTERS.delimiter_id] = 0.0
    return np.concatenate([np.maximum(frames, -30.0), end]).astype(np.float32)


def flashlight_decoder(arpa: Path, weights: Weights) -> tuple[Any, Any]:
    """Returns a decoder and its dictionary of words; it adds up the paths of a text, as ours does."""
    dictionary = dictionaries.Dictionary()
    for word in (*WORDS, "<unk>"):
        dictionary.add_entry(word)
    dictionary.set_default_index(dictionary.get_index("<unk>"))
    lm = kenlm.KenLM(str(arpa), dictionary)
    delimiter = LETTERS.delimiter_id
    trie = decoders.Trie(len(LETTERS.tokens), delimiter)
    start = lm.start(False)
    for word in WORDS:
        index = dictionary.get_index(word)
        _, score = lm.score(start, index)
        trie.insert([*LETTERS.encode(word), delimiter], index, score)
    trie.smear(decoders.SmearingMode.MAX)
    options = decoders.LexiconDecoderOptions(
        beam_size=NOTHING_PRUNED.beam,
        beam_size_token=len(LETTERS.tokens),
        beam_threshold=NOTHING_PRUNED.worse,
        lm_weight=weights.lm_weight * math.log(10),  # KenLM's scores are decimal logarithms
        word_score=weights.word_bonus,
        unk_score=-math.inf,
        sil_score=0.0,
        log_add=True,
        criterion_type=decoders.CriterionType.CTC,
    )
    unknown = dictionary.get_index("<unk>")
    decoder = decoders.LexiconDecoder(options, trie, lm, delimiter, LETTERS.blank_id, unknown, [], False)
    return decoder, dictionary


@pytest.mark.parametrize("weights", [Weights(0.5, 1.0), Weights(1.0, 1.5), Weights(2.0, 0.0)])
def test_the_best_text_and_its_score_are_those_of_flashlight(
    weights: Weights, model: NgramModel, tmp_path: Path
) -> None:
    with (tmp_path / "model.arpa").open("wb") as file:
        write_arpa(model, file)
    theirs, dictionary = flashlight_decoder(tmp_path / "model.arpa", weights)
    scorer, _ = build_scorer(LETTERS, model, weights, closed=True)
    ours = Decoder(scorer, NOTHING_PRUNED)
    for seed in range(20):
        frames = frames_that_end_a_word(seed)
        best = theirs.decode(frames.ctypes.data, *frames.shape)[0]
        text, score = ours.texts(frames)[0]
        assert text == " ".join(dictionary.get_entry(word) for word in best.words if word >= 0), seed
        assert score == pytest.approx(best.score, rel=1e-4, abs=1e-4), seed
