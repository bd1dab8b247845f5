"""Evaluation, transcription and alignment on a device that there is not: what the host reads of each pass or window."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch
from conftest import WORDS, speak
from helpers.stand_in import WITH_BACKWARD, StandIn, send, stand_in

from asrscale.alignment.recordings import align_recording
from asrscale.common.distributed import World
from asrscale.common.progress import Progress
from asrscale.data.index import read_index
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.options import DecodingOptions, open_decoder
from asrscale.model.recognizer import Recognizer
from asrscale.results.evaluation import evaluate
from asrscale.results.frame_texts import Hypothesis, plain_reader, text_reader
from asrscale.results.transcription import read_recordings
from asrscale.speech.pcm import Pcm, to_pcm16

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
COPY = "_to_copy"
BAR = Progress(0, "", "", 0, enabled=False)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    with stand_in(monkeypatch, WITH_BACKWARD) as mode:
        yield mode


def copied(recognizer: Recognizer, dtype: torch.dtype) -> Recognizer:
    return replace(recognizer, model=deepcopy(recognizer.model).eval().to(dtype), temperature=1.5)


def searching(recognizer: Recognizer) -> Decoder:
    return open_decoder(DecodingOptions(nbest=1), recognizer.vocabulary, None)[0]


def count_passes(recognizer: Recognizer) -> list[int]:
    """A list that gets the rows of each pass."""
    rows: list[int] = []
    recognizer.model.lm_head.register_forward_hook(lambda module, inputs, logits: rows.append(len(logits)))
    return rows


# What each way to read texts copies of a pass: best paths; their tokens' probabilities at two temperatures; all frames.
READERS = {"texts": 1, "confidences": 3, "search": 1}


@pytest.mark.parametrize(("reader", "dtype"), list(zip(READERS, DTYPES, strict=True)))
def test_an_evaluation_reads_texts_and_losses_of_each_pass(
    reader: str, dtype: torch.dtype, tone_recognizer: Recognizer, tone_shards: Path, device: StandIn
) -> None:
    ours = copied(tone_recognizer, dtype)
    index = read_index([str(tone_shards / "valid")])
    index = replace(index, texts=pa.array(["", *index.texts.to_pylist()[1:]]))  # of which there is no loss
    read_texts = {
        "texts": plain_reader(ours),
        "confidences": text_reader(ours),
        "search": text_reader(ours, searching(ours)),
    }[reader]

    def result(place: torch.device) -> tuple[float | None, list[tuple[int, Hypothesis]]]:
        world = World(rank=0, local_rank=0, world_size=1, device=place)
        given = dict(memory_cap_seconds=6.0, threads=1, title=None, read_texts=read_texts)
        found = evaluate(ours.model, ours, index, world, **given)  # type: ignore[arg-type]
        return found.loss, list(found.details())

    expected_loss, expected = result(torch.device("cpu"))
    send(ours.model, WITH_BACKWARD)
    passes = count_passes(ours)
    device.waits.clear()
    loss, found = result(WITH_BACKWARD)
    assert device.waits == []
    assert loss == pytest.approx(expected_loss, rel=1e-3) and sum(passes) == len(index)
    assert [(number, one.text) for number, one in found] == [(number, one.text) for number, one in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert one.confidences == pytest.approx(other.confidences, abs=0.02)
    assert len(passes) > 1 and device.reads == [COPY] * len(passes) * (READERS[reader] + 1)
    # fp32 of the logits, for the loss and each table of probabilities.
    tables = {"texts": 0, "confidences": 2, "search": 1}[reader]
    assert device.upcasts.count(COPY) == (0 if dtype == torch.float32 else len(passes) * (1 + tables))


def spoken(utterances: int) -> tuple[str, Pcm]:
    """A text of many words, and its sound with pauses."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=4)) for _ in range(utterances)]
    pause = np.zeros(8_000, np.int16)
    return " ".join(texts), np.concatenate([part for text in texts for part in (to_pcm16(speak(text, 1)), pause)])


@pytest.mark.parametrize(("is_searched", "dtype"), [(False, torch.float16), (True, torch.bfloat16)])
def test_of_each_window_that_is_transcribed_the_host_reads_tokens_and_their_probabilities(
    is_searched: bool, dtype: torch.dtype, tone_recognizer: Recognizer, device: StandIn
) -> None:
    ours = copied(tone_recognizer, dtype)
    decoder = searching(ours) if is_searched else None
    recordings = [spoken(12)[1], spoken(1)[1]]
    expected = read_recordings(recordings, ours, 40.0, BAR, decoder)
    send(ours.model, WITH_BACKWARD)
    windows = count_passes(ours)
    device.waits.clear()
    found = read_recordings(recordings, ours, 40.0, BAR, decoder)
    assert [one.path for one in found] == [one.path for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.confidences == pytest.approx(other.confidences, abs=0.02)
    assert device.waits == []
    assert sum(windows) > 3 and device.reads == [COPY] * sum(windows) * (1 if is_searched else 2)


def test_of_each_window_that_is_aligned_the_host_reads_all_probabilities(
    tone_recognizer: Recognizer, tmp_path: Path, device: StandIn
) -> None:
    ours = copied(tone_recognizer, torch.float32)
    text, pcm = spoken(12)
    file = str(tmp_path / "recording.wav")
    soundfile.write(file, pcm, 16_000)
    expected = align_recording(file, text, ours, memory_cap_seconds=40.0, bar=BAR)
    send(ours.model, WITH_BACKWARD)
    windows = count_passes(ours)
    device.waits.clear()
    found = align_recording(file, text, ours, memory_cap_seconds=40.0, bar=BAR)
    assert found == expected and device.waits == []
    assert sum(windows) > 1 and device.reads == [COPY] * sum(windows)
