"""Splits, filters and subsets."""

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from asrscale.common.errors import CliError
from asrscale.corpus.hours import choose_hours
from asrscale.corpus.rows import Row
from asrscale.corpus.sources import open_source
from asrscale.corpus.splits import SplitRules, assign_splits, split_of
from asrscale.corpus.statistics import random_split_leak

SHARED = Path(__file__).parents[3] / "shared/data"


def row(line: int, text: str = "hello", **extra: object) -> Row:
    return Row(line, "a.csv", f"{line}.mp3", text, {name: str(value) for name, value in extra.items() if value != ""})


def rules(by: str | None = None, valid: float = 0.3, test: float = 0.0, seed: int = 42, **more: str) -> SplitRules:
    return SplitRules(by, valid, test, seed, **more)


def splits_of(rows: list[Row], how: SplitRules) -> list[str]:
    return [split for _, split in assign_splits(lambda: rows, how)]


def count_shared(groups: dict[str, set[str | None]]) -> int:
    return sum(len(one & other) for one, other in combinations(groups.values(), 2))


def kept(expression: str, rows: list[Row]) -> list[int]:
    return [row.line for row, _ in assign_splits(lambda: rows, rules(filter=expression)) if not row.refused]


def test_a_split_depends_on_the_normalised_sentence_and_the_seed() -> None:
    rows = [row(number, f"sentence number {number}") for number in range(4_000)]
    splits = splits_of(rows, rules("sentence"))
    shouted = [row(one.line, f" {one.text.upper()}!", up_votes=1) for one in rows]
    assert splits_of(shouted, rules("sentence")) == splits
    assert splits_of(rows[::-1], rules("sentence")) == splits[::-1]
    assert splits_of(rows, rules("sentence", seed=43)) != splits
    # four standard deviations of a fair draw
    assert abs(splits.count("valid") / 4_000 - 0.3) < 4 * (0.3 * 0.7 / 4_000) ** 0.5


def test_a_split_is_the_same_everywhere_and_for_ever() -> None:
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    letters = "".join(split_of(row(2, word), "sentence", rules(valid=0.5))[0] for word in words)
    assert letters == "vttttttttv"


def test_larger_fractions_only_add_to_valid_and_test() -> None:
    rows = [row(number, str(number)) for number in range(2_000)]
    few, more = (splits_of(rows, rules("sentence", valid, test)) for valid, test in ((0.1, 0.1), (0.2, 0.3)))
    assert all(b == a for a, b in zip(few, more, strict=True) if a != "train")
    assert abs(more.count("test") / 2_000 - 0.3) < 4 * (0.3 * 0.7 / 2_000) ** 0.5
    assert set(splits_of(rows, rules("sentence", 0.0, 0.0))) == {"train"}


def test_speakers_are_kept_together_where_they_are_known() -> None:
    rows = [row(number, f"text {number % 7}", client_id=number % 50) for number in range(1_000)]
    dealt = list(assign_splits(lambda: rows, rules(test=0.2)))
    by_split: dict[str, set[str | None]] = {}
    for one, split in dealt:
        assert not one.refused
        by_split.setdefault(split, set()).add(one.speaker)
    assert set(by_split) == {"train", "valid", "test"}
    assert count_shared(by_split) == 0
    assert splits_of([row(2, "a")], rules()) == splits_of([row(2, "a")], rules("sentence"))  # no speaker: by sentence


def test_both_shares_neither_sentence_nor_speaker_and_lists_what_it_costs() -> None:
    rng = np.random.default_rng(0)
    rows = [row(n, f"text {rng.integers(300)}", speaker=rng.integers(60)) for n in range(1_000)]
    dealt = list(assign_splits(lambda: rows, rules("both", test=0.2)))
    assert [replace(one, refused="") for one, _ in dealt] == rows
    assert {one.refused.partition(":")[0] for one, _ in dealt} == {"", "sentence held out"}
    used = [(one, split) for one, split in dealt if not one.refused]
    assert {split for _, split in used} == {"train", "valid", "test"}
    for value in ("speaker", "text"):
        groups: dict[str, set[str | None]] = {}
        for one, split in used:
            groups.setdefault(split, set()).add(getattr(one, value))
        assert count_shared(groups) == 0
    # no more than it takes: nothing of test is left out, and each row left out has its sentence in a held-out split
    held = {(one.text, split) for one, split in used if split != "train"}
    for one, split in dealt:
        if one.refused:
            assert split != "test"
            assert any((one.text, other) in held for other in ("valid", "test") if other != split)


def test_a_given_column() -> None:
    rows = [row(2, split="train"), row(3, split="dev"), row(4, split="test-clean")]
    assert splits_of(rows, rules("split")) == ["train", "dev", "test-clean"]
    assert splits_of(rows, rules("=dev")) == ["dev"] * 3
    for bad in ("../up", "Train", "a b", ""):
        with pytest.raises(CliError, match=r"^a.csv line 5: .* in column 'split' is no name of a split"):
            splits_of([*rows, row(5, split=bad)], rules("split"))
    with pytest.raises(CliError, match=r"^a.csv line 3: has no speaker"):
        splits_of([row(2, speaker="a"), row(3)], rules("speaker"))
    some = [row(2, speaker="a"), row(3)]
    assert splits_of(some, rules()) == splits_of(some, rules("sentence"))


ROWS = [
    row(2, "to be", up_votes=2, down_votes=0, accent="us"),
    row(3, "or not", up_votes=10, down_votes=1, accent="england"),
    row(4, "to", up_votes=1, down_votes=0),
    row(5, "be", down_votes=0, accent="scotland"),
]


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        ("up_votes>=2 and down_votes==0", [2]),
        ("up_votes > 9", [3]),  # as numbers: "10" < "9" as text
        ("up_votes > down_votes", [2, 3, 4]),
        ("not up_votes >= 2", [4, 5]),
        ("up_votes != 2", [3, 4, 5]),
        ("accent in ('us', 'england')", [2, 3]),
        ("accent not in ['us']", [3, 4, 5]),
        ("accent == ''", [4]),
        ("'land' in accent or up_votes == 1", [3, 4, 5]),
        ("'to' in text", [2, 4]),
        ("1 <= up_votes <= 2", [2, 4]),
        ("up_votes == 1.0", [4]),
        ("up_votes in (1, 2)", [2, 4]),
        ("down_votes > -1 and down_votes != -1.5", [2, 3, 4, 5]),
        ("up_votes > -1", [2, 3, 4]),
    ],
)
def test_filters(expression: str, lines: list[int]) -> None:
    assert kept(expression, ROWS) == lines
    reasons = {one.line: one.refused for one, _ in assign_splits(lambda: ROWS, rules(filter=expression))}
    assert reasons == {one.line: "" if one.line in lines else f"filtered: {expression}" for one in ROWS}


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("up_vote >= 2", "no row has a value in column 'up_vote'"),
        ("up_votes >=", "invalid syntax"),
        ("up_votes = 2", "invalid syntax"),
        ("__import__('os').system('touch /tmp/x')", "is not supported"),
        ("accent.upper() == 'US'", "is not supported"),
        ("up_votes > -down_votes", "is not supported"),
        ("up_votes + 1 > 2", "is not supported"),
        ("up_votes ** 99 > 2", "is not supported"),
        ("accent[0] == 'u'", "is not supported"),
        ("up_votes == 2 or (lambda: 1)()", "is not supported"),  # also where the first row decides without it
        ("[x for x in text]", "is not supported"),
        ("f'{text}' == 'to'", "is not supported"),
        ("accent is None", "is not supported"),
        ("accent is text", "'is' is not supported"),
        ("text == None", "is not supported"),
        ("accent > 3", "could not convert string to float: 'us'"),
        ("accent in 3", "not iterable"),
        ("(" * 500 + "1" + ")" * 500, "too many nested parentheses"),
    ],
)
def test_filters_that_are_refused(expression: str, message: str) -> None:
    with pytest.raises(CliError) as caught:
        kept(expression, ROWS)
    assert message in str(caught.value)
    assert "--filter" in str(caught.value)
    assert "\n" not in str(caught.value)


def lengths_like_speech(count: int) -> np.ndarray:
    return np.random.default_rng(1).gamma(4.0, 1.2, count) + 0.5


def test_a_subset_has_the_hours_and_the_lengths_of_all() -> None:
    seconds = lengths_like_speech(20_000)
    for hours in (0.2, 1.0, 5.0):
        chosen = choose_hours(seconds, hours, seed=42)
        total = seconds[chosen].sum() / 3600
        assert hours - seconds.max() / 3600 < total <= hours
        # the largest distance of the two distributions of length; 1.36 / sqrt(n) is what 5 % of random draws exceed
        grid = np.linspace(0, 20, 200)
        all_below, chosen_below = (np.searchsorted(np.sort(s), grid) / len(s) for s in (seconds, seconds[chosen]))
        assert np.abs(all_below - chosen_below).max() < 0.4 / chosen.sum() ** 0.5


def test_a_subset_is_reproducible_grows_and_depends_on_the_seed() -> None:
    seconds = lengths_like_speech(3_000)
    chosen = choose_hours(seconds, 1.0, seed=42)
    assert np.array_equal(chosen, choose_hours(seconds, 1.0, seed=42))
    assert (choose_hours(seconds, 2.0, seed=42) >= chosen).all()
    assert not np.array_equal(chosen, choose_hours(seconds, 1.0, seed=43))
    assert choose_hours(seconds, 1e6, seed=42).all()
    assert len(choose_hours(seconds[:0], 1.0, seed=42)) == 0
    assert choose_hours(seconds[:1], 1.0, seed=42).all()


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


def test_real_common_voice_rows() -> None:
    path = SHARED / "common_voice_v1/cv-valid-dev.csv"
    if not path.exists():
        pytest.skip("../shared/data is not here")
    rows = list(open_source(str(path)).read_rows())
    by_split: dict[str, set[str | None]] = {}
    for one, split in assign_splits(lambda: rows, rules()):
        by_split.setdefault(split, set()).add(one.text)
    assert count_shared(by_split) == 0
    assert 0 < random_split_leak(np.array(list(Counter(one.text for one in rows).values()))) < 1
    votes = Counter(int(one.extra.get("up_votes", 0)) >= 2 and one.extra.get("down_votes") == "0" for one in rows)
    assert len(kept("up_votes>=2 and down_votes==0", rows)) == votes[True]
