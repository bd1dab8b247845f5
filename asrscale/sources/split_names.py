"""The names by which corpora call their splits."""

import re

# As the library `datasets` reads names of files and folders; `valid` is what asrscale calls it.
_KEYWORDS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}

_SPLIT_OF_WORD = {word: split for split, words in _KEYWORDS.items() for word in words}

SPLIT_COLUMN = "split"  # where a source that has splits of its own names that of each row


def split_in_name(name: str) -> str:
    """Returns the split that a word of a path names: train, valid or test; an empty string where none does.

    Of several the last counts, as in `training-data/test`.
    """
    words = re.split(r"[^a-z]+", name.lower())
    splits = [_SPLIT_OF_WORD[word] for word in words if word in _SPLIT_OF_WORD]
    return splits[-1] if splits else ""
