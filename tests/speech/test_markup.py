"""Annotations, tags and HTML entities."""

import pytest

from asrscale.speech.markup import find_markup, without_markup


@pytest.mark.parametrize(
    ("text", "found", "without"),
    [
        ("hello [laughter] you", ["[laughter]"], "hello you"),
        ("yes <COMMA> no <PERIOD>", ["<COMMA>", "<PERIOD>"], "yes no"),
        ("don&#39;t &quot;go&quot;", ["&#39;", "&quot;", "&quot;"], 'don\'t "go"'),
        ("rock &amp;amp; roll", ["&amp;"], "rock & roll"),
        ("<b>bold</b> {uh} <unk>", ["<b>", "</b>", "{uh}", "<unk>"], "bold"),
        ("ha (laughs) ha ( Noise )", ["(laughs)", "( Noise )"], "ha ha"),
        ("he (my brother) said", [], "he (my brother) said"),  # may be spoken
        ("AT&T, R&D; i <3 you, 3 < 4 > 2", [], "AT&T, R&D; i <3 you, 3 < 4 > 2"),
        ("&nosuchentity; [a [b] c]", ["[b]"], "&nosuchentity;"),
        ("[unclosed and <open", [], "[unclosed and <open"),
        ("plain", [], "plain"),
    ],
)
def test_what_is_found_and_what_is_left(text: str, found: list[str], without: str) -> None:
    assert find_markup(text) == found
    assert " ".join(without_markup(text).split()) == without


def test_tags_of_punctuation_become_it_where_it_is_kept() -> None:
    assert without_markup("yes <COMMA> no <b>", keep_punctuation=True).split() == ["yes", ",", "no"]
