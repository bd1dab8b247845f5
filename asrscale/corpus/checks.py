"""Checks of a recording and its transcript; each failure is a reason in rejected.jsonl. Imports no torch.

Shape legend: T samples.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asrscale.common.errors import AudioError, CliError
from asrscale.speech.frames import WAV2VEC2_STEM, ConvStem, frames_needed
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Waveform
from asrscale.speech.vocabulary import Vocabulary, read_vocabulary

SILENT_PEAK = 1e-3  # of full scale, -60 dB: below the noise of any microphone that heard somebody


# Samples of at least 0.999 of full scale. 0.004 % at most in 1,200 real clips (docs/experiments/data.md); speech is
# loud for moments only, so where every hundredth sample is cut off, most of the loud ones are.
FULL_SCALE, MAX_CLIPPED_SHARE = 0.999, 0.01


# Real clips cut close to the speech have up to 23 (docs/experiments/data.md), and an auctioneer's 400 words a minute
# are 38.
MAX_CHARACTERS_PER_SECOND = 40


@dataclass(frozen=True)
class Rules:
    """What a recording and its transcript have to be for the model that will learn from them."""

    min_seconds: float
    max_seconds: float
    vocabulary: Vocabulary | None = None  # without one, any letters will do, a label each
    stem: ConvStem = WAV2VEC2_STEM


def read_rules(min_seconds: float, max_seconds: float, checkpoint: str | None) -> Rules:
    """The rules for the model in a local `checkpoint` folder, or of its vocab.json alone; CliError if unusable."""
    if checkpoint is None:
        return Rules(min_seconds, max_seconds)
    vocab = Path(checkpoint, "vocab.json") if os.path.isdir(checkpoint) else Path(checkpoint)
    vocabulary, config_file = read_vocabulary(str(vocab)), vocab.with_name("config.json")
    try:
        config = json.loads(config_file.read_bytes()) if config_file.exists() else {}
        stem = ConvStem(
            kernels=tuple(config.get("conv_kernel", WAV2VEC2_STEM.kernels)),
            strides=tuple(config.get("conv_stride", WAV2VEC2_STEM.strides)),
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CliError(f"--vocab {checkpoint}: its config.json cannot be read: {error}") from error
    return Rules(min_seconds, max_seconds, vocabulary, stem)


def check_text(text: str, rules: Rules) -> None:
    """Raises AudioError `reason: detail` for a normalised transcript that no recording goes with."""
    if not text:
        raise AudioError("empty transcript: no letter or digit is left of it")
    if rules.vocabulary and (unknown := rules.vocabulary.unknown_characters(text)):
        raise AudioError(f"unknown characters: {''.join(sorted(unknown))!r} not in the vocabulary")


def check_audio(waveform: Waveform) -> None:
    """Raises AudioError `reason: detail` for a decoded recording (T,) without usable speech."""
    # Two passes find nearly all; each costs a build 1 %. They are NaN where one sample is.
    lowest, highest = waveform.min(), waveform.max()
    if not np.isfinite([lowest, highest]).all():
        raise AudioError("non-finite: holds NaN or infinite samples")
    if highest - lowest < 2 * SILENT_PEAK:  # peak to peak: a constant is silence too
        raise AudioError(f"silent: peak below {SILENT_PEAK:g} of full scale")
    if max(highest, -lowest) >= FULL_SCALE and (share := np.mean(np.abs(waveform) >= FULL_SCALE)) > MAX_CLIPPED_SHARE:
        raise AudioError(f"clipped: {share:.1%} of the samples at full scale")


def check_pair(text: str, num_samples: int, rules: Rules) -> None:
    """Raises AudioError `reason: detail` where `num_samples` at 16 kHz cannot be the transcript's, or be learnt."""
    seconds = num_samples / SAMPLE_RATE_HZ
    if seconds < rules.min_seconds:
        raise AudioError(f"too short: {seconds:.3f} s")
    if len(text) > seconds * MAX_CHARACTERS_PER_SECOND:
        raise AudioError(f"too fast: {len(text) / seconds:.0f} characters a second")
    labels = rules.vocabulary.encode(text) if rules.vocabulary else text
    needed, frames = frames_needed(labels), rules.stem.num_frames(num_samples)
    if needed > frames:
        raise AudioError(f"too short for its transcript: {frames} frames where CTC needs {needed}")
