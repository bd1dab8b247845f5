"""Wav2Vec2-BERT, which has log-mel features instead of a stem, conformer layers, and an adapter with attention."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.models import noise
from transformers import AutoProcessor, SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertForCTC

from asrscale.common.errors import CliError
from asrscale.model.forward import count_frames, forward_logits
from asrscale.model.pretrained import load_recognizer
from asrscale.model.processors import new_processor
from asrscale.model.recognizer import Recognizer
from asrscale.speech.vocabulary import build_vocabulary

SMALL = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, vocab_size=30, pad_token_id=29,
    conv_depthwise_kernel_size=7, left_max_position_embeddings=16, right_max_position_embeddings=4,
)  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "relative_key": {},
    "relative": {"position_embeddings_type": "relative"},
    "rotary": {"position_embeddings_type": "rotary"},
    "no positions": {"position_embeddings_type": None},
    "adapter": {"add_adapter": True},
    "adapter of kernel 5": {"add_adapter": True, "num_adapter_layers": 2, "adapter_kernel_size": 5},
    "adapter of stride 4": {"add_adapter": True, "num_adapter_layers": 2, "adapter_stride": 4},
    "adapter of another width": {"add_adapter": True, "num_adapter_layers": 3, "output_hidden_size": 16},
    "more before the adapter": {"add_adapter": True, "use_intermediate_ffn_before_adapter": True},
    "three windows": {"feature_projection_input_dim": 240},
}  # fmt: skip


def saved(settings: dict[str, Any], folder: Path) -> Wav2Vec2BertForCTC:
    """A stock model of random weights, in a folder with its processor."""
    torch.manual_seed(0)
    vocabulary = build_vocabulary("abc")
    blank = {"vocab_size": len(vocabulary.tokens), "pad_token_id": vocabulary.blank_id}
    config = Wav2Vec2BertConfig(**SMALL | blank | settings)
    stock = Wav2Vec2BertForCTC(config).eval()
    for weight in stock.parameters():  # norms and position biases as if trained
        torch.nn.init.normal_(weight, std=0.2)
    Recognizer(stock, new_processor(vocabulary, config), vocabulary).save(folder)
    return stock


@pytest.mark.parametrize("variant", VARIANTS)
def test_padding_does_not_change_logits_and_alone_they_are_stock(variant: str, tmp_path: Path) -> None:
    stock = saved(VARIANTS[variant], tmp_path / "stock")
    processor = AutoProcessor.from_pretrained(tmp_path / "stock")
    ours = load_recognizer(str(tmp_path / "stock"))
    windows = ours.geometry.stem[1].kernel
    # Of a frame more each, which all their windows fill: else the stock extractor pads, and its adapter does not mask.
    first = 400 + (90 * windows - 1) * 160
    waveforms, lengths = noise(*range(first, first + 8 * windows * 160, windows * 160))
    with torch.no_grad():
        logits = forward_logits(ours.model, ours, waveforms, lengths)
        frames = count_frames(ours.model, lengths).tolist()
        for row, length in enumerate(lengths.tolist()):
            alone = forward_logits(ours.model, ours, waveforms[row : row + 1, :length], lengths[row : row + 1])
            samples = waveforms[row, :length].numpy() / 32768.0
            inputs = processor(samples, sampling_rate=16_000, return_tensors="pt")
            expected = stock(**inputs).logits
            assert alone.shape == expected.shape and alone.shape[1] == frames[row]
            assert torch.allclose(alone, expected, atol=1e-5)
            assert torch.allclose(logits[row, : frames[row]], alone[0], atol=1e-4 * alone.abs().max().item())
    ours.save(tmp_path / "again")
    again = Wav2Vec2BertForCTC.from_pretrained(tmp_path / "again").state_dict()
    assert again.keys() == stock.state_dict().keys()
    assert all(torch.equal(value, again[name]) for name, value in stock.state_dict().items())


def test_a_window_that_fills_no_frame_makes_none(tmp_path: Path) -> None:
    """The stock extractor pads it to a frame that is masked, which the stock model gives logits all the same."""
    stock = saved({}, tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    ours = load_recognizer(str(tmp_path))
    waveforms, lengths = noise(400 + 100 * 160)
    with torch.no_grad():
        alone = forward_logits(ours.model, ours, waveforms, lengths)
        inputs = processor(waveforms[0].numpy() / 32768.0, sampling_rate=16_000, return_tensors="pt")
        expected = stock(**inputs).logits
    assert (alone.shape[1], expected.shape[1], inputs.attention_mask.sum()) == (50, 51, 50)
    assert torch.allclose(alone, expected[:, :50], atol=1e-5)


def test_stock_adapter_does_depend_on_padding(tmp_path: Path) -> None:
    """What the masked convolutions are for: without them the last frames of an utterance change in a batch."""
    stock = saved({"add_adapter": True, "num_adapter_layers": 2}, tmp_path)
    processor = AutoProcessor.from_pretrained(tmp_path)
    waveforms, _ = noise(48_240, 16_240)
    clips = [waveforms[0].numpy() / 32768.0, waveforms[1, :16_240].numpy() / 32768.0]
    with torch.no_grad():
        alone = stock(**processor(clips[1], sampling_rate=16_000, return_tensors="pt")).logits
        in_batch = stock(**processor(clips, sampling_rate=16_000, return_tensors="pt")).logits[1:, : alone.shape[1]]
    assert (alone - in_batch).abs().max().item() > 0.01 * alone.abs().max().item()


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        ({"stride": 1}, "a frame of its feature extractor has 1 windows of 80 bins, one of its model 2 of 80"),
        ({"num_mel_bins": 40}, "has 2 windows of 40 bins, one of its model 2 of 80: they do not belong together"),
        ({"sampling_rate": 8_000}, "is for audio at 8000 Hz, the shards hold 16000 Hz"),
    ],
)
def test_features_that_its_model_does_not_take_are_refused(
    extractor: dict[str, int], message: str, tmp_path: Path
) -> None:
    saved({}, tmp_path)
    for name in ("preprocessor_config.json", "processor_config.json"):
        (tmp_path / name).unlink(missing_ok=True)
    SeamlessM4TFeatureExtractor(**extractor).save_pretrained(tmp_path)
    with pytest.raises(CliError, match=message):
        load_recognizer(str(tmp_path))
