"""What is right in each language, and which codes are taken."""

import pytest
from helpers.sentences import AT_LEAST, LANGUAGES

from asrscale.common.errors import CliError
from asrscale.speech.languages import check_language, language_of, matching_codes
from asrscale.speech.normalisation import TextRules, normalise


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_spoken_is_what_the_language_writes(language: str) -> None:
    rules = TextRules(language=language.lower())
    found = {raw: normalise(raw, rules) for raw, _, _ in LANGUAGES[language]}
    assert found == {raw: right for raw, right, _ in LANGUAGES[language]}
    assert [normalise(text, rules) for text in found.values()] == list(found.values())


def test_the_table_has_enough_of_them() -> None:
    assert len(LANGUAGES) >= 40
    assert min(map(len, LANGUAGES.values())) >= AT_LEAST


@pytest.mark.parametrize("code", ["de", "zh-TW", "zh-Hant-TW", "rm-sursilv", "kab", "TUR", "sr-Latn"])
def test_codes_of_languages(code: str) -> None:
    assert check_language(code, "--language") == code.lower()


@pytest.mark.parametrize("code", ["", "german", "d", "de_DE", "de DE", "1a"])
def test_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(CliError, match=r"--language '.*' is no code of a language: give one such as de"):
        check_language(code, "--language")


def test_long_and_short_codes_and_regions_are_one_language() -> None:
    assert language_of("tur") == language_of("tr") == language_of("tr-cy") != language_of("de")
    assert language_of("xx") == language_of("eo")  # nothing particular


INVISIBLE = "\u00ad\u034f\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u2060\ufe0f\ufeff\U000e0101"
PAIRS = [
    "ab",
    "éß",
    "σα",
    "яж",
    "աբ",
    "אב",
    "بب",
    "कक",
    "ক্ক",
    "ക്ക",
    "ක්ක",
    "กก",
    "ກກ",
    "កក",
    "ကက",
    "აბ",
    "አበ",
    "하하",
    "日本",
    "かナ",
    "བབ",
    "ᠠᠡ",
]  # letters of a script


@pytest.mark.parametrize("language", ["", *LANGUAGES])
def test_no_word_is_split_at_what_is_no_separator(language: str) -> None:
    rules = TextRules(language=language.lower())
    for pair in PAIRS:
        for character in INVISIBLE + "'’ʼ`´":
            assert " " not in normalise(pair[0] + character + pair[1:], rules), (pair, hex(ord(character)))
    assert normalise("l·l", rules) == "l·l"
    assert normalise("צ״ל ג׳י Ինչու՞ն", rules) == "צ״ל ג׳י ինչուն"


@pytest.mark.parametrize("language", ["", *LANGUAGES])
def test_what_separates_words_does_so_in_every_language_with_spaces(language: str) -> None:
    rules = TextRules(language=language.lower())
    for separator in (
        " ",
        "\u00a0",
        "\t",
        ", ",
        ",",
        ";",
        "!",
        "?",
        "…",
        "—",
        " – ",
        "/",
        "«",
        "”",
        "|",
        "\u2028",
        "🙂",
    ):
        assert normalise(f"ab{separator}cd", rules) == "ab cd", separator


@pytest.mark.parametrize(
    ("language", "found"),
    [
        ("tr", ["tur"]),
        ("tur", ["tur"]),
        ("TR-cy", ["tur"]),
        ("kab", ["kab"]),
        ("sv-se", ["sv"]),
        ("swe", ["sv"]),
        ("az", ["azj-script_cyrillic", "azj-script_latin"]),  # which has to be asked
        ("az-Latn", ["azj-script_latin"]),
        ("azj-script_cyrillic", ["azj-script_cyrillic"]),
        ("zh", ["cmn-script_simplified"]),
        ("zh-CN", ["cmn-script_simplified"]),
        ("cmn", ["cmn-script_simplified"]),
        ("yue", ["yue-script_traditional"]),
        ("sw", ["swh"]),
        ("ar", ["ara"]),
        ("de", []),
        ("zh-TW", []),  # there is only the other script
    ],
)
def test_the_codes_of_mms_and_those_of_the_text_rules_are_one_language(language: str, found: list[str]) -> None:
    of_mms = [
        "ara",
        "azj-script_cyrillic",
        "azj-script_latin",
        "cmn-script_simplified",
        "eng",
        "kab",
        "swh",
        "tur",
        "yue-script_traditional",
    ]
    assert matching_codes(language, [*of_mms, "sv"]) == found
