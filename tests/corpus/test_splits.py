"""Splits: what they share, what they depend on, and the rows that filters leave out."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from helpers.filters import LINES_OF_FILTERS, ROWS, row
from helpers.sources import SHARED, needs_shared_data, rows_of

from asrscale.common.errors import CliError
from asrscale.corpus.splits import SplitRules, assign_splits, split_of
from asrscale.sources.rows import Row


def rules(by: str | None = None, valid: float = 0.3, test: float = 0.0, seed: int = 42, **more: str) -> SplitRules:
    return SplitRules(by, valid, test, seed, **more)


def splits_of(rows: list[Row], how: SplitRules) -> list[str]:
    return [split for _, split in assign_splits(lambda: rows, how)]


def count_shared(groups: dict[str, set[str | None]]) -> int:
    return sum(len(one & other) for one, other in combinations(groups.values(), 2))


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


@pytest.mark.parametrize(("expression", "lines"), LINES_OF_FILTERS)
def test_a_row_that_a_filter_leaves_out_is_refused_with_that_reason(expression: str, lines: list[int]) -> None:
    dealt = list(assign_splits(lambda: ROWS, rules(filter=expression)))
    reasons = {one.line: one.refused for one, _ in dealt}
    assert reasons == {one.line: "" if one.line in lines else f"filtered: {expression}" for one in ROWS}


def test_a_filter_of_a_column_that_no_row_fills_is_refused() -> None:
    with pytest.raises(CliError) as caught:
        list(assign_splits(lambda: ROWS, rules(filter="up_vote >= 2")))
    assert "no row has a value in column 'up_vote'" in str(caught.value)
    assert "--filter" in str(caught.value)
    assert "\n" not in str(caught.value)


@needs_shared_data
def test_real_common_voice_rows() -> None:
    rows = rows_of(SHARED / "common_voice_v1/cv-valid-dev.csv")
    by_split: dict[str, set[str | None]] = {}
    for one, split in assign_splits(lambda: rows, rules()):
        by_split.setdefault(split, set()).add(one.text)
    assert count_shared(by_split) == 0
    votes = Counter(int(one.extra.get("up_votes", 0)) >= 2 and one.extra.get("down_votes") == "0" for one in rows)
    dealt = assign_splits(lambda: rows, rules(filter="up_votes>=2 and down_votes==0"))
    assert sum(not one.refused for one, _ in dealt) == votes[True]


def test_too_few_speakers_to_split_by_them(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row(number, f"sentence {number}", speaker="me") for number in range(20)]
    assert splits_of(rows, rules()) == splits_of(rows, rules("sentence"))
    assert capsys.readouterr().err == "split by sentence: by speaker, 1 speaker would leave none for valid\n"
    assert set(splits_of(rows, rules("speaker"))) == {"train"}  # as asked for
    assert set(splits_of(rows, rules(valid=0.0))) == {"train"}
    assert not capsys.readouterr().err


def test_rows_that_cannot_be_used_decide_nothing() -> None:
    rows = [row(number, f"sentence {number}", speaker=number % 50) for number in range(200)]
    broken = replace(row(200), unusable="no recording: only a.txt", text="")
    for by in (None, "speaker", "both"):
        dealt = list(assign_splits(lambda: [*rows, broken], rules(by, filter="speaker != 7")))
        assert [split for _, split in dealt][:200] == splits_of(rows, rules(by))
        assert dealt[-1][0] == broken


def test_all_rows_without_a_speaker_are_counted() -> None:
    rows = [row(2, speaker="a"), row(3), row(4), row(5, speaker="b")]
    for by in ("speaker", "both"):
        with pytest.raises(CliError, match=r"^a.csv line 3: has no speaker: .* \(1 more line of this kind: 4\)$"):
            splits_of(rows, rules(by))
