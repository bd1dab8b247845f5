"""The settings that follow from the data and the model: how long a run is, how fast it learns, how it is regularised.

Rows are published recipes, or lie between those that contradict each other; docs/decisions/recipes.md has them side by
side. Between two rows values are interpolated, by the logarithm of the hours.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from asrscale.training.schedule import Schedule

# What a run starts from: random weights; an encoder whose head is drawn at random, or does not transcribe such speech;
# or a model that transcribes it.
Start = Literal["random weights", "a new head", "a head that transcribes"]

# A head whose character error rate is above this has not learned such speech: another language, another alphabet, or
# little of it. Recognisers of the right language stay below it in noise and over telephones.
TRANSCRIBES_BELOW_CER = 0.3

# No utterance is seen more often: fairseq's recipes for 10 minutes see each thousands of times, for the last tenths of
# a per cent.
MAX_EPOCHS = 100

# Steps of fewer utterances have noisy gradients; the smallest that a published recipe takes.
MIN_UTTERANCES_PER_STEP = 8

BASE_WIDTH = 768  # hidden size of wav2vec2-base, for which the learning rates are

# Matrices of LoRA and adapters of MMS learn at about ten times the rate of all weights: 1e-3 in Hugging Face's recipe
# for MMS, 1e-4 for XLS-R.
ADDITIONS_FACTOR = 10

# Narrower models are of toys' size. They are trained here at smaller steps and higher rates, stem included, and have no
# capacity to fill in what is masked. Where their head is new, all of them are in effect: the recipe of random weights
# is the better one (docs/experiments/trained-models.md).
NARROW_WIDTH = 384


@dataclass(frozen=True)
class Situation:
    """What a recipe depends on.

    Attributes:
        hours: Of training audio.
        utterances: How many these are.
        start: What the run starts from.
        width: The model's hidden size.
        trains_additions: Whether only LoRA's matrices or a language's adapter are trained.
    """

    hours: float
    utterances: int
    start: Start
    width: int
    trains_additions: bool = False


@dataclass(frozen=True)
class Recipe:
    """What suits a situation. Shares are of the run's steps."""

    step_seconds: float  # audio of a step
    steps: int
    learning_rate: float  # peak
    schedule: Schedule
    warmup_share: float
    freeze_share: float  # trains the head only
    freeze_feature_encoder: bool
    mask_time_prob: float
    mask_feature_prob: float
    layerdrop: float

    @property
    def audio_seconds(self) -> float:
        """Audio of the whole run."""
        return self.steps * self.step_seconds


@dataclass(frozen=True)
class _Length:
    """How long to train on so much data, and how fast."""

    hours: float
    step_seconds: float
    steps: float
    learning_rate: float  # for a model of base's width


# fairseq's steps are of 1,600 s at any amount of data, and 13,000 to 320,000; model cards have 13,000 to 17,500 of 750
# to 1,500 s for 100 h; Hugging Face's examples for a Common Voice language 32 clips (160 s), 15 to 30 epochs. From 10 h
# down, steps become smaller, so that there are enough of them for a new head to leave the blank.
_NEW_HEAD = (
    _Length(hours=1 / 6, step_seconds=40, steps=1_500, learning_rate=1.2e-4),
    _Length(hours=1, step_seconds=80, steps=2_500, learning_rate=1.2e-4),
    _Length(hours=10, step_seconds=160, steps=7_000, learning_rate=1.2e-4),
    _Length(hours=100, step_seconds=640, steps=15_000, learning_rate=1e-4),
    _Length(hours=1_000, step_seconds=1_600, steps=25_000, learning_rate=6e-5),
    _Length(hours=10_000, step_seconds=1_600, steps=70_000, learning_rate=6e-5),
)

# A checkpoint that transcribes: 3 epochs of 17 h at 2e-5 brought large-960h from 10.8 to 7.3 %. A higher rate makes a
# good model worse: 2.5 to 7.3 % in NeMo's issue 15382.
_TRANSCRIBES = (
    _Length(hours=1 / 6, step_seconds=40, steps=400, learning_rate=2.4e-5),
    _Length(hours=1, step_seconds=40, steps=1_200, learning_rate=2.4e-5),
    _Length(hours=10, step_seconds=80, steps=2_500, learning_rate=2.4e-5),
    _Length(hours=100, step_seconds=320, steps=4_000, learning_rate=2.4e-5),
    _Length(hours=1_000, step_seconds=640, steps=14_000, learning_rate=1.2e-5),
    _Length(hours=10_000, step_seconds=1_600, steps=40_000, learning_rate=1.2e-5),
)

# `tiny`, found on the demo and on spoken digits (docs/experiments/trained-models.md); from 10 h on extrapolated.
_RANDOM_WEIGHTS = (
    _Length(hours=3, step_seconds=12, steps=4_000, learning_rate=3.75e-4),
    _Length(hours=10, step_seconds=24, steps=8_000, learning_rate=3.75e-4),
    _Length(hours=100, step_seconds=48, steps=30_000, learning_rate=3.75e-4),
    _Length(hours=1_000, step_seconds=160, steps=60_000, learning_rate=3.75e-4),
    _Length(hours=10_000, step_seconds=640, steps=80_000, learning_rate=3.75e-4),
)

_LENGTHS: Mapping[Start, Sequence[_Length]] = {
    "random weights": _RANDOM_WEIGHTS,
    "a new head": _NEW_HEAD,
    "a head that transcribes": _TRANSCRIBES,
}


@dataclass(frozen=True)
class _Pace:
    """How the learning rate runs, by what a run starts from."""

    schedule: Schedule
    warmup_share: float


# tri_stage is fairseq's, with its tenth of warm-up; cosine is the demo's; linear is Hugging Face's for fine-tuning.
_PACES: Mapping[Start, _Pace] = {
    "random weights": _Pace("cosine", warmup_share=0.025),
    "a new head": _Pace("tri_stage", warmup_share=0.1),
    "a head that transcribes": _Pace("linear", warmup_share=0.1),
}

# fairseq keeps the encoder as it is until its head is trained, for 10,000 of 13,000 to 20,000 steps, where there are
# fewer than 100 h. A tenth of a run is enough for the head to be no longer random.
FREEZE_SHARE = 0.1
FREEZE_BELOW_HOURS = 100.0


@dataclass(frozen=True)
class _Regularisation:
    up_to_hours: float
    mask_time_prob: float
    mask_feature_prob: float
    layerdrop: float


# fairseq's fine-tuning recipes base_1h, base_10h, base_100h and base_960h (examples/wav2vec/config/finetuning).
_REGULARISATION = (
    _Regularisation(up_to_hours=3, mask_time_prob=0.65, mask_feature_prob=0.25, layerdrop=0.1),
    _Regularisation(up_to_hours=30, mask_time_prob=0.65, mask_feature_prob=0.5, layerdrop=0.05),
    _Regularisation(up_to_hours=300, mask_time_prob=0.65, mask_feature_prob=0.5, layerdrop=0.1),
    _Regularisation(up_to_hours=math.inf, mask_time_prob=0.5, mask_feature_prob=0.1, layerdrop=0.1),
)
_NO_REGULARISATION = _Regularisation(up_to_hours=math.inf, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0)


def recommend(situation: Situation) -> Recipe:
    """Returns the recipe for a situation; there is one for any, from a single utterance on."""
    is_narrow = situation.width < NARROW_WIDTH
    if is_narrow and situation.start == "a new head":
        situation = replace(situation, start="random weights")
    rows = _LENGTHS[situation.start]
    all_seconds = situation.hours * 3600
    step_seconds = _two_digits(min(_step_seconds(rows, situation), all_seconds))
    steps = min(_interpolate(rows, "steps", situation.hours), MAX_EPOCHS * all_seconds / step_seconds)

    # The wider, the lower the rate: as for random weights under muP (Yang et al. 2022).
    learning_rate = _interpolate(rows, "learning_rate", situation.hours) * BASE_WIDTH / situation.width
    if situation.trains_additions:
        learning_rate *= ADDITIONS_FACTOR

    pace = _PACES[situation.start]
    regularisation = _NO_REGULARISATION if is_narrow else _regularisation(situation.hours)
    return Recipe(
        step_seconds=step_seconds,
        steps=max(1, int(_two_digits(steps))),
        learning_rate=_two_digits(learning_rate),
        schedule=pace.schedule,
        warmup_share=pace.warmup_share,
        freeze_share=_freeze_share(situation),
        freeze_feature_encoder=not is_narrow,
        mask_time_prob=regularisation.mask_time_prob,
        mask_feature_prob=regularisation.mask_feature_prob,
        layerdrop=regularisation.layerdrop,
    )


def _step_seconds(rows: Sequence[_Length], situation: Situation) -> float:
    """Returns the audio of a step."""
    step_seconds = _interpolate(rows, "step_seconds", situation.hours)
    if situation.width >= NARROW_WIDTH:
        utterance_seconds = situation.hours * 3600 / max(1, situation.utterances)
        return max(step_seconds, MIN_UTTERANCES_PER_STEP * utterance_seconds)
    if situation.start == "random weights":  # whose rows are a narrow model's
        return step_seconds
    return step_seconds * situation.width / BASE_WIDTH


def _interpolate(rows: Sequence[_Length], name: str, hours: float) -> float:
    """Returns a column of a table at `hours`, on straight lines between the logarithms; outside, the nearest row's."""
    at = np.log([row.hours for row in rows])
    values = np.log([getattr(row, name) for row in rows])
    return float(np.exp(np.interp(math.log(max(hours, 1e-9)), at, values)))


def _freeze_share(situation: Situation) -> float:
    """Returns for which share of the run the head is trained alone."""
    is_worth_it = situation.start == "a new head" and not situation.trains_additions
    return FREEZE_SHARE if is_worth_it and situation.hours < FREEZE_BELOW_HOURS else 0.0


def _regularisation(hours: float) -> _Regularisation:
    return next(row for row in _REGULARISATION if hours <= row.up_to_hours)


def _two_digits(value: float) -> float:
    """Returns a value rounded to two significant digits."""
    return float(f"{value:.2g}")
