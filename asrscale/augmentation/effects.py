"""The text of --augment to effects, such as noise=DIR:10..30dB@0.3,rir=DIR@0.2,telephone@0.1.

parts        part[,part…]
part         kind[=value][@probability]
value        of noise   a folder, and where it is not 5..20dB, the signal-to-noise ratio: DIR:LOW..HIGHdB
             of rir     a folder
             of gain and clip   LOW..HIGHdB
             of codec   names joined by +
"""

import difflib
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from asrscale.common.errors import CliError
from asrscale.common.storage import is_remote

Kind: TypeAlias = Literal["rir", "noise", "gain", "clip", "telephone", "codec"]
CodecName: TypeAlias = Literal["mp3", "opus", "mulaw"]

# In the order in which they are applied, which is that of a recording: the room, the noise in it, the recorder's level,
# and what is sent over a line. NeMo's and lhotse's dataloaders have the same order.
KINDS: tuple[Kind, ...] = get_args(Kind)
CODECS: tuple[CodecName, ...] = get_args(CodecName)

# What half of the utterances get where nothing is said is also what NeMo (`noise_mix_prob`, `rir_prob`) and
# audiomentations (`p`) have.
DEFAULT_PROBABILITY = 0.5

DEFAULT_RANGES_DB: dict[Kind, tuple[float, float]] = {
    # Signal-to-noise ratio. Kaldi's recipes for MUSAN (egs/sre16/v2/run.sh) have 0 to 15 dB for noises, 5 to 15 for
    # music, 13 to 20 for babble; NeMo and icefall 10 to 20 for all.
    "noise": (5.0, 20.0),
    # Kaldi's utils/data/perturb_data_dir_volume.sh: factors from 0.125 to 2.
    "gain": (-18.0, 6.0),
    # How far the peak is driven beyond the limit: at 3 dB 0.2 % of the samples of read digits are cut off, at 15 dB
    # 10 %; audiomentations' ClippingDistortion has 0 to 40 %.
    "clip": (3.0, 15.0),
}

_WITH_FOLDER: tuple[Kind, ...] = ("noise", "rir")
_REPEATABLE: tuple[Kind, ...] = ("noise",)  # speech and music ask for other ratios
_MAX_DB = 100.0  # beyond are typing errors
_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_RANGE = re.compile(rf"({_NUMBER})(?:\.\.({_NUMBER}))?dB", re.IGNORECASE)

_EXAMPLES: dict[Kind, str] = {
    "rir": "rir=DIR@0.2",
    "noise": "noise=DIR:10..30dB@0.3",
    "gain": "gain=-18..6dB@0.2",
    "clip": "clip=3..15dB@0.1",
    "telephone": "telephone@0.1",
    "codec": "codec=mp3+opus@0.1",
}


@dataclass(frozen=True)
class Effect:
    """One part of --augment."""

    kind: Kind
    probability: float = DEFAULT_PROBABILITY  # of an utterance to get it
    folder: str = ""  # of noise and rir: recordings, or a data set folder
    range_db: tuple[float, float] | None = None  # of noise, gain and clip: between what the decibels are drawn
    codecs: tuple[CodecName, ...] = ()  # of codec

    def __str__(self) -> str:
        """The part without its folder, with every default written out: what is done, wherever the sounds lie."""
        value = ""
        if self.range_db:
            low, high = self.range_db
            value = f"={low:g}..{high:g}dB"
        if self.codecs:
            value = "=" + "+".join(self.codecs)
        return f"{self.kind}{value}@{self.probability:g}"


def parse_effects(text: str) -> tuple[Effect, ...]:
    """Returns the effects of a --augment, in the order in which they are applied.

    Folders need not exist.

    Raises:
        CliError: A part is none; names it, and how it is written.
    """
    effects = [_parse_part(part) for part in _split_at_commas(text)]
    if not effects:
        raise CliError(f"--augment is empty: give one part or several joined by commas, such as {_EXAMPLES['noise']}")
    for kind in KINDS:
        if kind not in _REPEATABLE and sum(effect.kind == kind for effect in effects) > 1:
            raise CliError(f"--augment has {kind} twice: give it once")
    return tuple(sorted(effects, key=lambda effect: KINDS.index(effect.kind)))


def describe_effects(effects: Sequence[Effect]) -> str:
    """Returns the text of effects without their folders; the same text means that the same is done."""
    return ",".join(map(str, effects))


def _split_at_commas(text: str) -> Iterator[str]:
    """Yields the parts; a comma in the name of a folder that exists divides nothing."""
    pieces = text.split(",")
    while pieces:
        count = next((count for count in range(len(pieces), 1, -1) if _names_folder(",".join(pieces[:count]))), 1)
        part = ",".join(pieces[:count]).strip()
        del pieces[:count]
        if part:
            yield part


def _names_folder(part: str) -> bool:
    """Whether a text is a part whose folder exists; what is wrong behind that is found when the part is parsed."""
    name, _, value = part.partition("=")
    if "," in name:
        return False
    value = os.path.expanduser(value)
    folder = re.sub(r"(:[^,:@/]*)?(@[^,@/]*)?$", "", value)
    return os.path.isdir(value) or os.path.isdir(folder)


def _parse_part(part: str) -> Effect:
    """Returns the effect of a part; raises CliError where it is none."""
    rest, at, probability_text = part.rpartition("@")
    has_probability = bool(at) and not os.path.isdir(_folder_of(part))
    head = rest if has_probability else part
    name, equals, value = head.partition("=")
    kind = _find_kind(part, name.strip())
    effect = _with_value(part, Effect(kind), value.strip() if equals else None)
    return replace(effect, probability=_probability(part, probability_text)) if has_probability else effect


def _folder_of(part: str) -> str:
    """Returns the path behind the equals sign of a part without probability; it may have an @ in it."""
    value = part.partition("=")[2]
    return os.path.expanduser(re.sub(rf":{_RANGE.pattern}$", "", value, flags=re.IGNORECASE))


def _find_kind(part: str, name: str) -> Kind:
    """Returns the kind of that name; raises CliError where there is none."""
    for kind in KINDS:
        if name == kind:
            return kind
    near = difflib.get_close_matches(name.lower(), KINDS, n=1)
    choices = f"choose among {', '.join(sorted(KINDS))}; a comma divides parts, but in the name of a folder that exists"
    cure = f"did you mean {near[0]}?" if near else choices
    raise CliError(f"--augment {part}: there is no kind '{name}': {cure}")


def _probability(part: str, text: str) -> float:
    """Returns the number behind an @, which may be a percentage."""
    is_percentage = text.endswith("%")
    try:
        probability = float(text.removesuffix("%")) / (100 if is_percentage else 1)
    except ValueError:
        probability = math.nan
    if not 0 <= probability <= 1:
        raise CliError(f"--augment {part}: '@{text}' is no probability: give a number from 0 to 1, such as @0.3")
    return probability


def _with_value(part: str, effect: Effect, value: str | None) -> Effect:
    """Returns the effect with what stands behind its equals sign; None where it has none.

    Raises:
        CliError: It is not what the kind takes.
    """
    kind = effect.kind
    if kind in _WITH_FOLDER:
        return _with_folder(part, effect, value or "")
    if value == "":
        raise CliError(f"--augment {part}: nothing follows the equals sign: write it as {_EXAMPLES[kind]}, or {kind}")
    if kind == "telephone":
        if value is not None:
            raise CliError(f"--augment {part}: telephone takes no value: write it as {_EXAMPLES[kind]}")
        return effect
    if kind == "codec":
        return replace(effect, codecs=_codecs(part, value))
    return replace(effect, range_db=DEFAULT_RANGES_DB[kind] if value is None else _range_db(part, kind, value))


def _with_folder(part: str, effect: Effect, value: str) -> Effect:
    """Returns the effect with its folder and, of noise, its range of decibels."""
    example = _EXAMPLES[effect.kind]
    folder, colon, range_text = value.rpartition(":")
    looks_like_range = (
        bool(colon) and (".." in range_text or range_text.lower().endswith("db")) and "/" not in range_text
    )
    range_db = DEFAULT_RANGES_DB.get(effect.kind)
    if looks_like_range and not os.path.isdir(os.path.expanduser(value)):
        if range_db is None:
            raise CliError(f"--augment {part}: {effect.kind} takes no decibels: write it as {example}")
        range_db = _range_db(part, effect.kind, range_text)
    else:
        folder = value
    if not folder:
        raise CliError(f"--augment {part}: {effect.kind} needs a folder: write it as {example}")
    if is_remote(folder):
        raise CliError(f"--augment {part}: {effect.kind} is read from a local disk only: copy the folder there")
    return replace(effect, folder=os.path.expanduser(folder), range_db=range_db)


def _range_db(part: str, kind: Kind, text: str) -> tuple[float, float]:
    """Returns the bounds of LOW..HIGHdB; a single number is both."""
    found = _RANGE.fullmatch(text)
    if not found:
        raise CliError(f"--augment {part}: '{text}' is no range of decibels: write it as {_EXAMPLES[kind]}")
    low = float(found[1])
    high = float(found[2] or low)
    if low > high:
        raise CliError(f"--augment {part}: {text} begins above its end: write it as {high:g}..{low:g}dB")
    if max(abs(low), abs(high)) > _MAX_DB:
        raise CliError(f"--augment {part}: {text} is beyond {_MAX_DB:g} dB, which nobody hears: give less")
    if kind == "clip" and low < 0:
        raise CliError(f"--augment {part}: {text} of clip is below 0 dB, where nothing is cut off: give 0 or more")
    return low, high


def _codecs(part: str, value: str | None) -> tuple[CodecName, ...]:
    """Returns the codecs that + joins, once each; all where none is named."""
    if value is None:
        return CODECS
    names = [name.strip() for name in value.split("+")]
    unknown = [name for name in names if name not in CODECS]
    if unknown:
        raise CliError(
            f"--augment {part}: there is no codec '{unknown[0]}': choose among {', '.join(CODECS)}, joined by +, as in "
            f"{_EXAMPLES['codec']}"
        )
    return tuple(codec for codec in CODECS if codec in names)
