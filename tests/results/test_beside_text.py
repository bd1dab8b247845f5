"""What was counted beside a model's own errors, as text."""

from typing import Any

from asrscale.results.beside_text import (
    GROUPS_SHOWN,
    format_beside,
    format_difference,
    format_english,
    format_points,
    format_seeds,
)

POINTS = {"difference": -0.012, "difference_low": -0.019, "difference_high": -0.005, "p": 0.001}
DIFFERENCE = {f"{name}_{part}": value for name in ("wer", "cer") for part, value in POINTS.items()}


def compared(**others: Any) -> dict[str, Any]:
    rates = {"wer": 0.1, "cer": 0.05, "other_wer": 0.112, "other_cer": 0.062}
    counts = {"other": "b.jsonl", "utterances": 7, "left_out": 0, "resampled": "speakers"}
    return {**rates, **DIFFERENCE, **counts, **others}


def test_a_difference_is_in_points_with_interval_and_p_value() -> None:
    assert format_points(DIFFERENCE, "wer") == "-1.20 points (-1.90 to -0.50, p 0.001)"
    assert format_difference(compared(left_out=2), "cer") == (
        "compared with b.jsonl: CER 5.00%, there 6.20%, -1.20 points (-1.90 to -0.50, p 0.001); "
        "WER 10.00%, there 11.20%, -1.20 points (-1.90 to -0.50, p 0.001); 95 % intervals of resampled speakers, "
        "p-values by permutation; 2 utterances left out, damaged there"
    )
    nothing = {"other": "b.jsonl", "utterances": 0, "left_out": 9}
    assert format_difference(nothing, "wer") == (
        "compared with b.jsonl: no utterance in common; 9 utterances left out, damaged there"
    )


def test_the_english_rates_name_their_normaliser_and_what_it_leaves_out() -> None:
    rates = {f"{name}{end}": 0.25 for name in ("wer", "cer") for end in ("", "_low", "_high")}
    english = {"utterances": 3, "left_out": 1, "normaliser": "that of Whisper", **rates}
    assert format_english(english, "wer") == (
        "english: WER 25.00% (25.00% to 25.00%), CER 25.00% (25.00% to 25.00%); that of Whisper; "
        "1 utterances left out, of whose references it leaves nothing"
    )
    assert format_english({"utterances": 0, "left_out": 0, "normaliser": "that of Whisper"}, "wer") == (
        "english: that of Whisper"
    )


def test_seeds_have_mean_and_scatter() -> None:
    rates = {"mean": 0.1, "standard_deviation": 0.005, "lowest": 0.09, "highest": 0.11}
    text = format_seeds({"runs": 3, "left_out": 0, "wer": rates, "cer": rates}, "wer")
    assert text.startswith("3 seeds: WER 10.00% ± 0.50 points (9.00% to 11.00%), CER 10.00%")


def test_all_of_it_has_the_largest_groups_and_the_utterances_that_changed_most() -> None:
    groups = {f"speaker {number}": compared(utterances=number) for number in range(GROUPS_SHOWN + 2)}
    change = {"key": "a", "more_word_edits": -2, "more_character_edits": 4, "aligned": "x", "other_aligned": "y"}
    found = {"metric": "wer", "compared": [compared(by={"speaker": groups}, changed=[change] * 9)]}
    first, of_groups, *changed = format_beside(found)
    assert first.startswith("  compared with b.jsonl: WER")
    assert of_groups.startswith("    by speaker: speaker 2 -1.20 points") and of_groups.endswith("and 2 more")
    assert changed == ["    a: -2 word errors: x; there y"] * 5
