"""How a build normalises transcripts: its flags, and the language that a corpus names itself."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from asrscale.common.cli import setting
from asrscale.common.errors import CliError
from asrscale.corpus.row_filter import parse_filter, row_matches
from asrscale.sources.rows import Row
from asrscale.speech.languages import check_language, is_language
from asrscale.speech.normalisation import TextRules
from asrscale.speech.numbers import check_can_spell

# Where a corpus says itself which language it is in; the first is Common Voice's.
LANGUAGE_COLUMNS = ("locale", "lang", "language")

_NAMED_LANGUAGES = 5  # of a corpus of several, in the line that says so


@dataclass(frozen=True)
class TextOptions:
    """How transcripts are written."""

    language: str | None = setting(
        None,
        help="language of the transcripts, as a code such as de, zh-TW or kab; by default what the corpus's column "
        "locale says, or else steps for any language",
    )
    text: tuple[Literal["keep_case", "keep_punctuation", "characters", "none"], ...] = setting(
        (),
        help="keep_case, keep_punctuation or both; characters: as it is, with labels such as phones between spaces; "
        "none: as it is; by default words in small letters",
    )
    hyphens: Literal["space", "keep", "join"] | None = setting(
        None, help="hyphens between letters become a space, stay, or are left out; by default as the language writes"
    )
    markup: Literal["drop", "reject", "keep"] = setting(
        "drop", help="[annotations], <tags> and &entities;: drop (entities are decoded), reject the row, or keep"
    )
    numbers: Literal["keep", "spell"] = setting(
        "keep", help="digits stay and are counted, or are spelled in words; needs pip install 'asrscale[numbers]'"
    )

    def __post_init__(self) -> None:
        if self.language is not None:
            check_language(self.language, "--language")
        whole = {"characters", "none"}.intersection(self.text)
        if whole:
            self._check_alone(min(whole))
        if self.numbers == "spell" and self.language is not None:
            check_can_spell(self.language.lower())

    def _check_alone(self, whole: str) -> None:
        """Raises CliError where other flags change transcripts that `--text WHOLE` leaves as they are."""
        if len(self.text) > 1:
            raise CliError(f"--text {whole} keeps everything: give it alone")
        flags = {"hyphens": self.hyphens, "markup": self.markup, "numbers": self.numbers}
        for name, value in flags.items():
            if value not in (None, "keep", "drop"):
                raise CliError(f"--text {whole} leaves transcripts as they are: leave out --{name} {value}")


def text_rules(options: TextOptions, read_rows: Callable[[], Iterable[Row]], filter: str | None = None) -> TextRules:
    """Returns how the transcripts of a corpus are normalised, and prints it.

    Args:
        options: The flags.
        read_rows: Returns the rows of the corpus from the first on; they are read where no language is given and the
            first row names one.
        filter: Which rows are used.

    Raises:
        CliError: Numbers cannot be spelled in the language.
    """
    language = options.language.lower() if options.language else _language_of_corpus(read_rows, filter)
    if options.numbers == "spell":
        check_can_spell(language)
    form: Literal["words", "characters", "none"] = "words"
    if "characters" in options.text:
        form = "characters"
    elif "none" in options.text:
        form = "none"
    rules = TextRules(
        language=language,
        form=form,
        keep_case="keep_case" in options.text,
        keep_punctuation="keep_punctuation" in options.text,
        hyphens=options.hyphens,
        markup=options.markup,
        numbers=options.numbers,
    )
    return replace(rules, markup="keep") if form != "words" else rules


def _language_of_corpus(read_rows: Callable[[], Iterable[Row]], filter: str | None) -> str:
    """Returns the language that all used rows name, or "" where they name none or several, which is said."""
    first_row = next(iter(read_rows()), None)
    if first_row is None or not _language_of_row(first_row):
        return ""
    condition = parse_filter(filter)
    languages = sorted({_language_of_row(row) for row in read_rows() if row_matches(condition, row)})
    if len(languages) == 1:
        print(f"{first_row.source}: its rows are in the language '{languages[0]}'")
        return languages[0]
    named = ", ".join(language or "none" for language in languages[:_NAMED_LANGUAGES])
    print(f"{first_row.source}: rows in several languages ({named}): steps for any language", file=sys.stderr)
    return ""


def _language_of_row(row: Row) -> str:
    """Returns the code of the language that a row names, or ""."""
    code = next((row.extra[column] for column in LANGUAGE_COLUMNS if column in row.extra), "").strip()
    return code.lower() if is_language(code) else ""
