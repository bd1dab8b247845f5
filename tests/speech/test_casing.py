"""Capitals to small letters."""

import pytest

from asrscale.speech.casing import lower_case, with_final_sigma
from asrscale.speech.languages import Casing


@pytest.mark.parametrize(
    ("text", "casing", "expected"),
    [
        ("ISTANBUL", "usual", "istanbul"),
        ("İSTANBUL ILI", "turkic", "istanbul ılı"),
        ("İstanbul", "usual", "istanbul"),  # Python alone leaves a dot behind
        ("ẞ Ǆ", "usual", "ß ǆ"),
        ("I\u0307\u0300 J\u0301 Į\u0303", "lithuanian", "i\u0307\u0300 j\u0307\u0301 į\u0307\u0303"),
        ("I J Į", "lithuanian", "i j į"),
    ],
)
def test_small_letters(text: str, casing: Casing, expected: str) -> None:
    assert lower_case(text, casing) == expected
    assert lower_case(expected, casing) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("οδοσ", "οδος"),
        ("οδοσ οδοσ", "οδος οδος"),
        ("ςοφοσ", "σοφος"),
        ("σ", "σ"),  # a letter alone ends no word
        ("μεσ'", "μεσ'"),  # the rest of the word is elided
        ("abc", "abc"),
    ],
)
def test_a_sigma_has_the_form_that_its_place_asks_for(text: str, expected: str) -> None:
    assert with_final_sigma(text) == expected
