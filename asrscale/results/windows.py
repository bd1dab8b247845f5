"""A recording of any length as windows that are computed one by one, cut where it is quiet.

A short recording is one window, so that its text is the one that an evaluation finds. A long one is cut in pauses, and
the silence in them is left out, so that its windows are as utterances by themselves. Where there is no pause within a
window, windows overlap: each frame is taken from the window in whose middle it lies. Windows begin on the frames of the
whole, so that frames are joined without a seam. docs/decisions/word-times.md says why.

Shapes: T samples.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from asrscale.speech.frames import FrameGeometry
from asrscale.speech.pauses import Pause, find_quiet
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

WINDOW_SECONDS = 20  # checkpoints are trained on utterances of up to about as much

# What is cut off reaches the frames beside a cut directly through wav2vec2's positional convolution, 64 frames or
# 1.28 s to either side: 2 s are beyond that.
CONTEXT_SECONDS = 2

# A window ends in the first full pause behind its first seconds that comes soon, else in the first short one, else in
# the longest of all; and in a long one, wherever it is. All measured: docs/experiments/evaluation.md.
LEAST_WINDOW_SECONDS = 1.5
SOON_SECONDS = 6.0
LONG_PAUSE_SECONDS, FULL_PAUSE_SECONDS, SHORT_PAUSE_SECONDS = 1.0, 0.5, 0.25

# So much silence is at the ends of a window, as at those of the recordings of utterances.
MARGIN_SECONDS = 0.15
_MARGIN_SAMPLES = int(MARGIN_SECONDS * SAMPLE_RATE_HZ)


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a recording that is computed at once.

    Attributes:
        samples: (T,).
        own_frames: The frames that are taken from this window; those beside them are its context.
        ends_in_pause: Whether the next window begins in the pause that this one ends in; so no word goes on there.
        silent_before: So many frames in front of its own are silence that no window computes.
        silent_after: So many behind its own.
    """

    samples: Pcm
    own_frames: slice
    ends_in_pause: bool = False
    silent_before: int = 0
    silent_after: int = 0


def stream_windows(pieces: Iterable[Pcm], geometry: FrameGeometry) -> Iterator[Window]:
    """Yields windows of a recording, whose own and silent frames together are all of the whole, each once.

    Args:
        pieces: The samples of the whole; (T,) each.
        geometry: Of the frames.

    Yields:
        Each window as soon as there are samples behind it; the last one has all that are left.
    """
    stride = geometry.stride_samples
    window_samples = _window_samples(geometry)
    enough = window_samples + stride + geometry.reach_samples
    rest = iter(pieces)
    samples = _fill([], rest, enough)
    if len(samples) < enough:
        yield Window(samples, slice(0, None))
        return

    first_own = num_silent = 0
    silent_db = -np.inf  # in front of the samples, where they begin in a pause
    while True:
        samples = _fill([samples], rest, enough)
        is_last = len(samples) < enough
        quiet = find_quiet(samples if is_last else samples[:window_samples], silent_db)
        skipped = _frames_to_skip(quiet.pauses, geometry) if first_own == 0 else 0
        if skipped:
            num_silent += skipped
            samples = samples[skipped * stride :]
            if num_silent * stride >= window_samples:  # a window without frames says so, since speech may be hours away
                yield Window(samples[:stride].copy(), slice(0, 0), ends_in_pause=True, silent_before=num_silent)
                num_silent = 0
            continue
        window, step_samples = _cut(samples, quiet.pauses, first_own, geometry, is_last=is_last)
        yield replace(window, silent_before=num_silent)
        if not step_samples:
            return
        samples = samples[step_samples:]
        num_silent = 0
        first_own = 0 if window.ends_in_pause else _context_frames(geometry)
        silent_db = quiet.silent_db if window.ends_in_pause else -np.inf


def _window_samples(geometry: FrameGeometry) -> int:
    return WINDOW_SECONDS * SAMPLE_RATE_HZ // geometry.stride_samples * geometry.stride_samples


def _context_frames(geometry: FrameGeometry) -> int:
    return CONTEXT_SECONDS * SAMPLE_RATE_HZ // geometry.stride_samples


def _fill(left: list[Pcm], pieces: Iterator[Pcm], enough: int) -> Pcm:
    """Returns what is left with as many pieces behind it as make it enough, or with all."""
    num_samples = sum(len(piece) for piece in left)
    while num_samples < enough and (piece := next(pieces, None)) is not None:
        left.append(piece)
        num_samples += len(piece)
    return np.concatenate(left) if len(left) > 1 else left[0]


def _frames_to_skip(pauses: list[Pause], geometry: FrameGeometry) -> int:
    """Returns how many frames of silence are in front of the margin of the first sound."""
    if not pauses or pauses[0].silence_start > 0:
        return 0
    margin_samples = max(_MARGIN_SAMPLES, geometry.reach_samples)  # no fewer than a frame is made of
    start = _start_of_speech(pauses[0], margin_samples)
    stride = geometry.stride_samples
    nearest = (start + stride // 2) // stride
    return max(0, min(nearest, pauses[0].silence_end // stride))


def _cut(
    samples: Pcm, pauses: list[Pause], first_own: int, geometry: FrameGeometry, *, is_last: bool
) -> tuple[Window, int]:
    """Returns the first window of samples, and how far behind its start the next begins; 0 where there is no next.

    Args:
        samples: Enough of them, or the last.
        pauses: In as many as a window may have.
        first_own: The first frame that no window before has.
        geometry: Of the frames.
        is_last: Whether there are no samples behind these.
    """
    stride = geometry.stride_samples
    # Silence that goes on to the end of the recording is not between two windows.
    inner = [pause for pause in pauses if pause.silence_end <= len(samples) - geometry.reach_samples]
    pause = _choose(inner, first_own * stride)
    if pause is not None:
        end = _end_of_speech(pause)
        own_end = min(end // stride, geometry.num_frames(end))
        # A silent frame between this window and the next keeps their words apart, whatever they say at their ends.
        num_silent = int((own_end + 1) * stride <= pause.end)
        step = (own_end + num_silent) * stride
        own_samples = samples[: max(end, step)].copy()
        return Window(own_samples, slice(first_own, own_end), ends_in_pause=True, silent_after=num_silent), step
    if not is_last:
        context_frames = _context_frames(geometry)
        own_end = _window_samples(geometry) // stride - context_frames
        window = Window(samples[: _window_samples(geometry)].copy(), slice(first_own, own_end))
        return window, (own_end - context_frames) * stride

    end = len(samples) if len(inner) == len(pauses) else _end_of_speech(pauses[-1])
    num_silent = geometry.num_frames(len(samples)) - max(first_own, geometry.num_frames(end))
    return Window(samples[:end].copy(), slice(first_own, None), silent_after=max(0, num_silent)), 0


def _choose(pauses: list[Pause], first_sample: int) -> Pause | None:
    """Returns in which of pauses a window ends; None if there is none that it may end in.

    Args:
        pauses: Those between two windows.
        first_sample: The first that is not context.
    """
    least = first_sample + LEAST_WINDOW_SECONDS * SAMPLE_RATE_HZ
    soon = first_sample + SOON_SECONDS * SAMPLE_RATE_HZ
    possible = [
        pause
        for pause in pauses
        if _end_of_speech(pause) >= least or (pause.start > first_sample and pause.seconds >= LONG_PAUSE_SECONDS)
    ]
    full = [pause for pause in possible if pause.seconds >= FULL_PAUSE_SECONDS and _end_of_speech(pause) <= soon]
    short = [pause for pause in possible if pause.seconds >= SHORT_PAUSE_SECONDS]
    longest = max(possible, key=lambda pause: pause.seconds, default=None)
    return next(iter(full + short), longest)


def _end_of_speech(pause: Pause) -> int:
    """Returns where the margin of the sound in front of a silence ends: in its middle, if it is short."""
    # Behind speech it dies away within the margin; what takes longer is a sound of its own, with a margin of its own.
    dies_away = pause.silence_start <= pause.start + _MARGIN_SAMPLES
    end = pause.start if dies_away else pause.silence_start
    silence_middle = (pause.silence_start + pause.silence_end) // 2
    return min(silence_middle, end + _MARGIN_SAMPLES)


def _start_of_speech(pause: Pause, margin_samples: int) -> int:
    """Returns where the margin of the sound behind a silence starts."""
    rises = pause.silence_end >= pause.end - margin_samples
    return (pause.end if rises else pause.silence_end) - margin_samples
