"""What each place that stays in fp32 is worth in bf16: the error of a random model of base's width, no GPU needed.

Rows are the model in bf16 as asrscale runs it, and with one of its fp32 places moved to bf16; the error is that of the
logits against the same model in fp32, relative to their spread. `make bench` runs this.
"""

from copy import deepcopy
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.model import forward, padding
from asrscale.model.building import build_recognizer
from asrscale.model.forward import forward_logits
from asrscale.model.padding import MaskedGroupNorm, make_padding_invariant
from asrscale.model.recognizer import Recognizer

FAMILIES = {
    "group norm": dict(feat_extract_norm="group", do_stable_layer_norm=False),
    "layer norm": dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True),
}
standardise = padding.standardise


def waveforms_in_bf16(samples: Tensor, num_samples: Tensor, is_real: Tensor) -> Tensor:
    in_bf16 = standardise(samples.bfloat16(), num_samples[:, None], forward.WAVEFORM_EPSILON)
    return in_bf16.to(samples.dtype) * is_real


def statistics_in_bf16(self: MaskedGroupNorm, x: Tensor) -> Tensor:
    assert self.num_frames is not None
    normalised = standardise(x, self.num_frames[:, None, None].to(x.dtype), self.eps)
    return normalised * self.weight[:, None] + self.bias[:, None]


def speech(level: float, offset: float) -> tuple[Tensor, Tensor]:
    """Noise that rises and falls as speech does, int16 (2, T), with a level and a constant offset of full scale."""
    rng, lengths = np.random.default_rng(0), torch.tensor([80_000, 48_000])
    waves = torch.zeros(2, 80_000, dtype=torch.int16)
    for row, length in enumerate(lengths.tolist()):
        loudness = np.abs(np.sin(np.arange(length) / 3000))
        samples = offset + level * loudness * rng.standard_normal(length)
        waves[row, :length] = torch.from_numpy(np.clip(samples * 32767, -32768, 32767).astype(np.int16))
    return waves, lengths


def main() -> None:
    """Prints the table."""
    processor = build_recognizer("tiny", "")
    inputs = {"loud": speech(0.2, 0.0), "quiet, with an offset": speech(0.005, 0.05)}
    print(f"{'family':12} {'input':24} {'bf16':>8} {'waveform too':>14} {'norm statistics too':>20}")
    for family, options in FAMILIES.items():
        torch.manual_seed(0)
        exact = Wav2Vec2ForCTC(Wav2Vec2Config(num_hidden_layers=4, vocab_size=32, layerdrop=0.0, **options)).eval()
        for name, (waves, lengths) in inputs.items():
            errors = []
            for fault in (None, "waveform", "statistics"):
                with torch.no_grad():
                    own = Recognizer(make_padding_invariant(deepcopy(exact)), processor.processor, processor.vocabulary)
                    reference = forward_logits(own.model, own, waves, lengths)
                    own.model.bfloat16()
                    own_way = waveforms_in_bf16 if fault == "waveform" else forward.standardise_samples
                    with patch.object(forward, "standardise_samples", own_way):
                        if fault == "statistics":
                            with patch.object(MaskedGroupNorm, "forward", statistics_in_bf16):
                                logits = forward_logits(own.model, own, waves, lengths)
                        else:
                            logits = forward_logits(own.model, own, waves, lengths)
                errors.append(float((logits.float() - reference).square().mean().sqrt() / reference.std()))
            shown = f"{errors[2]:.2%}" if family == "group norm" else "-"
            print(f"{family:12} {name:24} {errors[0]:8.2%} {errors[1]:14.2%} {shown:>20}")


if __name__ == "__main__":
    main()
