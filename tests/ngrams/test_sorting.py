from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from asrscale.ngrams import sorting
from asrscale.ngrams.sorting import count_keys


@pytest.mark.parametrize("batches", [[5000], [10, 4000, 1, 3000, 700], [0, 3, 0], []])
def test_keys_are_counted_whatever_the_batches(
    batches: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorting, "MERGED_KEYS", 64)
    monkeypatch.setattr(sorting, "_SMALLEST_BLOCK", 8)
    rng = np.random.default_rng(3)
    keys = [rng.geometric(0.002, size) << 40 for size in batches]
    table = count_keys(iter(keys), tmp_path / "table")
    expected = Counter(key for batch in keys for key in batch.tolist())
    assert dict(zip(table.keys.tolist(), table.counts.tolist(), strict=True)) == expected
    assert table.keys.tolist() == sorted(expected)
    if expected:
        wanted = rng.choice(table.keys, 50)
        assert (table.keys[table.rows_of(wanted)] == wanted).all()
    assert {path.suffix for path in tmp_path.iterdir()} == {".keys", ".counts"}
