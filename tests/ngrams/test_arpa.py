import gzip
from pathlib import Path
from random import Random

import numpy as np
import pytest
from helpers.kneser_ney import random_sentences

from asrscale.common.errors import CliError
from asrscale.ngrams import arpa
from asrscale.ngrams.arpa import read_arpa, write_arpa
from asrscale.ngrams.assembling import build_model
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.model import NgramModel

LMPLZ = Path(__file__).with_name("lmplz")

# As SRILM may write one: no unknown word, a trigram whose last two words are no bigram, weights left out.
FOREIGN = r"""
made by hand

\data\
ngram 1=4
ngram 2=2
ngram 3=1

\1-grams:
-1.0	</s>
-99	<s>	-0.5
-0.7	a	-0.3
-0.4	b	-0.2

\2-grams:
-0.3	<s> a	-0.1
-0.6	a b

\3-grams:
-0.05	<s> a a

\end\
"""


@pytest.fixture
def model(tmp_path: Path) -> NgramModel:
    return build_model(write_corpus(random_sentences(Random(1), 80), tmp_path / "ids"), 4, [0, 0, 1, 1], tmp_path)[0]


def test_what_is_written_is_read(model: NgramModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arpa, "_LINES", 7)
    with gzip.open(tmp_path / "model.arpa.gz", "wb") as file:
        write_arpa(model, file)
    read = read_arpa(tmp_path / "model.arpa.gz")
    assert read.words == model.words and read.sizes == model.sizes
    for name in ("keys", "suffixes", "log10_probabilities", "log10_backoffs"):
        assert np.array_equal(getattr(read, name), getattr(model, name)), name


def test_a_sentence_is_scored_as_by_kenlm(model: NgramModel, tmp_path: Path) -> None:
    kenlm = pytest.importorskip("kenlm", reason="kenlm is not installed: it needs a compiler, and Python before 3.13")
    with (tmp_path / "model.arpa").open("wb") as file:
        write_arpa(model, file)
    theirs = kenlm.Model(str(tmp_path / "model.arpa"))
    for words in random_sentences(Random(2), 200):
        words = [*words, "unseen"]
        own = model.log10_sentence(words)
        assert sum(own) == pytest.approx(theirs.score(" ".join(words)), abs=1e-4)
        assert 10 ** (-sum(own) / len(own)) == pytest.approx(theirs.perplexity(" ".join(words)), rel=1e-3)


def test_sentences_have_the_scores_that_kenlm_gives_them() -> None:
    # `query` of KenLM 0.3.0 on the file beside this one: log10 of each sentence with its end.
    model = read_arpa(LMPLZ / "pruned.arpa.gz")
    lines = (LMPLZ / "scores.tsv").read_text().splitlines()
    assert len(lines) > 20
    for line in lines:
        score, _, sentence = line.partition("\t")
        assert sum(model.log10_sentence(sentence.split())) == pytest.approx(float(score), abs=2e-4), sentence


def test_files_of_other_toolkits_are_read(tmp_path: Path) -> None:
    (tmp_path / "foreign.arpa").write_text(FOREIGN)
    model = read_arpa(tmp_path / "foreign.arpa")
    # <s> a a: as it stands; then a b by the weight of "a a", which is no context, so by that of "a", as a bigram.
    assert model.log10_sentence(["a", "a", "b"]) == pytest.approx([-0.3, -0.05, -0.6, -1.0 - 0.2])
    assert model.log10_sentence(["b"]) == pytest.approx([-0.4 - 0.5, -1.0 - 0.2])
    assert model.log10_sentence(["z"])[0] == pytest.approx(-100 - 0.5)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (("\\data\\", "data"), "no line"),
        (("ngram 2=2", "ngram 2=5"), "ends after|fields are separated"),
        (("ngram 3=1\n", ""), "in place of"),
        (("<s> a a", "<s> b a"), "continues a 2-gram that is not there"),
        (("-0.6\ta b", "-0.6\ta z"), "'z'"),
        (("-0.6\ta b", "much\ta b"), "could not convert"),
        (("-0.6\ta b", "-0.3\t<s> a"), "there twice"),
    ],
)
def test_a_damaged_file_is_one_line(damage: tuple[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "damaged.arpa").write_text(FOREIGN.replace(*damage))
    with pytest.raises(CliError, match=message) as error:
        read_arpa(tmp_path / "damaged.arpa")
    assert "damaged.arpa" in str(error.value) and "\n" not in str(error.value)
