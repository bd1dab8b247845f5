"""What is random in a pass is a function of seed, step and utterance."""

import numpy as np
import pytest
import torch

from asrscale.data.batches import Batch
from asrscale.model.architectures import DROPOUT_SETTINGS
from asrscale.model.building import build_recognizer
from asrscale.model.forward import count_frames, forward_logits
from asrscale.model.freezing import checkpoint_activations
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser, attach_regulariser, prepare_pass

SECONDS = {7: 2.0, 3: 1.5, 11: 0.6}  # by utterance


def make(attention: str = "auto", dropout: float | None = None, **rates: float) -> tuple[Recognizer, Regulariser]:
    rates = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0} | rates
    masks = {name: rates[name] for name in ("mask_time_prob", "mask_feature_prob")}
    settings = {"attention": attention, "dropout": dropout, **masks}
    recognizer = build_recognizer("tiny", "abc", seed=3, **settings)  # type: ignore[arg-type]
    recognizer.model.train()
    return recognizer, attach_regulariser(recognizer.model, **rates)


def batch(*utterances: int) -> Batch:
    lengths = [round(16_000 * SECONDS[u]) for u in utterances]
    waveforms = torch.zeros(len(lengths), max(lengths), dtype=torch.int16)
    for row, (utterance, length) in enumerate(zip(utterances, lengths, strict=True)):
        waveforms[row, :length] = torch.from_numpy(np.random.default_rng(utterance).integers(-3000, 3000, length))
    labels = torch.ones(len(lengths), 1, dtype=torch.long)
    return Batch(np.array(utterances), waveforms, torch.tensor(lengths), labels, labels[:, 0])


def logits(
    recognizer: Recognizer, regulariser: Regulariser, *utterances: int, step: int = 5
) -> dict[int, torch.Tensor]:
    """Of each utterance's own frames."""
    own = batch(*utterances)
    prepare_pass(regulariser, recognizer.model, own, seed=1, step=step)
    found = forward_logits(recognizer.model, recognizer, own.waveforms, own.num_samples)
    frames = count_frames(recognizer.model, own.num_samples).tolist()
    return {u: row[:count] for u, row, count in zip(utterances, found, frames, strict=True)}


def test_an_utterance_is_masked_alike_in_any_pass_and_anew_in_each_step() -> None:
    recognizer, regulariser = make(mask_time_prob=0.5, mask_feature_prob=0.4)
    together = logits(recognizer, regulariser, 7, 3, 11)
    assert regulariser.time_mask is not None and regulariser.feature_mask is not None
    masked = regulariser.time_mask[0].float().mean().item()
    assert 0.2 < masked < 0.5 and regulariser.feature_mask.any()
    assert not torch.equal(regulariser.feature_mask[0], regulariser.feature_mask[1])
    for utterance in SECONDS:
        alone = logits(recognizer, regulariser, utterance)[utterance]
        assert torch.allclose(alone, together[utterance], atol=1e-5)
    later = logits(recognizer, regulariser, 7, step=6)[7]
    assert not torch.allclose(later, together[7], atol=1e-3)


def test_no_mask_reaches_into_the_padding_or_an_empty_pass() -> None:
    recognizer, regulariser = make(mask_time_prob=0.9)
    logits(recognizer, regulariser, 7, 11)
    frames = count_frames(recognizer.model, torch.tensor([round(16_000 * SECONDS[11])])).item()
    assert regulariser.time_mask is not None and not regulariser.time_mask[1, int(frames) :].any()
    nobody = batch(7)
    nobody = Batch(nobody.utterances[:0], nobody.waveforms, nobody.num_samples, nobody.labels, nobody.num_labels)
    prepare_pass(regulariser, recognizer.model, nobody, seed=1, step=5)
    assert not regulariser.time_mask.any()
    forward_logits(recognizer.model, recognizer, nobody.waveforms, nobody.num_samples).sum().backward()
    mask_vector = recognizer.model.wav2vec2.masked_spec_embed
    assert mask_vector.grad is not None, "every rank must have a gradient of every parameter"


def test_masks_are_where_the_model_is() -> None:
    """A pass is drawn for while its batch is still in the memory of the host."""
    recognizer, regulariser = make(mask_time_prob=0.5, mask_feature_prob=0.4)
    prepare_pass(regulariser, recognizer.model.to("meta"), batch(7, 11), seed=1, step=5)
    for drawn in (regulariser.time_mask, regulariser.feature_mask):
        assert drawn is not None and drawn.device.type == "meta"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropped_layers_are_the_steps_and_keep_zero_gradients(checkpointing: bool) -> None:
    recognizer, regulariser = make(layerdrop=0.5)
    if checkpointing:
        checkpoint_activations(recognizer.model)
    seen = set()
    for step in range(12):
        recognizer.model.zero_grad()
        sum(one.square().sum() for one in logits(recognizer, regulariser, 3, step=step).values()).backward()
        of_one_pass = regulariser.dropped_layers
        logits(recognizer, regulariser, 7, 11, step=step)
        assert regulariser.dropped_layers == of_one_pass
        seen.add(of_one_pass)
        for number, layer in enumerate(recognizer.model.wav2vec2.encoder.layers):
            norms = [float(p.grad.norm()) for p in layer.parameters() if p.grad is not None]
            assert len(norms) == len(list(layer.parameters()))
            assert (sum(norms) == 0) == (number in of_one_pass)
    assert len(seen) == 4, "of two layers each is dropped and kept in some step"


def test_a_dropped_layer_changes_nothing_that_passes_it() -> None:
    recognizer, regulariser = make(layerdrop=0.0)
    kept = logits(recognizer, regulariser, 3)[3]
    regulariser.layerdrop = 1.0
    dropped = logits(recognizer, regulariser, 3)[3]
    regulariser.layerdrop, layers = 0.0, recognizer.model.wav2vec2.encoder.layers
    recognizer.model.wav2vec2.encoder.layers = torch.nn.ModuleList()
    without = logits(recognizer, regulariser, 3)[3]
    recognizer.model.wav2vec2.encoder.layers = layers
    assert torch.allclose(dropped, without, atol=1e-6) and not torch.allclose(dropped, kept, atol=1e-3)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_an_utterance_drops_alike_in_any_pass_and_anew_in_each_step(attention: str, checkpointing: bool) -> None:
    """Its logits, and the gradient of all, do not depend on who shares a pass with it, and in which order."""
    recognizer, regulariser = make(attention=attention, dropout=0.2)
    assert regulariser.dropout.places == 3 + 2 * 4  # projection, encoder, head; attention and three more of each layer
    if checkpointing:
        checkpoint_activations(recognizer.model)

    def gradient(*passes: tuple[int, ...]) -> torch.Tensor:
        recognizer.model.zero_grad()
        for utterances in passes:
            sum(one.square().sum() for one in logits(recognizer, regulariser, *utterances).values()).backward()
        return torch.cat([p.grad.flatten() for p in recognizer.model.parameters() if p.grad is not None])

    together = logits(recognizer, regulariser, 7, 3, 11)
    again = logits(recognizer, regulariser, 11, 7)
    for utterance in SECONDS:
        torch.rand(3)  # what else draws from torch's generator
        alone = logits(recognizer, regulariser, utterance)[utterance]
        assert torch.allclose(alone, together[utterance], atol=1e-5)
        assert utterance == 3 or torch.allclose(again[utterance], alone, atol=1e-5)
    assert torch.allclose(gradient((7, 3, 11)), gradient((11,), (3, 7)), atol=1e-4, rtol=1e-4)
    later = logits(recognizer, regulariser, 7, step=6)[7]
    assert not torch.allclose(later, together[7], atol=1e-3)
    recognizer.model.eval()
    kept = logits(recognizer, regulariser, 7)[7]
    assert not torch.allclose(kept, together[7], atol=1e-3)


def test_the_configuration_keeps_the_dropout_that_hooks_do() -> None:
    recognizer, _ = make(dropout=0.2)
    assert {getattr(recognizer.model.config, name) for name in DROPOUT_SETTINGS} == {0.2}


def test_evaluation_masks_and_drops_nothing() -> None:
    recognizer, regulariser = make(mask_time_prob=0.9, mask_feature_prob=0.5, layerdrop=1.0)
    recognizer.model.eval()
    other, idle = make()
    other.model.load_state_dict(recognizer.model.state_dict(), strict=False)
    other.model.eval()
    assert torch.equal(logits(recognizer, regulariser, 3)[3], logits(other, idle, 3)[3])
