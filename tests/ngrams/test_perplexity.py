import math
from pathlib import Path

import pytest

from asrscale.ngrams.arpa import read_arpa
from asrscale.ngrams.perplexity import measure

LMPLZ = Path(__file__).with_name("lmplz")


def test_perplexity_is_that_of_kenlms_query() -> None:
    model = read_arpa(LMPLZ / "pruned.arpa.gz")
    sentences = [line.partition("\t")[2].split() for line in (LMPLZ / "scores.tsv").read_text().splitlines()]
    found = measure(model, sentences)
    # The last lines that `query` printed.
    expected = dict(line.split(":\t") for line in (LMPLZ / "query.txt").read_text().splitlines())
    assert found.perplexity == pytest.approx(float(expected["Perplexity including OOVs"]), rel=1e-3)
    assert found.perplexity_of_known == pytest.approx(float(expected["Perplexity excluding OOVs"]), rel=1e-3)
    assert found.unknown == int(expected["OOVs"]) and found.unknown > 0
    assert found.words + found.sentences == int(expected["Tokens"])


def test_nothing_has_no_perplexity() -> None:
    assert math.isnan(measure(read_arpa(LMPLZ / "pruned.arpa.gz"), []).perplexity)
