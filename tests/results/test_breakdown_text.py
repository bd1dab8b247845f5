from typing import Any

from asrscale.results.breakdown_text import format_breakdown, summarise_breakdown


def rates(wer: float, words: int) -> dict[str, Any]:
    cer = wer / 2
    of_words = {"wer": wer, "wer_low": wer - 0.01, "wer_high": wer + 0.01, "words": words}
    of_characters = {"cer": cer, "cer_low": cer - 0.01, "cer_high": cer + 0.01, "characters": 100 - words}
    return of_words | of_characters


FOUND = {
    "metric": "wer",
    **rates(0.25, 100),
    "resampled": "speakers",
    "normaliser": ("lower_case", "collapse_white_space"),
    "by": {
        "gender": {"female": rates(0.2, 60), "male": rates(0.3, 40)},
        "accent": {name: rates(0.5, words) for name, words in zip("abcdefgh", [1, 9, 2, 8, 3, 7, 4, 6], strict=True)},
    },
}


def test_the_whole_has_a_line_and_each_way_to_group_another() -> None:
    lines = format_breakdown(FOUND).splitlines()
    assert (
        lines[0]
        == summarise_breakdown(FOUND)
        == (
            "WER 25.00% (24.00% to 26.00%) in 95 % of resampled speakers; transcripts: lower case, collapse white space"
        )
    )
    assert lines[1] == "  by gender: female 20.00% (19.00% to 21.00%), male 30.00% (29.00% to 31.00%)"
    assert len(lines) == 3


def test_the_groups_with_the_most_words_are_shown_in_their_order() -> None:
    line = format_breakdown(FOUND).splitlines()[2]
    assert [part.split()[0] for part in line.removeprefix("  by accent: ").split(", ")] == list("bdefgh")
    assert line.endswith(" and 2 more")


def test_the_rate_that_decides_is_shown() -> None:
    lines = format_breakdown(FOUND | {"metric": "cer"}).splitlines()
    assert lines[0].startswith("CER 12.50% (11.50% to 13.50%) in 95 % of resampled speakers")
    assert lines[1] == "  by gender: female 10.00% (9.00% to 11.00%), male 15.00% (14.00% to 16.00%)"
    shown = [part.split()[0] for part in lines[2].removeprefix("  by accent: ").split(", ")]
    assert shown == list("acefgh")  # b and d have the fewest characters
