"""A recording of any length as windows that are computed one by one, cut where it is quiet.

A short recording is one window, so that its text is the one that an evaluation finds. A long one is cut in pauses, so
that its windows are as utterances by themselves. Where there is no pause within a window, windows overlap: each frame
is taken from the window in whose middle it lies. Windows begin on the frames of the whole, so that frames are joined
without a seam. docs/decisions/word-times.md says why.

Shapes: T samples.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from asrscale.speech.frames import FrameGeometry
from asrscale.speech.pauses import Pause, find_pauses
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm

WINDOW_SECONDS = 20  # checkpoints are trained on utterances of up to about as much

# What is cut off reaches the frames beside a cut directly through wav2vec2's positional convolution, 64 frames or
# 1.28 s to either side: 2 s are beyond that.
CONTEXT_SECONDS = 2

# A window ends in the first pause of so long behind its first seconds, or else in its longest one. Both measured:
# docs/experiments/evaluation.md.
FULL_PAUSE_SECONDS = 0.5
LEAST_WINDOW_SECONDS = 2


@dataclass(frozen=True, eq=False)
class Window:
    """A part of a recording that is computed at once.

    Attributes:
        samples: (T,).
        own_frames: The frames that are taken from this window; those beside them are its context.
        ends_in_pause: Whether the next window begins in the pause that this one ends in; so no word goes on there.
    """

    samples: Pcm
    own_frames: slice
    ends_in_pause: bool = False


def stream_windows(pieces: Iterable[Pcm], geometry: FrameGeometry) -> Iterator[Window]:
    """Yields windows of a recording, whose own frames together are all of the whole, each once.

    Args:
        pieces: The samples of the whole; (T,) each.
        geometry: Of the frames.

    Yields:
        Each window as soon as there are samples behind it; the last one has all that are left.
    """
    stride = geometry.stride_samples
    window_samples = WINDOW_SECONDS * SAMPLE_RATE_HZ // stride * stride
    enough = window_samples + stride + geometry.reach_samples
    first_own = 0
    left: list[Pcm] = []
    num_left = 0
    for piece in pieces:
        left.append(piece)
        num_left += len(piece)
        if num_left < enough:
            continue
        samples = np.concatenate(left)
        while len(samples) >= enough:
            window, step_samples = _cut(samples, window_samples, first_own, geometry)
            yield window
            first_own = 0 if window.ends_in_pause else CONTEXT_SECONDS * SAMPLE_RATE_HZ // stride
            samples = samples[step_samples:]
        left, num_left = [samples], len(samples)
    yield Window(np.concatenate(left), own_frames=slice(first_own, None))


def _cut(samples: Pcm, window_samples: int, first_own: int, geometry: FrameGeometry) -> tuple[Window, int]:
    """Returns the first window of samples, of which there are enough, and how far behind its start the next begins."""
    stride = geometry.stride_samples
    least = first_own * stride + LEAST_WINDOW_SECONDS * SAMPLE_RATE_HZ
    pauses = [pause for pause in find_pauses(samples[:window_samples]) if pause.middle >= least]
    if pauses:
        own_end = _choose(pauses).middle // stride
        cut = own_end * stride
        # The last of its frames reaches a little beyond the cut.
        window = Window(samples[: cut + geometry.reach_samples].copy(), slice(first_own, own_end), ends_in_pause=True)
        return window, cut
    context_frames = CONTEXT_SECONDS * SAMPLE_RATE_HZ // stride
    own_end = window_samples // stride - context_frames
    return Window(samples[:window_samples].copy(), slice(first_own, own_end)), (own_end - context_frames) * stride


def _choose(pauses: list[Pause]) -> Pause:
    """Returns the first full pause, or else the longest."""
    full = [pause for pause in pauses if pause.seconds >= FULL_PAUSE_SECONDS]
    return full[0] if full else max(pauses, key=lambda pause: pause.seconds)
