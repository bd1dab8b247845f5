from dataclasses import replace

import pytest

from asrscale.speech.normalisation import TextRules, normalise
from asrscale.speech.symbols import lost_symbols

WORDS = TextRules()


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("5 % of 10%", {"%": 2}),
        ("R&D at AT&T", {"&": 2}),
        ("R&amp;D", {"&": 1}),
        ("me@home.org #1 and/or", {"@": 1, "#": 1, "/": 1}),
        ("$5 + €3 = 20 °C", {"$": 1, "+": 1, "€": 1, "=": 1, "°": 1}),
        ("♥ music ♪♪", {"♥": 1, "♪": 2}),
        ("５％ と ＆", {"％": 1, "＆": 1}),
        ("٥٪", {"٪": 1}),
        ("<unk> [5 %] <COMMA> hello", {}),  # markup, which is counted by itself
        ('don\'t "stop" (now), well-known... – 3.5; ok?!', {}),
        ("it`s ´ ^ ¨", {}),
    ],
)
def test_symbols_that_may_be_spoken_are_counted(text: str, lost: dict[str, int]) -> None:
    assert lost_symbols(text, normalise(text, WORDS), WORDS) == lost


def test_what_stays_is_not_lost() -> None:
    keeping, none = replace(WORDS, keep_punctuation=True), TextRules(form="none", markup="keep")
    text = "5 % & $3"
    assert lost_symbols(text, normalise(text, keeping), keeping) == {"$": 1}
    assert lost_symbols(text, normalise(text, none), none) == {}
    kept_markup = replace(WORDS, markup="keep")
    assert lost_symbols("a <b>", normalise("a <b>", kept_markup), kept_markup) == {"<": 1, ">": 1}
