"""Sentences of many languages, and what is right of them: sentences.txt beside this file."""

import re
import unicodedata
from pathlib import Path

SENTENCES = Path(__file__).with_name("sentences.txt")
AT_LEAST = 6  # sentences of each language


def read_sentences() -> dict[str, list[tuple[str, str, str]]]:
    """The sentences of each language, their right transcripts, and the reasons."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    language = ""
    for line in SENTENCES.read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"\[[A-Za-z-]+\]", line):
            language = line.strip("[]")
            found[language] = []
        elif line and not line.startswith("#"):
            plain = re.sub(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})", lambda match: chr(int(match[1] or match[2], 16)), line)
            raw, right, reason = plain.split(" | ")
            found[language].append((raw, unicodedata.normalize("NFC", right), reason))
    return found


LANGUAGES = read_sentences()
