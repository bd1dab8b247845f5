"""The same input gives the same samples and masks in any order, thread and process: else no run could be repeated."""

import hashlib
import io
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import pytest
import soundfile
import torch

from asrscale.augmentation.codecs import BIT_RATES, through_codec
from asrscale.augmentation.effects import CodecName
from asrscale.augmentation.sound import reverberate, telephone_band
from asrscale.data.batches import Batch
from asrscale.data.run_plan import ORIGINAL_SPEED_TENTHS, SPEEDS_TENTHS
from asrscale.model.building import build_recognizer
from asrscale.model.regularisation import attach_regulariser, prepare_pass
from asrscale.speech.decoding import decode, decode_long, decode_payload
from asrscale.speech.encoding import encode
from asrscale.speech.pcm import change_speed, resample

RATES_HZ = (8_000, 16_000, 22_050, 44_100, 48_000)

# Containers and their contents, as libsndfile names them, and whether that takes any sample rate.
FORMATS = (
    ("WAV", "PCM_16", True),
    ("WAV", "PCM_24", True),
    ("WAV", "FLOAT", True),
    ("WAV", "ULAW", True),
    ("AIFF", "PCM_16", True),
    ("FLAC", "PCM_16", True),
    ("OGG", "VORBIS", True),
    ("OGG", "OPUS", False),
    ("MP3", "MPEG_LAYER_III", True),
)
OPUS_RATES_HZ = (8_000, 16_000, 48_000)


@dataclass(frozen=True)
class Case:
    """Something that is computed, and a name for it."""

    name: str
    compute: Callable[[], bytes]

    def digest(self) -> str:
        return hashlib.sha256(self.compute()).hexdigest()


def noise(seed: int, length: int, channels: int = 1) -> np.ndarray:
    """int16 (length, channels), loud."""
    return np.random.default_rng(seed).integers(-20_000, 20_000, (length, channels)).astype(np.int16)


def encoded(pcm: np.ndarray, rate_hz: int, container: str, content: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, rate_hz, format=container, subtype=content)
    return buffer.getvalue()


def decoders() -> Iterator[Case]:
    """Every way to decode every format, rate and number of channels."""
    kinds = product(FORMATS, RATES_HZ, (1, 2))
    for number, ((container, content, any_rate), rate_hz, channels) in enumerate(kinds):
        if not any_rate and rate_hz not in OPUS_RATES_HZ:
            continue
        data = encoded(noise(number, rate_hz // 3 + 37 * number, channels), rate_hz, container, content)
        name = f"{container} {content}, {rate_hz} Hz, {channels} channels"
        yield Case(f"decode {name}", partial(decoded, data))
        yield Case(f"decode a part of {name}", partial(decoded, data, start_seconds=0.1, seconds=0.07))
        yield Case(f"decode_long {name}", partial(decoded_long, data))
        yield Case(f"decode_payload {name}", partial(decoded_payload, data))


def decoded(data: bytes, **segment: float) -> bytes:
    waveform, _ = decode(io.BytesIO(data), 10.0, **segment)
    return waveform.tobytes()


def decoded_long(data: bytes) -> bytes:
    return decode_long(io.BytesIO(data)).tobytes()


def decoded_payload(data: bytes) -> bytes:
    return decode_payload(data).tobytes()


def transformations() -> Iterator[Case]:
    """Resampling, changes of speed and codecs, of lengths at which soxr's filters begin to need another block."""
    for length in (*range(5, 400, 43), *range(16_000, 16_100, 19), *range(43_250, 43_550, 17)):
        pcm = noise(length, length)[:, 0]
        for tenths in SPEEDS_TENTHS:
            if tenths != ORIGINAL_SPEED_TENTHS:
                yield Case(f"change_speed {tenths}, {length} samples", partial(sped, pcm, tenths))
        for rate_hz in RATES_HZ:
            yield Case(f"resample {rate_hz} Hz, {length} samples", partial(resampled, pcm, rate_hz))
    for codec in ("flac", "wav", "opus", "mp3"):
        yield Case(f"encode {codec}", partial(encode, noise(1, 20_011)[:, 0], codec))


def augmentations() -> Iterator[Case]:
    """What --augment does by filters and codecs, of lengths that are no multiples of their frames."""
    for length in (161, 8_005, 16_000, 27_333):
        waveform = noise(length, length)[:, 0] / np.float32(32_768)
        yield Case(f"telephone_band, {length} samples", partial(banded, waveform))
        yield Case(f"reverberate, {length} samples", partial(reverberated, waveform))
        for codec, bit_rates in BIT_RATES.items():
            for bit_rate in bit_rates:
                yield Case(f"{codec} at {bit_rate}, {length} samples", partial(coded, waveform, codec, bit_rate))


def banded(waveform: np.ndarray) -> bytes:
    return telephone_band(waveform).tobytes()


def reverberated(waveform: np.ndarray) -> bytes:
    return reverberate(waveform, waveform[::-3]).tobytes()


def coded(waveform: np.ndarray, codec: CodecName, bit_rate: int) -> bytes:
    return through_codec(waveform, codec, bit_rate).tobytes()


def sped(pcm: np.ndarray, tenths: int) -> bytes:
    return change_speed(pcm, tenths).tobytes()


def resampled(pcm: np.ndarray, rate_hz: int) -> bytes:
    return resample(pcm / np.float32(32_768), rate_hz).tobytes()


def digests(cases: Sequence[Case]) -> dict[str, str]:
    """The digest of each case, computed one after another."""
    return {case.name: case.digest() for case in cases}


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    return [*decoders(), *transformations(), *augmentations()]


@pytest.fixture(scope="module")
def expected(cases: list[Case]) -> dict[str, str]:
    return digests(cases)


def shuffled(cases: list[Case], seed: int) -> list[Case]:
    return [cases[number] for number in np.random.default_rng(seed).permutation(len(cases))]


def differing(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    assert found.keys() == expected.keys() and len(expected) > 300
    return [name for name in expected if found[name] != expected[name]]


def test_samples_do_not_depend_on_what_was_computed_before(cases: list[Case], expected: dict[str, str]) -> None:
    assert differing(digests(shuffled(cases, 1)), expected) == []


def test_samples_do_not_depend_on_the_threads(cases: list[Case], expected: dict[str, str]) -> None:
    order = shuffled(cases, 2)
    with ThreadPoolExecutor(3) as threads:
        found = digests([])
        for part in threads.map(digests, (order[0::3], order[1::3], order[2::3])):
            found |= part
    assert differing(found, expected) == []


def test_samples_do_not_depend_on_the_process(cases: list[Case], expected: dict[str, str]) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert differing(processes.submit(digests, shuffled(cases, 3)).result(), expected) == []


def masks(order: list[int]) -> dict[int, str]:
    """The digest of the masks and dropped layers of each step, drawn in an order of steps."""
    settings = {"mask_time_prob": 0.3, "mask_feature_prob": 0.2}
    recognizer = build_recognizer("tiny", "abc", **settings)
    regulariser = attach_regulariser(recognizer.model, layerdrop=0.4, **settings)
    num_samples = torch.tensor([40_000, 16_000])
    labels = torch.ones(2, 1, dtype=torch.long)
    batch = Batch(np.array([7, 11]), torch.zeros(2, 40_000, dtype=torch.int16), num_samples, labels, labels[:, 0])
    found = {}
    for step in order:
        np.random.seed(step)  # what else in the process may do
        prepare_pass(regulariser, recognizer.model, batch, seed=1, step=step)
        assert regulariser.time_mask is not None and regulariser.feature_mask is not None
        drawn = (regulariser.time_mask.numpy(), regulariser.feature_mask.numpy(), sorted(regulariser.dropped_layers))
        found[step] = hashlib.sha256(b"".join(np.asarray(one).tobytes() for one in drawn)).hexdigest()
    return found


def test_masks_do_not_depend_on_order_or_process() -> None:
    steps = list(range(30))
    expected = masks(steps)
    assert len(set(expected.values())) == len(steps)
    assert masks(steps[::-1]) == expected
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert processes.submit(masks, steps[::2]).result() == {step: expected[step] for step in steps[::2]}
