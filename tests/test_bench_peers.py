"""What `make bench-peers` gives to each way: all utterances once an epoch, and steps of the same audio."""

import sys

import numpy as np
import pytest
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "tests" / "bench"))

from peers_samplers import NUM_BUCKETS, SAMPLERS, best_fit, endless
from peers_ways import Collator, pad_batch, trainer_settings

from asrscale.model.building import build_recognizer

SECONDS = np.random.default_rng(0).gamma(4.0, 0.75, size=600) + 0.5


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_each_utterance_comes_once_an_epoch_in_another_order_each_time(name: str) -> None:
    pytest.importorskip(name)
    epochs = SAMPLERS[name](SECONDS, 24.0, 10, 1)
    first, second = epochs(0), epochs(1)
    for epoch in (first, second):
        assert sorted(utterance for batch in epoch for utterance in batch) == list(range(len(SECONDS)))
    assert first != second
    both = endless(epochs)
    assert [next(both) for _ in range(len(first) + len(second))] == first + second


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_a_fitted_sampler_has_steps_of_the_audio_of_the_others(name: str) -> None:
    pytest.importorskip(name)
    fit = best_fit(name, SECONDS, 24.0)
    assert fit.batch_seconds == pytest.approx(24.0, rel=0.02)
    assert fit.num_buckets in NUM_BUCKETS[name]
    batches = SAMPLERS[name](SECONDS, fit.max_seconds, fit.num_buckets, 0)(0)
    padded = sum(len(batch) * SECONDS[batch].max() for batch in batches)
    assert fit.padding == pytest.approx(1 - SECONDS.sum() / padded)


def test_the_ways_of_trainer_have_the_same_utterances_a_step() -> None:
    for way in ("notebook", "trainer-grouped", "trainer-rebalanced"):
        settings = trainer_settings(way, 8)
        assert settings["per_device_train_batch_size"] * settings["gradient_accumulation_steps"] == 8, way


def test_all_pad_and_label_the_same_utterances_alike() -> None:
    processor = build_recognizer("tiny", "abc ").processor
    labels = [np.array(processor.tokenizer(text).input_ids) for text in ("ab c", "a")]
    audio = [np.ones(length, dtype=np.float32) for length in (16_000, 8_000)]
    batch = [{"input_values": one, "labels": tokens} for one, tokens in zip(audio, labels, strict=True)]
    collator, notebook = Collator(processor, None), Collator(processor, 160_000)
    grouped, fixed, plain = collator(batch), notebook(batch), pad_batch(batch, has_mask=True)
    assert grouped["input_values"].shape == (2, 16_000) and fixed["input_values"].shape == (2, 160_000)
    for name in plain:
        assert plain[name].tolist() == grouped[name].tolist()
    assert fixed["attention_mask"].sum(1).tolist() == [16_000, 8_000]
    assert collator.take_samples() == 24_000 and collator.take_samples() == 0
