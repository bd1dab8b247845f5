from pathlib import Path
from random import Random

import pytest
from helpers.kneser_ney import random_sentences

from asrscale.common.errors import CliError
from asrscale.ngrams import corpus as corpus_module
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.tokens import SENTENCE_END, SENTENCE_START, SPECIAL_WORDS


def test_the_ids_say_the_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "_BUFFERED_WORDS", 7)
    sentences = random_sentences(Random(3), 50)
    assert [] in sentences
    corpus = write_corpus(iter(sentences), tmp_path / "ids")
    said = [corpus.words[id] for id in corpus.ids.tolist()]
    start, end = corpus.words[SENTENCE_START], corpus.words[SENTENCE_END]
    assert said == [word for sentence in sentences for word in (start, *sentence, end)]
    assert corpus.words[: len(SPECIAL_WORDS)] == list(SPECIAL_WORDS)
    assert len(set(corpus.words)) == len(corpus.words)
    assert corpus.sentences == 50 and corpus.running_words == sum(map(len, sentences))


def test_a_text_without_sentences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="no sentence left"):
        write_corpus([], tmp_path / "ids")
