"""Transcripts to normalised text: which steps a language takes, and the steps."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

import regex

from asrscale.speech.apostrophes import with_one_apostrophe
from asrscale.speech.casing import lower_case, with_final_sigma
from asrscale.speech.characters import (
    HEBREW_LETTER,
    JOINER,
    NON_JOINER,
    STRAY_MARK,
    TSHEG,
    UNKNOWN_MARK,
    UNSPACED,
    VOWEL_SEPARATOR,
    WORD_SIGNS,
    compatible_forms,
    without_invisible,
)
from asrscale.speech.languages import GLOTTAL_LETTER, Hyphens, Language, language_of
from asrscale.speech.markup import Markup, without_markup
from asrscale.speech.numbers import Numbers, spell_numbers

Form: TypeAlias = Literal["words", "characters", "none"]
Step: TypeAlias = Callable[[str], str]

# What dataset.json of older versions records: the one list of steps that was for all languages.
FORMER_STEPS = (
    "apostrophe_variants_to_ascii",
    "unicode_nfkc",
    "lower_case",
    "keep_letters_marks_digits_apostrophe",
    "collapse_white_space",
)


@dataclass(frozen=True)
class TextRules:
    """How transcripts are normalised.

    Attributes:
        language: Code of BCP 47; "" takes steps that hold in any language.
        form: `words`; `characters`: as it is, with labels such as phones between white space; `none`: as it is.
        keep_case: Whether capitals stay.
        keep_punctuation: Whether punctuation stays.
        hyphens: What becomes of a hyphen between letters; None is by language.
        markup: What becomes of annotations, tags and HTML entities; `reject` leaves them to the one who builds shards.
        numbers: Whether numbers in digits are spelled in words.
    """

    language: str = ""
    form: Form = "words"
    keep_case: bool = False
    keep_punctuation: bool = False
    hyphens: Hyphens | None = None
    markup: Markup = "drop"
    numbers: Numbers = "keep"

    def to_json(self) -> dict[str, Any]:
        """Returns the rules as dataset.json has them."""
        return asdict(self)

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from NEUTRAL, as `to_json` has it."""
        neutral = asdict(NEUTRAL)
        return {name: value for name, value in asdict(self).items() if value != neutral[name]}


NEUTRAL = TextRules()

_MOST_ROUNDS = 5


def rules_from_json(values: Mapping[str, Any]) -> TextRules:
    """Returns the rules that `TextRules.to_json` made these values of; raises TypeError where they are no rules."""
    return TextRules(**values)


def rules_in(options: Mapping[str, Any]) -> TextRules:
    """Returns the rules whose `changes` are among the options of a build."""
    return TextRules(**{name: options[name] for name in asdict(NEUTRAL) if name in options})


def labels_in(text: str, rules: TextRules) -> list[str]:
    """Returns what a vocabulary needs for a normalised transcript: its characters, or the labels between spaces."""
    return text.split() if rules.form == "characters" else list(text)


def normalise(text: str, rules: TextRules = NEUTRAL) -> str:
    """Returns a transcript after the steps of `steps_of`, in their order; doing so twice changes nothing.

    What one step takes out may be what another step looked at, such as a quote beside a stray accent. So the steps are
    taken again until nothing changes, which for nearly all texts is at once.
    """
    steps = steps_of(rules).values()
    for _ in range(_MOST_ROUNDS):
        before = text
        for step in steps:
            text = step(text)
        # Of small letters and spaces no step takes anything: the second round is half of what most English texts cost.
        if text == before or _PLAIN_WORDS.fullmatch(text):
            break
    return text


def normalise_hypothesis(text: str, rules: TextRules) -> str:
    """Returns a hypothesis after the same steps; UNKNOWN_MARK stays, as a letter that no transcript has."""
    return with_unknown_marks(text, lambda marked: normalise(marked, rules))


def with_unknown_marks(text: str, step: Step) -> str:
    """Returns a hypothesis after a step to which UNKNOWN_MARK is a letter, which stays."""
    if UNKNOWN_MARK not in text:
        return step(text)
    return step(text.replace(UNKNOWN_MARK, _UNKNOWN_LETTER)).replace(_UNKNOWN_LETTER, UNKNOWN_MARK)


# A letter without case that no language of today has: Linear A.
_UNKNOWN_LETTER = "\U00010755"


@cache
def steps_of(rules: TextRules) -> dict[str, Step]:
    """Returns the steps of normalisation by the names that dataset.json records."""
    if rules.form != "words":
        return {"collapse_white_space": _with_single_spaces}
    language = language_of(rules.language)
    hyphens = rules.hyphens or language.hyphens
    steps: dict[str, Step] = {}
    if rules.markup == "drop":
        steps["drop_markup"] = lambda text: without_markup(text, keep_punctuation=rules.keep_punctuation)
    if rules.numbers == "spell":
        steps["spell_numbers"] = lambda text: spell_numbers(text, rules.language)
    steps["compatible_forms_then_unicode_nfc"] = _with_compatible_forms
    if language.spellings:
        steps["one_spelling_of_a_letter"] = _respeller(rules.language)
    if language.apostrophe != GLOTTAL_LETTER:
        steps["glottal_letter_to_apostrophe"] = lambda text: text.replace(GLOTTAL_LETTER, language.apostrophe)
    steps["drop_invisible_and_stray_marks"] = without_invisible
    steps["one_apostrophe_beside_letters"] = lambda text: with_one_apostrophe(
        text, language, keep_quotes=rules.keep_punctuation
    )
    if not rules.keep_case:
        steps[_LOWER_CASE[language.casing]] = lambda text: lower_case(text, language.casing)
    steps[_name_of_words_step(rules, hyphens)] = _word_cutter(language, hyphens, rules.keep_punctuation)
    steps["final_sigma"] = with_final_sigma
    steps["collapse_white_space"] = _with_single_spaces
    steps["empty_without_letter_or_digit"] = _spoken_or_empty
    return steps


def describe_rules(rules: TextRules) -> str:
    """Returns the language and the steps of normalisation as one line."""
    steps = ", ".join(steps_of(rules)).replace("_", " ")
    return f"transcripts: {name_rules(rules)}: {steps}"


def name_rules(rules: TextRules) -> str:
    """Returns the language of transcripts and what else is not as usual, such as `de, keep_case`."""
    others = [
        name if value is True else f"{name} {value}" for name, value in rules.changes.items() if name != "language"
    ]
    return ", ".join([rules.language or "any language", *others])


_LOWER_CASE = {"usual": "lower_case", "turkic": "turkic_lower_case", "lithuanian": "lithuanian_lower_case"}


def _name_of_words_step(rules: TextRules, hyphens: Hyphens) -> str:
    if rules.keep_punctuation:
        return "keep_letters_marks_digits_punctuation"
    names = {"space": "", "keep": "_hyphen", "join": "_join_hyphens"}
    return f"keep_letters_marks_digits_apostrophe{names[hyphens]}"


def _with_compatible_forms(text: str) -> str:
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.translate(compatible_forms()))


def _respeller(code: str) -> Step:
    """Returns a step that writes letters as a language does, the longest of its other spellings first."""
    spellings = {unicodedata.normalize("NFC", typed): kept for typed, kept in language_of(code).spellings.items()}
    pattern = regex.compile("|".join(map(regex.escape, sorted(spellings, key=len, reverse=True))))
    return lambda text: str(pattern.sub(lambda match: spellings[match[0]], text))


# Characters of a word besides letters, marks and digits; the steps before have left them where they belong.
_IN_WORDS = f"'{NON_JOINER}{JOINER}{VOWEL_SEPARATOR}{WORD_SIGNS}"
_LETTER = r"[\p{L}\p{M}]"
_HYPHENS = "\\-\u2010\u2011\ufe63\uff0d\u058a\u05be"

# While words are cut, a separator that is no white space: between scripts without spaces it leaves none.
_MARK = "\0"
_GAP = regex.compile(f"[ {_MARK}]*{_MARK}[ {_MARK}]*")
_UNSPACED_GAP = regex.compile(f"(?<=[{UNSPACED}]){_GAP.pattern}(?=[{UNSPACED}])")
_WHITE_SPACE = regex.compile(r"\s+")
_PLAIN_WORDS = regex.compile("[a-z]+(?: [a-z]+)*")
_NO_LETTER_OR_DIGIT = regex.compile(rf"[^\p{{L}}\p{{N}}{WORD_SIGNS}]*")


def _word_cutter(language: Language, hyphens: Hyphens, keep_punctuation: bool) -> Step:
    """Returns a step that cuts a text into words: what is spoken, and spaces."""
    punctuation = r"\p{P}" if keep_punctuation else ""
    separator = rf"[^\p{{L}}\p{{M}}\p{{N}}{_IN_WORDS}{punctuation}\s]"
    alternatives = "|".join([*_inner_marks(language, hyphens, keep_punctuation), separator])
    # Letters are passed over by a look at each alone, and not by one behind each for every alternative.
    pattern = regex.compile(rf"(?=[^\p{{L}}\p{{N}}\s])(?:{alternatives})", regex.V1)

    def replacement(match: "regex.Match[str]") -> str:
        if match.lastgroup == "hyphen":
            return "-"
        if match.lastgroup == "kept":
            return str(match[0])
        return "" if match.lastgroup in ("silent", "stray") else _MARK

    def cut(text: str) -> str:
        text = pattern.sub(replacement, _WHITE_SPACE.sub(" ", text))
        if not text.isascii():
            text = _UNSPACED_GAP.sub("", text)
        return str(_GAP.sub(" ", text))

    return cut


def _inner_marks(language: Language, hyphens: Hyphens, keep_punctuation: bool) -> list[str]:
    """Returns patterns of the marks that do not end a word between its letters: those kept, and those left out."""
    stray = f"(?P<stray>{STRAY_MARK})"
    if keep_punctuation:
        return [stray]
    kept = [
        f"(?<={HEBREW_LETTER})(?:\u05f3|\u05f4(?={HEBREW_LETTER}))",
        rf"(?<=\p{{Tibetan}}){TSHEG}(?=[\p{{Tibetan}}&&\p{{L}}])",
        "(?<=[lL])·(?=[lL])",
    ]
    silent = [
        r"(?<=\p{Latin}\p{M}*)[·\u2027](?=\p{Latin})",
        r"(?<=\p{Armenian})[\u055b\u055c\u055e\u055f]+",  # questions and exclamations, over a vowel of the word
        r"""(?<=\p{Hangul})["'\u201c\u201d\u2018\u2019\u300d\u300f\u300b\u3009]+(?=\p{Hangul})""",  # before a particle
    ]
    if language.inner:
        kept.append(f"(?<={_LETTER})[{language.inner}](?=\\p{{L}})")
    if language.silent:
        silent.append(f"(?<={_LETTER})[{language.silent}](?=\\p{{L}})")
    patterns = [stray, f"(?P<kept>{'|'.join(kept)})", f"(?P<silent>{'|'.join(silent)})"]
    hyphen = f"(?<={_LETTER})[{_HYPHENS}](?=\\p{{L}})"
    if hyphens == "keep":
        patterns.insert(0, f"(?P<hyphen>{hyphen})")
    elif hyphens == "join":
        silent.append(hyphen)
        patterns[2] = f"(?P<silent>{'|'.join(silent)})"
    return patterns


def _with_single_spaces(text: str) -> str:
    return " ".join(text.split())


def _spoken_or_empty(text: str) -> str:
    """Returns the text, or "" where it has no letter or digit: nobody can have spoken it."""
    return "" if _NO_LETTER_OR_DIGIT.fullmatch(text) else text
