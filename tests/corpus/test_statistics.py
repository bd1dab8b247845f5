"""What data set folders hold and share, counted."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.sharding import shard, write_clip, write_csv
from helpers.sources import SHARED, needs_shared_data, rows_of

from asrscale.common.errors import CliError
from asrscale.corpus.statistics import random_split_leak, read_statistics
from asrscale.corpus.statistics_report import print_statistics


def test_what_two_folders_hold_and_share(tmp_path: Path) -> None:
    for name, seconds in (("a.wav", 0.5), ("b.wav", 1.5), ("c.wav", 1.0)):
        write_clip(tmp_path / name, seconds)
    header = "filename,text,client_id"
    train = [
        ("a.wav", "Same words!", "ann"),
        ("b.wav", "route 66", "bob"),
        ("a.wav", "said again", "ann"),
        ("absent.wav", "gone", ""),
    ]
    test = [("c.wav", "same words", "bob"), ("b.wav", "new words", "eve")]
    one = write_csv(tmp_path / "t.csv", train, header)
    two = write_csv(tmp_path / "e.csv", test, header)
    shard(
        "--csv", f"train={one},test={two}", "--out", tmp_path / "out", "--shard_utterances", 2, "--max_rejected", "50%"
    )

    statistics = read_statistics([f"{tmp_path}/out/train/", f"{tmp_path}/out/test"])
    first, second = statistics.folders
    assert (first.name, second.name) == ("train", "test")
    assert (first.utterances, first.rows, first.rejected, first.shards) == (3, 4, {"missing file": 1}, 2)
    assert first.hours == pytest.approx(2.5 / 3600)
    assert first.mean_seconds == pytest.approx(2.5 / 3)
    assert first.longest_seconds == 1.5
    assert first.shard_bytes == sum(path.stat().st_size for path in (tmp_path / "out/train").glob("*.tar"))
    assert (first.speakers, first.repeated_clips, first.digits) == (2, 1, 2)
    assert first.characters["s"] == 3 and list(first.characters) == sorted(first.characters)
    assert (second.speakers, second.repeated_clips, second.digits) == (2, 0, 0)

    [shared] = statistics.shared
    assert (shared.one, shared.other) == (first, second)
    assert (shared.sentences, shared.speakers, shared.recordings) == (1, 1, 1)
    # of five utterances, two have the same sentence: each is in the 30 % with its twin in the 70 at odds of 0.7
    assert statistics.random_split_leak == pytest.approx(2 * 0.7 / 5)


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


@pytest.mark.parametrize("name", ["rejected", "markup", "symbols", "rows"])
def test_counts_that_are_none_are_refused_in_one_line(own_shards: Path, name: str) -> None:
    path = own_shards / "valid/dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: {"a": "x"}}))
    with pytest.raises(CliError, match=r"dataset\.json is damaged"):
        print_statistics([str(path.parent)])
