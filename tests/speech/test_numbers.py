"""Numbers in digits to words."""

import sys

import pytest

from asrscale.common.errors import CliError
from asrscale.speech.normalisation import TextRules, normalise
from asrscale.speech.numbers import check_can_spell


@pytest.mark.parametrize(
    ("language", "text", "spelled"),
    [
        ("en", "I have 21 cats, 1,234 dogs.", "i have twenty one cats one thousand two hundred and thirty four dogs"),
        ("en", "pi is 3.14", "pi is three point one four"),
        ("en", "the 2nd of 3", "the second of three"),
        ("en", "mp3 and 007", "mp three and zero zero seven"),
        ("de", "1.234,5 Euro", "eintausendzweihundertvierunddreißig komma fünf euro"),
        ("fr", "1\u202f000 et 71", "mille et soixante et onze"),
        ("tr", "21", "yirmibir"),
        ("pt-br", "16", "dezesseis"),  # of Brazil
        ("pt", "16", "dezasseis"),
        ("en", "1234567890123456", "one two three four five six seven eight nine zero one two three four five six"),
        ("en", "no digits", "no digits"),
    ],
)
def test_numbers_are_read_as_the_language_writes_and_says_them(language: str, text: str, spelled: str) -> None:
    pytest.importorskip("num2words", reason="needs num2words: pip install 'asrscale[numbers]'")
    assert normalise(text, TextRules(language=language, numbers="spell")) == spelled


def test_what_cannot_be_spelled_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("num2words", reason="needs num2words: pip install 'asrscale[numbers]'")
    check_can_spell("de-at")
    with pytest.raises(CliError, match=r"num2words does not know 'kab', only am, ar, .*: --numbers keep"):
        check_can_spell("kab")
    with pytest.raises(CliError, match="needs to know the language: give --language CODE"):
        check_can_spell("")
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(CliError, match=r"needs num2words and babel: pip install 'asrscale\[numbers\]'"):
        check_can_spell("de")
