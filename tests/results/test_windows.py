import numpy as np
import pytest

from asrscale.results.windows import CONTEXT_SECONDS, MARGIN_SECONDS, WINDOW_SECONDS, Window, stream_windows
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


def own_of(window: Window, geometry: FrameGeometry) -> range:
    """The frames that are taken from a window, counted from its first."""
    return range(geometry.num_frames(len(window.samples)))[window.own_frames]


def count_frames(windows: list[Window], geometry: FrameGeometry) -> int:
    return sum(window.silent_before + len(own_of(window, geometry)) + window.silent_after for window in windows)


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
            assert window.silent_before == window.silent_after == 0
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
        assert count_frames(windows, geometry) == geometry.num_frames(length)
        assert all(own_of(window, geometry) for window in windows) or length == 1_000


@pytest.mark.parametrize("piece", [1_000, 100_000, 10**7])
def test_windows_end_in_the_first_full_pause_or_in_the_longest(piece: int) -> None:
    """And have a margin of silence at their ends, or half of a short pause, however the samples come."""
    second, stride, margin = SAMPLE_RATE_HZ, 320, int(MARGIN_SECONDS * SAMPLE_RATE_HZ)
    geometry = FrameGeometry((Convolution(400, stride),))
    quiet = [
        (second, second + 8_000),  # too early: what is before lasts a second
        (3 * second, 3 * second + 4_800),  # short, and a full one comes soon
        (5 * second, 5 * second + 9_600),  # full: here the first window ends
        (9 * second, 9 * second + 3_520),  # quiet for 0.2 s, as the levels of 30 ms have it
        (10 * second, 10 * second + 4_800),  # short, and the full one is too far away: here the second ends
        (17 * second, 17 * second + 9_600),  # full, if not soon: here the third
        (18 * second, 18 * second + 16_640),  # long, if early: here the fourth
        (25 * second, 25 * second + 3_520),
        (35 * second, 35 * second + 4_160),  # not short, and the longest: here the fifth
        (44 * second, 44 * second + 1_600),  # the closure of a stop
    ]
    samples = numbered(100 * second, quiet)
    windows = list(stream_windows(np.split(samples, range(piece, len(samples), piece)), geometry))
    assert [window.ends_in_pause for window in windows] == [True] * 5 + [False] * (len(windows) - 5)
    assert count_frames(windows, geometry) == geometry.num_frames(len(samples))
    starts = [number_of(window.samples[0]) for window in windows]
    ends = [number_of(window.samples[-1]) + 1 for window in windows]
    cuts = [quiet[number] for number in (2, 4, 5, 6, 8)]
    expected = [min(start + margin, (start + end) // 2) for start, end in cuts]
    assert np.abs(np.subtract(ends[:5], expected)).max() <= 160 + stride
    expected = [max(end - margin, (start + end) // 2) for start, end in cuts]
    assert np.abs(np.subtract(starts[1:6], expected)).max() <= 160 + stride
    assert starts[6] == starts[5] + (WINDOW_SECONDS - 2 * CONTEXT_SECONDS) * second


def recording(parts: list[tuple[float, float]], floor: float, seed: int) -> np.ndarray:
    """Noise in parts of so many seconds with so high a peak, which swells and ebbs as speech does, over a floor."""
    rng = np.random.default_rng(seed)
    sounds = []
    for seconds, peak in parts:
        length = int(seconds * SAMPLE_RATE_HZ)
        swell = 0.7 + 0.3 * np.cos(2 * np.pi * 4 * np.arange(length) / SAMPLE_RATE_HZ)
        sounds.append(peak * swell * rng.standard_normal(length) + floor * rng.standard_normal(length))
    return np.round(np.concatenate(sounds)).astype(np.int16)


LOUD_PEAK, FAR_PEAK, SILENCE = 5_000.0, 60.0, 0.0  # somebody far away is 38 dB below


@pytest.mark.parametrize("floor", [0.0, 3.0])  # digital silence, and a quiet room
@pytest.mark.parametrize(
    "parts",
    [
        [(3, LOUD_PEAK), (1, SILENCE)] * 12,
        [(15, SILENCE), (4, LOUD_PEAK), (70, SILENCE), (4, LOUD_PEAK), (30, SILENCE)],  # longer than windows
        [(30, LOUD_PEAK), (3, SILENCE)],  # behind windows that overlap
        [(5, LOUD_PEAK), (0.7, SILENCE), (0.8, FAR_PEAK), (0.4, SILENCE), (5, LOUD_PEAK), (0.6, FAR_PEAK)] * 3,
        [(5, LOUD_PEAK), (2, SILENCE), (0.5, FAR_PEAK)] * 3 + [(1.2, SILENCE), (0.6, FAR_PEAK)],  # the last word, too
    ],
)
@pytest.mark.parametrize("geometry", [FrameGeometry((Convolution(400, 320),)), FrameGeometry((Convolution(720, 480),))])
def test_all_that_is_not_silence_is_heard_and_little_else(
    parts: list[tuple[float, float]], floor: float, geometry: FrameGeometry
) -> None:
    """Somebody far away between loud speech, too. And every frame is counted once, where it is in the whole."""
    samples = recording(parts, floor, seed=len(parts))
    windows = list(stream_windows(np.split(samples, range(4_096, len(samples), 4_096)), geometry))
    assert count_frames(windows, geometry) == geometry.num_frames(len(samples))
    is_heard, frame = np.zeros(len(samples), bool), 0
    for window in windows:
        frame += window.silent_before
        own = own_of(window, geometry)
        start = (frame - own.start) * geometry.stride_samples
        assert np.array_equal(samples[start : start + len(window.samples)], window.samples)
        is_heard[start : start + len(window.samples) * bool(own)] = True
        frame += len(own) + window.silent_after
    is_sound = np.concatenate([np.full(int(seconds * SAMPLE_RATE_HZ), peak > 0) for seconds, peak in parts])
    assert is_heard[is_sound].all()
    num_silences = sum(peak == SILENCE for _, peak in parts)
    beside_seconds = (is_heard & ~is_sound).sum() / SAMPLE_RATE_HZ
    assert beside_seconds <= num_silences * 2.2 * (MARGIN_SECONDS + 0.05)


def test_a_recording_of_one_window_keeps_its_silence() -> None:
    """So that its text is the one that an evaluation finds."""
    samples = recording([(3, SILENCE), (4, LOUD_PEAK), (5, SILENCE), (4, LOUD_PEAK), (3, SILENCE)], 3.0, seed=0)
    [window] = stream_windows(np.array_split(samples, 7), FrameGeometry((Convolution(400, 320),)))
    assert np.array_equal(window.samples, samples) and window.own_frames == slice(0, None)
    assert window.silent_before == window.silent_after == 0


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
