from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.models import KINDS, noise, stock_model, untrained_recognizer
from torch import Tensor, nn

from asrscale.model.building import build_recognizer
from asrscale.model.families import attentions_of, encoder_of
from asrscale.model.forward import (
    WAVEFORM_EPSILON,
    count_frames,
    ctc_losses,
    forward_logits,
    greedy_texts,
    has_padded_frames,
    standardise_samples,
)
from asrscale.model.padding import make_padding_invariant, standardise
from asrscale.model.processors import new_processor
from asrscale.model.recognizer import Recognizer


@pytest.fixture(scope="module")
def tiny() -> Recognizer:
    return untrained_recognizer()


def test_frames_are_counted_alike(tiny: Recognizer) -> None:
    lengths = np.array([9_000, 16_000, 16_001, 123_456])
    ours = tiny.geometry.num_frames(lengths)
    assert ours.tolist() == count_frames(tiny.model, torch.from_numpy(lengths)).tolist()


def test_frames_never_go_below_zero(tiny: Recognizer) -> None:
    assert count_frames(tiny.model, torch.tensor([10, 16_000])).tolist() == [0, 33 - 1]


def test_a_waveform_is_normalised_over_its_own_samples(tiny: Recognizer) -> None:
    """The norms behind it hide most of what a wrong scale changes, so this looks at what the stem gets."""
    waveforms, lengths = noise(48_000, 16_000, 9_000)
    waveforms = torch.where(waveforms == 0, 0, waveforms + 1_000)
    given: list[torch.Tensor] = []
    stem = tiny.model.wav2vec2.feature_extractor
    hook = stem.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    forward_logits(tiny.model, tiny, waveforms, lengths)
    hook.remove()
    [samples] = given
    for row, length in enumerate(lengths.tolist()):
        alone = tiny.processor(waveforms[row, :length].numpy() / 32_768, sampling_rate=16_000, return_tensors="pt")
        assert torch.allclose(samples[row, :length], alone.input_values[0].float(), atol=1e-4)
        assert not samples[row, length:].any()


def test_in_place_a_waveform_is_standardised_to_the_same_bits() -> None:
    waveforms, lengths = noise(48_000, 16_000, 9_000)
    samples = (waveforms + 1_000).float() / 32_768  # what is behind the ends counts nowhere
    before = samples.clone()
    is_real = torch.arange(48_000) < lengths[:, None]
    expected = standardise(samples, lengths[:, None], WAVEFORM_EPSILON) * is_real
    assert torch.equal(standardise_samples(samples, lengths, is_real), expected)
    assert torch.equal(samples, before)


def test_in_bf16_the_waveform_is_normalised_in_fp32() -> None:
    """A quiet recording with an offset, of which bf16 would lose most bits."""
    recognizer = build_recognizer("tiny", "abc", seed=3)
    quiet = (1_600 + noise(48_000)[0] // 20).short()
    logits = []
    for dtype in (torch.float32, torch.bfloat16):
        recognizer.model.to(dtype).eval()
        logits.append(forward_logits(recognizer.model, recognizer, quiet, torch.tensor([48_000])).float())
    error = (logits[1] - logits[0]).square().mean().sqrt() / logits[0].std()
    assert error < 0.03, error


def test_ctc_equals_float64_and_is_divided_by_label_length() -> None:
    torch.manual_seed(0)
    logits, frames = torch.randn(3, 20, 6), torch.tensor([20, 15, 9])
    labels, num_labels = torch.tensor([[1, 2, 2], [3, 1, -100], [4, -100, -100]]), torch.tensor([3, 2, 1])
    losses = ctc_losses(logits, frames, labels, num_labels, blank=5)
    for row in range(3):
        log_probs = logits[row : row + 1, : frames[row]].double().log_softmax(-1).transpose(0, 1)
        expected = torch.nn.functional.ctc_loss(
            log_probs, labels[row : row + 1], frames[row : row + 1], num_labels[row : row + 1], blank=5, reduction="sum"
        )
        assert losses[row].item() == pytest.approx(expected.item() / num_labels[row].item(), rel=1e-5)


def test_ctc_of_bf16_logits_is_computed_in_fp32() -> None:
    torch.manual_seed(0)
    logits, lengths = (
        torch.randn(1, 20, 6).bfloat16(),
        (torch.tensor([20]), torch.tensor([[1, 2, 2]]), torch.tensor([3])),
    )
    losses = ctc_losses(logits, *lengths, blank=5)
    assert losses.dtype == torch.float32 and losses.equal(ctc_losses(logits.float(), *lengths, blank=5))


def test_greedy_text_is_cut_to_true_length(tiny: Recognizer) -> None:
    tokens, blank = tiny.vocabulary.tokens, tiny.vocabulary.blank_id
    path = [tokens.index(token) for token in "hheel"] + [blank] + [tokens.index(token) for token in "lo|x"]
    logits = torch.nn.functional.one_hot(torch.tensor([path]), len(tokens)).float()
    assert greedy_texts(tiny, logits, torch.tensor([9])) == ["hello"]
    assert greedy_texts(tiny, logits, torch.tensor([10])) == ["hello x"]


def recognizer_of(kind: str, tiny: Recognizer) -> Recognizer:
    model = make_padding_invariant(stock_model(kind))
    return Recognizer(model, new_processor(tiny.vocabulary, model.config), tiny.vocabulary)


def masks_of_attention(model: nn.Module) -> list[Tensor | None]:
    """Which masks the modules that attend get, from now on."""
    masks: list[Tensor | None] = []
    for attention in attentions_of(model):
        attention.register_forward_pre_hook(
            lambda _module, _inputs, settings: masks.append(settings["attention_mask"]), with_kwargs=True
        )
    return masks


@pytest.mark.parametrize("kind", KINDS)
def test_where_utterances_have_equal_frames_attention_needs_no_mask(kind: str, tiny: Recognizer) -> None:
    """Of a few samples more and less, and with the gradient; Wav2Vec2-BERT makes 51 frames of 102 and 103 windows."""
    lengths = (16_560, 16_800, 16_719) if kind.startswith("bert") else (16_400, 16_719, 16_500)
    waveforms, num_samples = noise(*lengths)
    logits, gradients = [], []
    for has_padding in (True, False):
        ours = recognizer_of(kind, tiny)
        assert not has_padded_frames(ours, num_samples, waveforms.shape[1])
        masks = masks_of_attention(ours.model)
        logits.append(forward_logits(ours.model, ours, waveforms, num_samples, has_padding=has_padding))
        assert len(masks) >= 2 and all((mask is not None) is has_padding for mask in masks)
        logits[-1].square().mean().backward()
        gradients.append([weight.grad for weight in encoder_of(ours.model).parameters()])
    torch.testing.assert_close(logits[1], logits[0], atol=1e-5, rtol=0)
    for masked, unmasked in zip(*gradients, strict=True):
        torch.testing.assert_close(unmasked, masked, atol=1e-5, rtol=1e-4)


def test_a_frame_less_is_padding(tiny: Recognizer) -> None:
    ours = recognizer_of("wav2vec2", tiny)
    for lengths, expected in (((16_400, 16_719), False), ((16_400, 16_720), True), ((16_399, 16_400), True)):
        waveforms, num_samples = noise(*lengths)
        assert has_padded_frames(ours, num_samples, waveforms.shape[1]) is expected
    # A batch is half a second long, and may hold less.
    assert has_padded_frames(ours, torch.tensor([7_000]), 8_000)
    # Nothing at all has a frame, which attention must not see.
    assert has_padded_frames(ours, torch.tensor([0]), 100)


def test_a_model_that_reads_the_lengths_of_its_mask_always_gets_one(tiny: Recognizer) -> None:
    """As the ONNX graph, which normalises over an utterance's own samples."""

    class Lengths(nn.Module):
        takes_lengths_from_mask = True

        def forward(self, input_values: Tensor, attention_mask: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=attention_mask.sum(-1))

    waveforms, num_samples = noise(16_400, 16_719)
    assert forward_logits(Lengths(), tiny, waveforms, num_samples, has_padding=False).tolist() == [16_400, 16_719]
