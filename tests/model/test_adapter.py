from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.models import FAMILIES, SMALL, noise, untrained_recognizer
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.common.errors import CliError
from asrscale.data.batches import Batch
from asrscale.model.building import build_meta_recognizer
from asrscale.model.forward import count_encoder_frames, count_frames, forward_logits
from asrscale.model.padding import make_padding_invariant
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import attach_regulariser, prepare_pass

ADAPTERS: dict[str, dict[str, Any]] = {
    "as transformers makes it": {},
    "kernel 5": {"adapter_kernel_size": 5, "num_adapter_layers": 2},
    "kernel 2": {"adapter_kernel_size": 2, "num_adapter_layers": 1},
    "stride 3": {"adapter_stride": 3, "num_adapter_layers": 2},
    "as many frames": {"adapter_stride": 1, "adapter_kernel_size": 1, "num_adapter_layers": 1},
    "another width": {"output_hidden_size": 48},
}


def adapted(settings: dict[str, Any], family: str = "layer") -> Wav2Vec2ForCTC:
    torch.manual_seed(0)
    return Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL | FAMILIES[family] | {"add_adapter": True} | settings)).eval()


@pytest.mark.parametrize(("adapter", "family"), [*((adapter, "layer") for adapter in ADAPTERS), ("kernel 5", "group")])
def test_padding_does_not_change_what_an_adapter_makes_and_alone_it_is_stock(
    adapter: str, family: str, tmp_path: Path
) -> None:
    stock = adapted(ADAPTERS[adapter], family)
    tiny = untrained_recognizer()
    Recognizer(stock, tiny.processor, tiny.vocabulary).save(tmp_path)
    ours = load_recognizer(str(tmp_path))
    # Of a frame more each: the last frames are at all places of the adapter's strides.
    waveforms, lengths = noise(*range(30_000, 33_200, 320))
    logits = forward_logits(ours.model, ours, waveforms, lengths)
    frames = count_frames(ours.model, lengths).tolist()
    for row, length in enumerate(lengths.tolist()):
        alone = forward_logits(ours.model, ours, waveforms[row : row + 1, :length], lengths[row : row + 1])
        inputs = ours.processor(waveforms[row, :length].numpy() / 32768.0, sampling_rate=16_000, return_tensors="pt")
        expected = stock(inputs.input_values.float()).logits
        assert alone.shape[1] == frames[row]
        assert torch.allclose(alone, expected, atol=1e-5)
        assert torch.allclose(logits[row, : frames[row]], alone[0], atol=1e-4 * alone.abs().max().item())


def test_stock_adapter_does_depend_on_padding() -> None:
    """What the masked convolutions are for: without them the last frames of an utterance change in a batch."""
    stock = adapted({})
    waveform = torch.randn(1, 16_000)
    mask = torch.ones(1, 48_000, dtype=torch.long)
    mask[:, 16_000:] = 0
    padded = torch.nn.functional.pad(waveform, (0, 32_000))
    alone, in_batch = stock(waveform).logits, stock(padded, attention_mask=mask).logits[:, :7]
    assert (alone - in_batch).abs().max().item() > 0.01 * alone.abs().max().item()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_masks_and_dropout_of_training_do_not_depend_on_padding(adapter: str) -> None:
    """SpecAugment masks frames of the encoder, of which there are more than of the logits."""
    tiny = untrained_recognizer()
    dropouts = {"hidden_dropout": 0.1, "activation_dropout": 0.1, "attention_dropout": 0.1, "final_dropout": 0.1}
    settings = ADAPTERS[adapter] | dropouts | {"mask_time_prob": 0.3, "apply_spec_augment": False, "layerdrop": 0.0}
    model = make_padding_invariant(adapted(settings)).train()
    ours = Recognizer(model, tiny.processor, tiny.vocabulary)
    regulariser = attach_regulariser(model, mask_time_prob=0.3, mask_feature_prob=0.0, layerdrop=0.0)
    waveforms, lengths = noise(48_000, 16_000)

    def logits(rows: slice, num_samples: int) -> torch.Tensor:
        numbers = torch.arange(2)[rows].numpy()
        labels = torch.ones(len(numbers), 1, dtype=torch.long)
        batch = Batch(numbers, waveforms[rows, :num_samples], lengths[rows], labels, labels[:, 0])
        prepare_pass(regulariser, model, batch, seed=0, step=3)
        return forward_logits(model, ours, batch.waveforms, batch.num_samples)

    together = logits(slice(None), 48_000)
    assert regulariser.time_mask is not None
    assert regulariser.time_mask.shape[1] == count_encoder_frames(model, torch.tensor(48_000))
    masked_frames = regulariser.time_mask[1].nonzero()
    assert len(masked_frames) and masked_frames.max() < count_encoder_frames(model, torch.tensor(16_000))
    alone = logits(slice(1, 2), 16_000)
    own_frames = count_frames(model, lengths)[1]
    assert torch.allclose(together[1, :own_frames], alone[0], atol=1e-4 * alone.abs().max().item())


def test_an_adapter_that_leaves_no_frame_is_refused_before_any_work(tmp_path: Path) -> None:
    adapted({"num_adapter_layers": 3, "adapter_kernel_size": 7}).config.save_pretrained(tmp_path)
    with pytest.raises(CliError, match=r"makes no frame of 0\.5 s of audio: its strides or kernels are too large"):
        build_meta_recognizer(str(tmp_path / "config.json"), dtype=torch.float32)
