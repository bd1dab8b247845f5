import numpy as np
import pytest

from asrscale.results.windows import CONTEXT_SECONDS, LEAST_WINDOW_SECONDS, WINDOW_SECONDS, stream_windows
from asrscale.speech.frames import Convolution, FrameGeometry, geometry_of
from asrscale.speech.pcm import SAMPLE_RATE_HZ

LOUD = 10**9


def numbered(length: int, quiet: list[tuple[int, int]] = ()) -> np.ndarray:
    """Samples that say which they are; where they are loud, by what is above LOUD."""
    samples = np.arange(length, dtype=np.float64) + LOUD
    for start, end in quiet:
        samples[start:end] = np.arange(start, end) / LOUD
    return samples


def number_of(sample: float) -> int:
    return round(sample * LOUD) if sample < 1 else int(sample) - LOUD


@pytest.mark.parametrize(("stride", "reach"), [(320, 400), (480, 720), (320, 560)])  # of base, `tiny`, Wav2Vec2-BERT
def test_windows_without_a_pause_hold_every_frame_once_and_its_context(stride: int, reach: int) -> None:
    geometry = FrameGeometry((Convolution(reach, stride),))
    size, context = (seconds * SAMPLE_RATE_HZ // stride for seconds in (WINDOW_SECONDS, CONTEXT_SECONDS))
    edges = [0, reach, 2 * context * stride, size * stride, (2 * size - 2 * context) * stride, 2 * size * stride]
    lengths = [edge + step for edge in edges for step in (-1, 0, 1, stride, reach)] + [123_456, 9_999_999]
    for length in filter(lambda length: length > 0, lengths):
        frames, counted = geometry.num_frames(length), []
        windows = list(stream_windows([numbered(length)], geometry))
        for window in windows:
            first, inside = divmod(number_of(window.samples[0]), stride)
            assert inside == 0 and len(window.samples) < (size + 1) * stride + reach and not window.ends_in_pause
            computed = list(range(first, first + geometry.num_frames(len(window.samples))))
            own = computed[window.own_frames]
            counted += own
            if own:
                assert own[0] - computed[0] >= context or computed[0] == 0
                assert computed[-1] - own[-1] >= context - reach / stride or computed[-1] == frames - 1
        assert counted == list(range(frames))
        assert sum(len(window.samples) for window in windows) <= 1.25 * length + 2 * context * stride


@pytest.mark.parametrize("settings", [{}, {"adapter_stride": 3}, {"adapter_kernel_size": 5}, {"num_adapter_layers": 1}])
@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2-bert"])
@pytest.mark.parametrize("quiet", [[], [(4 * 16_000, 5 * 16_000), (30 * 16_000, 30 * 16_000 + 5_000)]])
def test_windows_of_a_model_with_an_adapter_hold_every_frame_once(
    family: str, settings: dict[str, int], quiet: list[tuple[int, int]]
) -> None:
    geometry = geometry_of({"model_type": family, "add_adapter": True} | settings)
    for length in (1_000, 16_000, 20 * 16_000, 20 * 16_000 + geometry.stride_samples, 50 * 16_000 - 1, 1_234_567):
        own_quiet = [pause for pause in quiet if pause[1] < length]
        windows = list(stream_windows([numbered(length, own_quiet)], geometry))
        assert any(window.ends_in_pause for window in windows) == bool(own_quiet and length > 21 * 16_000)
        counts = [len(range(geometry.num_frames(len(window.samples)))[window.own_frames]) for window in windows]
        assert sum(counts) == geometry.num_frames(length)
        assert all(counts) or length == 1_000


@pytest.mark.parametrize("piece", [1_000, 100_000, 10**7])
def test_windows_end_in_the_first_full_pause_or_in_the_longest(piece: int) -> None:
    """And read no further than one window and what the last frame reaches, however the samples come."""
    second, stride = SAMPLE_RATE_HZ, 320
    geometry = FrameGeometry((Convolution(400, stride),))
    quiet = [
        (second, 2 * second),  # too early: its middle is within the first two seconds
        (5 * second, 5 * second + 6_400),
        (9 * second, 9 * second + 9_600),  # full: here the first window ends
        (12 * second, 12 * second + 3_200),
        (18 * second, 18 * second + 4_800),  # not full, and the longest: here the second ends
        (27 * second, 27 * second + 1_600),  # the closure of a stop
    ]
    samples = numbered(80 * second, quiet)
    windows = list(stream_windows(np.split(samples, range(piece, len(samples), piece)), geometry))
    ends_in_pause = [window.ends_in_pause for window in windows]
    assert ends_in_pause == [True, True] + [False] * (len(windows) - 2) and len(windows) == 6
    starts = [number_of(window.samples[0]) for window in windows[:4]]
    middles = [9 * second + 4_800, 18 * second + 2_400]
    assert starts[:2] == [0, middles[0]] and 0 <= middles[1] - starts[2] < stride
    assert windows[0].own_frames == slice(0, middles[0] // stride)
    assert starts[3] == starts[2] + (WINDOW_SECONDS - 2 * CONTEXT_SECONDS) * second
    assert min(len(window.samples) for window in windows) > LEAST_WINDOW_SECONDS * second


def test_two_hours_without_a_pause_are_never_in_memory() -> None:
    geometry = FrameGeometry((Convolution(400, 320),))
    read = 0

    def pieces():
        nonlocal read
        rng = np.random.default_rng(0)
        minute = (3_000 * rng.standard_normal(60 * SAMPLE_RATE_HZ)).astype(np.int16)
        for _ in range(120):
            for start in range(0, len(minute), 4_096):
                read += len(minute[start : start + 4_096])
                yield minute[start : start + 4_096]

    given = frames = 0
    for window in stream_windows(pieces(), geometry):
        assert len(window.samples) <= 21 * SAMPLE_RATE_HZ and read - given < 25 * SAMPLE_RATE_HZ
        own = range(geometry.num_frames(len(window.samples)))[window.own_frames]
        frames += len(own)
        given += len(own) * 320
    assert frames == geometry.num_frames(7_200 * SAMPLE_RATE_HZ)
