"""An utterance with the effects that its key draws.

Everything follows from the key: the same utterance has the same sound in the same epoch of the same run, at any number
of ranks and after any number of stops.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from asrscale.augmentation.codecs import BIT_RATES, lacking_codec, through_codec
from asrscale.augmentation.effects import Effect, Kind, describe_effects, parse_effects
from asrscale.augmentation.sound import add_noise, change_gain, clip_peaks, reverberate, telephone_band
from asrscale.augmentation.sound_folders import open_folder
from asrscale.augmentation.sound_recordings import Recordings, read_impulse_response, read_stretch
from asrscale.common.errors import AudioError, CliError
from asrscale.data.hashing import hash_keys
from asrscale.speech.pcm import Pcm, Waveform, to_pcm16, to_waveform

# One for each decision that is drawn, so that no two are drawn alike; unlike the salts of run_plan and epoch_plan.
_SALTS: dict[Kind, int] = {"rir": 31, "noise": 32, "gain": 33, "clip": 34, "telephone": 35, "codec": 36}

_DRAWS = 4  # whether it is applied, and up to three decisions
_FINGERPRINT_BYTES = 8


@dataclass(frozen=True, eq=False)
class Augmentation:
    """Effects with the recordings that they need."""

    effects: tuple[Effect, ...]  # in the order in which they are applied
    recordings: tuple[Recordings | None, ...]  # of each effect; None for one without a folder

    @property
    def description(self) -> str:
        """What is done, without the places of folders; the same for the same effects."""
        return describe_effects(self.effects)

    @property
    def fingerprint(self) -> str:
        """A hash of what is done and of what is in the folders, wherever they lie."""
        parts = [self.description, *(one.fingerprint for one in self.recordings if one)]
        return blake2b(repr(parts).encode(), digest_size=_FINGERPRINT_BYTES).hexdigest()


def open_augmentation(text: str | None) -> Augmentation | None:
    """Returns what --augment asks for, its folders opened; None without it.

    Raises:
        CliError: It is written wrongly, a folder cannot be used, or ffmpeg lacks a codec.
    """
    if text is None:
        return None
    effects = parse_effects(text)
    for effect in effects:
        _check_codecs(effect)
    return Augmentation(effects, tuple(open_folder(effect) if effect.folder else None for effect in effects))


def _check_codecs(effect: Effect) -> None:
    """Raises CliError where ffmpeg, as it is installed, lacks one of the codecs of an effect."""
    for name in effect.codecs:
        lacking = lacking_codec(name)
        if lacking:
            raise CliError(
                f"--augment codec: the ffmpeg of PyAV was built without {lacking}, which {name} needs: leave {name} "
                "out, or install PyAV from its wheel: pip install --only-binary av --force-reinstall av"
            )


def notes_of(augmentation: Augmentation | None) -> list[str]:
    """Returns lines about what of the folders is not used."""
    recordings = augmentation.recordings if augmentation else ()
    return [note for one in recordings if one for note in one.notes]


def describe_augmentation(augmentation: Augmentation) -> str:
    """Returns a line for people: each effect, in the order of their application, and what it draws from."""
    parts = []
    for effect, recordings in zip(augmentation.effects, augmentation.recordings, strict=True):
        source = f" of {len(recordings):,} recordings in {recordings.folder}" if recordings else ""
        parts.append(f"{effect}{source}")
    return "augmentation: " + ", ".join(parts)


def augment(augmentation: Augmentation, pcm: Pcm, key: int) -> tuple[Pcm, tuple[str, ...]]:
    """Returns an utterance with the effects that its key draws; without any, the very samples.

    Samples are float32 in between. What exceeds 16 bits at the end is cut off, never wrapped.

    Args:
        augmentation: What may be done.
        pcm: (T,) its samples, at its speed.
        key: Of the utterance in this epoch.

    Returns:
        (T,) its samples afterwards; and the effects that were drawn and could not be applied, each with the reason.
    """
    waveform = None
    left_out = []
    seen: dict[Kind, int] = {}
    for effect, recordings in zip(augmentation.effects, augmentation.recordings, strict=True):
        seen[effect.kind] = seen.get(effect.kind, 0) + 1
        chance, *draws = _draw(key, effect.kind, seen[effect.kind])
        if chance >= effect.probability:
            continue
        waveform = to_waveform(pcm) if waveform is None else waveform
        try:
            waveform = _apply(effect, recordings, waveform, draws)
        except AudioError as error:
            left_out.append(f"{effect.kind}: {error}")
    return pcm if waveform is None else to_pcm16(waveform), tuple(left_out)


def _draw(key: int, kind: Kind, occurrence: int) -> list[float]:
    """Returns uniform numbers from 0 to below 1, others for each key and for each of the effects of a kind."""
    keys = hash_keys(_DRAWS, key, _SALTS[kind], occurrence)
    return [int(drawn >> 11) / 2**53 for drawn in keys.tolist()]


def _apply(effect: Effect, recordings: Recordings | None, waveform: Waveform, draws: Sequence[float]) -> Waveform:
    """Returns an utterance (T,) with an effect.

    Raises:
        AudioError: It cannot be applied.
    """
    first, second, third = draws
    if recordings:
        number = int(first * len(recordings))
        if effect.kind == "rir":
            return reverberate(waveform, read_impulse_response(recordings, number, second))
        noise = read_stretch(recordings, number, second, len(waveform))
        return add_noise(waveform, noise, _between(effect, third))
    if effect.kind == "gain":
        return change_gain(waveform, _between(effect, first))
    if effect.kind == "clip":
        return clip_peaks(waveform, _between(effect, first))
    if effect.kind == "telephone":
        return telephone_band(waveform)
    codec = effect.codecs[int(first * len(effect.codecs))]
    bit_rates = BIT_RATES[codec]
    return through_codec(waveform, codec, bit_rates[int(second * len(bit_rates))])


def _between(effect: Effect, draw: float) -> float:
    """Returns the decibels that a uniform number draws."""
    assert effect.range_db, "the parser gives every such effect a range"
    low, high = effect.range_db
    return low + draw * (high - low)
