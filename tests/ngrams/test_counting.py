from collections import Counter
from pathlib import Path
from random import Random

import pytest
from helpers.kneser_ney import random_sentences

from asrscale.ngrams import counting
from asrscale.ngrams.corpus import write_corpus
from asrscale.ngrams.counting import Order, chunks, count_orders


def ngram(orders: list[Order], words: list[str], n: int, row: int) -> tuple[str, ...]:
    """The words of a row of an order, by way of what it begins with."""
    last = words[int(orders[n - 1].last_words[row])]
    return (*ngram(orders, words, n - 1, int(orders[n - 1].prefixes[row])), last) if n > 1 else (last,)


@pytest.mark.parametrize("chunk", [5, 1 << 22])
def test_every_ngram_has_its_count_and_its_suffix(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "CHUNK", chunk)
    sentences = random_sentences(Random(9), 120)
    corpus = write_corpus(sentences, tmp_path / "ids")
    orders = count_orders(corpus, 4, tmp_path)
    padded = [("<s>", *sentence, "</s>") for sentence in sentences]
    for n, order in enumerate(orders, 1):
        found = [ngram(orders, corpus.words, n, row) for row in range(len(order))]
        expected = Counter(line[start : start + n] for line in padded for start in range(len(line) - n + 1))
        assert {one: int(count) for one, count in zip(found, order.counts, strict=True) if count} == expected
        assert len(set(found)) == len(found)
        if n > 1:
            suffixes = [ngram(orders, corpus.words, n - 1, int(row)) for row in order.suffixes]
            assert suffixes == [one[1:] for one in found]
        is_own_start = [order.own_start.start <= row < order.own_start.stop for row in range(len(order))]
        assert is_own_start == [one[0] == "<s>" for one in found]


def test_files_that_are_read_no_more_are_deleted(tmp_path: Path) -> None:
    count_orders(write_corpus(random_sentences(Random(9), 20), tmp_path / "ids"), 4, tmp_path)
    endings = {path.suffix for path in tmp_path.iterdir()}
    assert endings == {"", ".counts", ".prefixes", ".last_words", ".suffixes", ".keys"}
    assert [path.name for path in tmp_path.glob("*.keys")] == ["order-4.keys"]


def test_chunks_cover_all_rows_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "CHUNK", 4)
    for length in range(10):
        assert [row for part in chunks(length) for row in range(length)[part]] == list(range(length))
