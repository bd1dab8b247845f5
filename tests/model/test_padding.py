from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.models import FAMILIES, KINDS, SMALL, WITH_STEM, noise, stock_model, untrained_recognizer
from transformers import AutoModelForCTC, Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.model.families import stem_of
from asrscale.model.forward import count_frames, forward_logits
from asrscale.model.freezing import freeze_feature_encoder
from asrscale.model.padding import MaskedGroupNorm, is_stock_padding_invariant, make_padding_invariant
from asrscale.model.pretrained import load_recognizer
from asrscale.model.processors import new_processor
from asrscale.model.recognizer import Recognizer
from asrscale.speech.vocabulary import build_vocabulary


@pytest.fixture(scope="module")
def tiny() -> Recognizer:
    return untrained_recognizer()


SLICED = {(90_000, 48_000, 9_000): 3, (48_000, 64_000, 70_000, 9_000, 800): 3, (9_000, 16_000): 1}  # lengths: slices


@pytest.mark.parametrize("kind", WITH_STEM)
def test_padding_does_not_change_logits_and_alone_they_are_stock(kind: str, tiny: Recognizer, tmp_path: Path) -> None:
    stock = stock_model(kind)
    Recognizer(stock, tiny.processor, tiny.vocabulary).save(tmp_path / "stock")
    ours = load_recognizer(str(tmp_path / "stock"))
    waveforms, lengths = noise(48_000, 16_000, 16_400, 9_000, 9_320)  # 149, 49, 51, 27 and 28 frames
    logits = forward_logits(ours.model, ours, waveforms, lengths)
    frames = count_frames(ours.model, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = forward_logits(ours.model, ours, waveforms[row : row + 1, :length], lengths[row : row + 1])
        inputs = ours.processor(waveforms[row, :length].numpy() / 32768.0, sampling_rate=16_000, return_tensors="pt")
        expected = stock(inputs.input_values.float()).logits
        assert torch.allclose(alone, expected, atol=1e-5)
        assert torch.allclose(logits[row, : frames[row]], alone[0], atol=1e-4 * alone.abs().max().item())
    ours.save(tmp_path / "again")
    again = AutoModelForCTC.from_pretrained(tmp_path / "again")
    assert type(again) is type(stock)
    assert again.state_dict().keys() == stock.state_dict().keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in stock.state_dict().items())


@pytest.mark.parametrize("kind", WITH_STEM)
def test_a_frozen_stem_in_slices_changes_no_logit(kind: str, tiny: Recognizer) -> None:
    """Slices of one, two and all utterances of a padded pass, and the stem as a whole."""
    model = make_padding_invariant(stock_model(kind))
    ours = Recognizer(model, tiny.processor, tiny.vocabulary)
    whole = {lengths: forward_logits(model, ours, *noise(*lengths)) for lengths in SLICED}
    calls = []
    stem_of(model).conv_layers[0].register_forward_hook(lambda *_: calls.append(1))
    freeze_feature_encoder(model)
    for lengths, slices in SLICED.items():
        calls.clear()
        logits = forward_logits(model, ours, *noise(*lengths))
        assert len(calls) == slices
        assert torch.allclose(logits, whole[lengths], atol=1e-6, rtol=0)


def test_a_trained_stem_has_the_gradients_of_stock_but_none_of_its_waveforms() -> None:
    stock, ours = stock_model("wav2vec2 layer").train(), make_padding_invariant(stock_model("wav2vec2 layer")).train()
    needed = []
    stem_of(ours).conv_layers[0].register_forward_pre_hook(lambda _, inputs: needed.append(inputs[0].requires_grad))
    samples = noise(16_000, 16_000)[0] / 32_768
    for model in (stock, ours):
        stem_of(model)(samples).square().sum().backward()
    assert needed == [False]
    for expected, found in zip(stem_of(stock).parameters(), stem_of(ours).parameters(), strict=True):
        assert torch.equal(found.grad, expected.grad)


def test_stock_group_norm_does_depend_on_padding() -> None:
    """What MaskedGroupNorm is for: without it the same utterance has other logits in a batch."""
    torch.manual_seed(0)
    stock = Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **FAMILIES["group"])).eval()
    waveform = torch.randn(1, 16_000)
    padded = torch.nn.functional.pad(waveform, (0, 32_000))
    alone, in_batch = stock(waveform).logits, stock(padded).logits[:, :49]
    assert (alone - in_batch).abs().max().item() > 0.05 * alone.abs().max().item()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_known_in_which_models_of_transformers_padding_is_heard(kind: str) -> None:
    """The card of a model says by this whether stock transformers may be given batches."""
    vocabulary = build_vocabulary("abcdefghijklmnopqrstuvwxyz")
    stock = stock_model(kind, vocab_size=len(vocabulary.tokens))
    extractor = new_processor(vocabulary, stock.config).feature_extractor
    waveforms, lengths = noise(48_000, 16_400, 9_320)
    clips = [one[:length].numpy() / 32768.0 for one, length in zip(waveforms, lengths.tolist(), strict=True)]

    def logits_of(clips: list[np.ndarray]) -> torch.Tensor:
        inputs = extractor(clips, sampling_rate=16_000, padding=True, return_attention_mask=True, return_tensors="pt")
        with torch.no_grad():
            return stock(**inputs.to(stock.dtype)).logits

    together = logits_of(clips)
    frames = count_frames(stock, lengths).tolist()
    alone = [logits_of([clip])[0, :count] for clip, count in zip(clips, frames, strict=True)]
    differences = [
        (one - other[:count]).abs().max().item() for one, other, count in zip(alone, together, frames, strict=True)
    ]
    assert (max(differences) < 1e-4) == is_stock_padding_invariant(stock), differences


def test_in_bf16_a_group_norm_has_its_statistics_in_fp32() -> None:
    torch.manual_seed(0)
    norm, stock = MaskedGroupNorm(4, 4), torch.nn.GroupNorm(4, 4).double()
    x = (3 + torch.randn(1, 4, 3_000)).bfloat16()
    norm.num_frames = torch.tensor([2_000])
    expected = stock(x[..., :2_000].double())
    assert torch.allclose(norm.bfloat16()(x)[..., :2_000].double(), expected, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_group_norm_without_gradients_is_the_same_to_the_last_bit_on_real_frames(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    norm = MaskedGroupNorm(4, 4).to(dtype)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    norm.num_frames = torch.tensor([50, 31, 1])
    x = (3 * torch.randn(3, 4, 50) + 2).to(dtype)
    with_gradients = norm(x.clone())
    with torch.no_grad():
        without = norm(x.clone())
    for row, frames in enumerate(norm.num_frames.tolist()):
        assert torch.equal(with_gradients[row, :, :frames], without[row, :, :frames])
    assert without.isfinite().all()
