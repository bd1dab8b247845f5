"""Fields between bars: a text and its spelling for speech, or a speaker."""

import pytest

from asrscale.common.errors import CliError
from asrscale.sources.bar_layout import layout_of_bars

SENTENCES = ("the first sentence", "another one", "what is said here", "nothing more than that")


def records(*rows: tuple[str, ...]) -> list[tuple[int, list[str]]]:
    return [(line, [f"u{line}", *row]) for line, row in enumerate(rows, start=1)]


@pytest.mark.parametrize(
    "rows",
    [
        [("In 1984, he left.", "In nineteen eighty-four, he left."), ("plain",), ("empty", "")],
        [("Yes!", "yes"), ("No.", "no")],
        [("你好,世界", "你好世界")],
        [("only text",), ("more text",)],
    ],
)
def test_a_second_spelling(rows: list[tuple[str, ...]]) -> None:
    assert layout_of_bars("a.csv", records(*rows)) == "text|normalised"


def test_speakers(capsys: pytest.CaptureFixture[str]) -> None:
    few = [("the first sentence", "anna"), ("the second sentence", "ben")]
    assert layout_of_bars("a.csv", records(*few)) == "text|speaker"
    assert "a.csv: the third field between bars is the speaker, such as 'anna'" in capsys.readouterr().err
    assert layout_of_bars("a.csv", records(*(row[::-1] for row in few))) == "speaker|text"
    assert "the second field between bars is the speaker" in capsys.readouterr().err
    many = [(f"{SENTENCES[n % 4]} {n}", f"p{n % 7}") for n in range(100)]
    assert layout_of_bars("a.csv", records(*many)) == "text|speaker"
    full_names = [(text, ("Anna Smith", "Ben Cole")[n % 2]) for n, (text, _) in enumerate(many)]
    assert layout_of_bars("a.csv", records(*full_names)) == "text|speaker"


@pytest.mark.parametrize(
    "rows",
    [
        [("1 2 3", "one two three"), ("4 5", "four five")],
        [("yes", "anna"), ("no", "ben")],
        [("nothing more than that is said here", "hier ist nicht mehr als das gesagt worden"), ("yes", "ja")],
        [(f"sentence number {n}", f"{n:032x}") for n in range(100)],  # a name for each: a checksum, perhaps
    ],
)
def test_what_is_not_clear_is_refused(rows: list[tuple[str, ...]]) -> None:
    second, third = rows[0]
    with pytest.raises(CliError) as caught:
        layout_of_bars("a.csv", records(*rows))
    assert f"a.csv line 1: it is not clear which of '{second}' and '{third}' is the text: " in str(caught.value)
