"""What is counted in data set folders."""

from collections import Counter

import numpy as np
import pytest
from helpers.sources import SHARED, needs_shared_data, rows_of

from asrscale.corpus.statistics import random_split_leak


def test_the_leak_of_a_random_split_is_what_draws_show() -> None:
    rng = np.random.default_rng(0)
    sentences = [f"s{number}" for number in rng.zipf(1.5, 2_000) % 500]
    shares = []
    for _ in range(50):
        valid = rng.random(len(sentences)) < 0.3
        train = {sentence for sentence, held in zip(sentences, valid, strict=True) if not held}
        shares.append(np.mean([s in train for s, held in zip(sentences, valid, strict=True) if held]))
    leak = random_split_leak(np.array(list(Counter(sentences).values())))
    assert leak == pytest.approx(np.mean(shares), abs=4 * np.std(shares) / 50**0.5 + 1e-3)
    assert random_split_leak(np.ones(3, int)) == 0


@needs_shared_data
def test_a_random_split_of_real_common_voice_rows_leaks() -> None:
    rows = rows_of(SHARED / "common_voice_v1/cv-valid-dev.csv")
    clips_of_sentence = Counter(row.text for row in rows)
    assert 0 < random_split_leak(np.array(list(clips_of_sentence.values()))) < 1
