"""Names of splits."""

import pytest

from asrscale.sources.split_names import split_in_name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("training", "train"),
        ("dev", "valid"),
        ("validation", "valid"),
        ("val", "valid"),
        ("test", "test"),
        ("eval", "test"),
        ("cv-valid-train", "train"),
        ("cv-valid-dev", "valid"),
        ("asr_train", "train"),
        ("covost_v2.en_de.dev", "valid"),
        ("default/train/0000", "train"),
        ("data/validation-00000-of-00001", "valid"),
        ("training-data/test", "test"),
        ("en_train_0", "train"),
        ("validated", ""),
        ("invalidated", ""),
        ("trainer", ""),
        ("contest", ""),
        ("clips", ""),
    ],
)
def test_the_split_that_a_name_has_a_word_of(name: str, split: str) -> None:
    assert split_in_name(name) == split
