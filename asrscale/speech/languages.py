"""What is particular to the spelling of a language: its case, its hyphens, and letters that are typed in several ways.

Sources, where a line names none: Unicode's Core Specification and SpecialCasing.txt, the alphabets of the languages'
academies, and the corpora of Common Voice, whose contributors type what their keyboards have.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Literal, TypeAlias

from asrscale.common.errors import CliError

GLOTTAL_LETTER = "\u02bc"
OKINA = "\u02bb"
BEFORE_VOWELS = "*"

Casing: TypeAlias = Literal["usual", "turkic", "lithuanian"]
Hyphens: TypeAlias = Literal["space", "keep", "join"]

# Language, script, region and variants, as in `zh-Hant-TW`, `sr-Latn` or Common Voice's `rm-sursilv`.
_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", re.IGNORECASE)


@dataclass(frozen=True)
class Language:
    """How a language is written, where this differs from what `normalise` does in every language.

    Attributes:
        casing: How capitals become small letters.
        hyphens: What becomes of a hyphen between letters: a space, itself, or nothing.
        apostrophe: The one form of an apostrophe; languages in which it is a letter have U+02BC.
        okina_after: Letters after which an apostrophe is the letter U+02BB, or BEFORE_VOWELS.
        elisions: Words that begin with an apostrophe, which is not a quote there.
        inner: Marks inside of words that are kept.
        silent: Marks inside of words that are left out without a space.
        spellings: Ways to type a letter, and the one that is kept.
    """

    casing: Casing = "usual"
    hyphens: Hyphens = "space"
    apostrophe: str = "'"
    okina_after: str = ""
    elisions: tuple[str, ...] = ()
    inner: str = ""
    silent: str = ""
    spellings: Mapping[str, str] = field(default_factory=dict)


# Languages that write one word with a hyphen: clitics (French, Portuguese, Romanian, Kabyle, Maltese), prefixes (Irish,
# Belarusian, Ukrainian, Russian), reduplication (Indonesian, Malay, Tagalog), compounds (Finnish, Estonian, Hungarian).
_WITH_HYPHENS = re.findall(
    r"\w+",
    "ab ast ba be br ca cv cy et fi fil fr ga gd gv hu id kab kpv mdf mhr mrj ms mt myv oc pt ro ru sah tl tt uk wa",
)

# Languages in which the apostrophe is a letter, the glottal stop or a sign of palatalisation or ejection.
_WITH_GLOTTAL_LETTER = ("ckt", "ctp", "gn", "ha", "luo", "quc", "tos", "xty")

_CEDILLA_TO_COMMA = {"ş": "ș", "Ş": "Ș", "ţ": "ț", "Ţ": "Ț"}  # keyboards before Unicode 3.0 had no comma below

_ARABIC_TO_PERSIAN = {"ي": "ی", "ى": "ی", "ك": "ک"}  # the Arabic yeh and kaf of Arabic keyboards

# Sara am typed as nikhahit and sara aa, with a tone mark before, between or after; and sara ae as two sara e.
_THAI = {"ํ" + tone + "า": tone + "ำ" for tone in ("", "่", "้", "๊", "๋")} | {"เเ": "แ"}
_LAO = {"ໍ" + tone + "າ": tone + "ຳ" for tone in ("", "່", "້", "໊", "໋")} | {"ເເ": "ແ"}

# Chillu letters as before Unicode 5.1: a consonant, the virama and a joiner (Core Specification, chapter 12.9).
_MALAYALAM = {
    consonant + "\u0d4d\u200d": chillu
    for consonant, chillu in {"ണ": "ൺ", "ന": "ൻ", "ര": "ർ", "ല": "ൽ", "ള": "ൾ", "ക": "ൿ"}.items()
}

# Letters of the same look from another script, which some keyboards have in their place.
_AZERBAIJANI = {"ә": "ə", "Ә": "Ə", "ǝ": "ə", "Ǝ": "Ə"}
_CHUVASH = {"ă": "ӑ", "Ă": "Ӑ", "ĕ": "ӗ", "Ĕ": "Ӗ", "ç": "ҫ", "Ç": "Ҫ", "ÿ": "ӳ", "Ÿ": "Ӳ"}
_KABYLE = {"ε": "ɛ", "Ԑ": "Ɛ", "ԑ": "ɛ", "γ": "ɣ", "Γ": "Ɣ"}
_OSSETIAN = {"æ": "ӕ", "Æ": "Ӕ"}

# Sorani's letter ae typed as heh and a non-joiner.
_SORANI = {"ه\u200c": "ە"} | _ARABIC_TO_PERSIAN

# The raised dot of l·l by other dots, and between two l also by a full stop.
_CATALAN_DOTS = {f"{left}{dot}{right}": f"{left}·{right}" for left in "lL" for right in "lL" for dot in "•∙‧⋅・."}

_ENGLISH_ELISIONS = ("n", "tis", "twas", "em", "cause", "cos", "til", "bout", "im", "er", "ere", "ave")

_LANGUAGES: dict[str, Language] = {
    "": Language(elisions=_ENGLISH_ELISIONS),  # English corpora seldom name their language
    "af": Language(elisions=("n", "k", "t", "s")),
    "az": Language(casing="turkic", spellings=_AZERBAIJANI),
    "ca": Language(inner="·", spellings=_CATALAN_DOTS),
    "ckb": Language(spellings=_SORANI),
    "crh": Language(casing="turkic"),
    "cv": Language(spellings=_CHUVASH),
    "de": Language(elisions=("s", "n", "ne", "nen", "nem", "ner", "rum", "rauf", "raus", "rein", "ran")),
    "en": Language(elisions=_ENGLISH_ELISIONS),
    "fa": Language(spellings=_ARABIC_TO_PERSIAN),
    "fi": Language(silent=":"),  # before endings of abbreviations: EU:ssa
    "fy": Language(elisions=("t", "s", "k", "n")),
    "gag": Language(casing="turkic"),
    "haw": Language(okina_after=BEFORE_VOWELS),
    "kab": Language(spellings=_KABYLE),
    "lo": Language(spellings=_LAO),
    "lt": Language(casing="lithuanian"),
    "ml": Language(spellings=_MALAYALAM),
    "nl": Language(elisions=("s", "t", "k", "n", "m", "r", "ie")),
    "oc": Language(inner="·"),  # Gascon n·h and s·h
    "os": Language(spellings=_OSSETIAN),
    "ro": Language(spellings=_CEDILLA_TO_COMMA),
    "sc": Language(inner="·"),
    "sm": Language(okina_after=BEFORE_VOWELS),
    "sv": Language(silent=":"),  # in abbreviations: S:t, k:a
    "th": Language(spellings=_THAI),
    "to": Language(okina_after=BEFORE_VOWELS),
    "tr": Language(casing="turkic"),
    "ty": Language(okina_after=BEFORE_VOWELS),
    "ur": Language(spellings=_ARABIC_TO_PERSIAN | {"ه": "ہ"}),
    "uz": Language(okina_after="oOgG"),
}

# ISO 639-1 and 639-3: BCP 47 has the short code where there is one, MMS names its languages by the long ones.
_LONG_CODES = dict(
    re.findall(
        r"(\w+):(\w+)",
        "ab:abk af:afr am:amh ar:ara as:asm az:aze ba:bak be:bel bg:bul bn:ben br:bre ca:cat cs:ces cv:chv cy:cym "
        "da:dan de:deu dv:div el:ell en:eng eo:epo es:spa et:est eu:eus fa:fas fi:fin fr:fra fy:fry ga:gle gd:gla "
        "gl:glg gn:grn gv:glv ha:hau he:heb hi:hin hu:hun hy:hye ia:ina id:ind ig:ibo is:isl it:ita ja:jpn ka:kat "
        "kk:kaz km:khm kn:kan ko:kor ky:kir lg:lug ln:lin lo:lao lt:lit lv:lav mk:mkd ml:mal mn:mon mr:mar ms:msa "
        "mt:mlt my:mya ne:nep nl:nld nn:nno no:nor oc:oci or:ori os:oss pa:pan pl:pol ps:pus pt:por ro:ron ru:rus "
        "rw:kin sc:srd sd:snd si:sin sk:slk sl:slv sm:smo sq:sqi sr:srp sv:swe sw:swa ta:tam te:tel tg:tgk th:tha "
        "ti:tir tk:tuk tl:tgl to:ton tr:tur tt:tat tw:twi ty:tah ug:uig uk:ukr ur:urd uz:uzb vi:vie wa:wln wo:wol "
        "xh:xho yi:yid yo:yor zh:zho zu:zul",
    )
)
_SHORT_CODES = {long: short for short, long in _LONG_CODES.items()}

# Of languages that ISO 639-3 takes for several, the codes of those that corpora mean by the name.
_INDIVIDUAL_CODES = {
    "ar": ("arb",),
    "az": ("azj",),
    "et": ("ekk",),
    "fa": ("pes",),
    "gn": ("gug",),
    "ku": ("kmr",),
    "lv": ("lvs",),
    "mg": ("plt",),
    "mn": ("khk",),
    "ms": ("zsm", "zlm"),
    "ne": ("npi",),
    "no": ("nob",),
    "om": ("gaz",),
    "or": ("ory",),
    "ps": ("pbt",),
    "sq": ("als",),
    "sw": ("swh",),
    "uz": ("uzn",),
    "yi": ("ydd",),
    "zh": ("cmn",),
}

# How MMS names the scripts of BCP 47, and the regions that say as much of Chinese; as in azj-script_cyrillic.
_SCRIPTS = {
    "arab": "arabic",
    "cyrl": "cyrillic",
    "deva": "devanagari",
    "hans": "simplified",
    "hant": "traditional",
    "latn": "latin",
    "cn": "simplified",
    "hk": "traditional",
    "tw": "traditional",
}
_SCRIPT_MARK = "-script_"


def is_language(code: str) -> bool:
    """Whether a text has the form of a language's code."""
    return _TAG.fullmatch(code) is not None


def check_language(code: str, flag: str) -> str:
    """Returns a language's code as it is stored, such as `tr` or `zh-tw`; `flag` names it in the error.

    Raises:
        CliError: It has not the form of BCP 47.
    """
    if not is_language(code):
        raise CliError(f"{flag} '{code}' is no code of a language: give one such as de, zh-TW or kab")
    return code.lower()


def short_code(code: str) -> str:
    """Returns the language of a code without script and region, by its short code where it has one."""
    language = code.lower().partition("-")[0]
    short: str = _SHORT_CODES.get(language, language)
    return short


def long_code(code: str) -> str:
    """Returns the language of a code without script and region, by its code of ISO 639-3 as far as that is known."""
    short = short_code(code)
    long: str = _LONG_CODES.get(short, short)
    return long


def matching_codes(language: str, codes: Collection[str]) -> list[str]:
    """Returns those of a checkpoint's codes that mean a language; several where it is written in several scripts.

    Args:
        language: One of `codes`, or a code of BCP 47 such as `tr`, `tur`, `zh-TW` or `az-Cyrl`.
        codes: By BCP 47, or as MMS has them: ISO 639-3, with a script where a language has several of them, such as
            `tur`, `azj-script_cyrillic`.
    """
    if language in codes:
        return [language]
    first, *others = language.lower().split("-")
    short = short_code(first)
    names = {first, short, long_code(short), *_INDIVIDUAL_CODES.get(short, ())}
    scripts = {_SCRIPTS[one] for one in others if one in _SCRIPTS}

    found = []
    for code in codes:
        name, _, script = code.lower().partition(_SCRIPT_MARK)
        is_of_script = not scripts or not script or script in scripts
        if name in names and is_of_script:
            found.append(code)
    return found


@cache
def language_of(code: str) -> Language:
    """Returns how a language is written; one that is not known here, or "", has nothing particular."""
    short = short_code(code)
    language = _LANGUAGES.get(short, Language())
    if short in _WITH_HYPHENS:
        language = replace(language, hyphens="keep")
    if short in _WITH_GLOTTAL_LETTER:
        language = replace(language, apostrophe=GLOTTAL_LETTER)
    return language
