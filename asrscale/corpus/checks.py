"""Checks of a recording and its transcript; each failure is a reason in rejected.jsonl. Imports no torch.

Shape legend: T samples.
"""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from asrscale.common.checkpoint_files import checkpoint_json
from asrscale.common.errors import AudioError, CliError
from asrscale.speech.frames import WAV2VEC2, FrameGeometry, frames_needed, geometry_of
from asrscale.speech.markup import find_markup
from asrscale.speech.normalisation import NEUTRAL, TextRules, labels_in
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Waveform
from asrscale.speech.vocabulary import Vocabulary
from asrscale.speech.vocabulary_files import read_vocabulary

# Share of full scale, -60 dB: any microphone that recorded a voice also recorded more noise than that.
SILENT_PEAK = 1e-3


# Share of full scale from which on a sample counts as cut off.
FULL_SCALE = 0.999


# Share of a clip's samples at full scale. It is 0.004 % at most in 1,200 real clips (docs/experiments/data.md). Speech
# is loud for moments only: where every hundredth sample is cut off, most of the loud ones are.
MAX_CLIPPED_SHARE = 0.01


# Real clips cut close to the speech have up to 23 (docs/experiments/data.md), and an auctioneer's 400 words a minute
# are 38.
MAX_CHARACTERS_PER_SECOND = 40


@dataclass(frozen=True, repr=False)
class Rules:
    """What a recording and its transcript have to be for the model that will learn from them.

    Attributes:
        min_seconds: Shorter recordings are rejected.
        max_seconds: Longer recordings are rejected.
        vocabulary: The model's; None allows any character, each of them one label.
        geometry: The model's, which decides how many frames a recording has.
        text: How transcripts are normalised; no part of the fingerprint, since dataset.json records it by itself.
    """

    min_seconds: float
    max_seconds: float
    vocabulary: Vocabulary | None = None
    geometry: FrameGeometry = WAV2VEC2
    text: TextRules = NEUTRAL

    def __repr__(self) -> str:
        """The rules without those of the text, as a shard's record hashes them: their spelling must not change."""
        kernels, strides, adapter = _spelled(self.geometry)
        return (
            f"Rules(min_seconds={self.min_seconds!r}, max_seconds={self.max_seconds!r}, "
            f"vocabulary={self.vocabulary!r}, stem=ConvStem({kernels}, {strides}{adapter}))"
        )

    @property
    def fingerprint(self) -> str:
        """A hash of the rules; dataset.json records it as `vocab_sha256`, so its spelling must not change."""
        kernels, strides, adapter = _spelled(self.geometry)
        is_spaced = self.vocabulary is not None and self.vocabulary.spaced
        phones = " of phones" if is_spaced else ""
        spelled = (
            f"Rules(min_seconds={self.min_seconds!r}, max_seconds={self.max_seconds!r}, "
            f"vocabulary={self.vocabulary!r}{phones}, {kernels}, {strides}{adapter})"
        )
        return sha256(spelled.encode()).hexdigest()


def read_rules(min_seconds: float, max_seconds: float, checkpoint: str | None, language: str = "") -> Rules:
    """Returns the rules for a model.

    Args:
        min_seconds: As in `Rules`.
        max_seconds: As in `Rules`.
        checkpoint: The model's folder, its Hugging Face id, or its vocab.json; None for one that is yet to be built.
        language: Which language of a vocabulary for many.

    Raises:
        CliError: The vocab.json, or the config.json beside it, cannot be used.
    """
    if checkpoint is None:
        return Rules(min_seconds=min_seconds, max_seconds=max_seconds)
    vocabulary = read_vocabulary(checkpoint, language)
    folder = str(Path(checkpoint).parent) if os.path.isfile(checkpoint) else checkpoint
    try:
        geometry = geometry_of(checkpoint_json(folder, "config.json"))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CliError(f"--vocab {checkpoint}: its config.json cannot be read: {error}") from error
    return Rules(min_seconds=min_seconds, max_seconds=max_seconds, vocabulary=vocabulary, geometry=geometry)


def _spelled(geometry: FrameGeometry) -> tuple[str, str, str]:
    """Returns the kernels, the strides and, where there is one, the adapter of a geometry as hashes have them."""
    kernels = tuple(convolution.kernel for convolution in geometry.stem)
    strides = tuple(convolution.stride for convolution in geometry.stem)
    adapter = f", adapter={geometry.adapter!r}" if geometry.adapter else ""
    return f"kernels={kernels!r}", f"strides={strides!r}", adapter


def check_markup(text: str) -> None:
    """Raises AudioError `reason: detail` for a transcript, not yet normalised, with annotations, tags or entities."""
    found = find_markup(text)
    if found:
        raise AudioError(f"markup: {' '.join(found)}")


def check_text(text: str, rules: Rules) -> None:
    """Raises AudioError `reason: detail` for a normalised transcript that cannot be learned from any recording."""
    if not text:
        raise AudioError("empty transcript: no letter or digit is left of it")
    if rules.vocabulary is None:
        return
    unknown = rules.vocabulary.unknown_characters(text)
    if unknown:
        raise AudioError(f"unknown characters: {''.join(sorted(unknown))!r} not in the vocabulary")


def check_audio(waveform: Waveform) -> None:
    """Raises AudioError `reason: detail` for a decoded recording (T,) without usable speech."""
    # Each pass over the samples costs a build 1 % of its time, so these two find nearly all that is wrong. Both results
    # are NaN where one sample is.
    lowest = waveform.min()
    highest = waveform.max()
    if not np.isfinite([lowest, highest]).all():
        raise AudioError("non-finite: holds NaN or infinite samples")
    if highest - lowest < 2 * SILENT_PEAK:  # peak to peak: a constant is silence too
        raise AudioError(f"silent: peak below {SILENT_PEAK:g} of full scale")
    if max(highest, -lowest) >= FULL_SCALE:
        clipped_share = np.mean(np.abs(waveform) >= FULL_SCALE)
        if clipped_share > MAX_CLIPPED_SHARE:
            raise AudioError(f"clipped: {clipped_share:.1%} of the samples at full scale")


@dataclass(frozen=True)
class TextLength:
    """How much speech a transcript needs.

    Attributes:
        characters: Of the normalised transcript; with `--text characters` labels such as phones.
        frames: The fewest of the model in which CTC can emit it.
    """

    characters: int
    frames: int


def text_length(text: str, rules: Rules) -> TextLength:
    """Returns how much speech a normalised transcript needs."""
    characters = labels_in(text, rules.text)
    labels = rules.vocabulary.encode(text) if rules.vocabulary else characters
    return TextLength(len(characters), frames_needed(labels))


def check_length(length: TextLength, num_samples: int, rules: Rules) -> None:
    """Raises AudioError where a recording cannot be that of a transcript, or cannot be learned from.

    The message is `reason: detail`.

    Args:
        length: Of the transcript.
        num_samples: Length of the recording at 16 kHz.
        rules: What the model needs.
    """
    seconds = num_samples / SAMPLE_RATE_HZ
    if seconds < rules.min_seconds:
        raise AudioError(f"too short: {seconds:.3f} s")
    if length.characters > seconds * MAX_CHARACTERS_PER_SECOND:
        raise AudioError(f"too fast: {length.characters / seconds:.0f} characters a second")
    frames = rules.geometry.num_frames(num_samples)
    if length.frames > frames:
        raise AudioError(f"too short for its transcript: {frames} frames where CTC needs {length.frames}")
